"""``cxr-pacs`` with an engine that needs no framework and so starts soon; some patients end its process.

Of its environment it takes the version that it pretends to be (`VERSION`), how many seconds it sits over each
image (`SECONDS`, 0.2 unless told), and a file (`HOLD`): as long as that exists, no image is read of a patient
whose ID begins with `HELD`.
"""

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
from cxr_pacs.gateway.reading import OpenedFile, Reader

VERSION, SECONDS, HOLD = "SWIFT_VERSION", "SWIFT_SECONDS", "SWIFT_HOLD"
POISON, HELD = "POISON", "HELD"
COMMAND = (sys.executable, __file__)


class _MortalReader(Reader):
    def open(self, path: Path) -> OpenedFile:
        time.sleep(float(os.environ.get(SECONDS, "0.2")))  # in the company of another one
        patient = str(dcmread(path, stop_before_pixels=True).PatientID)
        if patient == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        while patient.startswith(HELD) and Path(os.environ.get(HOLD, "")).is_file():
            time.sleep(0.05)
        return super().open(path)


def _pretend(version: str) -> None:
    for name, module in sys.modules.items():
        if name.partition(".")[0] == "cxr_pacs" and hasattr(module, "__version__"):
            module.__version__ = version


if __name__ == "__main__":
    if VERSION in os.environ:
        _pretend(os.environ[VERSION])
    serve.open_engine = lambda _: BrightEngine()
    service = sys.modules["cxr_pacs.gateway.service"]
    service.Reader = _MortalReader
    sys.exit(main())
