"""`cxr-pacs conformance`: what the statement says is what a peer negotiates, gets and receives."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from bright_engine import BrightEngine
from peers import StubbornArchive, associated, c_store, eventually, free_port, request, send
from performed_steps import creation
from pydicom import Dataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForProcessing,
    ImplicitVRLittleEndian,
)
from pydicom.uid import UID_dictionary as KNOWN_UIDS
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.presentation import build_context
from query_archive import QueryArchive
from radiographs import make_radiograph, synthetic_chest
from toy_bundle import write_toy_bundle

from cxr_pacs.cli import main
from cxr_pacs.dimse import Availability, Peer, create_step, notify_availability
from cxr_pacs.errors import SpoolUnavailable
from cxr_pacs.evidence import is_own_output
from cxr_pacs.gateway.delivery import Courier
from cxr_pacs.gateway.fetching import Fetcher
from cxr_pacs.gateway.intake import Intake
from cxr_pacs.gateway.ledger import open_ledger
from cxr_pacs.gateway.service import Gateway, storage_service
from cxr_pacs.gateway.statement import conformance_statement
from cxr_pacs.inference import load_bundle
from cxr_pacs.settings import Settings

ALL_OBJECTS = dict.fromkeys(("segmentation", "presentation_state", "key_objects", "plain_report"), True)
TRANSFER_SYNTAXES = [
    uid for uid, known in KNOWN_UIDS.items() if known[1] == "Transfer Syntax" and UID(uid).is_transfer_syntax
]
VERIFICATION = "1.2.840.10008.1.1"
COMMITMENT = "1.2.840.10008.1.20.1"
AVAILABILITY = "1.2.840.10008.5.1.4.33"
OVERVIEW = ("SOP class", "SOP class UID", "User (SCU)", "Provider (SCP)")
PROCEDURE_STEP = "1.2.840.10008.3.1.2.3.3"
WORKLIST = "1.2.840.10008.5.1.4.31"
# every storage class that pynetdicom or pydicom knows, current or retired, and Verification
ABSTRACT_SYNTAXES = sorted(
    {
        VERIFICATION,
        PROCEDURE_STEP,
        WORKLIST,
        *(str(context.abstract_syntax) for context in AllStoragePresentationContexts),
        *(uid for uid, known in KNOWN_UIDS.items() if known[1] == "SOP Class" and "Storage" in known[0]),
    }
)


class Anything(BrightEngine):
    """Finds a disease in every film, so that every kind of object is made."""

    def analyse(self, picture):
        return super().analyse(picture * 0 + 0.9)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(write_toy_bundle(tmp_path_factory.mktemp("toy") / "bundle"))


@pytest.fixture
def make_settings(tmp_path):
    def make(**tables):
        defaults = {
            "dicom": {"port": free_port()},
            "spool": {"path": tmp_path / "spool"},
            "study": {"quiet_period": 0.0},
        }
        return Settings.model_validate(defaults | tables)

    return make


def section(statement, heading):
    level = re.search(rf"^(#+) {re.escape(heading)}$", statement, re.MULTILINE)
    assert level, heading
    rest = statement[level.end() :]
    end = re.search(rf"^#{{1,{len(level[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def tables(text):
    """Rows of each table of `text`, by its head."""
    found = {}
    for block in re.findall(r"(?:^\|.*\n)+", text + "\n", re.MULTILINE):
        head, _, *rows = [
            tuple(c.strip() for c in line.strip("|").split(" | ")) for line in block.splitlines()
        ]
        found[head] = rows
    return found


def contexts(text):
    rows = tables(text)["Abstract syntax", "UID", "Transfer syntax", "UID"]
    assert all(UID(abstract).name == name for name, abstract, _, _ in rows)
    assert all(UID(transfer).name == name for _, _, name, transfer in rows)
    return {(abstract, transfer) for _, abstract, _, transfer in rows}


def propose(port, wanted, called="CXRPACS", calling="TEST"):
    """Propose each (abstract, transfer) in a context of its own; the accepted ones, and the association."""
    ae = AE(ae_title=calling)
    ae.requested_contexts = [build_context(abstract, transfer) for abstract, transfer in wanted]
    association = ae.associate("127.0.0.1", port, ae_title=called)
    accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts}
    if association.is_established:
        association.release()
    return accepted, association


def accepted_contexts(settings, pairs):
    gateway = Gateway(settings, BrightEngine())
    gateway.start()
    accepted = set()
    try:
        for start in range(0, len(pairs), 128):  # PS3.8 allows as many contexts in one association
            accepted |= propose(settings.dicom.port, pairs[start : start + 128])[0]
    finally:
        gateway.stop()
    return accepted


def test_the_accepted_contexts_are_those_stated(make_settings, bundle):
    dicom = {"port": free_port(), "accept_for_processing": True}
    settings = make_settings(dicom=dicom, mpps={"serve": True}, worklist={"serve": True})
    stated = contexts(section(conformance_statement(settings, bundle), "Association acceptance (SCP)"))
    assert len(ABSTRACT_SYNTAXES) > 150
    assert len(TRANSFER_SYNTAXES) > 40
    assert {PROCEDURE_STEP, WORKLIST} <= {abstract for abstract, _ in stated}
    assert (
        accepted_contexts(settings, list(itertools.product(ABSTRACT_SYNTAXES, TRANSFER_SYNTAXES))) == stated
    )


def test_so_are_the_accepted_classes_of_the_default_settings(make_settings, bundle):
    settings = make_settings()
    stated = contexts(section(conformance_statement(settings, bundle), "Association acceptance (SCP)"))
    accepted = accepted_contexts(settings, [(uid, ImplicitVRLittleEndian) for uid in ABSTRACT_SYNTAXES])
    assert accepted == {pair for pair in stated if pair[1] == ImplicitVRLittleEndian}
    assert DigitalXRayImageStorageForProcessing not in {abstract for abstract, _ in stated}


def test_the_association_policies_are_those_stated(make_settings, bundle):
    settings = make_settings(
        dicom={
            "port": free_port(),
            "ae_title": "SITE",
            "calling_ae_titles": ["KNOWN", "TEST"],
            "max_associations": 1,
        }
    )
    statement = conformance_statement(settings, bundle)
    policies = dict(tables(statement)["Policy", "Value"])
    verify = [(VERIFICATION, ImplicitVRLittleEndian)]
    gateway = Gateway(settings, BrightEngine())
    gateway.start()
    try:
        ae = AE(ae_title="TEST")
        ae.add_requested_context(VERIFICATION)
        open_one = ae.associate("127.0.0.1", settings.dicom.port, ae_title="SITE")
        peer = open_one.acceptor
        _, second = propose(settings.dicom.port, verify, called="SITE")
        open_one.release()
        strangers = [
            propose(settings.dicom.port, verify, called=called, calling=calling)[1]
            for called, calling in (("OTHER", "TEST"), ("SITE", "STRANGER"))
        ]
    finally:
        gateway.stop()
    assert policies["Maximum PDU length received, bytes"] == str(peer.maximum_length)
    assert policies["Implementation class UID"] == peer.implementation_class_uid
    assert policies["Implementation version name"] == peer.implementation_version_name
    assert policies["Application context name"] == peer.primitive.application_context_name
    assert policies["Associations accepted at once"] == "1"
    assert peer.asynchronous_operations == (1, 1)
    assert second.is_rejected
    assert second.acceptor.primitive.result == 2  # transient, as the statement says
    assert all(stranger.is_rejected for stranger in strangers)
    assert "from the AE titles KNOWN, TEST only" in statement
    assert "The called AE title must be SITE." in statement


def test_the_first_stated_syntax_that_the_proposer_lists_is_taken(make_settings, bundle):
    settings = make_settings()
    stated = section(conformance_statement(settings, bundle), "Association acceptance (SCP)")
    assert "the first of this table that the proposer lists is taken" in stated
    rows = tables(stated)["Abstract syntax", "UID", "Transfer syntax", "UID"]
    order = [transfer for _, abstract, _, transfer in rows if abstract == ComputedRadiographyImageStorage]
    gateway = Gateway(settings, BrightEngine())
    gateway.start()
    try:
        for rank, syntax in enumerate(order):
            listed = ["1.2.840.10008.1.2.4.100", *reversed(order[rank:])]
            accepted, _ = propose(settings.dicom.port, [(ComputedRadiographyImageStorage, listed)])
            assert accepted == {(ComputedRadiographyImageStorage, syntax)}
    finally:
        gateway.stop()


class Recorder:
    """An archive that takes every storage class in the default syntax and writes down what was proposed."""

    ae_title = "RECORDER"

    def __init__(self):
        self.port = free_port()
        self.proposed, self.received = set(), []
        self._ae = AE(ae_title=self.ae_title)
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(context.abstract_syntax, ImplicitVRLittleEndian)
        handlers = [(evt.EVT_REQUESTED, self._requested), (evt.EVT_C_STORE, self._store)]
        self._server = self._ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def _requested(self, event):
        for context in event.assoc.requestor.requested_contexts:
            for transfer in context.transfer_syntax:
                self.proposed.add((str(context.abstract_syntax), str(transfer)))

    def _store(self, event):
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        self.received.append(dataset)
        return 0x0000

    def close(self):
        self._server.shutdown()


@pytest.fixture
def recorder():
    running = Recorder()
    yield running
    running.close()


def destination(peer):
    return {"name": "archive", "ae_title": peer.ae_title, "host": "127.0.0.1", "port": peer.port}


@pytest.mark.parametrize("objects", [{}, ALL_OBJECTS], ids=["default", "all"])
def test_the_proposed_contexts_and_the_objects_are_those_stated(make_settings, bundle, recorder, objects):
    settings = make_settings(destination=[destination(recorder)], objects=objects)
    statement = conformance_statement(settings, bundle)
    stated = contexts(section(statement, "Association initiation (SCU)"))
    film = make_radiograph(picture=synthetic_chest(150, 130, 0))
    gateway = Gateway(settings, Anything())
    gateway.start()
    try:
        assert send([film], settings.dicom.port) == [0x0000]
        eventually(lambda: len(recorder.received) == 2 + len(objects))
    finally:
        gateway.stop()
    assert recorder.proposed == stated
    created = section(statement, "Created SOP instances")
    filed = {row[1]: row for row in next(iter(tables(created).values()))}
    assert set(filed) == {str(made.SOPClassUID) for made in recorder.received}
    roles = {row[1]: row[2:] for row in tables(section(statement, "Overview")).popitem()[1]}
    for made in recorder.received:
        assert is_own_output(made)
        row = filed[made.SOPClassUID]
        assert row[2:5] == (made.Modality, str(made.SeriesNumber), made.SeriesDescription)
        assert roles[made.SOPClassUID][0] == "yes"
        told = section(created, made.SOPClassUID.name)
        names = {name for *_, listed in tables(told).popitem()[1] for name in listed.split(", ")}
        extra = re.search(r"standard extended\): (.*)\.", told)[1].split(", ")
        assert {e.name for e in made} - names - set(extra) == set()
        assert not any(e.tag.is_private for e in made.iterall())
        coded = {row[0] for row in coded_rows(statement)}
        assert {str(e.value) for e in made.iterall() if e.keyword == "CodeValue"} <= coded | {
            str(c.CodeValue) for c in film.get("ProcedureCodeSequence", [])
        }


@pytest.mark.parametrize("method", ["get", "move"])
def test_what_is_proposed_to_an_archive_is_stated(make_settings, bundle, tmp_path, method):
    film = make_radiograph(picture=synthetic_chest(150, 130, 0))
    with QueryArchive([film]) as archive:
        settings = make_settings(archive=[destination(archive) | {"method": method}])
        told = section(conformance_statement(settings, bundle), "Query and retrieve (SCU)")
        ledger = open_ledger(f"sqlite:///{tmp_path / 'l.sqlite'}")
        fetcher = Fetcher(settings, ledger, storage_service(settings.dicom, lambda _: None), lambda: 0.0)
        found = fetcher.look(settings.archive[0], datetime.fromisoformat("2026-01-01"), None)
        fetcher.fetch(settings.archive[0], found)
        ledger.engine.dispose()
    _, of_find, of_get, of_move = re.split("associ.*C-FIND:|On one for C-GET|On one for C-MOVE", told)
    stated = contexts(of_find) | contexts(of_get if method == "get" else of_move)
    assert archive.proposed == stated
    assert tables(told)["Name", "AE title", "Host", "Port", "Retrieval"][0][4] == f"C-{method.upper()}"


def coded_rows(statement):
    text = section(statement, "Coded terminology and templates")
    return [
        *tables(text)["Code value", "Coding scheme", "Code meaning"],
        *((value, scheme, meaning) for _, _, value, scheme, meaning in tables(text)[CLASSES]),
    ]


CLASSES = ("Head", "Class", "Code value", "Coding scheme", "Code meaning")


def test_the_classes_of_the_bundle_are_stated(make_settings, bundle):
    rows = tables(conformance_statement(make_settings(), bundle))[CLASSES]
    assert [row[1:] for row in rows] == [
        (code.label, code.value, code.scheme, code.meaning) for code in bundle.identity.classes
    ]
    assert {row[1]: row[0] for row in rows}["normal"] == "multiclass"


def test_every_status_that_is_returned_is_stated(make_settings, bundle, monkeypatch):
    settings = make_settings()
    stated = {row[0] for row in tables(conformance_statement(settings, bundle))["Status", "Meaning", "When"]}
    receive, outcomes = Intake.receive, [SpoolUnavailable("full"), KeyError("unforeseen")]

    def fail_at_first(self, received):
        if outcomes:
            raise outcomes.pop(0)
        receive(self, received)

    monkeypatch.setattr(Intake, "receive", fail_at_first)
    film = make_radiograph(picture=synthetic_chest(150, 130, 0))
    nameless = make_radiograph(picture=synthetic_chest(150, 130, 1), StudyInstanceUID=None)
    garbage = replace(
        request(film), data_set=b"not deflated", transfer_syntax_uid=DeflatedExplicitVRLittleEndian
    )
    gateway = Gateway(settings, BrightEngine())
    gateway.start()
    try:
        returned = send([film, film, film, nameless], settings.dicom.port)
        one = (garbage.sop_class_uid, garbage.transfer_syntax_uid)
        with associated(settings.dicom.port, [one]) as association:
            returned.append(c_store(association, garbage))
    finally:
        gateway.stop()
    assert returned == [0xA700, 0x0110, 0x0000, 0xA900, 0xC000]
    assert {f"{status:04X}" for status in returned} == stated


@pytest.mark.parametrize(("asks", "provides"), [(True, False), (False, True), (False, False)])
def test_storage_commitment_is_negotiated_as_stated(make_settings, bundle, recorder, asks, provides):
    settings = make_settings(
        destination=[destination(recorder) | {"commitment": asks}],
        commitment={"provide": provides},
        modality=[{"ae_title": "DX1", "host": "127.0.0.1", "port": 104}],
    )
    statement = conformance_statement(settings, bundle)
    roles = {row[1]: row[2:] for row in tables(section(statement, "Overview")).popitem()[1]}
    assert roles.get(COMMITMENT, ("no", "no")) == ("yes" if asks else "no", "yes" if provides else "no")
    stated = contexts(section(statement, "Association acceptance (SCP)"))
    proposed = [(COMMITMENT, syntax) for syntax in TRANSFER_SYNTAXES]
    assert accepted_contexts(settings, proposed) == {pair for pair in stated if pair[0] == COMMITMENT}
    assert any(pair[0] == COMMITMENT for pair in stated) == (asks or provides)
    initiated = contexts(section(statement, "Association initiation (SCU)"))
    assert any(pair[0] == COMMITMENT for pair in initiated) == (asks or provides)
    told = section(statement, "Storage commitment")
    assert ("Asked: archive." in told) == asks
    assert ("DX1" in told) == ("Operations statement" in told) == provides


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x0000, "delivered"),
        (0xB007, "delivered, with"),
        (0xA7FF, "tried again"),
        (0x0110, "tried again"),
        (0x0213, "tried again"),
        (0xC123, "parked"),
    ],
)
def test_an_answer_is_acted_on_as_stated(make_settings, bundle, tmp_path, status, expected):
    with StubbornArchive(tmp_path / "archive", ae_title="STUBBORN", status=status) as archive:
        settings = make_settings(destination=[destination(archive)])
        rows = tables(conformance_statement(settings, bundle))["Status of C-STORE", "The object is"]
        made = tmp_path / "made.dcm"
        make_radiograph(picture=synthetic_chest(150, 130, 0)).save_as(made)
        state = Courier(settings).send("archive", made).state
    wanted = f"{status:04X}"
    stated = next((said for codes, said in rows if covers(codes, wanted)), dict(rows)["any other"])
    assert stated.startswith(expected)
    assert (
        state
        == {"delivered": "delivered", "tried again": "waiting", "parked": "parked"}[
            expected.removesuffix(", with")
        ]
    )


def covers(codes, status):
    if " to " in codes:
        low, high = codes.split(" to ")
        return int(low, 16) <= int(status, 16) <= int(high, 16)
    return status in codes.split(", ")


def test_the_configuration_and_the_destinations_are_those_that_run(make_settings, bundle, recorder):
    settings = make_settings(
        destination=[destination(recorder)],
        delivery={"first_retry": 7.0},
        database={"url": "postgresql://user:secret@host/ledger"},
    )
    statement = conformance_statement(settings, bundle)
    stated = dict(tables(statement)["Setting", "Value"])
    assert stated["delivery.first_retry"] == "7.0"
    assert stated["dicom.port"] == str(settings.dicom.port)
    assert set(stated) == {
        f"{table}.{key}"
        for table, part in settings
        if table not in {"database", "engine", "spool"} and not isinstance(part, tuple)
        for key in type(part).model_fields
    }
    assert "secret" not in statement
    rows = tables(statement)["Name", "AE title", "Host", "Port"]
    assert rows == [("archive", "RECORDER", "127.0.0.1", str(recorder.port))]


def test_forwarding_dicomweb_and_folders_are_stated_where_they_are_used(make_settings, bundle, recorder):
    plain = conformance_statement(make_settings(destination=[destination(recorder)]), bundle)
    assert "STOW-RS" not in plain
    assert "no DICOMweb" in plain
    statement = conformance_statement(
        make_settings(
            destination=[
                destination(recorder),
                {"name": "web", "url": "https://pacs/dicom-web", "credentials": Path("/etc/secret")},
                {"name": "share", "folder": Path("/share")},
            ],
            route=[{"destinations": ["archive"], "objects": ["original"]}],
            watch=[{"name": "scans", "folder": Path("/scans")}],
        ),
        bundle,
    )
    assert tables(statement)["Name", "Watched folder"] == [("scans", "/scans")]
    assert "Files are read" not in plain
    assert tables(statement)["Name", "Address"] == [("web", "https://pacs/dicom-web")]
    assert tables(statement)["Name", "Folder"] == [("share", "/share")]
    assert "no DICOMweb" not in statement
    assert "/etc/secret" not in statement
    received = contexts(section(statement, "Association acceptance (SCP)"))
    received = {(abstract, transfer) for abstract, transfer in received if abstract != VERIFICATION}
    assert received <= contexts(section(statement, "Association initiation (SCU)"))
    assert not received <= contexts(section(plain, "Association initiation (SCU)"))


def test_what_peers_are_told_in_is_stated(make_settings, bundle):
    peer = {"ae_title": "RIS", "host": "127.0.0.1", "port": free_port()}
    settings = make_settings(
        mpps={"serve": True},
        mpps_destination=[{"name": "ris"} | peer],
        destination=[{"name": "pacs", "ae_title": "A", "host": "127.0.0.1", "port": 1, "notify": peer}],
    )
    statement = conformance_statement(settings, bundle)
    told = {PROCEDURE_STEP, AVAILABILITY}
    stated = {
        pair for pair in contexts(section(statement, "Association initiation (SCU)")) if pair[0] in told
    }
    roles = {row[1]: row[2:] for row in tables(section(statement, "Overview"))[OVERVIEW]}
    assert roles[PROCEDURE_STEP] == ("yes", "yes")
    assert roles[AVAILABILITY] == ("yes", "no")
    proposed = set()

    def record(event):
        for context in event.assoc.requestor.requested_contexts:
            proposed.update((str(context.abstract_syntax), str(one)) for one in context.transfer_syntax)

    ae = AE(ae_title="RIS")
    for uid in told:
        ae.add_supported_context(uid)
    handlers = [(evt.EVT_ACCEPTED, record), (evt.EVT_N_CREATE, lambda _: (0, None))]
    server = ae.start_server(("127.0.0.1", peer["port"]), block=False, evt_handlers=handlers)
    try:
        create_step("CXRPACS", Peer(**peer), "1.2.3", creation())
        availability = Availability(
            study_instance_uid="1.2", series={}, retrieve_ae_title="A", performed_step_uid=None
        )
        notify_availability("CXRPACS", Peer(**peer), "1.2.4", availability)
    finally:
        server.shutdown()
    assert proposed == stated


def test_it_is_printed_as_markdown_and_changes_nothing(bundle, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "site.toml"
    config.write_text(f'[model]\nbundle = "{bundle.path}"\n[spool]\npath = "{tmp_path / "spool"}"\n')
    assert main(["conformance", "--config", str(config)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# DICOM conformance statement\n")
    for heading in ("Overview", "Networking", "Media interchange", "Security", "Annexes"):
        assert section(printed, heading).strip()
    assert not re.search(r"^\|.*[^|\n]$", printed, re.MULTILINE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site.toml"]
    assert main(["conformance", "--config", str(config)]) == 0
    assert capsys.readouterr().out == printed


def test_a_bundle_that_is_not_there_exits_with_2(tmp_path, capsys):
    config = tmp_path / "site.toml"
    config.write_text('[model]\nbundle = "absent"\n')
    assert main(["conformance", "--config", str(config)]) == 2
    assert "model.bundle" in capsys.readouterr().err


def test_the_statuses_of_the_worklist_are_those_stated(make_settings, bundle):
    settings = make_settings(worklist={"serve": True})
    stated = tables(conformance_statement(settings, bundle))["Status of C-FIND", "Meaning", "When"]
    gateway = Gateway(settings, BrightEngine())
    gateway.start()
    answered = set()
    step = Dataset()
    step.ScheduledProcedureStepStartDate = "20260102-20260101"
    try:
        with associated(settings.dicom.port, [(WORKLIST, ImplicitVRLittleEndian)]) as association:
            for steps in ([Dataset()], [Dataset(), Dataset()], [step]):
                asked = Dataset()
                asked.ScheduledProcedureStepSequence = steps
                answered |= {status.Status for status, _ in association.send_c_find(asked, WORKLIST)}
    finally:
        gateway.stop()
    assert answered == {0x0000, 0xA900}
    assert {f"{status:04X}" for status in answered} < {code for code, *_ in stated}
