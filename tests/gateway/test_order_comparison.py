"""Image against order: what is the same, what says nothing, what contradicts."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ordered import order_of
from pydicom import Dataset
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs.gateway.order_check.asking import orders_for
from cxr_pacs.gateway.order_check.comparison import Outcome, compare, differences, image_keys, values

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


@pytest.mark.parametrize(
    ("at_root", "differs"),
    [
        ([{"PatientID": "P-0002"}], ("PatientID",)),
        ([{"PatientID": "P-0002", "PatientSex": "F"}, {"PatientSex": "F"}], ("PatientSex",)),
        ([{"PatientID": "P-0002"}, {"StudyInstanceUID": "2.25.5"}], ()),  # one of this patient is enough
        ([{"AccessionNumber": "A-0003", "PatientID": "P-0002"}], ()),
        ([], ()),
    ],
)
def test_the_order_of_the_number_at_the_root_is_of_this_patient_too(at_root, differs):
    image = film(
        AccessionNumber="A-0001",
        StudyInstanceUID=FILM.StudyInstanceUID,
        RequestAttributesSequence=[requested("R2", "S2", AccessionNumber="A-0002")],
    )
    of_request = order(step="S2", AccessionNumber="A-0002", RequestedProcedureID="R2")
    found = compare(image, [*(order(**{"AccessionNumber": "A-0001"} | tags) for tags in at_root), of_request])
    assert found.differs == differs
    assert (found.outcome, found.order) == (
        (Outcome.MISMATCH, None) if differs else (Outcome.AGREES, of_request)
    )


class Known:
    """A worklist of these orders."""

    def __init__(self, *orders):
        self._orders = orders

    def orders(self, keyword, value):
        return [one for one in self._orders if value in values(one, keyword)]


@pytest.mark.parametrize(
    ("number", "study", "is_found"),
    [
        ("A-0005", "2.25.5", False),
        ("A-0005", "", True),
        ("", "2.25.5", True),
        ("A-0009", "2.25.5", True),
        ("A-0005", FILM.StudyInstanceUID, True),
    ],
)
def test_a_step_id_alone_is_not_the_order_of_another_study(number, study, is_found):
    image = film(
        AccessionNumber="A-0009",
        StudyInstanceUID=FILM.StudyInstanceUID,
        RequestAttributesSequence=[requested(step="1")],
    )
    one = order(step="1", AccessionNumber=number, StudyInstanceUID=study, PatientID="P-0002")
    assert orders_for(image, Known(one)) == ([one] if is_found else ())


def test_after_the_step_id_of_another_study_the_study_is_asked_for():
    image = film(
        AccessionNumber="A-0009",
        StudyInstanceUID=FILM.StudyInstanceUID,
        RequestAttributesSequence=[requested(step="1")],
    )
    other = order(step="1", AccessionNumber="A-0005", StudyInstanceUID="2.25.5", PatientID="P-0002")
    its_own = order(step="7", AccessionNumber="")
    assert orders_for(image, Known(other, its_own)) == [its_own]
