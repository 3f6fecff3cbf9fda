"""How long one big study takes through the gateway, and where the time goes.

One study of one 2048 x 2500, 16-bit radiograph at a time, quiet period 0: from the C-STORE response to both
objects stored in the archive. Everything runs on this machine. ``python -m benchmarks.journey --help``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import io
import statistics
import tempfile
import time
import uuid
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import psutil  # type: ignore[import-untyped]
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from rich.console import Console
from rich.table import Table

from cxr_pacs import dimse, evidence, inference, radiograph
from cxr_pacs.radiograph.pixels import decode
from cxr_pacs.settings import ModelSettings
from demo.archive import Archive, StoredInstance
from demo.gateway import Destination, Gateway, GatewaySettings, free_port
from demo.orthanc import Orthanc
from demo.present import heatmaps_listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom import FileDataset

_ROWS, _COLUMNS = 2500, 2048
_SOURCE = Path(__file__).parents[1] / "demo" / "radiographs" / "alpha.dcm"
_TIMEOUT = 60.0
_STAGES = ("decode", "preprocess", "infer", "build", "send")
_BAR = 40

console = Console(highlight=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Journeys:
    """What was measured from outside, in seconds and bytes.

    Attributes
    ----------
    receive : list of float
        C-STORE request to response, one value for each study.
    results : list of float
        Response to both objects stored.
    ready : float
        Start of the process to its first accepted association.
    resident : int
        Resident memory of the gateway after the last study.
    """

    receive: list[float]
    results: list[float]
    ready: float
    resident: int


@dataclass(slots=True)
class Stopwatch:
    """Seconds by stage, one value for each repetition."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add one repetition of `stage`."""
        began = time.perf_counter()
        yield
        self.seconds.setdefault(stage, []).append(time.perf_counter() - began)

    def medians(self) -> dict[str, float]:
        """Median of each stage."""
        return {stage: statistics.median(values) for stage, values in self.seconds.items()}


def big_radiograph() -> FileDataset:
    """Enlarge the demo's first radiograph to a detector's size: 16 bits, some noise, uncompressed."""
    dataset = dcmread(_SOURCE)
    shown = radiograph.read_radiograph(dataset).pixels
    large = cv2.resize(shown, (_COLUMNS, _ROWS), interpolation=cv2.INTER_CUBIC)
    noisy = large + np.random.default_rng(0).normal(0, 0.004, large.shape)
    dataset.Rows, dataset.Columns = _ROWS, _COLUMNS
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.WindowCenter, dataset.WindowWidth = "32768", "65536"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.PixelData = np.rint(np.clip(noisy, 0, 1) * 65535).astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset["PixelData"].is_undefined_length = False
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return dcmread(io.BytesIO(buffer.getvalue()))


def _renewed(dataset: FileDataset) -> FileDataset:
    """Turn `dataset` into an instance of a new study."""
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return dataset


def _send(dataset: FileDataset, ae_title: str, port: int) -> float:
    """C-STORE `dataset`; the seconds from request to response."""
    ae = AE(ae_title="MODALITY")
    ae.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", port, ae_title=ae_title, max_pdu=131072)
    if not association.is_established:
        raise SystemExit(f"{ae_title} on port {port} accepts no association")
    began = time.perf_counter()
    status = association.send_c_store(dataset)
    took = time.perf_counter() - began
    association.release()
    if status.get("Status") != 0x0000:
        raise SystemExit(f"{ae_title} answered {status}")
    return took


def _is_complete(held: tuple[StoredInstance, ...], *, study: str) -> bool:
    modalities = Counter(i.modality for i in held if i.study_instance_uid == study)
    reports = [i.path for i in held if (i.study_instance_uid, i.modality) == (study, "SR")]
    # A model that claims nothing for this patient makes no heatmap.
    return bool(reports) and modalities["OT"] == heatmaps_listed(dcmread(reports[0]))


def run_journeys(dataset: FileDataset, bundle: str, studies: int, folder: Path) -> Journeys:
    """Send one study after another through a gateway of our own."""
    receive, results = [], []
    with Archive(folder / "archive") as archive:
        settings = GatewaySettings(
            folder=folder / "gateway",
            port=free_port(),
            destinations=(Destination(name="archive", ae_title=archive.ae_title, port=archive.port),),
            tables={"study": {"quiet_period": 0.0}, "model": {"bundle": bundle}},
        )
        with Gateway(settings) as gateway:
            for _ in range(studies + 1):
                study = _renewed(dataset).StudyInstanceUID
                receive.append(_send(dataset, gateway.ae_title, gateway.port))
                answered = time.monotonic()
                archive.wait_for(partial(_is_complete, study=study), timeout=_TIMEOUT)
                results.append(max(i.stored_at for i in archive.of_study(study)) - answered)
            resident = psutil.Process(gateway.pid).memory_info().rss
            ready = gateway.seconds_to_ready
            gateway.stop()
    # The first study pays for what is loaded on first use.
    return Journeys(receive=receive[1:], results=results[1:], ready=ready, resident=resident)


def split(dataset: FileDataset, bundle: str, repetitions: int, folder: Path) -> dict[str, float]:
    """Median seconds of each stage, by the functions that the gateway calls, in this process."""
    engine = inference.load_engine(inference.load_bundle(inference.bundled(bundle)), "auto")
    watch = Stopwatch()
    with Archive(folder / "split") as archive:
        peer = dimse.Peer(ae_title=archive.ae_title, host=archive.host, port=archive.port)
        for _ in range(repetitions):
            buffer = io.BytesIO()
            _renewed(dataset).save_as(buffer, enforce_file_format=True)
            source = dcmread(io.BytesIO(buffer.getvalue()))
            with watch.measure("decode"):
                decode(source)
            with watch.measure("decode and preprocess"):
                image = radiograph.read_radiograph(source)
                part, geometry = radiograph.valid_part(image)
            with watch.measure("infer"):
                analysis = engine.analyse(part)
            with watch.measure("build"):
                made = evidence_of(source, image, analysis, geometry)
            paths = [folder / f"{instance.Modality}.dcm" for instance in made]
            for instance, path in zip(made, paths, strict=True):
                instance.save_as(path, enforce_file_format=True)
            with watch.measure("send"):
                for path in paths:
                    dimse.store("CXRPACS", peer, path)
    medians = watch.medians()
    medians["preprocess"] = medians.pop("decode and preprocess") - medians["decode"]
    return {stage: medians[stage] for stage in _STAGES}


def evidence_of(
    source: FileDataset,
    image: radiograph.Radiograph,
    analysis: inference.Analysis,
    geometry: radiograph.Geometry,
) -> tuple[FileDataset, FileDataset]:
    """Build the heatmap and the report of one image."""
    findings = analysis.findings
    instance = evidence.ReadInstance(header=source, findings=findings, quality=image.quality)
    shown = findings.principal or findings.scores[0]
    saliency = next(s for s in analysis.saliency if (s.head, s.label) == (shown.head, shown.label))
    picture = evidence.HeatmapPicture(
        pixels=image.pixels,
        saliency=geometry.place(saliency.over((geometry.height, geometry.width))),
        shown=shown,
        aspect=image.aspect,
    )
    stamp = evidence.Stamp(
        site_namespace=uuid.UUID(int=0),
        configuration_digest="0" * 64,
        made_at=dt.datetime.now(dt.UTC),
        software_version="bench",
    )
    heatmap = evidence.heatmap(instance, picture, stamp)
    return heatmap, evidence.report([instance], [heatmap], (), stamp)


def peer_receive(dataset: FileDataset, studies: int, folder: Path) -> dict[str, list[float]]:
    """Seconds from C-STORE request to response of other receivers, same sender, same files."""
    with ExitStack() as stack:
        archive = stack.enter_context(Archive(folder / "peer"))
        orthanc = stack.enter_context(
            Orthanc(folder / "orthanc", modalities={"modality": ("MODALITY", free_port())})
        )
        return {
            name: [_send(_renewed(dataset), peer.ae_title, peer.port) for _ in range(studies)]
            for name, peer in (("Orthanc", orthanc), ("pynetdicom, files", archive))
        }


def _print(journeys: Journeys, stages: dict[str, float], peers: dict[str, list[float]], size: int) -> None:
    median = statistics.median(journeys.results)
    p95 = statistics.quantiles(journeys.results, n=20)[-1]
    console.print(f"\n{len(journeys.results)} studies, one {_COLUMNS} x {_ROWS} 16-bit image each")
    console.print(f"response to both objects stored   median {median:.3f} s   95 % {p95:.3f} s")
    console.print(f"start to ready                    {journeys.ready:.1f} s")
    console.print(f"resident memory                   {journeys.resident / 2**20:.0f} MiB")

    receive = statistics.median(journeys.receive)
    rest = median - sum(stages.values())
    table = Table("stage", "median, ms", "")
    for stage, seconds in {"receive": receive, **stages, "queues, disk, waits": rest}.items():
        bar = "█" * round(_BAR * max(0.0, seconds) / (median + receive))
        table.add_row(stage, f"{seconds * 1000:.0f}", bar)
    console.print(table)
    console.print("Receive is before the response; the last row is what is left of the median above.\n")

    table = Table("receiver, one image an association", "MB/s")
    for name, times in {"cxr-pacs, with fsync": journeys.receive, **peers}.items():
        table.add_row(name, f"{size / 1e6 / statistics.median(times):.0f}")
    console.print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--studies", type=int, default=20, help="at least 2")
    parser.add_argument("--bundle", default=ModelSettings().bundle, help="name or folder")
    options = parser.parse_args()
    dataset = big_radiograph()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        journeys = run_journeys(dataset, options.bundle, options.studies, folder)
        peers = peer_receive(dataset, options.studies, folder)
        stages = split(dataset, options.bundle, options.studies, folder)
    _print(journeys, stages, peers, len(dataset.PixelData))


if __name__ == "__main__":
    main()
