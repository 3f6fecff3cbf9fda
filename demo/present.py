"""What the demo shows of a Structured Report and of a heatmap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image
from pydicom.uid import SecondaryCaptureImageStorage
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydicom import Dataset

__all__ = [
    "Finding",
    "findings",
    "findings_table",
    "heatmaps_listed",
    "report_lines",
    "save_png",
    "summary",
]

_MEASUREMENT_GROUP = "125007"
_TRACKING_IDENTIFIER = "112039"
_FINDING = "121071"
_CERTAINTY = "111012"
_COMMENT = "121106"
# The same in every group, and in full in the object itself.
_LEFT_OUT = ("Algorithm", "Tracking Unique Identifier")
_PLAIN_VALUES = {
    "TEXT": "TextValue",
    "UIDREF": "UID",
    "PNAME": "PersonName",
    "DATETIME": "DateTime",
    "DATE": "Date",
    "TIME": "Time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one measurement group of the report says of its class.

    Attributes
    ----------
    head : str
        Which question of the model: the tracking identifier of the group, up to its slash.
    finding : str
        Meaning of the group's finding code.
    certainty : str
        With its unit; ``withheld`` where there is none.
    evaluations : str
        The group's qualitative evaluations and comments, joined.
    """

    head: str
    finding: str
    certainty: str
    evaluations: str


def findings(report: Dataset) -> tuple[Finding, ...]:
    """Take out what the measurement groups (TID 1501) of `report` say, in its order."""
    return tuple(_finding(group) for group in _groups(report))


def heatmaps_listed(report: Dataset) -> int:
    """Count the heatmaps that `report` lists as its evidence; none where every class is withheld."""
    return sum(
        sop.ReferencedSOPClassUID == SecondaryCaptureImageStorage
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    )


def findings_table(report: Dataset) -> Table:
    """Lay the findings out as a table for a terminal."""
    table = Table("head", "finding", "certainty", "evaluation")
    for found in findings(report):
        table.add_row(found.head, found.finding, found.certainty, found.evaluations)
    return table


def summary(report: Dataset) -> str:
    """Put the findings of each head on one line."""
    heads: dict[str, list[str]] = {}
    for found in findings(report):
        heads.setdefault(found.head, []).append(f"{found.finding} {found.certainty}")
    return "\n".join(f"  {head}: {', '.join(values)}" for head, values in heads.items())


def report_lines(item: Dataset, depth: int = 0) -> Iterator[str]:
    """Yield the content tree as text, one line for each item, indented by depth.

    What identifies the algorithm is left out.
    """
    name = _meaning(item, "ConceptNameCodeSequence")
    if name.startswith(_LEFT_OUT):
        return
    value = _value(item)
    yield "  " * depth + (f"{name}: {value}" if value else name)
    for child in item.get("ContentSequence", []):
        yield from report_lines(child, depth + 1)


def save_png(heatmap: Dataset, path: Path) -> None:
    """Write the picture of a Secondary Capture as PNG."""
    Image.fromarray(heatmap.pixel_array).save(path)


def _groups(item: Dataset) -> Iterator[Dataset]:
    if _code(item) == _MEASUREMENT_GROUP:
        yield item
        return
    for child in item.get("ContentSequence", []):
        yield from _groups(child)


def _finding(group: Dataset) -> Finding:
    children = group.ContentSequence
    said = {_code(child): _value(child) for child in children}
    evaluations = "; ".join(
        _value(child)
        for child in children
        if child.RelationshipType == "CONTAINS"
        and (child.ValueType == "CODE" or _code(child) == _COMMENT)
        and _code(child) != _FINDING
    )
    return Finding(
        head=said.get(_TRACKING_IDENTIFIER, "").partition("/")[0],
        finding=said.get(_FINDING, ""),
        certainty=said.get(_CERTAINTY, "withheld"),
        evaluations=evaluations,
    )


def _code(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].get("CodeValue", "")) if names else ""


def _meaning(item: Dataset, keyword: str) -> str:
    codes = item.get(keyword)
    return str(codes[0].CodeMeaning) if codes else item.ValueType


def _value(item: Dataset) -> str:
    """Put the value of one content item into words (PS3.3 Table C.17.3-6)."""
    match item.ValueType:
        case "CODE":
            return _meaning(item, "ConceptCodeSequence")
        case "NUM":
            measured = item.MeasuredValueSequence[0]
            return f"{measured.NumericValue} {measured.MeasurementUnitsCodeSequence[0].CodeValue}"
        case "IMAGE" | "COMPOSITE":
            return str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        case other:
            return str(item.get(_PLAIN_VALUES.get(other, ""), ""))
