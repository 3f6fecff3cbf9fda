"""Three worklist servers on loopback that hold the same items: ours, DCMTK's wlmscpfs, Orthanc's plugin."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from peers import Orthanc, dcmtk, eventually, free_port
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityWorklistInformationFind

from cxr_pacs import dimse
from cxr_pacs.dimse.associations import _send_at_once
from cxr_pacs.gateway.worklist import worklist_service
from cxr_pacs.ordering import WorklistSettings
from cxr_pacs.worklist import WorklistItem, open_worklist

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pynetdicom.association import Association

__all__ = ["Asking", "OrthancWorklist", "OurWorklist", "Wlmscpfs", "written"]

_PLUGIN = Path("/usr/share/orthanc/plugins/libModalityWorklists.so")
CALLING = "MODALITY"


def written(items: Iterable[Dataset], folder: Path) -> None:
    """Make `folder` hold these items and no others, as files in the form of both other servers."""
    for old in folder.glob("*.wl"):
        old.unlink()
    for number, item in enumerate(items):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = ModalityWorklistInformationFind
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = FileDataset(None, item, file_meta=meta, preamble=b"\0" * 128)
        file.save_as(folder / f"{number:05}.wl", enforce_file_format=True)


class OurWorklist:
    """Our SCP over a database of its own."""

    ae_title = "CXRPACS"

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.port = free_port()
        self.worklist = open_worklist(f"sqlite:///{folder / 'worklist.sqlite'}")
        local = dimse.LocalEntity(ae_title=self.ae_title, host="127.0.0.1", port=self.port)
        services = (dimse.verification_scp(), worklist_service(self.worklist, WorklistSettings(**settings)))
        self._listener = dimse.Listener(local, services, lambda _: None)

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.stop(5.0)
        self.worklist.engine.dispose()

    @property
    def peer(self) -> dimse.Peer:
        return dimse.Peer(ae_title=self.ae_title, host="127.0.0.1", port=self.port)

    @property
    def associations(self) -> list[Association]:
        """Those that it serves now."""
        return list(self._listener._ae.active_associations)

    def hold(self, items: Iterable[Dataset]) -> None:
        with self.worklist.begin() as connection:
            connection.exec_driver_sql("DELETE FROM worklist_item")
            self.worklist.put(connection, map(WorklistItem.of, items), "test", 0.0)


class Wlmscpfs:
    """DCMTK's, over a folder of files named as its AE title."""

    ae_title = "WLMSCPFS"

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder / self.ae_title
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        program = shutil.which("wlmscpfs")
        if program is None:
            raise RuntimeError("wlmscpfs is not installed: apt-get install dcmtk")
        self.folder.mkdir()
        (self.folder / "lockfile").touch()
        command = [
            program,
            "--disable-file-reject",
            "--data-files-path",
            str(self.folder.parent),
            str(self.port),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(lambda: dcmtk("echoscu", "-aec", self.ae_title, "127.0.0.1", self.port).returncode == 0)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)

    def hold(self, items: Iterable[Dataset]) -> None:
        written(items, self.folder)


class OrthancWorklist(Orthanc):
    """Orthanc with its sample plugin for worklists, over a folder of files."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, modalities={"modality": (CALLING, free_port())})
        self.items = folder / "items"
        self.items.mkdir(parents=True)

    def hold(self, items: Iterable[Dataset]) -> None:
        written(items, self.items)

    def _configuration(self) -> dict[str, object]:
        if not _PLUGIN.exists():
            raise RuntimeError(f"{_PLUGIN} is not installed: apt-get install orthanc")
        return super()._configuration() | {
            "Plugins": [str(_PLUGIN)],
            "Worklists": {"Enable": True, "Database": str(self.items), "FilterIssuerAet": False},
            "DicomAlwaysAllowFindWorklist": True,
        }


class Asking:
    """One association with each server, open as long as this is."""

    def __init__(self, servers: Sequence[OurWorklist | Wlmscpfs | OrthancWorklist]) -> None:
        self._servers = servers
        self._stack = ExitStack()
        self._associations: list[Association] = []

    def __enter__(self) -> Self:
        for server in self._servers:
            ae = AE(ae_title=CALLING)
            ae.add_requested_context(ModalityWorklistInformationFind, ExplicitVRLittleEndian)
            association = ae.associate(
                "127.0.0.1",
                server.port,
                ae_title=server.ae_title,
                evt_handlers=[(evt.EVT_CONN_OPEN, _send_at_once)],
            )
            assert association.is_established, server.ae_title
            self._stack.callback(association.release)
            self._associations.append(association)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def find(self, identifier: Dataset) -> list[tuple[int, list[Dataset]]]:
        """The final status of each server, and its answers."""
        return [_found(association, identifier) for association in self._associations]

    def find_at(self, number: int, identifier: Dataset) -> list[Dataset]:
        """Answers of one server."""
        return _found(self._associations[number], identifier)[1]


def _found(association: Association, identifier: Dataset) -> tuple[int, list[Dataset]]:
    answers = []
    for status, answer in association.send_c_find(identifier, ModalityWorklistInformationFind):
        assert "Status" in status, "no answer, or the association ended"
        if status.Status not in {0xFF00, 0xFF01}:
            return status.Status, answers
        answers.append(answer)
    raise AssertionError("no final answer")
