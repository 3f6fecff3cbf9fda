"""Settings of what is sent where: destinations of three kinds, the pace of retries, and routes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Discriminator, Field, Tag

from cxr_pacs.setting_types import AETitle, Name, Port, Seconds, Source, Table

__all__ = [
    "DESTINATION_KINDS",
    "DeliverySettings",
    "DestinationSettings",
    "DicomDestination",
    "FolderDestination",
    "RouteSettings",
    "WebDestination",
    "wrong_routes",
]

ObjectName = Literal[
    "report", "heatmap", "segmentation", "presentation_state", "key_objects", "plain_report", "original"
]


class DeliverySettings(Table):
    """``[delivery]``: the pace of retries, in seconds."""

    first_retry: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0
    longest_retry: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3600.0
    probe_every: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    give_up_after: Seconds = 7 * 86400.0


class PaceSettings(Table):
    """``destination.pace``: objects at once from each worker, and what differs from ``[delivery]``."""

    at_once: Annotated[int, Field(ge=1, le=32)] = 2
    first_retry: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    longest_retry: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    give_up_after: Seconds | None = None

    def of(self, delivery: DeliverySettings) -> DeliverySettings:
        """Give the pace of retries where `delivery` is that of the others."""
        return delivery.model_copy(update=self.model_dump(exclude={"at_once"}, exclude_none=True))


class NotifySettings(Table):
    """``destination.notify``: who is told by Instance Availability Notification."""

    ae_title: AETitle
    host: str
    port: Port


class DicomDestination(Table):
    """``[[destination]]``: a Storage SCP."""

    name: Name
    ae_title: AETitle
    host: str
    port: Port
    commitment: bool = False
    notify: NotifySettings | None = None
    pace: PaceSettings = PaceSettings()

    @property
    def where(self) -> str:
        """The address, in words."""
        return f"C-STORE to {self.ae_title}@{self.host}:{self.port}"


def _url(value: str) -> str:
    """Refuse what is no plain address; the message must not quote it, since it may hold a password."""
    try:
        parts = urlsplit(value)
        plain = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        plain = False
    if not plain or parts.query or parts.fragment:
        raise ValueError("an address has the form https://host:port/dicom-web")
    if "@" in parts.netloc:
        raise ValueError("an address holds no user and no password: put them into the file of credentials")
    return value.rstrip("/")


class WebDestination(Table):
    """``[[destination]]``: a DICOMweb origin server that takes objects by STOW-RS."""

    name: Name
    url: Annotated[str, AfterValidator(_url)]
    credentials: Annotated[Path, Field(strict=False)] | None = None
    pace: PaceSettings = PaceSettings()

    @property
    def where(self) -> str:
        """The address, in words."""
        return f"STOW-RS to {self.url}"


class FolderDestination(Table):
    """``[[destination]]``: a folder that takes files."""

    name: Name
    folder: Annotated[Path, Field(strict=False)]
    pictures: bool = False
    tables: bool = False
    identity_in_names: bool = False
    pace: PaceSettings = PaceSettings()

    @property
    def where(self) -> str:
        """The address, in words."""
        return f"files in {self.folder}"


DESTINATION_KINDS: Mapping[str, type[Table]] = MappingProxyType(
    {"C-STORE": DicomDestination, "STOW-RS": WebDestination, "directory": FolderDestination}
)


# Of every kind.
_COMMON = {"name", "pace"}


def _kind(given: Any) -> str | None:
    """Tell the kind of a destination by its keys; None where they are of several."""
    keys = given.keys() if isinstance(given, dict) else type(given).model_fields.keys()
    kinds = [
        kind for kind, model in DESTINATION_KINDS.items() if (model.model_fields.keys() - _COMMON) & keys
    ]
    return None if len(kinds) > 1 else next(iter(kinds), "C-STORE")


DestinationSettings = Annotated[
    Annotated[DicomDestination, Tag("C-STORE")]
    | Annotated[WebDestination, Tag("STOW-RS")]
    | Annotated[FolderDestination, Tag("directory")],
    Discriminator(
        _kind,
        custom_error_type="destination_kind",
        custom_error_message="a destination has either ae_title, host and port (C-STORE), or url and perhaps "
        "credentials (STOW-RS), or folder; these keys are of several kinds",
    ),
]


class RouteSettings(Table):
    """``[[route]]``: which objects of which images go where; all routes that match add up."""

    destinations: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    objects: Annotated[tuple[ObjectName, ...], Field(strict=False)] = ()
    source: Annotated[tuple[Source, ...], Field(strict=False)] = ()
    station: Annotated[tuple[str, ...], Field(strict=False)] = ()
    body_part: Annotated[tuple[str, ...], Field(strict=False)] = ()
    finding: str = ""
    at_least: Annotated[float, Field(gt=0, le=1)] | None = None
    forward: Literal["before", "after"] = "after"


def wrong_routes(
    routes: Sequence[RouteSettings],
    destinations: Sequence[DicomDestination | WebDestination | FolderDestination],
) -> list[str]:
    """Say, a line for each, what the routes name that cannot be."""
    known = {destination.name: destination for destination in destinations}
    wrong = []
    for number, route in enumerate(routes):
        for name in route.destinations:
            destination = known.get(name)
            if destination is None:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                wrong.append(f"route.{number}.destinations: no destination is called {name!r}{hint}")
            elif (
                "original" in route.objects
                and isinstance(destination, DicomDestination)
                and set(route.source) == {destination.ae_title}
            ):
                wrong.append(
                    f"route.{number}.destinations: {name!r} is {destination.ae_title}, the route's only "
                    "source: originals are never sent back to who sent them"
                )
        if route.at_least is not None and not route.finding:
            wrong.append(f"route.{number}.at_least: it is the least score of a finding: name it")
        if route.forward == "before" and "original" not in route.objects:
            wrong.append(f"route.{number}.forward: it is for originals: name 'original' in objects")
        if route.forward == "before" and route.finding:
            wrong.append(f"route.{number}.forward: before the analysis there is no finding to go by")
    return wrong
