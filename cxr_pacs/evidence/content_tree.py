"""The content tree of a document (PS3.3 C.17.3), of any maker and however damaged, as plain items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from pydicom import Dataset
from pydicom.uid import UID

from cxr_pacs.evidence.plain import items_of, plain

__all__ = ["Concept", "Item", "read_tree", "walk", "without_repetition"]

# Deeper trees are hostile or broken; TID 1500 needs nine levels.
DEEPEST: Final = 64

_TEXTS: Final = {"TEXT": "TextValue", "UIDREF": "UID", "DATE": "Date", "TIME": "Time", "DATETIME": "DateTime"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept:
    """A coded concept; any part may be empty in what others wrote."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A content item (PS3.3 C.17.3).

    Attributes
    ----------
    kind : str
        Value Type: ``CONTAINER``, ``CODE``, ``NUM``, ``TEXT``, …
    name : Concept or None
        Concept name.
    text : str
        Value of whatever is neither container nor code; of a number its digits.
    code : Concept or None
        Value of a code, or unit of a number.
    reference : str
        SOP Instance UID that the item refers to, or empty.
    children : tuple of Item
    """

    kind: str
    name: Concept | None
    text: str
    code: Concept | None
    reference: str
    children: tuple[Item, ...]

    @property
    def label(self) -> str:
        """The concept name's meaning, or its value type where it has none."""
        return self.name.meaning or self.name.value if self.name else self.kind.capitalize()

    @property
    def value(self) -> str:
        """Say the value in full: ``93 Percent``, ``COVID-19``; empty for a container."""
        said = (self.code.meaning or self.code.value) if self.code else ""
        return " ".join(part for part in (self.text, said) if part)

    @property
    def brief(self) -> str:
        """Like `value`, with a unit's symbol where that is plain: ``93 %``."""
        if self.kind == "NUM" and self.code and self.code.value.isprintable() and "{" not in self.code.value:
            return f"{self.text} {self.code.value}".strip()
        return self.value

    def is_named(self, *codes: str) -> bool:
        """Whether the concept name's code value is one of `codes`."""
        return self.name is not None and self.name.value in codes


def read_tree(dataset: Dataset) -> Item:
    """Read the content item that `dataset` is, with all below it."""
    return _item(dataset, 0)


def walk(item: Item) -> Iterator[Item]:
    """`item` and all below it, in the order of the document."""
    yield item
    for child in item.children:
        yield from walk(child)


def without_repetition(item: Item) -> Item:
    """Say once what several containers of one name, side by side, hold alike.

    Of measurement groups that is the algorithm, the site, often the image. It stands in a container of its
    own before the first of them.
    """
    children = [without_repetition(child) for child in item.children]
    alike: dict[Concept | None, list[Item]] = {}
    for child in children:
        if child.kind == "CONTAINER":
            alike.setdefault(child.name, []).append(child)
    shared = {name: _common(members) for name, members in alike.items() if len(members) > 1}
    told: list[Item] = []
    for child in children:
        common = shared.get(child.name) if child.kind == "CONTAINER" else None
        if not common:
            told.append(child)
            continue
        members = alike[child.name]
        if child is members[0]:
            title = f"{child.label}, the same in all {len(members)}"
            told.append(replace(child, name=Concept(value="", scheme="", meaning=title), children=common))
        told.append(replace(child, children=tuple(c for c in child.children if c not in common)))
    return replace(item, children=tuple(told))


def _common(members: list[Item]) -> tuple[Item, ...]:
    return tuple(c for c in members[0].children if all(c in member.children for member in members[1:]))


def _item(dataset: Dataset, depth: int) -> Item:
    kind = plain(dataset, "ValueType")
    text, code, reference = _value(dataset, kind)
    if target := plain(dataset, "ReferencedContentItemIdentifier"):
        kind, text = "REFERENCE", f"item {target.replace(chr(92), '.')} of this document"
    if depth == DEEPEST and "ContentSequence" in dataset:
        text = f"{text} (more than {DEEPEST} levels deep: the rest is not shown)".strip()
    children = items_of(dataset, "ContentSequence") if depth < DEEPEST else []
    return Item(
        kind=kind or "ITEM",
        name=_concept(dataset, "ConceptNameCodeSequence"),
        text=text,
        code=code,
        reference=reference,
        children=tuple(_item(child, depth + 1) for child in children),
    )


def _concept(dataset: Dataset, keyword: str) -> Concept | None:
    for code in items_of(dataset, keyword):
        value = next((v for k in ("CodeValue", "LongCodeValue", "URNCodeValue") if (v := plain(code, k))), "")
        return Concept(
            value=value, scheme=plain(code, "CodingSchemeDesignator"), meaning=plain(code, "CodeMeaning")
        )
    return None


def _value(dataset: Dataset, kind: str) -> tuple[str, Concept | None, str]:
    """Text, code and reference of one content item (PS3.3 C.17.3, C.18)."""
    match kind:
        case "CODE":
            return "", _concept(dataset, "ConceptCodeSequence"), ""
        case "NUM":
            return _number(dataset)
        case "PNAME":
            return plain(dataset, "PersonName"), None, ""
        case "IMAGE" | "COMPOSITE" | "WAVEFORM":
            return _reference(dataset)
        case "SCOORD" | "SCOORD3D" | "TCOORD":
            return _coordinates(dataset), None, ""
    return plain(dataset, _TEXTS[kind]) if kind in _TEXTS else "", None, ""


def _number(dataset: Dataset) -> tuple[str, Concept | None, str]:
    for measured in items_of(dataset, "MeasuredValueSequence"):
        return (
            plain(measured, "NumericValue"),
            _concept(measured, "MeasurementUnitsCodeSequence"),
            "",
        )
    # a number may be empty and say why (PS3.3 C.18.1)
    return "no value", _concept(dataset, "NumericValueQualifierCodeSequence"), ""


def _reference(dataset: Dataset) -> tuple[str, Concept | None, str]:
    for referenced in items_of(dataset, "ReferencedSOPSequence"):
        uid = plain(referenced, "ReferencedSOPInstanceUID")
        frames = plain(referenced, "ReferencedFrameNumber")
        kind = UID(plain(referenced, "ReferencedSOPClassUID")).name
        return f"{kind} {uid}" + (f", frames {frames}" if frames else ""), None, uid
    return "", None, ""


def _coordinates(dataset: Dataset) -> str:
    kind = plain(dataset, "GraphicType") or plain(dataset, "TemporalRangeType")
    data = plain(dataset, "GraphicData").split("\\")
    shown = ", ".join(data[:8])
    return f"{kind} {shown}" + (f", … ({len(data)} numbers)" if len(data) > 8 else "")
