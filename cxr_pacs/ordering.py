"""Settings of what is ordered and performed: the Modality Worklist and what goes with it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cxr_pacs.setting_types import AETitle, Port, Seconds, Table

__all__ = ["MppsSettings", "OrderCheckSettings", "WorklistSettings"]


class OrderCheckSettings(Table):
    """``[order_check]``: the worklist with which arriving images are compared."""

    worklist: Literal["none", "own", "remote"] = "none"
    ae_title: AETitle = "WORKLIST"
    host: str = "127.0.0.1"
    port: Port = 104
    patience: Seconds = 60.0


class WorklistSettings(Table):
    """``[worklist]``: the worklist that modalities ask for."""

    serve: bool = False
    most_answers: Annotated[int, Field(ge=0)] = 10000
    fuzzy_names: bool = False


class MppsSettings(Table):
    """``[mpps]``: modality performed procedure steps that modalities tell."""

    serve: bool = False
