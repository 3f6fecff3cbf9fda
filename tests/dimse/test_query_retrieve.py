"""C-FIND, C-GET and C-MOVE as SCU against SCPs that behave and that do not, on real sockets."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from peers import free_port
from pydicom import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pynetdicom.dimse_primitives import C_GET
from query_archive import QueryArchive
from radiographs import make_radiograph, synthetic_chest

from cxr_pacs import dimse
from cxr_pacs.dimse import associations
from cxr_pacs.errors import (
    DeliveryRefused,
    DestinationUnavailable,
    RefusedInstance,
    RetrievalRefused,
    SpoolUnavailable,
)

AT = datetime.fromisoformat
moments = st.datetimes(AT("2024-02-26"), AT("2024-03-03")).map(lambda m: m.replace(microsecond=0))


def in_range(value, key):
    """PS3.4 C.2.2.2.5 for one element of `value`, by itself: texts of one length sort as their times do."""
    low, dash, high = key.partition("-")
    return (not low or low <= value) and (not high or value <= high) if dash else key in ("", value)


@given(moments, moments, moments)
@example(AT("2024-02-28"), AT("2024-02-29T23:59:59"), AT("2024-02-29T23:59:59"))
@example(AT("2024-02-28T12:00:00"), AT("2024-02-28T12:00:00"), AT("2024-02-28T12:00:00"))
@example(AT("2024-02-28T22:00:00"), AT("2024-02-29T03:00:00"), AT("2024-02-29T22:00:00"))
def test_one_query_matches_each_moment_of_a_range_and_none_another(since, until, moment):
    date, time = f"{moment:%Y%m%d}", f"{moment:%H%M%S}"

    def hits(end):
        return sum(
            in_range(date, dates) and in_range(time, times)
            for dates, times in dimse.study_date_and_time(since, end)
        )

    assert hits(until) == (since <= moment <= until)
    assert hits(None) == (since <= moment)


@given(moments, st.none() | moments)
def test_a_key_for_whole_days_has_no_time_so_that_studies_without_one_are_found(since, until):
    for dates, times in dimse.study_date_and_time(since.replace(hour=0, minute=0, second=0), until):
        assert not times or (until is not None and dates == f"{until:%Y%m%d}")


def peer_of(archive):
    return dimse.Peer(ae_title=archive.ae_title, host="127.0.0.1", port=archive.port)


def films(count=2, **tags):
    found = [make_radiograph(picture=synthetic_chest(150, 130, seed), **tags) for seed in range(count)]
    for one in found[1:]:
        one.StudyInstanceUID = found[0].StudyInstanceUID
        one.SeriesInstanceUID = found[0].SeriesInstanceUID
    return found


def all_of(held):
    return dimse.identifier(
        "IMAGE",
        StudyInstanceUID=held[0].StudyInstanceUID,
        SeriesInstanceUID=held[0].SeriesInstanceUID,
        SOPInstanceUID=[one.SOPInstanceUID for one in held],
    )


def studies(archive, limit=100):
    with dimse.querying("TEST", peer_of(archive)) as query:
        return query.find(dimse.identifier("STUDY", StudyInstanceUID="", ModalitiesInStudy="DX"), limit)


def service(receive, released=lambda _: None):
    classes = [DigitalXRayImageStorageForPresentation]
    return dimse.storage_scp(classes, [ExplicitVRLittleEndian], receive, released)


def test_matches_are_found_and_read():
    held = films(1)
    with QueryArchive(held) as archive:
        (match,) = studies(archive)
    assert dimse.value(match, "StudyInstanceUID") == held[0].StudyInstanceUID
    assert dimse.values(match, "ModalitiesInStudy") == ()


def test_values_of_all_multiplicities_are_texts_without_blanks():
    match = Dataset()
    match.ModalitiesInStudy = ["CR ", "", "SR"]
    match.StudyDescription = " Chest "
    match.Modality = None
    assert dimse.values(match, "ModalitiesInStudy") == ("CR", "SR")
    assert [dimse.value(match, k) for k in ("StudyDescription", "Modality", "StudyID")] == ["Chest", "", ""]


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (0xA700, DestinationUnavailable, "A700, out of resources"),
        (0xA900, RetrievalRefused, "A900"),
        (0xC123, RetrievalRefused, "C123"),
        (0xFE00, DestinationUnavailable, "cancelled"),
    ],
)
def test_a_query_that_fails_says_how(status, error, said):
    def find(_):
        yield status, None

    with QueryArchive(find=find) as archive, pytest.raises(error, match=said):
        studies(archive)


def test_a_query_that_never_ends_is_given_up():
    def find(_):
        while True:
            yield 0xFF00, dimse.identifier("STUDY", StudyInstanceUID="1.2")

    with QueryArchive(find=find) as archive, pytest.raises(RetrievalRefused, match="more than 5 matches"):
        studies(archive, limit=5)


@contextmanager
def ended(over):
    yield
    over.set()


def test_a_query_that_is_not_answered_times_out(monkeypatch):
    monkeypatch.setattr(associations, "DIMSE_SECONDS", 0.5)
    over = threading.Event()

    def find(_):
        over.wait(30)
        yield 0x0000, None

    with QueryArchive(find=find) as archive:
        with pytest.raises(DestinationUnavailable, match="did not answer the C-FIND at study level"):
            studies(archive)
        over.set()


def test_an_archive_that_is_not_there():
    with pytest.raises(DestinationUnavailable, match="could not be reached"):
        studies(QueryArchive())


def c_get(archive, receive=lambda _: None, released=lambda _: None, *, patience=30.0):
    storage = service(receive, released)
    return dimse.get("TEST", peer_of(archive), all_of(archive.held), storage, patience)


def test_what_comes_by_c_get_is_received_as_if_it_was_sent():
    held, got, released = films(2), [], []
    with QueryArchive(held) as archive:
        said = c_get(archive, got.append, released.append)
    assert (said.status, said.completed, said.failed) == (0x0000, 2, 0)
    uids = tuple(one.SOPInstanceUID for one in held)
    assert tuple(one.sop_instance_uid for one in got) == uids
    assert {one.source for one in got} == {"QRSCP"}
    assert released == [uids]


@pytest.mark.parametrize("error", [RefusedInstance("no"), SpoolUnavailable("full")])
def test_what_is_not_kept_is_failed_and_the_rest_comes(error):
    held, got = films(2), []

    def receive(instance):
        if instance.sop_instance_uid == held[0].SOPInstanceUID:
            raise error
        got.append(instance)

    with QueryArchive(held) as archive:
        said = c_get(archive, receive)
    assert (said.status, said.completed, said.failed) == (0xB000, 1, 1)
    assert len(got) == 1


def test_an_archive_without_c_get_is_told_apart():
    with (
        QueryArchive(films(1), roles=False) as archive,
        pytest.raises(DeliveryRefused, match='set method = "move"'),
    ):
        c_get(archive)


def test_an_archive_that_breaks_off_gives_what_came_before():
    held, got, released = films(2), [], []

    def get(event):
        yield 2
        yield 0xFF00, held[0]
        event.assoc.abort()

    with (
        QueryArchive(held, get=get) as archive,
        pytest.raises(DestinationUnavailable, match="did not answer the C-GET"),
    ):
        c_get(archive, got.append, released.append)
    assert [one.sop_instance_uid for one in got] == [held[0].SOPInstanceUID]
    assert released == []


def pending(event):
    answer = C_GET()
    answer.MessageIDBeingRespondedTo = event.request.MessageID
    answer.AffectedSOPClassUID = event.request.AffectedSOPClassUID
    answer.Status = 0xFF00
    answer.NumberOfRemainingSuboperations = 2
    return answer


def test_an_archive_that_is_pending_for_ever_is_given_up():
    def get(event):
        while event.assoc.is_established:
            event.assoc.dimse.send_msg(pending(event), event.context.context_id)
        yield 0

    with (
        QueryArchive(films(1), get=get) as archive,
        pytest.raises(DestinationUnavailable, match=r"no progress with the C-GET in 0\.3 s"),
    ):
        c_get(archive, patience=0.3)


def test_an_archive_that_says_nothing_is_given_up():
    over = threading.Event()

    def get(_):
        over.wait(30)
        yield 0

    with (
        QueryArchive(films(1), get=get) as archive,
        ended(over),
        pytest.raises(DestinationUnavailable, match="did not answer the C-GET"),
    ):
        c_get(archive, patience=0.3)


@contextmanager
def listening(receive):
    port = free_port()
    local = dimse.LocalEntity(ae_title="CXRPACS", host="127.0.0.1", port=port)
    listener = dimse.Listener(local, [service(receive)], lambda _: None)
    listener.start()
    try:
        yield port
    finally:
        listener.stop(5)


def test_c_move_brings_images_to_our_listener():
    held, got = films(2), []
    with listening(got.append) as port, QueryArchive(held, destinations={"CXRPACS": port}) as archive:
        said = dimse.move("CXRPACS", peer_of(archive), all_of(held), "CXRPACS", 30)
    assert (said.status, said.completed) == (0x0000, 2)
    assert [one.sop_instance_uid for one in got] == [one.SOPInstanceUID for one in held]


def test_an_unknown_move_destination_is_named():
    with (
        QueryArchive(films(1)) as archive,
        pytest.raises(DestinationUnavailable, match="A801: it does not know our AE title"),
    ):
        dimse.move("CXRPACS", peer_of(archive), all_of(archive.held), "CXRPACS", 30)


def test_a_rejected_association_may_pass():
    with QueryArchive() as archive:
        archive._ae.require_calling_aet = ["KNOWN"]
        with pytest.raises(DestinationUnavailable, match="rejected the association"):
            studies(archive)
