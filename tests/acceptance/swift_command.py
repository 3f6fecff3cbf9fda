"""``cxr-pacs`` with an engine that needs no framework and so starts soon.

Of its environment it takes a file (`READS`), with a line for each file that it begins to read.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from bright_engine import BrightEngine

from cxr_pacs.cli import analyse, main, serve
from cxr_pacs.gateway.bulk.reader import BulkReader

if TYPE_CHECKING:
    from cxr_pacs.gateway.bulk.outcome import FileOutcome
    from cxr_pacs.gateway.media import MediaFile

READS = "SWIFT_READS"
COMMAND = (sys.executable, __file__)


class _NotingReader(BulkReader):
    def read(self, file: MediaFile) -> FileOutcome:
        with Path(os.environ[READS]).open("a", encoding="utf-8") as reads:
            reads.write(f"{file.name}\n")
        return super().read(file)


if __name__ == "__main__":
    analyse.open_engine = serve.open_engine = lambda *_: BrightEngine()
    if READS in os.environ:
        sys.modules["cxr_pacs.gateway.bulk.task"].BulkReader = _NotingReader
    sys.exit(main())
