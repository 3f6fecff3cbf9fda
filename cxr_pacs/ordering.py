"""Settings of what is ordered and performed: the Modality Worklist and what goes with it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cxr_pacs.setting_types import Table

__all__ = ["MppsSettings", "WorklistSettings"]


class WorklistSettings(Table):
    """``[worklist]``: the worklist that modalities ask for."""

    serve: bool = False
    most_answers: Annotated[int, Field(ge=0)] = 10000
    fuzzy_names: bool = False


class MppsSettings(Table):
    """``[mpps]``: modality performed procedure steps that modalities tell."""

    serve: bool = False
