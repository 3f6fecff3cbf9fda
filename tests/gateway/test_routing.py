"""Routes: which destination gets which object, against the rule in its plainest words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bright_engine import CLASSES, BrightEngine
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydicom import Dataset
from radiographs import make_radiograph

from cxr_pacs.errors import SettingsError
from cxr_pacs.gateway.routing import RoutedImage, Routes, check_findings, read_routed_image, routed_image
from cxr_pacs.inference import ClassScore, Findings
from cxr_pacs.settings import Settings, parse_settings

NAMES = ("one", "two", "three")
KINDS = {
    "SR": "report",
    "SC": "heatmap",
    "SG": "segmentation",
    "PS": "presentation_state",
    "KO": "key_objects",
    "TX": "plain_report",
}

words = st.sampled_from(["CHEST", "chest", "HAND", "A", "B"])
routes = st.fixed_dictionaries(
    {"destinations": st.lists(st.sampled_from(NAMES), min_size=1)},
    optional={
        "objects": st.lists(st.sampled_from([*KINDS.values(), "original"])),
        "source": st.lists(st.sampled_from(["A", "B", "a"])),
        "station": st.lists(words),
        "body_part": st.lists(words),
        "finding": st.sampled_from(["covid19", "COVID-19", "53084003", "normal"]),
        "at_least": st.sampled_from([0.2, 0.5, 0.9]),
        "forward": st.sampled_from(["before", "after"]),
    },
)
scores = st.builds(
    ClassScore,
    head=st.sampled_from(["binary", "multiclass"]),
    label=st.sampled_from(["covid19", "bacterial_pneumonia", "normal"]),
    score=st.sampled_from([0.0, 0.2, 0.49, 0.5, 0.9, 1.0]),
    threshold=st.sampled_from([0.3, 0.5]),
)
images = st.builds(
    RoutedImage,
    source=st.sampled_from(["A", "B", "C"]),
    station=words | st.just(""),
    body_part=words | st.just(""),
    findings=st.none()
    | st.lists(scores, max_size=4).map(lambda s: Findings(scores=tuple(s), model=BrightEngine.identity)),
)


def site(routes):
    folders = [{"name": name, "folder": f"/{name}"} for name in NAMES]
    return Settings.model_validate({"destination": folders, "route": routes})


def meets(route, image):
    """Every condition of the route, said once more."""
    if route.get("source") and image.source not in route["source"]:
        return False
    for key, value in (("station", image.station), ("body_part", image.body_part)):
        if route.get(key) and value.lower() not in [wanted.lower() for wanted in route[key]]:
            return False
    if "finding" not in route:
        return True
    for score in image.findings.scores if image.findings else ():
        code = next(code for code in CLASSES if code.label == score.label)
        if route["finding"] in (code.label, code.value, code.meaning):
            least = route.get("at_least", score.threshold)
            if score.score >= least:
                return True
    return False


@hypothesis_settings(deadline=None)
@given(st.lists(routes, min_size=1, max_size=4), st.sampled_from(list(KINDS)), st.lists(images, max_size=3))
def test_a_result_goes_wherever_a_matching_route_sends_it(given_routes, kind, of):
    expected = set()
    for route in given_routes:
        wanted = route.get("objects") or list(KINDS.values())
        if KINDS[kind] in wanted and any(meets(route, image) for image in of):
            expected |= set(route["destinations"])
    assert Routes(site(given_routes)).of_result(kind, of) == tuple(n for n in NAMES if n in expected)


@hypothesis_settings(deadline=None)
@given(st.lists(routes, min_size=1, max_size=4), images, st.sampled_from(["before", "after"]))
def test_an_original_goes_only_where_and_when_a_route_names_it(given_routes, image, moment):
    expected = set()
    for route in given_routes:
        if "original" in route.get("objects", ()) and route.get("forward", "after") == moment:
            expected |= set(route["destinations"]) if meets(route, image) else set()
    made = Routes(site(given_routes))
    assert made.of_original(image, moment) == tuple(n for n in NAMES if n in expected)
    assert made.forward_any(moment) or not expected


@given(st.sampled_from(list(KINDS)), st.lists(images, max_size=2), images)
def test_without_a_route_every_result_goes_everywhere_and_no_original_anywhere(kind, of, image):
    made = Routes(site([]))
    assert made.of_result(kind, of) == NAMES
    assert made.of_original(image, "before") == made.of_original(image, "after") == ()


def test_of_a_header_only_two_elements_are_taken():
    header = Dataset()
    header.PatientName, header.PatientID, header.StationName = "Sensitive^Name", "77", " XR1 "
    image = routed_image(header, "MODALITY", None)
    assert image == RoutedImage(source="MODALITY", station="XR1", body_part="")
    assert replace(image, station="") == routed_image(Dataset(), "MODALITY", None)


@pytest.mark.parametrize(
    ("finding", "hint"), [("covid-19", None), ("covid91", "'covid19'"), ("x", "it knows")]
)
def test_a_finding_that_the_model_does_not_know_is_named(finding, hint):
    settings = site([{"destinations": ["one"], "finding": finding}])
    if hint is None:
        check_findings(settings, BrightEngine.identity)
    else:
        with pytest.raises(SettingsError, match=r"route\.0\.finding") as caught:
            check_findings(settings, BrightEngine.identity)
        assert hint in str(caught.value)


SITE = (
    '[[destination]]\nname = "pacs"\nae_title = "PACS"\nhost = "h"\nport = 104\n'
    '[[destination]]\nname = "share"\nfolder = "/share"\n[[route]]\n'
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'destinations = ["pcs"]',
            "route.0.destinations: no destination is called 'pcs'; did you mean 'pacs'?",
        ),
        ("destinations = []", "route.0.destinations"),
        ('destinations = ["pacs"]\nobjects = ["rapport"]', "route.0.objects.0"),
        ('destinations = ["pacs"]\nobject = []', "route.0.object: unknown key; did you mean 'objects'?"),
        ('destinations = ["pacs"]\nat_least = 0.5', "route.0.at_least: it is the least score of a finding"),
        ('destinations = ["pacs"]\nforward = "before"', "route.0.forward: it is for originals"),
        (
            'destinations = ["pacs"]\nforward = "before"\nobjects = ["original"]\nfinding = "x"',
            "route.0.forward: before the analysis",
        ),
        (
            'destinations = ["share", "pacs"]\nobjects = ["original"]\nsource = ["PACS"]',
            "'pacs' is PACS, the route's only source",
        ),
    ],
)
def test_a_route_that_cannot_be_is_explained(text, words):
    with pytest.raises(SettingsError, match=r"x\.toml") as caught:
        parse_settings(SITE + text, "x.toml")
    assert words in str(caught.value)


@pytest.mark.parametrize("vr", [b"ZZ", b"FL"])
def test_what_cannot_be_read_of_a_header_is_empty(tmp_path, vr):
    film = make_radiograph(StationName="XR1234", BodyPartExamined="CHEST ")
    film.save_as(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    for tag, said in ((b"\x08\x00\x10\x10", b"SH"), (b"\x18\x00\x15\x00", b"CS")):
        assert content.count(tag + said) == 1
        content = content.replace(tag + said, tag + vr)
    (tmp_path / "odd").write_bytes(content)
    odd = read_routed_image(tmp_path / "odd", "A", None)
    assert odd == RoutedImage(source="A", station="", body_part="")
    whole = read_routed_image(tmp_path / "whole", "A", None)
    assert (whole.station, whole.body_part) == ("XR1234", "CHEST")
