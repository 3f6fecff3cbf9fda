"""Person names: HL7's XPN and XCN as DICOM's PN (PS3.5 6.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cxr_pacs.hl7v2.message import Location, Segment

__all__ = ["of_id_and_name", "of_person_name"]

# Name Representation Code (HL7 table 0465), component 8 of XPN, and the component group of PN.
_GROUPS: Final = {"": 0, "A": 0, "I": 1, "P": 2}
_REPRESENTATION: Final = 7
_DELETED: Final = '""'


def of_person_name(segment: Segment, location: Location) -> str:
    """Give a field of data type XPN (family^given^further^suffix^prefix); its repetitions are the groups."""
    groups = ["", "", ""]
    for components in segment.repetitions(location.field):
        code = _first(components, _REPRESENTATION)
        group = _GROUPS.get(code)
        if group is not None and not groups[group]:
            groups[group] = _name([_first(components, number) for number in range(5)])
    return "=".join(groups).rstrip("=")


def of_id_and_name(segment: Segment, location: Location) -> str:
    """Give a field of data type XCN, or a component of CNN: an identifier, then a name as above."""
    repetitions = segment.repetitions(location.field)
    components = repetitions[0] if repetitions else ()
    if location.component:
        parts = components[location.component - 1] if location.component <= len(components) else ()
    else:
        parts = tuple(_first(components, number) for number in range(6))
    return _name([*parts, *("",) * 6][1:6])


def _first(components: Sequence[Sequence[str]], number: int) -> str:
    return components[number][0].strip() if number < len(components) and components[number] else ""


def _name(parts: Sequence[str]) -> str:
    """PN has the prefix before the suffix; its own delimiters cannot be in a part."""
    family, given, further, suffix, prefix = (
        "" if part == _DELETED else part.replace("^", " ").replace("=", " ") for part in parts
    )
    return f"{family}^{given}^{further}^{prefix}^{suffix}".rstrip("^")
