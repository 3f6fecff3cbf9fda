"""``cxr-pacs`` with an engine that needs no framework and so starts soon.

Of its environment it takes a file (`READS`), with a line for each file that it begins to read. A process that
reads a file of the name `DEADLY` ends, as one does whose decoder crashes or that has too much memory; with
that name in the environment each does that loads the engine.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from bright_engine import BrightEngine

from cxr_pacs.cli import analyse, main, serve
from cxr_pacs.gateway.bulk import workers
from cxr_pacs.gateway.bulk.reader import BulkReader

if TYPE_CHECKING:
    from cxr_pacs.gateway.bulk.outcome import FileOutcome
    from cxr_pacs.gateway.media import MediaFile

READS, DEADLY = "SWIFT_READS", "deadly"
COMMAND = (sys.executable, __file__)

_read = BulkReader.read


def _noting_read(self: BulkReader, file: MediaFile) -> FileOutcome:
    with Path(os.environ[READS]).open("a", encoding="utf-8") as reads:
        reads.write(f"{file.name}\n")
    if DEADLY in Path(file.name).name:
        os.kill(os.getpid(), signal.SIGKILL)
    return _read(self, file)


def _engine(*_: object) -> BrightEngine:
    if DEADLY in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)
    return BrightEngine()


# The second is the name in a process that the command begins.
if __name__ in {"__main__", "__mp_main__"}:
    for module in (analyse, serve, workers):
        module.open_engine = _engine
    analyse.load_bundle = lambda _: SimpleNamespace(identity=BrightEngine.identity)
    if READS in os.environ:
        BulkReader.read = _noting_read
if __name__ == "__main__":
    sys.exit(main())
