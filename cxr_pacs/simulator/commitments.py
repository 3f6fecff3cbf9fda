"""The simulated modality's side of storage commitment: what it asked for, and what it was told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Self

from pydicom.uid import generate_uid

from cxr_pacs.dimse import (
    CommitmentReport,
    CommitmentRequest,
    Listener,
    LocalEntity,
    ObjectReference,
    Peer,
    commitment_service,
    requested_commitment,
    verification_scp,
)
from cxr_pacs.dimse.commitment import FAILURE_REASONS
from cxr_pacs.errors import DeliveryRefused, DestinationUnavailable

__all__ = ["Awaited", "Commitments"]

_GRACE = 5.0


@dataclass(slots=True, kw_only=True)
class Awaited:
    """A transaction: asked for, and later reported on."""

    peer: Peer
    patience: float
    asked_at: float
    _told: threading.Event = field(default_factory=threading.Event)
    _report: CommitmentReport | None = None
    _told_at: float = 0.0

    def tell(self, report: CommitmentReport) -> None:
        """Take the peer's report."""
        self._report, self._told_at = report, time.monotonic()
        self._told.set()

    def seconds(self) -> float:
        """
        Wait for the report, `patience` from the request at most, and tell how long it took.

        Raises
        ------
        DestinationUnavailable
            It did not come in time.
        DeliveryRefused
            It says that something is not committed.
        """
        self._told.wait(max(0.0, self.asked_at + self.patience - time.monotonic()))
        if self._report is None:
            raise DestinationUnavailable(
                f"{self.peer} did not report on the commitment in {self.patience:.0f} s"
            )
        if failed := self._report.failed:
            reasons = {FAILURE_REASONS.get(code, f"{code:04X}") for code in failed.values()}
            raise DeliveryRefused(
                f"{self.peer} did not commit {len(failed)} object(s): {', '.join(sorted(reasons))}"
            )
        return self._told_at - self.asked_at


class Commitments:
    """Asks `peer` for commitment, as the application entity `ae_title`.

    Parameters
    ----------
    ae_title, peer
        Who asks whom.
    port : int or None
        Where to listen, between entering and leaving the context, for a report on an association of its own.
        None: the association of the request stays open for the report.
    patience : float
        Seconds to wait for a report.

    Raises
    ------
    ConfigurationError
        On entering: the port cannot be had.
    """

    def __init__(self, ae_title: str, peer: Peer, port: int | None, patience: float) -> None:
        self._ae_title = ae_title
        self._peer = peer
        self._port = port
        self._patience = patience
        self._awaited: dict[str, Awaited] = {}
        self._on_exit = ExitStack()

    @property
    def listens(self) -> bool:
        """Whether a report may come later, when the association of its request is closed."""
        return self._port is not None

    def __enter__(self) -> Self:
        if self._port is not None:
            local = LocalEntity(ae_title=self._ae_title, host="", port=self._port)
            services = (verification_scp(), commitment_service(None, self._take_report))
            listener = Listener(local, services, lambda _: None)
            listener.start()
            self._on_exit.callback(listener.stop, _GRACE)
        return self

    def __exit__(self, *_: object) -> None:
        self._on_exit.close()

    @contextmanager
    def asked(self, objects: Sequence[ObjectReference]) -> Iterator[Awaited]:
        """Ask for `objects`; raises as the request does.

        Within the context the association stays open, unless a report may come on another one.
        """
        request = CommitmentRequest(
            calling_ae_title=self._ae_title,
            transaction_uid=generate_uid(prefix=None),
            objects=tuple(objects),
        )
        awaited = Awaited(peer=self._peer, patience=self._patience, asked_at=time.monotonic())
        self._awaited[request.transaction_uid] = awaited
        with ExitStack() as association:
            association.enter_context(requested_commitment(self._peer, request, self._take_report))
            if self.listens:
                association.close()
            yield awaited

    def _take_report(self, report: CommitmentReport) -> bool:
        awaited = self._awaited.get(report.transaction_uid)
        if awaited is None:
            return False
        awaited.tell(report)
        return True
