"""Image against order: what is the same, what says nothing, what contradicts."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ordered import order_of
from pydicom import Dataset
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.gateway.order_check.comparison import Outcome, compare, differences, image_keys

PICTURE = synthetic_chest(64, 64, 1)
ATTRIBUTES = {
    "PatientID": "P-0002",
    "IssuerOfPatientID": "Elsewhere",
    "PatientName": "Another^Person",
    "PatientBirthDate": "19710101",
    "PatientSex": "F",
    "StudyInstanceUID": "2.25.99",
    "AccessionNumber": "A-0002",
    "RequestedProcedureID": "R2",
}


def requested(procedure="R1", step="S1", **tags):
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = procedure, step
    for keyword, value in tags.items():
        setattr(request, keyword, value)
    return request


def film(**tags):
    return make_radiograph(
        picture=PICTURE, **{"IssuerOfPatientID": "Here", "RequestAttributesSequence": [requested()], **tags}
    )


FILM = film()


def order(**tags):
    return (
        order_of(FILM, IssuerOfPatientID="Here", **tags)
        if "IssuerOfPatientID" not in tags
        else order_of(FILM, **tags)
    )


@given(st.sets(st.sampled_from(sorted(ATTRIBUTES))))
def test_exactly_what_differs_is_named(chosen):
    other = order(**{keyword: ATTRIBUTES[keyword] for keyword in chosen})
    assert set(differences(FILM, other)) == chosen
    outcome = compare(FILM, [other])
    assert outcome.outcome == (Outcome.MISMATCH if chosen else Outcome.AGREES)
    assert set(outcome.differs) == chosen
    assert outcome.order is (None if chosen else other)


@given(st.sampled_from(sorted(ATTRIBUTES)), st.booleans(), st.booleans())
def test_what_is_empty_on_either_side_says_nothing(keyword, in_image, absent):
    value = None if absent else ""
    ordered = order(**{keyword: ATTRIBUTES[keyword]})
    image = FILM
    if in_image:
        tags = {"RequestAttributesSequence": None} if keyword == "RequestedProcedureID" else {keyword: value}
        image = film(**{"StudyInstanceUID": FILM.StudyInstanceUID} | tags)
    else:
        setattr(ordered, keyword, value)
    assert differences(image, ordered) == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("MÜLLER^JOSÉ", "Muller^Jose"),
        ("Doe^John^^^", "DOE^JOHN"),
        ("Doe^John^Quincy^Dr", "Doe^John"),
        ("Doe^John", "Doe"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "YAMADA^TAROU"),
        ("Yamada^Tarou=山田^太郎", "=山田^太郎"),
        ("\uff39\uff41\uff4d\uff41\uff44\uff41^Tarou", "Yamada^Tarou"),  # of full width
        ("Doe  Smith^ John", "Doe Smith^John"),
        ("Straße^A", "STRASSE^A"),
        (unicodedata.normalize("NFD", "Núñez^A"), "Núñez^A"),
    ],
)
def test_names_of_one_person(one, other):
    for mine, theirs in ((one, other), (other, one)):
        assert differences(film(PatientName=mine), order(PatientName=theirs, StudyInstanceUID="")) == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Doe^John", "Doe^Jane"),
        ("Doe^John", "Roe^John"),
        ("Doe^John^^^Jr", "Doe^John^^^Sr"),
        ("Mueller^A", "Müller^A"),
        ("John^Doe", "Doe^John"),
        ("Yamada^Tarou=山田^太郎", "Yamada^Tarou=山田^次郎"),
        ("A=カ^B", "A=ガ^B"),
    ],
)
def test_names_of_two_people(one, other):
    for mine, theirs in ((one, other), (other, one)):
        assert differences(film(PatientName=mine), order(PatientName=theirs, StudyInstanceUID="")) == (
            "PatientName",
        )


def test_a_name_that_cannot_be_decoded_is_not_known_to_differ():
    damaged = film(PatientName=b"M\xff\xfeller^A", StudyInstanceUID=FILM.StudyInstanceUID)
    assert "PatientName" not in differences(damaged, order())


@given(st.permutations(range(4)))
def test_of_several_orders_those_of_the_step_count_then_those_of_the_study(places):
    wrong = order(PatientID="P-0002", step="S1")
    right = order(step="S2")
    of_another_study = order(step="S3", StudyInstanceUID="2.25.5")
    worse = order(step="S2", PatientID="P-0003", PatientSex="F")
    orders = [wrong, right, of_another_study, worse]
    shuffled = [orders[place] for place in places]
    assert compare(FILM, shuffled).differs == ("PatientID",)
    unrequested = film(RequestAttributesSequence=None, StudyInstanceUID=FILM.StudyInstanceUID)
    assert compare(unrequested, shuffled).order is right
    shuffled.remove(right)
    assert compare(unrequested, shuffled).differs == ("PatientID",)


def test_without_an_order_there_is_nothing_to_compare():
    assert compare(FILM, []).outcome is Outcome.ABSENT


def test_an_image_of_two_requests_agrees_with_the_order_of_either():
    both = film(
        AccessionNumber="",
        StudyInstanceUID=FILM.StudyInstanceUID,
        RequestAttributesSequence=[
            requested("R1", "S1", AccessionNumber="A-0001"),
            requested("R2", "S2", AccessionNumber="A-0002"),
        ],
    )
    assert dict(image_keys(both)) == {
        "AccessionNumber": ("A-0001", "A-0002"),
        "ScheduledProcedureStepID": ("S1", "S2"),
        "StudyInstanceUID": (FILM.StudyInstanceUID,),
    }
    for one in (order(), order(step="S2", AccessionNumber="A-0002", RequestedProcedureID="R2")):
        assert compare(both, [one]).outcome is Outcome.AGREES
    assert differences(both, order(AccessionNumber="A-0003")) == ("AccessionNumber",)
