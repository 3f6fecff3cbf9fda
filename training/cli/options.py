"""Options that several commands share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

__all__ = ["corpus_options"]


def corpus_options(*, required: bool = True) -> argparse.ArgumentParser:
    """Parent parser with ``--manifest``: a manifest, or the folder that holds one."""
    parser = argparse.ArgumentParser(add_help=False)
    root = os.environ.get("CXR_DATA")
    parser.add_argument(
        "--manifest",
        type=Path,
        required=required and root is None,
        default=Path(root, "cxr") if root else None,
        help="manifest.csv, or the folder that holds it (default: the folder cxr in CXR_DATA)",
    )
    return parser
