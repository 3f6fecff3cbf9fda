"""`cxr-pacs show`: what a person sees of reports, pictures and studies; against DCMTK, and hostile input."""

from __future__ import annotations

import io
import re
from html import unescape

import numpy as np
import pytest
from bright_engine import BrightEngine, claim
from peers import dcmtk
from PIL import Image
from pydicom import Dataset, config, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.uid import RLELossless
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.cli import analyse, main
from cxr_pacs.evidence.reading_back import read_document
from cxr_pacs.gateway.ledger import Arrival, MadeObject, open_ledger
from cxr_pacs.gateway.spool import Spool
from cxr_pacs.settings import load_settings

# A code with its meaning, and the value of a text, a number or a UID, as dsrdump prints them.
_MEANING = re.compile(r'\([^,()"]*,[^,()"]*,"([^"]*)"\)')
_VALUE = re.compile(r'[A-Z]:\([^"]*"[^"]*"\)="([^"]*)"')


class PartlyClaimed(BrightEngine):
    claims = tuple(claim("multiclass", label) for label in ("covid19", "normal"))


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Radiograph, heatmap and report, with a withheld class and a quality remark, as files."""
    monkeypatch.setattr(analyse, "open_engine", lambda *_: PartlyClaimed())
    film, out = tmp_path / "film.dcm", tmp_path / "out"
    make_radiograph(picture=synthetic_chest(150, 130, 0), PatientOrientation=["R", "F"]).save_as(film)
    assert main(["analyse", str(film), "--out", str(out)]) == 0
    return {"film": film, **{path.name[:2]: path for path in out.iterdir()}}


@pytest.fixture
def show(capsys):
    def run(*arguments):
        capsys.readouterr()
        status = main(["show", *map(str, arguments)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def site(made, tmp_path):
    """A gateway's settings file and what its ledger and spool hold of one study, with a skipped image."""
    config_file = tmp_path / "site.toml"
    config_file.write_text(f'[spool]\npath = "{tmp_path / "spool"}"\n')
    settings = load_settings(config_file)
    spool, film = Spool(settings.spool.path), dcmread(made["film"])
    ledger = open_ledger(settings.database_url)
    with ledger.begin() as connection:
        for digest, decision, reason in (("a", "accept", "A chest."), ("b", "skip", "A lateral view.")):
            arrival = Arrival(
                digest=digest,
                source="MODALITY",
                received_at=1.0,
                study_instance_uid=film.StudyInstanceUID,
                sop_instance_uid=f"{film.SOPInstanceUID}.{digest}",
                file="originals/x.dcm",
                decision=decision,
                rung="view",
                reason=reason,
            )
            assert ledger.add_arrival(connection, arrival)
        for kind, name in (("SC", "OT"), ("SR", "SR")):
            uid = str(dcmread(made[name]).SOPInstanceUID)
            file = spool.keep_result(uid, made[name].read_bytes())
            ledger.add_result(connection, MadeObject(study_id=1, kind=kind, sop_instance_uid=uid, file=file))
    ledger.engine.dispose()
    return config_file, str(film.StudyInstanceUID)


def flat(text):
    return " ".join(text.split())


def of_page(page):
    return flat(unescape(re.sub(r"<[^>]*>", " ", page.replace("<wbr>", ""))))


def told_by_dsrdump(path):
    dumped = dcmtk("dsrdump", "--print-all-codes", "--print-long-values", path)
    assert dumped.returncode == 0, dumped.stderr
    told = _MEANING.findall(dumped.stdout) + _VALUE.findall(dumped.stdout)
    assert len(told) > 10
    # It writes line ends as \r and \n, and the rest in the document's own character set.
    ends = {flat(re.sub(r"\\[rn]", " ", text)) for text in told}
    return {part for text in ends for part in text.split("\ufffd")}


def test_the_text_has_every_meaning_and_value_that_dsrdump_finds(made, show):
    status, text, _ = show(made["SR"])
    assert status == 0
    assert {told for told in told_by_dsrdump(made["SR"]) if told not in flat(text)} == set()


def test_so_has_the_page(made, show):
    status, page, _ = show(made["SR"], "--html")
    assert status == 0
    assert {told for told in told_by_dsrdump(made["SR"]) if told not in of_page(page)} == set()


def test_a_report_of_another_maker_is_shown_whole(show):
    """By value and by reference, coordinates, waveforms, observers: DCMTK's sample of everything."""
    path = get_testdata_file("test-SR.dcm", download=False)
    status, text, _ = show(path)
    assert status == 0
    assert {told for told in told_by_dsrdump(path) if told not in flat(text)} == set()
    assert "Verified by Riesmeier, Jörg (OFFIS e.V., JR) 2001-02-13 18:47:46" in flat(text)


def test_a_report_that_dcmtk_refuses_is_shown_as_far_as_readable(show):
    path = get_testdata_file("reportsi.dcm", download=False)
    assert dcmtk("dsrdump", path).returncode != 0
    status, text, _ = show(path)
    assert status == 0
    assert "Report Text: Enter text" in text


def test_findings_lead_with_verdict_threshold_and_reason(made, show):
    _, text, _ = show(made["SR"])
    findings = text[text.index("Findings in image") : text.index("\nRemarks")]
    report = dcmread(made["SR"])
    assert "  Name        Example, Patient" in text[: text.index("Findings")]
    assert re.search(
        r"Normal \(Lung\) \[multiclass/normal\]\n"
        r" +Certainty of Finding [0-9.]+ %, Classification: (Positive|Negative)\n"
        r" +head multiclass: COVID-19, bacterial pneumonia or normal\n"
        r" +decision threshold 50.00 %: (not )?reached\n",
        findings,
    )
    assert re.search(
        r"Bacterial pneumonia \(Lung\) \[binary/bacterial_pneumonia\]\n +Classification: Not Evaluated\n",
        findings,
    )
    assert findings.count("The model makes no claim on bacterial pneumonia.") == 2
    assert "- Quality Assessment: Patient Orientation says that the picture is mirrored." in text
    assert f"{report.CompletionFlag}, PRELIMINARY, UNVERIFIED, AI-derived, not a diagnosis" in text


def test_what_all_groups_share_is_told_once(made, show):
    _, text, _ = show(made["SR"])
    content = text[text.index("\nContent\n") :]
    assert "Measurement Group, the same in all 5" in content
    assert content.count("Algorithm Name: bright") == 1
    assert len(re.findall(r"^ +Finding: ", content, re.MULTILINE)) == 5


def test_a_threshold_that_all_groups_share_still_stands_with_each(made):
    document = read_document(dcmread(made["SR"]))
    for finding in document.findings:
        thresholds = [remark for remark in finding.remarks if "threshold" in remark]
        assert len(thresholds) == len(finding.measurements)


def test_the_page_needs_nothing_else_and_runs_nothing(made, show, tmp_path):
    target = tmp_path / "report.html"
    assert show(made["SR"], "--html", "--out", target) == (0, "", "")
    page = target.read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert not re.search(r"<script|<link|<iframe|javascript:|src=\"(?!data:)|href=|@import|url\(", page)
    assert page.startswith("<!DOCTYPE html>")


def test_a_heatmap_becomes_the_png_of_its_pixels(made, show, tmp_path):
    target = tmp_path / "map.png"
    assert show(made["OT"], "--out", target) == (0, "", "")
    heatmap = dcmread(made["OT"])
    assert np.array_equal(np.asarray(Image.open(target)), heatmap.pixel_array)
    status, text, _ = show(made["OT"])
    assert status == 0
    assert heatmap.DerivationDescription in flat(text)
    status, page, _ = show(made["OT"], "--html")
    assert status == 0
    assert 'src="data:image/png;base64,' in page


def test_a_compressed_heatmap_is_the_same_picture(made, show, tmp_path):
    heatmap = dcmread(made["OT"])
    native = heatmap.pixel_array.copy()
    heatmap.compress(RLELossless, generate_instance_uid=False)
    heatmap.save_as(tmp_path / "rle.dcm")
    assert show(tmp_path / "rle.dcm", "--out", tmp_path / "rle.png")[0] == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "rle.png")), native)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_radiograph_is_shown_as_displayed(show, tmp_path, photometric):
    picture = synthetic_chest(150, 130, 0)
    path, target = tmp_path / "film.dcm", tmp_path / "film.png"
    make_radiograph(picture=picture, photometric=photometric).save_as(path)
    assert show(path, "--out", target)[0] == 0
    shown = np.asarray(Image.open(target), float) / 255
    assert np.abs(shown - picture).max() < 0.01


def test_pixels_that_are_not_square_are_made_square(show, tmp_path):
    path, target = tmp_path / "film.dcm", tmp_path / "film.png"
    wide = {"ImagerPixelSpacing": ["0.2", "0.1"], "PixelSpacing": None}
    make_radiograph(picture=synthetic_chest(150, 130, 0), **wide).save_as(path)
    assert show(path, "--out", target)[0] == 0
    with Image.open(target) as picture:
        assert picture.size == (130, 300)


def test_the_words_of_a_presentation_state_are_shown(made, show, tmp_path):
    state = dcmread(made["OT"])
    del state.PixelData
    annotation, text = Dataset(), Dataset()
    text.UnformattedTextValue = "COVID-19 81 %"
    annotation.TextObjectSequence = [text]
    state.GraphicAnnotationSequence = [annotation]
    state.save_as(tmp_path / "state.dcm")
    status, shown, _ = show(tmp_path / "state.dcm")
    assert status == 0
    assert re.search("Text +COVID-19 81 %", shown)


def test_a_study_is_found_in_the_ledger(site, made, show):
    config_file, study = site
    status, text, _ = show(study, "--config", config_file)
    assert status == 0
    assert "Findings in image" in text
    assert "skip: A lateral view." in text
    (heatmap,) = [line.split()[1] for line in text.splitlines() if re.match(r"  OT  ", line)]
    assert dcmread(heatmap).SOPInstanceUID == dcmread(made["OT"]).SOPInstanceUID
    status, page, _ = show(study, "--config", config_file, "--html")
    assert status == 0
    assert page.count("<img ") == 1
    assert "skip: A lateral view." in of_page(page)


def test_a_report_that_is_replaced_is_not_shown_but_listed(site, made, show, tmp_path):
    config_file, study = site
    later = dcmread(made["SR"])
    settings = load_settings(config_file)
    reference = Dataset()
    reference.ReferencedSOPClassUID = later.SOPClassUID
    reference.ReferencedSOPInstanceUID = replaced = later.SOPInstanceUID
    series, whole = Dataset(), Dataset()
    series.ReferencedSOPSequence, whole.ReferencedSeriesSequence = [reference], [series]
    later.PredecessorDocumentsSequence = [whole]
    later.SOPInstanceUID = later.file_meta.MediaStorageSOPInstanceUID = "2.25.99"
    buffer = io.BytesIO()
    later.save_as(buffer, enforce_file_format=True)
    ledger = open_ledger(settings.database_url)
    file = Spool(settings.spool.path).keep_result("2.25.99", buffer.getvalue())
    with ledger.begin() as connection:
        made_object = MadeObject(study_id=1, kind="SR", sop_instance_uid="2.25.99", file=file)
        ledger.add_result(connection, made_object)
    ledger.engine.dispose()
    _, text, _ = show(study, "--config", config_file)
    assert text.count("Findings in image") == 1
    assert f"Replaces      {replaced}" in text
    assert len(re.findall(r"^  SR  ", text, re.MULTILINE)) == 2


def test_what_is_lost_of_a_study_is_told_and_the_rest_is_shown(site, made, show):
    config_file, study = site
    spool = load_settings(config_file).spool.path
    (report,) = spool.glob(f"results/*/{dcmread(made['SR']).SOPInstanceUID}.dcm")
    (heatmap,) = spool.glob(f"results/*/{dcmread(made['OT']).SOPInstanceUID}.dcm")
    damaged = dcmread(heatmap)
    damaged.PixelData = damaged.PixelData[:100]
    damaged.save_as(heatmap)
    status, page, _ = show(study, "--config", config_file, "--html")
    assert status == 0
    assert "Findings" in page
    assert re.search(rf"Not shown {re.escape(str(heatmap))} The pixels cannot be decoded", of_page(page))
    report.unlink()
    status, text, _ = show(study, "--config", config_file)
    assert status == 0
    assert f"{report}: cannot be read: No such file or directory" in flat(text)


def test_an_unknown_study_and_no_ledger_are_one_line(site, show, tmp_path):
    config_file, _ = site
    status, text, error = show("1.2.3.4", "--config", config_file)
    assert (status, text, error.count("\n")) == (1, "", 1)
    assert "1.2.3.4" in error
    empty = tmp_path / "empty.toml"
    empty.write_text(f'[spool]\npath = "{tmp_path / "nowhere"}"\n')
    status, _, error = show("1.2.3.4", "--config", empty)
    assert (status, error.count("\n")) == (1, 1)
    assert "no ledger" in error
    assert not (tmp_path / "nowhere").exists()


def test_what_cannot_be_shown_is_one_line(made, show, tmp_path):
    (tmp_path / "notes.txt").write_text("not DICOM\n" * 30)
    bare = dcmread(made["SR"])
    del bare.ContentSequence
    bare.save_as(tmp_path / "bare.dcm")
    cut = dcmread(made["film"])
    cut.PixelData = cut.PixelData[:1000]
    cut.save_as(tmp_path / "cut.dcm")
    wrong = (
        [tmp_path / "notes.txt"],
        [tmp_path / "bare.dcm"],
        [tmp_path / "absent.dcm"],
        [tmp_path],
        [made["SR"], "--out", tmp_path / "report.png"],
        [made["SR"], "--out", tmp_path / "absent" / "report.txt"],
    )
    for arguments in wrong:
        status, text, error = show(*arguments)
        assert (status, text, error.count("\n")) == (1, "", 1), arguments
        assert str(arguments[-1]) in error
        assert "Example" not in error
    status, text, error = show(tmp_path / "cut.dcm", "--out", tmp_path / "cut.png")
    assert (status, text, error.count("\n")) == (1, "", 1)
    assert f"{tmp_path / 'cut.dcm'}: Pixel Data has 1000 bytes" in error
    assert not list(tmp_path.glob("*.png"))


def test_a_wrong_setting_exits_with_2(made, show, tmp_path):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[dicom]\nprot = 1")
    status, _, error = show(made["SR"], "--config", wrong)
    assert (status, "dicom.prot" in error) == (2, True)


def test_values_can_steer_neither_a_terminal_nor_a_browser(made, show, tmp_path):
    hostile = dcmread(made["SR"])
    text = 'a\x1b[2J<script>alert("1")</script>\u202eb & \r\nsecond line\x00'
    hostile.SpecificCharacterSet = "ISO_IR 192"
    hostile.PatientName = "A\x1b]0;x\x07^<b>B</b>"
    for item in hostile.ContentSequence[-1].ContentSequence:
        if "TextValue" in item:
            item["TextValue"] = DataElement(0x0040A160, "UT", text, validation_mode=config.IGNORE)
    hostile.save_as(tmp_path / "hostile.dcm")
    status, shown, _ = show(tmp_path / "hostile.dcm")
    assert status == 0
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)
    status, page, _ = show(tmp_path / "hostile.dcm", "--html")
    assert status == 0
    assert "<script" not in page
    assert "<b>" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        ("ISO_IR 192", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 144", "Люксембург^Роза"),
        ("ISO_IR 126", "Διονυσιος^Γ"),
        ("ISO_IR 100", "Buc^Jérôme"),
        (["ISO 2022 IR 6", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ],
)
def test_names_in_other_scripts_are_shown(made, show, tmp_path, terms, name):
    report = dcmread(made["SR"])
    report.PatientName  # noqa: B018  decoded with the old character set before the new one is named
    report.SpecificCharacterSet, report.PatientName = terms, name
    report.save_as(tmp_path / "named.dcm")
    _, text, _ = show(tmp_path / "named.dcm")
    for group in name.split("="):
        assert group.replace("^", ", ") in text


def test_a_tree_that_is_too_deep_ends_with_a_note(made, show, tmp_path):
    report = dcmread(made["SR"])
    (inner := Dataset()).ValueType = "TEXT"
    for _ in range(100):
        (outer := Dataset()).ValueType = "CONTAINER"
        outer.ContentSequence = [inner]
        inner = outer
    report.ContentSequence = [inner]
    report.save_as(tmp_path / "deep.dcm")
    status, text, _ = show(tmp_path / "deep.dcm")
    assert status == 0
    assert "levels deep: the rest is not shown" in flat(text)


def test_damaged_items_are_absent_and_the_rest_is_shown(made, show, tmp_path):
    report = dcmread(made["SR"])
    group = report.ContentSequence[-2].ContentSequence[0]
    for item in group.ContentSequence:
        for keyword in ("ConceptCodeSequence", "MeasuredValueSequence", "ReferencedSOPSequence", "TextValue"):
            if keyword in item:
                del item[keyword]
    del group.ContentSequence[0].ConceptNameCodeSequence
    report.save_as(tmp_path / "damaged.dcm")
    status, text, _ = show(tmp_path / "damaged.dcm")
    assert status == 0
    assert "Certainty of Finding: no value" in text or "Not Evaluated" in text


def test_identity_is_shown_but_never_logged(made, show, caplog):
    caplog.set_level("DEBUG")
    _, text, error = show(made["SR"])
    assert "Example, Patient" in text
    assert "Example" not in caplog.text + error
