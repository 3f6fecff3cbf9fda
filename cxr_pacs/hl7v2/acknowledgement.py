"""Answers to messages, in original mode (HL7 v2, chapter 2; IHE RAD TF-2, 2.4.3)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from cxr_pacs.errors import RefusedMessage
from cxr_pacs.hl7v2.message import Header

__all__ = ["acknowledge"]

# Names of the codes in HL7 table 0357 that are used.
_ERRORS: Final = {
    100: "Segment sequence error",
    101: "Required field missing",
    102: "Data type error",
    103: "Table value not found",
    200: "Unsupported message type",
    201: "Unsupported event code",
    203: "Unsupported version id",
    204: "Unknown key identifier",
    205: "Duplicate key identifier",
    206: "Application record locked",
    207: "Application internal error",
}
_VERSION: Final = re.compile(r"2\.(\d)")
# The minor version from which ERR names place and code in fields of their own.
_ERR_OF_FIELDS: Final = 5


def acknowledge(header: Header, now: datetime, control_id: str, refused: RefusedMessage | None) -> bytes:
    """
    Write the answer to a message.

    Parameters
    ----------
    header : Header
        Of the message.
    now : datetime
    control_id : str
        Of the answer, unique.
    refused : RefusedMessage or None
        Why it was not taken; None gives AA.
    """
    separator, component = header.delimiters[0], header.delimiters[1]
    event = f"{component}{header.component(9, 2)}" if header.component(9, 2) else ""
    msh = [
        "MSH",
        header.delimiters[1:],
        *(header[5], header[6], header[3], header[4]),
        now.strftime("%Y%m%d%H%M%S"),
        "",
        f"ACK{event}",
        control_id,
        header[11] or "P",
        header[12] or "2.5.1",
        *("",) * 5,
        header[18],
    ]
    msa = ["MSA", "AA" if refused is None else refused.answer, header[10]]
    segments = [msh, msa]
    if refused is not None:
        reason = _plain(str(refused), header.delimiters)
        msa.append(reason)
        segments.append(_err(header, refused, reason))
    # What came as any bytes goes back as the same.
    return "".join(separator.join(one).rstrip(separator) + "\r" for one in segments).encode(
        "latin-1", "replace"
    )


def _err(header: Header, refused: RefusedMessage, reason: str) -> list[str]:
    component, subcomponent = header.delimiters[1], header.delimiters[4]
    code = [str(refused.code), _ERRORS[refused.code], "HL70357"]
    place = refused.place.split("^") if refused.place else []
    version = _VERSION.match(header[12])
    if version and int(version[1]) < _ERR_OF_FIELDS:
        padded = [*place, "", "", ""][:3]
        return ["ERR", component.join([*padded, subcomponent.join(code)])]
    return ["ERR", "", component.join(place), component.join(code), "E", "", "", "", reason]


def _plain(reason: str, delimiters: str) -> str:
    return "".join(" " if character in delimiters else character for character in reason)
