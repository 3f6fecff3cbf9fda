"""Where orders come from by themselves: HL7 messages and a watched folder."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack

from cxr_pacs.gateway.order_intake import OrderIntake
from cxr_pacs.gateway.worklist_folder import WorklistFolder
from cxr_pacs.hl7v2 import MllpListener
from cxr_pacs.hl7v2.message import require_package
from cxr_pacs.settings import Settings
from cxr_pacs.worklist import Worklist

__all__ = ["OrderSources"]

logger = logging.getLogger(__name__)

# Seconds that a message which is being taken gets when this stops.
_GRACE = 10.0


class OrderSources:
    """Fills the worklist from what the settings name, from `start` to `stop`.

    Parameters
    ----------
    settings : Settings
    worklist : Worklist
    """

    def __init__(self, settings: Settings, worklist: Worklist) -> None:
        self._settings = settings
        self._worklist = worklist
        self._on_stop = ExitStack()

    def start(self) -> None:
        """Begin; ConfigurationError where a port cannot be listened on or a package is missing."""
        with ExitStack() as undo:
            if self._settings.hl7.port:
                self._listen(undo)
            if self._settings.worklist.folder is not None:
                folder = WorklistFolder(
                    self._settings.worklist.folder, self._worklist, self._settings.worklist.rescan
                )
                folder.start()
                undo.callback(folder.stop)
                logger.info("worklist files in %s", self._settings.worklist.folder.absolute())
            self._on_stop = undo.pop_all()

    def stop(self) -> None:
        """End; what was answered or taken is committed."""
        self._on_stop.close()

    def _listen(self, undo: ExitStack) -> None:
        require_package()
        hl7 = self._settings.hl7
        intake = OrderIntake(
            worklist=self._worklist,
            settings=hl7,
            namespace=self._settings.site.uid_namespace,
            clock=time.time,
        )
        listener = MllpListener(hl7.host, hl7.port, intake.answer, hl7.max_connections)
        listener.start()
        undo.callback(listener.stop, _GRACE)
        logger.info("HL7 orders on %s:%d", hl7.host, hl7.port)
