"""Real peers for the tests: DCMTK, Orthanc, archives, a modality, validators, and the gateway as a process.

A program that is not installed is an error that names its package, never a skipped test.
"""

from __future__ import annotations

import io
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from demo.archive import Archive, StoredInstance
from demo.gateway import Destination, Gateway, GatewayError, GatewaySettings, free_port
from demo.orthanc import Orthanc, OrthancInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pydicom import FileDataset
    from pynetdicom.association import Association
    from pynetdicom.events import Event

__all__ = [
    "Archive",
    "Destination",
    "Gateway",
    "GatewayError",
    "GatewaySettings",
    "Orthanc",
    "OrthancInstance",
    "OrthancWithDicomWeb",
    "Request",
    "StoreScp",
    "StoredInstance",
    "StubbornArchive",
    "associated",
    "c_store",
    "dcentvfy",
    "dciodvfy",
    "dcmtk",
    "deliveries",
    "delivery_states",
    "eventually",
    "free_port",
    "instances",
    "of_modality",
    "pixelmed",
    "request",
    "send",
    "storescu",
    "told",
    "workflows",
]

_PACKAGES = {
    "dcentvfy": "dicom3tools",
    "dciodvfy": "dicom3tools",
    "dcmdump": "dcmtk",
    "dsr2html": "dcmtk",
    "dsrdump": "dcmtk",
    "echoscu": "dcmtk",
    "java": "default-jre-headless",
    "storescp": "dcmtk",
    "storescu": "dcmtk",
}
_PROPOSE = {
    ImplicitVRLittleEndian: "-xi",
    ExplicitVRLittleEndian: "-xe",
    DeflatedExplicitVRLittleEndian: "-xd",
    RLELossless: "-xr",
    JPEGBaseline8Bit: "-xy",
    JPEGExtended12Bit: "-xx",
    JPEGLosslessSV1: "-xs",
    JPEGLSLossless: "-xt",
    JPEG2000Lossless: "-xv",
}
_POLL = 0.05
_DICOM_WEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_PIXELMED = Path("/usr/share/java/pixelmed.jar")
# Its templates are style sheets, larger than Java's own limits on them.
_UNLIMITED = [f"-Djdk.xml.xpath{limit}OpLimit=0" for limit in ("Expr", "Total")] + [
    "-Djdk.xml.xpathExprGrpLimit=0"
]


def dcmtk(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run DCMTK's program, or another of `_PACKAGES`, to its end; the caller looks at `returncode`."""
    return subprocess.run(
        [_find(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )


def _find(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise RuntimeError(f"{program} is not installed: apt-get install {_PACKAGES[program]}")
    return path


def dciodvfy(path: Path) -> list[str]:
    """Errors and warnings of dicom3tools about one object."""
    lines = _said(dcmtk("dciodvfy", path))
    # The name of the IOD stands alone on its line: without it nothing was validated.
    assert any(line and " " not in line for line in lines), lines
    return [line for line in lines if line.startswith(("Error", "Warning"))]


def dcentvfy(paths: Sequence[Path]) -> list[str]:
    """Errors and warnings of dicom3tools about objects that share patients, studies and series."""
    result = dcmtk("dcentvfy", *paths)
    assert result.returncode == 0, result.stderr
    return [line for line in _said(result) if line.startswith(("Error", "Warning"))]


def pixelmed(path: Path) -> list[str]:
    """What pixelmed's validator says of a structured report: what it knows of it, errors and warnings."""
    if not _PIXELMED.exists():
        raise RuntimeError(f"{_PIXELMED} is not installed: apt-get install libpixelmed-java")
    # A machine that lives for seconds: no second compiler, no parallel collector.
    brief = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    validator = ["-cp", _PIXELMED, "com.pixelmed.validate.DicomSRValidator"]
    result = dcmtk("java", *brief, *_UNLIMITED, *validator, path)
    assert result.returncode == 0, result.stderr
    return _said(result)


def _said(result: subprocess.CompletedProcess[str]) -> list[str]:
    return (result.stdout + result.stderr).splitlines()


def storescu(
    path: Path, port: int, *, transfer_syntax: str, called: str = Gateway.ae_title
) -> subprocess.CompletedProcess[str]:
    """Send one file with DCMTK, proposing its own transfer syntax."""
    option = _PROPOSE[UID(transfer_syntax)]
    return dcmtk("storescu", "-v", "-R", option, "-aet", "STORESCU", "-aec", called, "127.0.0.1", port, path)


def eventually(probe: Callable[[], Any], *, timeout: float = 60.0, every: float = _POLL) -> Any:
    """Ask `probe` until its answer is true, and return it; for peers that cannot notify."""
    deadline = time.monotonic() + timeout
    while not (answer := probe()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:.0f} s in vain; the last answer was {answer!r}")
        time.sleep(every)
    return answer


class StoreScp:
    """DCMTK's storescp writing into a folder."""

    ae_title = "STORESCP"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        arguments = ["+xa", "-aet", self.ae_title, "-od", str(self.folder), str(self.port)]
        self._process = subprocess.Popen([_find("storescp"), *arguments])
        eventually(lambda: dcmtk("echoscu", "127.0.0.1", self.port).returncode == 0, timeout=20)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)

    def files(self) -> tuple[Path, ...]:
        return tuple(sorted(self.folder.iterdir()))


class OrthancWithDicomWeb(Orthanc):
    """Orthanc with QIDO-RS and WADO-RS under ``/dicom-web`` of its web server."""

    def _configuration(self) -> dict[str, object]:
        if not _DICOM_WEB.exists():
            raise RuntimeError(f"{_DICOM_WEB} is not installed: apt-get install orthanc-dicomweb")
        return super()._configuration() | {"Plugins": [str(_DICOM_WEB)], "DicomWeb": {"Root": "/dicom-web/"}}


class StubbornArchive(Archive):
    """An archive that answers every C-STORE with `status` until that is set to 0."""

    def __init__(self, folder: Path, *, status: int, **options: Any) -> None:
        super().__init__(folder, **options)
        self.status = status

    def store(self, event: Event) -> int:
        return self.status or super().store(event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One C-STORE request, byte for byte; nothing in it need be true."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes


def request(dataset: FileDataset) -> Request:
    """The honest request for `dataset`."""
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    encoded = encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    assert encoded is not None
    return Request(
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        transfer_syntax_uid=str(syntax),
        data_set=encoded,
    )


@contextmanager
def associated(
    port: int,
    contexts: Sequence[tuple[str, str]],
    *,
    called: str = Gateway.ae_title,
    calling: str = "MODALITY",
) -> Iterator[Association]:
    """An association as the modality `calling`; released in the end."""
    ae = AE(ae_title=calling)
    ae.connection_timeout = 10
    for sop_class, transfer_syntax in dict.fromkeys(contexts):
        ae.add_requested_context(sop_class, transfer_syntax)
    association = ae.associate("127.0.0.1", port, ae_title=called)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def c_store(association: Association, wanted: Request) -> int | None:
    """Send `wanted` as it is; the status, or None when the peer went away.

    pynetdicom's own ``send_c_store`` encodes a data set, and so cannot send a broken one.
    """
    context = next(
        c
        for c in association.accepted_contexts
        if (c.abstract_syntax, c.transfer_syntax[0]) == (wanted.sop_class_uid, wanted.transfer_syntax_uid)
    )
    primitive = C_STORE()
    primitive.MessageID = 1
    primitive.Priority = 2
    primitive.AffectedSOPClassUID = wanted.sop_class_uid
    primitive.AffectedSOPInstanceUID = wanted.sop_instance_uid
    primitive.DataSet = io.BytesIO(wanted.data_set)
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        if not association.is_alive():
            return None
        time.sleep(0.0001)
    association.dimse.send_msg(primitive, context.context_id)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return None if response is None else response.Status


def send(
    datasets: Sequence[FileDataset], port: int, *, called: str = Gateway.ae_title, calling: str = "MODALITY"
) -> list[int | None]:
    """Send data sets on one association and return the statuses."""
    requests = [request(dataset) for dataset in datasets]
    contexts = [(r.sop_class_uid, r.transfer_syntax_uid) for r in requests]
    with associated(port, contexts, called=called, calling=calling) as association:
        assert association.is_established
        return [c_store(association, wanted) for wanted in requests]


def of_modality(held: Sequence[StoredInstance | OrthancInstance], study: str) -> Counter[str]:
    """How many instances of each modality there are of one study."""
    return Counter(i.modality for i in held if i.study_instance_uid == study)


def told(gateway: Gateway, name: str, *arguments: str) -> str:
    """What the command `name` says of a gateway, in a process of its own, after its exit code and a colon."""
    command = [sys.executable, "-m", "cxr_pacs", name, "--config", str(gateway.config), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    return f"{done.returncode}: {done.stdout}{done.stderr}".strip()


def instances(gateway: Gateway) -> list[dict[str, Any]]:
    """The rows of the ledger's instance table, in the order of arrival."""
    return _rows(gateway, "SELECT * FROM instance ORDER BY id")


def deliveries(gateway: Gateway) -> list[dict[str, Any]]:
    """The rows of the ledger's delivery table."""
    return _rows(gateway, "SELECT * FROM delivery ORDER BY id")


def delivery_states(gateway: Gateway, destination: str) -> Counter[str]:
    """How many deliveries to one destination are in each state."""
    query = "SELECT state, COUNT(*) AS many FROM delivery WHERE destination = ? GROUP BY state"
    return Counter({row["state"]: row["many"] for row in _rows(gateway, query, destination)})


def workflows(gateway: Gateway) -> list[dict[str, Any]]:
    """The rows of DBOS's table of workflows, in the order in which they were enqueued."""
    return _rows(gateway, "SELECT * FROM workflow_status ORDER BY created_at")


def _rows(gateway: Gateway, query: str, *values: object) -> list[dict[str, Any]]:
    ledger = gateway.settings.folder / "spool" / "ledger.sqlite"
    connection = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=30)
    try:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query, values)]
    finally:
        connection.close()
