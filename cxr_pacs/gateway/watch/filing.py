"""Files put away once their outcome is known, where the settings say so: the only change made to a source.

::

    FOLDER/done/…      what was taken in, below the folders that it lay in
    FOLDER/failed/…    what was not, each with a file NAME.reason beside it
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from cxr_pacs.gateway.watch.file_intake import Outcome, StillChanging
from cxr_pacs.gateway.watch.tree import FileState
from cxr_pacs.watching import DONE, FAILED

__all__ = ["REASON", "put_away"]

REASON: Final = ".reason"


def put_away(root: str, path: str, state: FileState, outcome: Outcome) -> None:
    """Move a file within its watched folder; one of the same name that is there already stays.

    Raises
    ------
    StillChanging
        It is in another state than that of which the outcome is known: it stays.
    OSError
        It cannot be moved.
    """
    taken = outcome.state == "taken"
    wanted = Path(root, DONE if taken else FAILED, os.path.relpath(path, root))
    wanted.parent.mkdir(parents=True, exist_ok=True)
    target, number = wanted, 0
    while os.path.lexists(target):
        number += 1
        target = wanted.with_name(f"{wanted.name}.{number}")
    if taken:
        _move(path, target, state)
        return
    reason = target.with_name(target.name + REASON)
    try:
        reason.write_text(f"{outcome.reason}\n", encoding="utf-8")
        _move(path, target, state)
    except (OSError, StillChanging):
        reason.unlink(missing_ok=True)
        raise


def _move(path: str, target: Path, state: FileState) -> None:
    if FileState.of(os.stat(path)) != state:  # noqa: PTH116
        raise StillChanging
    Path(path).rename(target)
