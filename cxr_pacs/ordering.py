"""Settings of what is ordered and performed: the Modality Worklist and what goes with it."""

from __future__ import annotations

from cxr_pacs.setting_types import Table

__all__ = ["WorklistSettings"]


class WorklistSettings(Table):
    """``[worklist]``: the worklist that modalities ask for."""

    serve: bool = False
