"""A small archive: a Storage SCP that keeps every instance as STUDY/SERIES/INSTANCE.dcm in a folder.

For the demo, the tests and the benchmarks; ``python -m demo.archive FOLDER --port 4242`` runs it alone.
"""

from __future__ import annotations

import argparse
import hashlib
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydicom import dcmread
from pydicom.uid import (
    JPEG2000,
    UID,
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    KeyObjectSelectionDocumentStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import time

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydicom import Dataset

__all__ = ["Archive", "StoredInstance"]

_SUCCESS = 0x0000
_DUPLICATE = 0x0111
_CANNOT_UNDERSTAND = 0xC000
_LONGEST_PDU = 131072
# What the study of a chest radiograph may hold. pynetdicom goes through every supported context for each
# association: all the storage classes there are would cost a peer 50 ms each time.
_SOP_CLASSES = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    BasicTextSRStorage,
    EnhancedSRStorage,
    ComprehensiveSRStorage,
    Comprehensive3DSRStorage,
    SegmentationStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
)
_TRANSFER_SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    HTJ2KLossless,
]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInstance:
    """One instance in the archive.

    Attributes
    ----------
    path : Path
        The Part 10 file.
    sop_class_uid, sop_instance_uid, series_instance_uid, study_instance_uid, modality : str
        As in the instance.
    digest : str
        SHA-256 of the data set as it came over the wire.
    stored_at : float
        ``time.monotonic()`` when the file was complete.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    modality: str
    digest: str
    stored_at: float


class Archive:
    """Storage and Verification SCP on loopback.

    An instance that comes twice with the same bytes is stored once and answered 0x0000. With other bytes
    it is answered 0x0111 (duplicate SOP Instance), kept out, and listed in `conflicts`.

    Parameters
    ----------
    folder : Path
        Where the instances go; made when absent. Instances already there are not listed.
    ae_title : str
        Called AE title; another one is rejected.
    port : int
        0 takes a free one, see `port` after `start`.
    """

    def __init__(self, folder: Path, *, ae_title: str = "ARCHIVE", port: int = 0) -> None:
        self.folder = folder
        self.ae_title = ae_title
        self.host = "127.0.0.1"
        self.port = port
        self.conflicts: list[str] = []
        self.receptions: list[str] = []
        self._instances: dict[str, StoredInstance] = {}
        self._changed = threading.Condition()
        self._ae: AE | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def instances(self) -> tuple[StoredInstance, ...]:
        """Everything stored so far, in the order of arrival."""
        with self._changed:
            return tuple(self._instances.values())

    def of_study(self, study_instance_uid: str) -> tuple[StoredInstance, ...]:
        """List what is stored of one study."""
        return tuple(i for i in self.instances if i.study_instance_uid == study_instance_uid)

    def read(self, instance: StoredInstance) -> Dataset:
        """Read one instance."""
        return dcmread(instance.path)

    def start(self) -> None:
        """Listen; after `stop` it listens on the same port again."""
        ae = AE(ae_title=self.ae_title)
        ae.require_called_aet = True
        ae.maximum_pdu_size = _LONGEST_PDU
        for sop_class in _SOP_CLASSES:
            ae.add_supported_context(sop_class, _TRANSFER_SYNTAXES)
        ae.add_supported_context(Verification)
        server = ae.start_server(
            (self.host, self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self.store)]
        )
        if server is None or server.socket is None:
            raise RuntimeError(f"The archive cannot listen on {self.host}:{self.port}")
        self.port = server.socket.getsockname()[1]
        self._ae = ae

    def stop(self) -> None:
        """Stop listening and end every association."""
        if self._ae is not None:
            self._ae.shutdown()
            self._ae = None

    def wait_for(
        self, predicate: Callable[[tuple[StoredInstance, ...]], bool], *, timeout: float
    ) -> tuple[StoredInstance, ...]:
        """Wait until `predicate` holds for what is stored.

        Raises
        ------
        TimeoutError
            After `timeout` seconds; the message counts what had arrived.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: predicate(tuple(self._instances.values())), timeout):
                kinds = sorted(f"{i.modality} {i.sop_instance_uid}" for i in self._instances.values())
                raise TimeoutError(
                    f"The archive waited {timeout:.0f} s in vain; it holds {len(kinds)} instances: {kinds}"
                )
            return tuple(self._instances.values())

    def store(self, event: evt.Event) -> int:
        """Answer one C-STORE request with its status."""
        encoded = event.encoded_dataset(include_meta=False)
        dataset = event.dataset
        try:
            study, series, sop = (
                _safe(dataset[keyword].value)
                for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
            )
        except (KeyError, ValueError):
            return _CANNOT_UNDERSTAND
        digest = hashlib.sha256(encoded).hexdigest()
        with self._changed:
            self.receptions.append(sop)
            known = self._instances.get(sop)
            if known is not None and known.digest != digest:
                self.conflicts.append(sop)
                return _DUPLICATE
            if known is not None:
                return _SUCCESS
        path = self.folder / study / series / f"{sop}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        partial.write_bytes(event.encoded_dataset())
        partial.replace(path)
        with self._changed:
            self._instances[sop] = StoredInstance(
                path=path,
                sop_class_uid=str(event.request.AffectedSOPClassUID),
                sop_instance_uid=sop,
                series_instance_uid=series,
                study_instance_uid=study,
                modality=str(dataset.get("Modality", "")),
                digest=digest,
                stored_at=time.monotonic(),
            )
            self._changed.notify_all()
        return _SUCCESS


def _safe(value: object) -> str:
    """`value` when it is a UID, and so fit to be a file name."""
    uid = UID(str(value))
    if not uid.is_valid:
        raise ValueError("not a UID")
    return str(uid)


def main() -> None:
    """Run the archive until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ae-title", default="ARCHIVE")
    parser.add_argument("--port", type=int, default=4242)
    options = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with Archive(options.folder, ae_title=options.ae_title, port=options.port) as archive:
        print(f"ready: {archive.ae_title} on {archive.host}:{archive.port}", flush=True)
        ended.wait()


if __name__ == "__main__":
    main()
