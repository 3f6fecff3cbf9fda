"""The worklist of a peer: asked for the order of what arrives, silent, back again, or of no use."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from ordered import order_of
from peers import dcmtk, eventually, free_port, send
from pydicom import FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityWorklistInformationFind
from test_journey import DEADLINE, radiographs, table
from test_order_check import ORDERED, WRONG, decided, request_of, rows
from test_rerun import chain, reread, told

from cxr_pacs.dimse import Peer
from cxr_pacs.errors import DestinationUnavailable, RetrievalRefused
from cxr_pacs.gateway.ledger import Arrival, open_ledger
from cxr_pacs.gateway.order_check.asking import MOST_ANSWERS, RemoteWorklist
from cxr_pacs.gateway.order_check.record import record_check, silent_since
from cxr_pacs.gateway.statement.network import networking, services_overview


class WorklistScp:
    """pynetdicom's, which matches by the keys that it is told to know."""

    ae_title = "RIS"

    def __init__(self, *items, knows=("AccessionNumber", "ScheduledProcedureStepID", "StudyInstanceUID")):
        self.items = items
        self.knows = knows
        self.port = free_port()
        self.asked = []
        self.proposed = set()
        self._ae = AE(ae_title=self.ae_title)
        self._ae.require_called_aet = True
        self._ae.add_supported_context(ModalityWorklistInformationFind)

    def __enter__(self):
        handlers = [(evt.EVT_C_FIND, self._find), (evt.EVT_REQUESTED, self._requested)]
        self._server = self._ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, *_):
        self._server.shutdown()

    def _requested(self, event):
        self.proposed |= {
            (str(context.abstract_syntax), str(syntax))
            for context in event.assoc.requestor.primitive.presentation_context_definition_list
            for syntax in context.transfer_syntax
        }

    def _find(self, event):
        keys = self._keys(event.identifier)
        self.asked.append({keyword: value for keyword, value in keys.items() if value})
        wanted = {keyword: value for keyword, value in keys.items() if value and keyword in self.knows}
        for item in self.items:
            if event.is_cancelled:
                yield 0xFE00, None
                return
            if wanted.items() <= self._keys(item).items():
                yield 0xFF00, item

    @staticmethod
    def _keys(dataset):
        (step,) = dataset.ScheduledProcedureStepSequence
        return {
            "AccessionNumber": dataset.AccessionNumber,
            "StudyInstanceUID": dataset.StudyInstanceUID,
            "ScheduledProcedureStepID": step.ScheduledProcedureStepID,
        }


@pytest.fixture
def asking(make_settings):
    """Settings with a worklist SCP."""

    def make(peer, *archives, patience=60.0):
        settings = make_settings(*archives)
        values = {
            "worklist": "remote",
            "ae_title": peer.ae_title,
            "host": "127.0.0.1",
            "port": peer.port,
            "patience": patience,
        }
        return settings.model_copy(update={"order_check": settings.order_check.model_copy(update=values)})

    return make


def test_the_order_of_a_peer_is_found_by_the_first_key_that_it_knows(archive, asking, serving):
    (film,) = radiographs(1, PatientName="Yamada^Tarou=山田^太郎", AccessionNumber="")
    order = order_of(
        film,
        PatientName="YAMADA^TAROU=山田^太郎=やまだ^たろう",
        AccessionNumber="A-0001",
        RequestedProcedureDescription="胸部",
    )
    other = order_of(film, step="S2", StudyInstanceUID="2.25.5", **WRONG)
    with WorklistScp(other, order) as peer:
        settings = asking(peer, archive)
        with serving(settings) as gateway:
            send([film], gateway.port)
            archive.wait_for(lambda got: len(got) == 2, timeout=DEADLINE)
    assert peer.asked == [{"StudyInstanceUID": film.StudyInstanceUID}]
    assert request_of(chain(archive)[0]) == (*ORDERED[:2], "胸部", *ORDERED[3:])
    assert any("they agree" in said for said in told(settings, film.StudyInstanceUID))
    statement = networking(settings, ())
    for abstract, syntax in peer.proposed:
        assert f"| {abstract} |" in services_overview(settings, ())
        assert f"| {abstract} | " in statement
        assert f"| {syntax} |" in statement.partition("#### Orders of images")[2].partition("####")[0]


def test_what_a_peer_does_not_match_is_sorted_out_here(archive, asking, serving):
    (film,) = radiographs(1)
    others = [order_of(film, step=f"T{n}", AccessionNumber=f"B{n}", **WRONG) for n in range(5)]
    with WorklistScp(*others, order_of(film), knows=()) as peer:
        settings = asking(peer, archive)
        with serving(settings) as gateway:
            send([film], gateway.port)
            archive.wait_for(lambda got: len(got) == 2, timeout=DEADLINE)
        assert request_of(chain(archive)[0]) == ORDERED
        peer.items = (others[0],) * (MOST_ANSWERS + 5)
        remote = RemoteWorklist("CXRPACS", Peer(ae_title="RIS", host="127.0.0.1", port=peer.port), 0.0)
        with pytest.raises(RetrievalRefused, match="does not match by AccessionNumber") as refused:
            remote.orders("AccessionNumber", "A-0001")
        assert "A-0001" not in str(refused.value)


def test_a_peer_that_does_not_match_by_a_key_knows_no_order_by_it(archive, asking, serving):
    (film,) = radiographs(1, AccessionNumber="")
    one = order_of(film, AccessionNumber="B1", StudyInstanceUID="2.25.5", **WRONG)
    with WorklistScp(*[one] * (MOST_ANSWERS + 5), knows=("AccessionNumber",)) as peer:
        settings = asking(peer, archive)
        with serving(settings) as gateway:
            send([film], gateway.port)
            archive.wait_for(lambda got: len(got) == 2, timeout=DEADLINE)
    assert peer.asked == [{"StudyInstanceUID": film.StudyInstanceUID}]
    assert [row["outcome"] for row in rows(settings, "order_check")] == ["absent"]
    assert "ReferencedRequestSequence" not in chain(archive)[0]


def test_a_worklist_that_is_down_is_waited_for(archive, asking, serving, caplog):
    (film,) = radiographs(1)
    peer = WorklistScp(order_of(film, **WRONG))
    settings = asking(peer, archive)
    with serving(settings) as gateway:
        send([film], gateway.port)
        eventually(lambda: [r["outcome"] for r in rows(settings, "order_check")] == [None], timeout=DEADLINE)
        said = " ".join(told(settings, film.StudyInstanceUID))
        assert "has not answered; it is asked again" in said
        assert decided(settings) == [(None, None)]
        with peer:
            eventually(lambda: decided(settings) == [("hold", "worklist")], timeout=DEADLINE)
    assert not archive.receptions
    assert "SECRET" not in caplog.text


def test_a_worklist_that_stays_down_holds_nothing_back_for_ever(archive, asking, serving):
    (film,) = radiographs(1)
    settings = asking(WorklistScp(), archive, patience=0.5)
    with serving(settings) as gateway:
        send([film], gateway.port)
        archive.wait_for(lambda got: len(got) == 2, timeout=DEADLINE)
    assert "ReferencedRequestSequence" not in chain(archive)[0]
    assert any("could not be asked" in said for said in told(settings, film.StudyInstanceUID))


def test_a_worklist_that_does_not_let_us_in_is_one_that_cannot_be_asked(archive, asking, serving):
    (film,) = radiographs(1)
    with WorklistScp(order_of(film)) as peer:
        settings = asking(peer, archive, patience=0.0)
        check = settings.order_check.model_copy(update={"ae_title": "NOBODY"})
        settings = settings.model_copy(update={"order_check": check})
        with serving(settings) as gateway:
            send([film], gateway.port)
            archive.wait_for(lambda got: len(got) == 2, timeout=DEADLINE)
    assert [row["outcome"] for row in rows(settings, "order_check")] == ["unasked"]


def test_a_silent_worklist_is_left_alone_for_a_while():
    now = [0.0]
    silent = Peer(ae_title="RIS", host="127.0.0.1", port=free_port())
    remote = RemoteWorklist("CXRPACS", silent, 5.0, lambda: now[0])

    def said():
        with pytest.raises(DestinationUnavailable) as error:
            remote.orders("AccessionNumber", "A-0001")
        return str(error.value)

    first = said()
    assert "a moment ago" not in first
    assert "a moment ago" in said()
    for asked_at, again_at in ((5.0, 15.0), (15.0, 35.0)):
        now[0] = asked_at
        assert said() == first
        now[0] = again_at - 0.1
        assert "a moment ago" in said()
    back = WorklistScp()
    back.port = silent.port
    with back:
        now[0] = 35.0
        assert remote.orders("AccessionNumber", "A-0001") == []
        assert remote.orders("AccessionNumber", "A-0001") == []


def test_the_wait_begins_anew_where_the_clock_was_set_back(tmp_path):
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    arrival = Arrival(
        digest="a", source="DX", received_at=9.0, study_instance_uid="1.2", sop_instance_uid="1.3", file="f"
    )
    with ledger.begin() as connection:
        instance_id = ledger.add_arrival(connection, arrival)
        assert [silent_since(connection, instance_id, now) for now in (50.0, 70.0, 20.0, 30.0)] == [
            50.0,
            50.0,
            20.0,
            20.0,
        ]
        record_check(connection, instance_id, None, None, 31.0)
        assert silent_since(connection, instance_id, 40.0) == 40.0
    ledger.engine.dispose()


@pytest.fixture
def wlmscpfs(tmp_path):
    """DCMTK's, over a folder of files; give its address, and what puts an item there."""

    class Wlmscpfs:
        ae_title = "WLMSCPFS"
        port = free_port()

        def hold(self, item):
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID = ModalityWorklistInformationFind
            meta.MediaStorageSOPInstanceUID = "2.25.1"
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            file = FileDataset(None, item, file_meta=meta, preamble=b"\0" * 128)
            file.save_as(folder / "item.wl", enforce_file_format=True)

    folder = tmp_path / "items" / Wlmscpfs.ae_title
    folder.mkdir(parents=True)
    (folder / "lockfile").touch()
    program = shutil.which("wlmscpfs")
    assert program, "wlmscpfs is not installed: apt-get install dcmtk"
    options = ["--disable-file-reject", "--data-files-path", str(folder.parent)]
    process = subprocess.Popen([program, *options, str(Wlmscpfs.port)])
    try:
        eventually(
            lambda: dcmtk("echoscu", "-aec", Wlmscpfs.ae_title, "127.0.0.1", Wlmscpfs.port).returncode == 0
        )
        yield Wlmscpfs()
    finally:
        process.terminate()
        process.wait(20)


def test_the_wrong_patient_of_wlmscpfs_and_the_order_corrected(archive, asking, serving, wlmscpfs):
    (film,) = radiographs(1)
    wlmscpfs.hold(order_of(film, **WRONG))
    settings = asking(wlmscpfs, archive)
    with serving(settings) as gateway:
        send([film], gateway.port)
        eventually(lambda: decided(settings) == [("hold", "worklist")], timeout=DEADLINE)
        assert table(settings, "instance")[0]["reason"].startswith(
            "The image contradicts its order in the worklist in Patient ID, Patient's Name:"
        )
        wlmscpfs.hold(order_of(film))
        assert "first report" in reread(settings, film.StudyInstanceUID)[0]
    assert request_of(chain(archive)[0])[:2] == ORDERED[:2]
