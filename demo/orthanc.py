"""Debian's Orthanc as a child process on loopback, with a configuration and a storage of its own."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from pydicom import dcmread

from demo.gateway import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pydicom import Dataset

__all__ = ["Orthanc", "OrthancInstance"]

_START_TIMEOUT = 60.0
_POLL = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class OrthancInstance:
    """One instance in Orthanc; `identifier` is its name in the REST API."""

    identifier: str
    sop_instance_uid: str
    study_instance_uid: str
    modality: str


class Orthanc:
    """An Orthanc server that knows the gateway as a modality.

    It takes C-STORE only from the modalities of its configuration, by AE title and address; all are on
    loopback. Its web server refuses other machines.

    Parameters
    ----------
    folder : Path
        Configuration, storage and log.
    modalities : mapping of str to (AE title, port)
        Who may send to it, and where it may send to.
    """

    ae_title = "ORTHANC"
    host = "127.0.0.1"

    def __init__(self, folder: Path, *, modalities: Mapping[str, tuple[str, int]]) -> None:
        self.folder = folder
        self.port = free_port()
        self.http_port = free_port()
        self.log = folder / "orthanc.log"
        self._modalities = {name: [title, self.host, port] for name, (title, port) in modalities.items()}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until its web server answers."""
        program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            raise RuntimeError("Orthanc is not installed: apt-get install orthanc")
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "orthanc.json"
        config.write_text(json.dumps(self._configuration(), indent=2), encoding="utf-8")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([program, str(config)], stdout=log, stderr=log)
        self._poll(self._answers, _START_TIMEOUT)

    def stop(self) -> None:
        """Send SIGTERM and wait for the end."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)
            self._process = None

    def upload(self, part10: bytes) -> str:
        """Store one instance over REST and return Orthanc's identifier of it."""
        return str(self._request("/instances", part10)["ID"])

    def send(self, modality: str, *identifiers: str) -> None:
        """Let Orthanc C-STORE instances to one of its modalities; RuntimeError when any fails."""
        body = {"Resources": list(identifiers), "Synchronous": True}
        answer = self._request(f"/modalities/{modality}/store", json.dumps(body).encode())
        if answer["FailedInstancesCount"]:
            raise RuntimeError(f"Orthanc could not send {answer['FailedInstancesCount']} instances")

    @property
    def count(self) -> int:
        """How many instances are stored; the cheapest question there is."""
        return int(self._request("/statistics")["CountInstances"])

    @property
    def instances(self) -> tuple[OrthancInstance, ...]:
        """Everything stored so far."""
        studies, series, instances = (
            {one["ID"]: one for one in self._request(f"/{level}?expand")}
            for level in ("studies", "series", "instances")
        )
        return tuple(
            OrthancInstance(
                identifier=identifier,
                sop_instance_uid=one["MainDicomTags"]["SOPInstanceUID"],
                study_instance_uid=studies[of["ParentStudy"]]["MainDicomTags"]["StudyInstanceUID"],
                modality=of["MainDicomTags"]["Modality"],
            )
            for identifier, one in instances.items()
            if (of := series.get(one["ParentSeries"])) and of["ParentStudy"] in studies
        )

    def read(self, instance: OrthancInstance) -> Dataset:
        """Fetch one instance."""
        return dcmread(io.BytesIO(self.file(instance)))

    def file(self, instance: OrthancInstance) -> bytes:
        """Fetch one instance as a Part 10 file, with the data set as it came."""
        return self._fetch(f"/instances/{instance.identifier}/file")

    def wait_for(
        self, predicate: Callable[[tuple[OrthancInstance, ...]], bool], *, timeout: float
    ) -> tuple[OrthancInstance, ...]:
        """Ask until `predicate` holds for what is stored; TimeoutError after `timeout` seconds."""
        self._poll(lambda: predicate(self.instances), timeout)
        return self.instances

    def _poll(self, predicate: Callable[[], bool], timeout: float) -> None:
        # Orthanc tells nobody when something arrives: asking again is the only way.
        deadline = time.monotonic() + timeout
        while not predicate():
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"Orthanc ended: {self.log.read_text(errors='replace')[-2000:]}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"Orthanc did not come to hold what was waited for in {timeout:.0f} s")
            time.sleep(_POLL)

    def _answers(self) -> bool:
        try:
            self._request("/system")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def _request(self, path: str, body: bytes | None = None) -> Any:
        return json.loads(self._fetch(path, body))

    def _fetch(self, path: str, body: bytes | None = None) -> bytes:
        url = f"http://{self.host}:{self.http_port}{path}"
        with urllib.request.urlopen(url, body, timeout=60) as answer:  # http on loopback
            content: bytes = answer.read()
            return content

    def _configuration(self) -> dict[str, object]:
        return {
            "Name": "cxr-pacs",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": self.ae_title,
            "DicomPort": self.port,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowEcho": False,
            "DicomAlwaysAllowStore": False,
            "DicomCheckModalityHost": True,
            "DicomModalities": self._modalities,
            "Plugins": [],
        }
