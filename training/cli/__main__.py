"""Run ``python -m training.cli`` as ``cxr-train``."""

import sys

from training.cli import main

sys.exit(main())
