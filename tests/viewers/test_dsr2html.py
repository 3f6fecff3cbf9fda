"""DCMTK renders every report as a page, with nothing to complain of, and Chromium shows it."""

from __future__ import annotations

import html
import re

import pytest
from gateway_objects import made_of
from ohif import chromium_page
from peers import dcmtk
from pydicom import dcmread
from radiographs import make_radiograph, synthetic_chest

# Its check of values knows few character sets; the page has every letter all the same.
TOLERATED = "W: The VR checker does not support this Specific Character Set: "


@pytest.fixture
def rendered(tmp_path):
    """The page of one report in UTF-8, and its text."""

    def render(path):
        page = tmp_path / f"{path.stem}.html"
        result = dcmtk("dsr2html", "--convert-to-utf8", path, page)
        assert result.returncode == 0, result.stderr
        assert [line for line in result.stderr.splitlines() if not line.startswith(TOLERATED)] == []
        body = re.sub(r"<[^>]*>", " ", page.read_text("utf-8").split("<body>")[1])
        return page, " ".join(html.unescape(body).split())

    return render


@pytest.mark.parametrize(
    ("language", "disclaimer"),
    [("en", "AI-derived, not a diagnosis"), ("es", "Obtenido por IA, no es un diagnóstico")],
)
def test_every_report_is_rendered_whole(rendered, tmp_path, language, disclaimer):
    radiograph = make_radiograph(
        picture=synthetic_chest(150, 130, 0),
        SpecificCharacterSet="ISO_IR 126",
        PatientName="Διονυσιος^Αθηνα",
    )
    made = made_of([radiograph], tmp_path / "study", evidence={"language": language})
    documents = [path for path in made if dcmread(path, stop_before_pixels=True).Modality == "SR"]
    assert len(documents) == 2
    for path in documents:
        _, page = rendered(path)
        said = list(values(dcmread(path)))
        assert len(said) > 10
        marks = ["PRELIMINARY", "UNVERIFIED", "Αθηνα Διονυσιος", disclaimer]
        assert [text for text in (*said, *marks) if text not in page] == []


def values(item):
    """Every name, text, code and number in a tree."""
    for child in item.get("ContentSequence", ()):
        yield child.ConceptNameCodeSequence[0].CodeMeaning
        if child.ValueType == "TEXT":
            yield " ".join(child.TextValue.split())
        elif child.ValueType == "CODE":
            yield child.ConceptCodeSequence[0].CodeMeaning
        elif child.ValueType == "NUM":
            (measured,) = child.MeasuredValueSequence
            unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
            yield f"{measured.NumericValue!s} {unit}"
        yield from values(child)


def test_chromium_shows_the_page(rendered, studies, tmp_path):
    (report, *_) = studies["charlie"].made
    file, _ = rendered(report)
    with chromium_page(tmp_path / "profile") as page:
        page.goto(file.as_uri())
        page.screenshot(path=tmp_path / "report.png", full_page=True)
        assert "no es un diagnóstico" in page.inner_text("body")
