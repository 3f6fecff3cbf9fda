"""Destinations: a Storage SCP, a DICOMweb server, a folder; to who sends, they are all alike."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Protocol

from pydicom import dcmread

from cxr_pacs import dimse
from cxr_pacs.dicomweb import WebService, read_credentials
from cxr_pacs.errors import ConfigurationError, DeliveryRefused, DestinationUnavailable
from cxr_pacs.gateway.folder import Folder
from cxr_pacs.settings import DicomDestination, FolderDestination, Settings, WebDestination

__all__ = ["Destination", "check_credentials", "destinations", "problem"]


class Destination(Protocol):
    """Where the files of the spool are sent. A failure is DestinationUnavailable or DeliveryRefused."""

    def send(self, path: Path) -> None:
        """Send an object of ours once; return once the peer itself has said that it has it."""

    def forward(self, path: Path) -> None:
        """Send an original, as `send`, with every byte of its data set as it was received."""

    def probe(self) -> None:
        """Raise where it could not take anything now."""


class _Archive:
    def __init__(self, calling_ae_title: str, settings: DicomDestination) -> None:
        self._calling_ae_title = calling_ae_title
        self._peer = dimse.Peer(ae_title=settings.ae_title, host=settings.host, port=settings.port)

    def send(self, path: Path) -> None:
        dimse.store(self._calling_ae_title, self._peer, path)

    def forward(self, path: Path) -> None:
        dimse.store_as_received(self._calling_ae_title, self._peer, path)

    def probe(self) -> None:
        dimse.echo(self._calling_ae_title, self._peer)


class _WebArchive:
    def __init__(self, settings: WebDestination) -> None:
        path = settings.credentials
        self._service = (
            WebService(settings.url)
            if path is None
            else WebService(settings.url, functools.partial(read_credentials, path))
        )

    def send(self, path: Path) -> None:
        self._service.store(path, _uids(path)[1])

    forward = send

    def probe(self) -> None:
        self._service.probe()


def _uids(path: Path) -> tuple[str, str]:
    """Study and SOP Instance UID of a file of the spool."""
    header = dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID", "SOPInstanceUID"])
    return str(header.StudyInstanceUID), str(header.SOPInstanceUID)


def destinations(settings: Settings) -> dict[str, Destination]:
    """Make every destination of `settings`, by its name."""
    return {one.name: _destination(settings.dicom.ae_title, one) for one in settings.destination}


def problem(destination: Destination) -> str | None:
    """Probe a destination; why it could not take anything now, None where it could."""
    try:
        destination.probe()
    except (DestinationUnavailable, DeliveryRefused) as error:
        return str(error)
    return None


def check_credentials(settings: Settings) -> None:
    """Raise ConfigurationError where a destination's file of credentials cannot be used."""
    for one in settings.destination:
        if isinstance(one, WebDestination) and one.credentials is not None:
            try:
                read_credentials(one.credentials)
            except ConfigurationError as error:
                raise ConfigurationError(f"destination {one.name}: {error}") from error


def _destination(
    calling_ae_title: str, settings: DicomDestination | WebDestination | FolderDestination
) -> Destination:
    if isinstance(settings, DicomDestination):
        return _Archive(calling_ae_title, settings)
    if isinstance(settings, WebDestination):
        return _WebArchive(settings)
    return Folder(settings)
