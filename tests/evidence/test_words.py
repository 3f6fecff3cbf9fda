"""The catalogue is complete in both languages, and a document says everything in one of them."""

from __future__ import annotations

import ast
import dataclasses
import io
import re
import string
from pathlib import Path

import pytest
from optional_objects import all_of, dcentvfy, dciodvfy
from PIL import ImageFont
from pydicom import dcmread
from test_conclusion import sided

from cxr_pacs import radiograph
from cxr_pacs.evidence import check, words
from cxr_pacs.inference import Claim, ClassScore, Findings, Patient, withhold
from cxr_pacs.inference.engine import NO_LUNG_FIELDS
from cxr_pacs.inference.findings import Withheld


def texts_of(value):
    if isinstance(value, words.Text):
        yield value
    elif isinstance(value, tuple):
        for one in value:
            yield from texts_of(one)


ALL = {(name, text.en): text for name, value in vars(words).items() for text in texts_of(value)}


def placeholders(template):
    return {(name, spec) for _, name, spec, _ in string.Formatter().parse(template) if name is not None}


@pytest.mark.parametrize("text", ALL.values(), ids=[f"{name}: {en}" for name, en in ALL])
def test_each_text_is_there_in_both_languages_with_the_same_placeholders(text):
    assert [field.name for field in dataclasses.fields(text)] == list(words.LANGUAGES)
    assert text.en.strip()
    assert text.es.strip()
    assert placeholders(text.en) == placeholders(text.es)
    assert text.en[-1:] == text.es[-1:] or text.en[-1:].isalpha()
    assert text.en.startswith(" ") == text.es.startswith(" ")


def test_the_catalogue_is_translated():
    alike = {text.en for text in ALL.values() if text.en == text.es}
    assert alike == {"normal"}


@pytest.mark.parametrize("font", ["DejaVuSans.ttf", "DejaVuSans-Bold.ttf"])
def test_the_font_has_every_letter(font):
    file = Path(words.__file__).parent / "fonts" / font
    face = ImageFont.truetype(str(file), 20, layout_engine=ImageFont.Layout.BASIC)
    absent = bytes(face.getmask("\uffff"))
    letters = {c for text in ALL.values() for c in text.en + text.es}
    assert not [c for c in letters if c != " " and bytes(face.getmask(c)) == absent]


def remarks_in_code():
    """Every sentence on quality that `radiograph` can make, with ``{}`` for what it fills in."""
    for path in Path(radiograph.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for value in ast.iter_child_nodes(node):
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    said = value.value
                elif isinstance(value, ast.JoinedStr):
                    parts = (p.value if isinstance(p, ast.Constant) else "Window" for p in value.values)
                    said = "".join(parts)
                else:
                    continue
                is_remark = (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr == "append"
                ) or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "remark")
                if is_remark:
                    yield said


REMARKS = [*remarks_in_code(), NO_LUNG_FIELDS]


def test_the_remarks_were_found():
    assert len(REMARKS) >= 11


@pytest.mark.parametrize("remark", REMARKS)
def test_every_remark_of_other_stages_is_translated(remark):
    assert words.translated(remark, "en") == remark
    assert words.translated(remark, "es") != remark


def claim(low, high, *views):
    return Claim(
        head="h", label="bacterial_pneumonia", age_low=low, age_high=high, views=views, films="f",
        positives=30, others=30, figure="auroc", value=1.0, low=1.0, high=1.0, baseline="b",
        baseline_value=0.5, gain_low=0.1,
    )  # fmt: skip


ADULTS, SOME, CHILDREN = claim(18, 90, "PA", "AP"), claim(18, 90, "PA"), claim(1, 5, "AP")
CLAIM = "El modelo no declara validez en neumonía bacteriana"
SPANS, NONE = "la declara para", "ninguna validez declarada"


@pytest.mark.parametrize(
    ("claims", "age", "view", "expected"),
    [
        ([], 40, "PA", f"{CLAIM}."),
        ([CHILDREN, ADULTS], 7.5, "PA", f"{CLAIM} para un paciente de 7 años; {SPANS} 1 a 5 o 18 a 90 años."),
        ([ADULTS], 0.1, "PA", f"{CLAIM} para un paciente de 1 mes; {SPANS} 18 a 90 años."),
        ([ADULTS], 0.0, "PA", f"{CLAIM} para un paciente de menos de un mes; {SPANS} 18 a 90 años."),
        ([ADULTS], 1.5, "PA", f"{CLAIM} para un paciente de 18 meses; {SPANS} 18 a 90 años."),
        ([SOME], 40, "AP", f"{CLAIM} para la proyección AP; {SPANS} PA."),
        ([ADULTS], None, "PA", f"No se conoce la edad del paciente, y {NONE} del modelo es aplicable."),
        (
            [SOME],
            40,
            None,
            f"No se conoce la proyección, PA o AP, y {NONE} en neumonía bacteriana es aplicable; {SPANS} PA.",
        ),
    ],
)
def test_every_reason_why_a_class_is_withheld_is_translated(model, claims, age, view, expected):
    score = ClassScore(head="h", label="bacterial_pneumonia", score=0.9, threshold=0.5)
    found = withhold(Findings(scores=(score,), model=model), claims, Patient(age_years=age, view=view))
    assert words.translated(found.withheld[0].reason, "es") == expected


def test_what_the_catalogue_does_not_know_stays_as_it_is():
    for sentence in ("Only for adults or children to 5 years.", "{name}", "", "Línea\nnueva"):
        assert words.translated(sentence, "es") == sentence


@pytest.fixture
def instance(read):
    """With every kind of thing to say: sides, what is not reached, what is withheld, a remark."""
    made = sided(read(NO_LUNG_FIELDS), "left")
    *scores, last = made.findings.scores
    reason = "The model makes no claim on normal for the view AP; it claims it for PA."
    withheld = (Withheld(head=last.head, label=last.label, reason=reason),)
    return dataclasses.replace(
        made, findings=dataclasses.replace(made.findings, scores=tuple(scores), withheld=withheld)
    )


def sentences(dataset):
    for element in dataset:
        if element.keyword in {"TextValue", "UnformattedTextValue"}:
            yield str(element.value)
        elif element.VR == "SQ":
            for item in element.value:
                yield from sentences(item)


def meanings(dataset):
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                if "CodeMeaning" in item:
                    yield (item.CodeValue, item.CodeMeaning)
                yield from meanings(item)


ENGLISH = re.compile(
    r"\b(the|of|is|not|head|certainty|threshold|reached|which|for|image|lung|weights)\b", re.IGNORECASE
)


def test_every_object_speaks_the_language_of_the_site(instance, stamp, tmp_path, encoded):
    spanish = all_of(instance, dataclasses.replace(stamp, language="es"))
    english = all_of(instance, stamp)
    for made, other in zip(spanish, english, strict=True):
        assert check(made) == ()
        assert dciodvfy(made, tmp_path) == []
        read = dcmread(io.BytesIO(encoded(made)))
        said = [text for text in sentences(read) if re.search("[a-z]{3} ", text)]
        foreign = [text for text in said if ENGLISH.search(text.replace("not_covid19", ""))]
        assert foreign == []
        languages = {"en", "es", "121049"}
        told, wanted = (dict(meanings(one)) for one in (made, other))
        assert (told.get("es"), "es" in wanted) == (
            "Spanish" if made.Modality in {"SR", "KO"} else None,
            False,
        )
        # all other codes are the dictionary's in both
        for found in (told, wanted):
            for code in languages:
                found.pop(code, None)
        assert told == wanted
        assert made.SeriesDescription == other.SeriesDescription
    assert dcentvfy(spanish, tmp_path) == []


@pytest.mark.parametrize("language", words.LANGUAGES)
def test_findings_in_words_are_short_lines(instance, stamp, language):
    reason = (
        "The view, PA or AP, is not known, so no claim of the model on bacterial pneumonia applies; "
        "it claims it for PA."
    )
    withheld = (Withheld(head="h", label="bacterial_pneumonia", reason=reason),)
    findings = dataclasses.replace(instance.findings, withheld=withheld)
    instance = dataclasses.replace(instance, findings=findings)
    report = all_of(instance, dataclasses.replace(stamp, language=language))[-1]
    found = [text for text in sentences(report) if "\r\n" in text]
    assert len(found) == 5
    assert max(len(line) for text in found for line in text.split("\r\n")) <= 80
    assert " ".join(found[-1].split()).endswith(words.translated(reason, language))


def test_both_reports_name_one_english(instance, stamp):
    reports = [made for made in all_of(instance, stamp) if made.Modality == "SR"]
    assert len(reports) == 2
    assert [dict(meanings(made)).get("en") for made in reports] == ["English", "English"]


@pytest.mark.parametrize("use", ["For tests", "For tests.", "For tests!"])
def test_the_intended_use_is_one_sentence(instance, stamp, model, use):
    model = dataclasses.replace(model, intended_use=use)
    instance = dataclasses.replace(instance, findings=dataclasses.replace(instance.findings, model=model))
    expected = f"AI-derived, not a diagnosis. For tests{'!' if use.endswith('!') else '.'}"
    for made in all_of(instance, stamp):
        if made.Modality == "SR":
            assert expected in sentences(made)
        assert made.ContributingEquipmentSequence[0].ContributionDescription == expected


def test_spanish_needs_a_character_set_that_can_say_it(instance, stamp):
    document = all_of(instance, dataclasses.replace(stamp, language="es"))[1]
    assert document.SpecificCharacterSet in {"ISO_IR 100", "ISO_IR 192"}
    (language,) = (c for c in document.ContentSequence if c.ConceptNameCodeSequence[0].CodeValue == "121049")
    assert language.RelationshipType == "HAS CONCEPT MOD"
    assert language.ConceptCodeSequence[0].CodingSchemeDesignator == "RFC5646"
