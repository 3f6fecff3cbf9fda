"""Routing: which destination gets which object.

An object is routed by the images that it was made of, an original by itself. A route applies when one of
these images meets all of its conditions; all routes that apply add up. Without any route, every object of
ours goes to every destination, and no original anywhere.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from pydicom import Dataset, dcmread

from cxr_pacs.errors import SettingsError
from cxr_pacs.inference import Findings, ModelIdentity
from cxr_pacs.radiograph.elements import text
from cxr_pacs.settings import RouteSettings, Settings

__all__ = ["OBJECT_NAMES", "RoutedImage", "Routes", "check_findings", "read_routed_image", "routed_image"]

# All that routes look at in a header: nothing of it tells who the patient is, and nothing of it is kept.
_ROUTED_TAGS: Final = ("StationName", "BodyPartExamined")
# Name of an object in the settings, by the kind of a result in the ledger.
OBJECT_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "SR": "report",
        "SC": "heatmap",
        "SG": "segmentation",
        "PS": "presentation_state",
        "KO": "key_objects",
        "TX": "plain_report",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedImage:
    """What routes ask about an image.

    Attributes
    ----------
    source : str
        AE title that sent it, or ``folder:NAME``.
    station, body_part : str
        Station Name (0008,1010) and Body Part Examined (0018,0015); empty where the header has none.
    findings : Findings or None
        Once it was read.
    """

    source: str
    station: str
    body_part: str
    findings: Findings | None = None


def routed_image(header: Dataset, source: str, findings: Findings | None) -> RoutedImage:
    """Take what routes ask about from a header; what cannot be read of it is empty."""
    station, body_part = (text(header, tag) for tag in _ROUTED_TAGS)
    return RoutedImage(source=source, station=station, body_part=body_part, findings=findings)


def read_routed_image(path: Path, source: str, findings: Findings | None) -> RoutedImage:
    """As `routed_image`, of a file of the spool, of which nothing else is read."""
    header = dcmread(path, stop_before_pixels=True, specific_tags=list(_ROUTED_TAGS))
    return routed_image(header, source, findings)


class Routes:
    """The routes of the settings.

    Parameters
    ----------
    settings : Settings
        Routes and destinations.
    """

    def __init__(self, settings: Settings) -> None:
        self._routes = settings.route
        self._names = tuple(destination.name for destination in settings.destination)

    def of_result(self, kind: str, images: Iterable[RoutedImage]) -> tuple[str, ...]:
        """Destinations of an object of ours of `kind` that was made of `images`, in the settings' order."""
        if not self._routes:
            return self._names
        name, images = OBJECT_NAMES[kind], tuple(images)
        return self._destinations(
            route
            for route in self._routes
            if name in (route.objects or (name,)) and any(_applies(route, one) for one in images)
        )

    def of_original(self, image: RoutedImage, moment: Literal["before", "after"]) -> tuple[str, ...]:
        """Destinations of an original itself, `before` or `after` its analysis."""
        return self._destinations(
            route for route in self._routes if _forwards(route, moment) and _applies(route, image)
        )

    def forward_any(self, moment: Literal["before", "after"]) -> bool:
        """Whether some original may go anywhere then."""
        return any(_forwards(route, moment) for route in self._routes)

    def sources_to(self, destination: str) -> frozenset[str] | None:
        """Name the sources of what may go to `destination`; None where it may be any."""
        routes = [route for route in self._routes if destination in route.destinations]
        if not self._routes or not all(route.source for route in routes):
            return None
        return frozenset(source for route in routes for source in route.source)

    def _destinations(self, routes: Iterable[RouteSettings]) -> tuple[str, ...]:
        wanted = {name for route in routes for name in route.destinations}
        return tuple(name for name in self._names if name in wanted)


def _forwards(route: RouteSettings, moment: Literal["before", "after"]) -> bool:
    return "original" in route.objects and route.forward == moment


def _applies(route: RouteSettings, image: RoutedImage) -> bool:
    return (
        (not route.source or image.source in route.source)
        and _among(image.station, route.station)
        and _among(image.body_part, route.body_part)
        and (not route.finding or (image.findings is not None and _found(route, image.findings)))
    )


def _among(value: str, wanted: Sequence[str]) -> bool:
    """Whether `value` is among `wanted`, whatever the case; any is where nothing is wanted."""
    return not wanted or value.casefold() in {one.strip().casefold() for one in wanted}


def _found(route: RouteSettings, findings: Findings) -> bool:
    """Whether a score that is told, of any head, reached the route's probability, else its own threshold."""
    labels = _labels(route.finding, findings.model)
    return any(
        score.passed if route.at_least is None else score.score >= route.at_least
        for score in findings.scores
        if score.label in labels
    )


def _labels(finding: str, model: ModelIdentity) -> set[str]:
    """Labels of the classes that `finding` names by label, code value or code meaning."""
    wanted = finding.strip().casefold()
    return {
        code.label
        for code in model.classes
        if wanted in {code.label.casefold(), code.value.casefold(), code.meaning.casefold()}
    }


def check_findings(settings: Settings, model: ModelIdentity) -> None:
    """Raise SettingsError where a route asks for a finding that `model` does not know."""
    for number, route in enumerate(settings.route):
        if route.finding and not _labels(route.finding, model):
            known = [name for code in model.classes for name in (code.label, code.value, code.meaning)]
            near = difflib.get_close_matches(route.finding, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(known)}"
            raise SettingsError(
                f"route.{number}.finding: the model {model.name} has no class {route.finding!r}; {hint}"
            )
