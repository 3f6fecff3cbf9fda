"""The demo: three radiographs by C-STORE into the gateway, a report and a heatmap each back into an archive.

``python -m demo.run [--archive embedded|orthanc]``; everything it makes is in ``demo-run/``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from pydicom import dcmread
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import time
from rich.console import Console

from demo.archive import Archive
from demo.gateway import Destination, Gateway, GatewayError, GatewaySettings, free_port
from demo.orthanc import Orthanc
from demo.present import findings_table, heatmaps_listed, report_lines, save_png, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom import Dataset

_HERE = Path(__file__).parent
_RADIOGRAPHS = _HERE / "radiographs"
_SOURCE_SAYS = {
    "alpha": "COVID-19",
    "bravo": "bacterial pneumonia, a child",
    "charlie": "no finding",
}
_MODALITY = "MODALITY"
_RESULTS_TIMEOUT = 120.0

console = Console(highlight=False)


class DemoError(RuntimeError):
    """The demo did not end as it should."""


class _Instance(Protocol):
    @property
    def study_instance_uid(self) -> str: ...
    @property
    def modality(self) -> str: ...


class _Holder(Protocol):
    """What the embedded archive and Orthanc have in common."""

    ae_title: str
    port: int

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    @property
    def instances(self) -> tuple[Any, ...]: ...
    def wait_for(self, predicate: Any, *, timeout: float) -> tuple[Any, ...]: ...
    def read(self, instance: Any) -> Dataset: ...


def send(radiographs: Sequence[Dataset], ae_title: str, port: int) -> None:
    """C-ECHO, then C-STORE of each radiograph on one association; DemoError when a status is not 0x0000."""
    ae = AE(ae_title=_MODALITY)
    ae.add_requested_context(Verification)
    for radiograph in radiographs:
        ae.add_requested_context(radiograph.SOPClassUID, radiograph.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", port, ae_title=ae_title)
    if not association.is_established:
        raise DemoError(f"{ae_title} on port {port} accepts no association")
    try:
        statuses = [association.send_c_echo(), *map(association.send_c_store, radiographs)]
    finally:
        association.release()
    for status in statuses:
        if status.get("Status") != 0x0000:
            raise DemoError(f"{ae_title} answered {status.get('Status', 'nothing')}")


def _open_archive(kind: str, folder: Path, gateway_port: int) -> _Holder:
    if kind == "embedded":
        return Archive(folder / "archive")
    peers = {"gateway": (Gateway.ae_title, gateway_port), "modality": (_MODALITY, gateway_port)}
    return Orthanc(folder / "orthanc", modalities=peers)


def _kinds(instances: Sequence[_Instance], study: str) -> Counter[str]:
    return Counter(i.modality for i in instances if i.study_instance_uid == study)


def _journey(kind: str, folder: Path) -> None:
    """Start everything, send, wait, show, stop, and count what the archive holds in the end."""
    radiographs = {path.stem: dcmread(path) for path in sorted(_RADIOGRAPHS.glob("*.dcm"))}
    studies = {name: str(radiograph.StudyInstanceUID) for name, radiograph in radiographs.items()}
    port = free_port()
    with ExitStack() as stack:
        archive = stack.enter_context(_open_archive(kind, folder, port))
        settings = GatewaySettings(
            folder=folder / "gateway",
            port=port,
            destinations=(Destination(name="archive", ae_title=archive.ae_title, port=archive.port),),
            tables={"study": {"quiet_period": 1.0}},
        )
        console.print(f"Archive: {archive.ae_title} on 127.0.0.1:{archive.port}")
        console.print("Gateway: starting (TensorFlow takes its time) …")
        gateway = stack.enter_context(Gateway(settings))
        console.print(f"Gateway: ready after {gateway.seconds_to_ready:.1f} s on 127.0.0.1:{gateway.port}")
        try:
            send(list(radiographs.values()), archive.ae_title, archive.port)
            send(list(radiographs.values()), gateway.ae_title, gateway.port)
            console.print(f"Sent: {', '.join(radiographs)}, to the archive and to the gateway; waiting …")
            _await_results(archive, list(studies.values()))
            code = gateway.stop()
        except (DemoError, TimeoutError) as error:
            raise DemoError(f"{error}\nThe end of the gateway's log:\n{gateway.log_tail()}") from error
        if code != 0:
            raise DemoError(f"After SIGTERM the gateway ended with {code}:\n{gateway.log_tail()}")
        closing = [_show(archive, name, study, folder) for name, study in studies.items()]
    console.rule(f"{archive.ae_title} holds of each study the radiograph, one report and its heatmap")
    for lines in closing:
        console.print(lines, soft_wrap=True, markup=False)


def _is_complete(archive: _Holder, instances: Sequence[_Instance], study: str) -> bool:
    """Whether the archive holds the radiograph, one report, and the heatmap where the report lists one."""
    reports = [i for i in instances if (i.study_instance_uid, i.modality) == (study, "SR")]
    if len(reports) != 1:
        return False
    expected = Counter({"CR": 1, "SR": 1, "OT": heatmaps_listed(archive.read(reports[0]))})
    return _kinds(instances, study) == +expected


def _await_results(archive: _Holder, studies: Sequence[str]) -> None:
    def complete(instances: Sequence[_Instance]) -> bool:
        return all(_is_complete(archive, instances, study) for study in studies)

    archive.wait_for(complete, timeout=_RESULTS_TIMEOUT)


def _show(archive: _Holder, name: str, study: str, folder: Path) -> str:
    """Print one study's results; return its closing lines."""
    if not _is_complete(archive, archive.instances, study):
        held = dict(_kinds(archive.instances, study))
        raise DemoError(f"Study {name}: the archive holds {held}, not what its report lists, once each")
    objects = {i.modality: archive.read(i) for i in archive.instances if i.study_instance_uid == study}
    report = objects["SR"]
    console.rule(f"{name} (source: {_SOURCE_SAYS[name]})")
    console.print(findings_table(report))
    for line in report_lines(report):
        console.print(line, soft_wrap=True, markup=False)
    if "OT" in objects:
        png = folder / f"{name}-heatmap.png"
        save_png(objects["OT"], png)
        console.print(f"\nHeatmap: {png}", soft_wrap=True)
    else:
        console.print("\nNo heatmap: the model claims none of its classes for this patient.")
    made = [objects[modality] for modality in ("SR", "OT") if modality in objects]
    lines = [f"  {UID(instance.SOPClassUID).name} {instance.SOPInstanceUID}" for instance in made]
    return "\n".join([f"{name} (source: {_SOURCE_SAYS[name]})", summary(report), *lines])


def main() -> int:
    """Run the demo; the exit code is 1 when anything was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--archive", choices=("embedded", "orthanc"), default="embedded")
    parser.add_argument("--folder", type=Path, default=_HERE.parent / "demo-run")
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    try:
        _journey(options.archive, options.folder)
    except (DemoError, GatewayError, RuntimeError, OSError) as error:
        console.print(f"The demo failed: {error}", style="bold red", markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
