"""A query/retrieve SCP on loopback that can be told to misbehave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from peers import free_port
from pydicom import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pydicom import FileDataset
    from pynetdicom.events import Event

__all__ = ["QueryArchive"]

_UNIQUE = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}


class QueryArchive:
    """Holds data sets; matches UIDs alone, so that it answers too much rather than too little.

    Parameters
    ----------
    held : sequence of FileDataset
    destinations : mapping of AE title to port
        Where it can move to.
    find, get, move : callable, optional
        Handlers of pynetdicom in place of the honest ones.
    roles : bool
        Whether it takes part in role selection, without which there is no C-GET.
    """

    ae_title = "QRSCP"

    def __init__(
        self,
        held: Sequence[FileDataset] = (),
        *,
        destinations: Mapping[str, int] | None = None,
        roles: bool = True,
        **handlers: Callable[[Event], Iterator[Any]],
    ) -> None:
        self.held = list(held)
        self.port = free_port()
        self.asked: list[Dataset] = []
        self.retrieved: list[Dataset] = []
        self.proposed: set[tuple[str, str]] = set()
        self._destinations = destinations or {}
        self._handlers = {"find": self.find, "get": self.get, "move": self.move} | handlers
        self._ae = AE(ae_title=self.ae_title)
        for model in (
            StudyRootQueryRetrieveInformationModelFind,
            StudyRootQueryRetrieveInformationModelGet,
            StudyRootQueryRetrieveInformationModelMove,
        ):
            self._ae.add_supported_context(model)
        for storage in (
            ComputedRadiographyImageStorage,
            DigitalXRayImageStorageForPresentation,
            SecondaryCaptureImageStorage,
        ):
            self._ae.add_requested_context(storage, ExplicitVRLittleEndian)
            role = {"scu_role": True, "scp_role": True} if roles else {}
            self._ae.add_supported_context(storage, ExplicitVRLittleEndian, **role)

    def __enter__(self) -> Self:
        events = {"find": evt.EVT_C_FIND, "get": evt.EVT_C_GET, "move": evt.EVT_C_MOVE}
        handlers = [(events[name], handler) for name, handler in self._handlers.items()]
        handlers.append((evt.EVT_REQUESTED, self._requested))
        self._ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, *_: object) -> None:
        self._ae.shutdown()

    def _requested(self, event: Event) -> None:
        for context in event.assoc.requestor.requested_contexts:
            self.proposed |= {(str(context.abstract_syntax), str(s)) for s in context.transfer_syntax}

    def matching(self, asked: Dataset) -> list[FileDataset]:
        """What is held under the UIDs of an identifier."""
        return [
            one
            for one in self.held
            if all(
                not asked.get(keyword) or one[keyword].value in _many(asked[keyword].value)
                for keyword in _UNIQUE.values()
            )
        ]

    def find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        self.asked.append(asked)
        level = asked.QueryRetrieveLevel
        found = {one[_UNIQUE[level]].value: one for one in self.matching(asked)}
        for one in found.values():
            answer = Dataset()
            answer.QueryRetrieveLevel = level
            for element in asked:
                if element.keyword in one and element.keyword != "QueryRetrieveLevel":
                    answer[element.tag] = one[element.tag]
            yield 0xFF00, answer

    def get(self, event: Event) -> Iterator[Any]:
        self.retrieved.append(event.identifier)
        found = self.matching(event.identifier)
        yield len(found)
        for one in found:
            yield 0xFF00, one

    def move(self, event: Event) -> Iterator[Any]:
        self.retrieved.append(event.identifier)
        if (port := self._destinations.get(event.move_destination)) is None:
            yield None, None  # answered with A801
            return
        found = self.matching(event.identifier)
        yield "127.0.0.1", port, {"ae_title": event.move_destination}
        yield len(found)
        for one in found:
            yield 0xFF00, one


def _many(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
