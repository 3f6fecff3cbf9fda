"""``python -m cxr_pacs`` is ``cxr-pacs``."""

from __future__ import annotations

import sys

from cxr_pacs.cli import main

if __name__ == "__main__":
    sys.exit(main())
