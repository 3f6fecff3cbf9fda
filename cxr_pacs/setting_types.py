"""What the tables of the settings are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = ["FOLDER_SOURCE", "AETitle", "Name", "Port", "Seconds", "Source", "Table"]

FOLDER_SOURCE = "folder:"
"""How the source of what came from a watched folder begins; the folder's name follows."""


def _ae_title(value: str) -> str:
    """PS3.5 6.2, VR AE: 1 to 16 characters of the default repertoire, no backslash, no control character."""
    if (
        not value.strip()
        or len(value) > 16
        or not value.isascii()
        or not value.isprintable()
        or "\\" in value
    ):
        raise ValueError("an AE title has 1 to 16 printable ASCII characters, no backslash, and is not blank")
    return value.strip()


def _source(value: str) -> str:
    """Let pass the source of a watched folder's files, and else an AE title."""
    return value if value.startswith(FOLDER_SOURCE) else _ae_title(value)


AETitle = Annotated[str, AfterValidator(_ae_title)]
Source = Annotated[str, AfterValidator(_source)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Table(BaseModel):
    """One table of the settings file: every key known, every value of its own type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
