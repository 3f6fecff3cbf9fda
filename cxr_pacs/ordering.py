"""Settings of what is ordered and performed: the Modality Worklist and what goes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydicom.datadict import keyword_dict

from cxr_pacs.hl7v2.character_sets import CODECS
from cxr_pacs.hl7v2.message import Location
from cxr_pacs.hl7v2.orders import DEFAULT_FIELDS
from cxr_pacs.setting_types import AETitle, Name, Port, Seconds, Table
from cxr_pacs.worklist.items import StepState

__all__ = ["Hl7Settings", "MppsDestination", "MppsSettings", "OrderCheckSettings", "WorklistSettings"]


class OrderCheckSettings(Table):
    """``[order_check]``: the worklist with which arriving images are compared."""

    worklist: Literal["none", "own", "remote"] = "none"
    ae_title: AETitle = "WORKLIST"
    host: str = "127.0.0.1"
    port: Port = 104
    patience: Seconds = 60.0


def _none_of_empty(value: object) -> object:
    return None if value == "" else value


class WorklistSettings(Table):
    """``[worklist]``: the worklist that modalities ask for."""

    serve: bool = False
    most_answers: Annotated[int, Field(ge=0)] = 10000
    fuzzy_names: bool = False
    folder: Annotated[Path | None, Field(strict=False), BeforeValidator(_none_of_empty)] = None
    rescan: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0


class MppsSettings(Table):
    """``[mpps]``: modality performed procedure steps that modalities tell."""

    serve: bool = False


def _character_set(name: str) -> str:
    if name not in CODECS:
        raise ValueError(f"not a character set of HL7 table 0211 that MLLP can carry: {', '.join(CODECS)}")
    return name


def _attribute(path: str) -> str:
    if unknown := [keyword for keyword in path.split(".") if keyword not in keyword_dict]:
        raise ValueError(f"DICOM has no attribute {unknown[0]}")
    return path


def _location(text: str) -> str:
    Location.parse(text)
    return text


_Codes = Annotated[tuple[Annotated[str, Field(pattern=r"^[A-Z]{2}$")], ...], Field(strict=False)]
_Attribute = Annotated[str, AfterValidator(_attribute)]
_Locations = Annotated[tuple[Annotated[str, AfterValidator(_location)], ...], Field(strict=False)]


class Hl7Settings(Table):
    """``[hl7]``: orders by HL7 v2 over MLLP."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    max_connections: Annotated[int, Field(ge=1, le=1000)] = 20
    character_set: Annotated[str, AfterValidator(_character_set)] = "UNICODE UTF-8"
    new: _Codes = ("NW",)
    changed: _Codes = ("XO",)
    cancelled: _Codes = ("CA",)
    discontinued: _Codes = ("DC",)
    status: _Codes = ("SC",)
    status_states: dict[str, Annotated[StepState, Field(strict=False)]] = Field(
        default_factory=lambda: {
            "IP": StepState.STARTED,
            "CM": StepState.COMPLETED,
            "DC": StepState.DISCONTINUED,
            "CA": StepState.CANCELLED,
        }
    )
    station_of: dict[str, AETitle] = Field(default_factory=dict)
    fields: dict[_Attribute, _Locations] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _a_code_means_one_thing(self) -> Self:
        codes = [*self.new, *self.changed, *self.cancelled, *self.discontinued, *self.status]
        if repeated := sorted({code for code in codes if codes.count(code) > 1}):
            raise ValueError(f"an order control code means one thing only: {', '.join(repeated)}")
        return self

    @property
    def all_fields(self) -> Mapping[str, Sequence[str]]:
        """Where each attribute comes from."""
        return {**DEFAULT_FIELDS, **self.fields}


class MppsDestination(Table):
    """``[[mpps_destination]]``: whom the performed procedure steps of modalities are sent on to."""

    name: Name
    ae_title: AETitle
    host: str
    port: Port
