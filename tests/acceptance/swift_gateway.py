"""``cxr-pacs`` with an engine that needs no framework and so starts soon; some patients end its process."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bright_engine import BrightEngine
from pydicom import dcmread

from cxr_pacs.cli import main, serve
from cxr_pacs.gateway.reading import Reader, Reading

POISON = "POISON"
COMMAND = (sys.executable, __file__)


class _MortalReader(Reader):
    def read(self, path: Path, made_at: float) -> Reading:
        time.sleep(0.2)  # in the company of another one
        if dcmread(path, stop_before_pixels=True).PatientID == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(path, made_at)


if __name__ == "__main__":
    serve.open_engine = lambda _: BrightEngine()
    service = sys.modules["cxr_pacs.gateway.service"]
    service.Reader = _MortalReader
    sys.exit(main())
