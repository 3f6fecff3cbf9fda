"""A finished object read back for people: what its header says, and of a report the findings and the tree.

Reports of any maker are read. Measurement groups (PS3.16 TID 1410, 1411, 1501) become findings; what is in no
group, and every document without groups, is still there in the content tree. What is damaged reads as absent,
and nothing here raises, warns or logs because of a value.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Final

from pydicom import Dataset
from pydicom.uid import UID

from cxr_pacs.evidence.content_tree import Item, read_tree, walk
from cxr_pacs.evidence.header_facts import Facts, header_facts
from cxr_pacs.evidence.identity import is_own_output
from cxr_pacs.evidence.plain import plain
from cxr_pacs.evidence.provenance import DISCLAIMER

__all__ = ["Document", "Finding", "read_document"]

_GROUP: Final = "125007"
_FINDING: Final = "121071"
_TRACKING: Final = "112039"
_PARAMETER: Final = "111002"
_QUALITATIVE: Final = "C0034375"
_QUALITY: Final = "111050"
_CONCLUSION: Final = "121077"
# Finding Site, and as it was coded before 2017
_SITE: Final = frozenset({"363698007", "G-C0E3"})
# Source of Measurement, and what older TID 1501 had in its place
_SOURCE: Final = frozenset({"121112", "260753009", "121233"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A measurement group.

    Attributes
    ----------
    name : str
        The finding, e.g. ``COVID-19``, with its site; the tracking identifier where no finding is named.
    tracking : str
        Tracking Identifier.
    measurements, evaluations : tuple of Item
        Numbers; coded answers such as *Classification: Not Evaluated*.
    remarks : tuple of str
        What is this group's own of the algorithm's parameters, as its threshold; and comments, as the reason
        why a class is withheld.
    image : str
        SOP Instance UID of the source image, or empty.
    """

    name: str
    tracking: str
    measurements: tuple[Item, ...]
    evaluations: tuple[Item, ...]
    remarks: tuple[str, ...]
    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """An object as a person reads it.

    Attributes
    ----------
    title, status : str
        What it is, and how far it may be relied on.
    facts : tuple of Facts
        The header, by headings.
    findings : tuple of Finding
        In the order of the document.
    remarks : tuple of Item
        Conclusions, quality of the images, and what a reader must know beside the numbers.
    tree : Item or None
        The whole content tree; None for a picture.
    """

    title: str
    status: str
    facts: tuple[Facts, ...]
    findings: tuple[Finding, ...] = ()
    remarks: tuple[Item, ...] = ()
    tree: Item | None = None

    def by_image(self) -> dict[str, list[Finding]]:
        """Group the findings by source image, images in the order in which they come first."""
        images: dict[str, list[Finding]] = {}
        for finding in self.findings:
            images.setdefault(finding.image, []).append(finding)
        return images


def read_document(dataset: Dataset) -> Document:
    """Read a report, another document with a content tree, or a picture.

    Parameters
    ----------
    dataset : Dataset
        Of any SOP class; pixels are not touched. It is not changed.

    References
    ----------
    PS3.3 C.17.2, C.17.3; PS3.16 TID 1500, TID 1501.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's quote values
        tree = read_tree(dataset) if "ContentSequence" in dataset else None
        title = tree.label if tree is not None and tree.name is not None else _title(dataset)
        return Document(
            title=title,
            status=_status(dataset),
            facts=header_facts(dataset),
            findings=() if tree is None else _findings(tree),
            remarks=() if tree is None else _remarks(tree),
            tree=tree,
        )


def _title(dataset: Dataset) -> str:
    kind = UID(plain(dataset, "SOPClassUID")).name
    return plain(dataset, "SeriesDescription") or kind or "Object without a SOP class"


def _status(dataset: Dataset) -> str:
    """Completion, preliminary and verification flags; the disclaimer on what we made."""
    flags = ("CompletionFlag", "PreliminaryFlag", "VerificationFlag")
    said = [flag for keyword in flags if (flag := plain(dataset, keyword))]
    if is_own_output(dataset):
        said.append(DISCLAIMER)
    return ", ".join(said)


def _findings(tree: Item) -> tuple[Finding, ...]:
    groups = [item for item in walk(tree) if item.kind == "CONTAINER" and item.is_named(_GROUP)]
    parameters = [{c.text for c in group.children if c.is_named(_PARAMETER)} for group in groups]
    shared = set.intersection(*parameters) if len(groups) > 1 else set()
    return tuple(_finding(group, shared) for group in groups)


def _finding(group: Item, shared: set[str]) -> Finding:
    """Read one group; `shared` are the algorithm's parameters that all groups have."""
    children = group.children
    named = [c.value for c in children if c.kind == "CODE" and c.is_named(_FINDING)]
    tracking = next((c.text for c in children if c.is_named(_TRACKING)), "")
    name = ", ".join(named) or tracking or group.label
    sites = [_with_modifiers(c) for c in children if c.kind == "CODE" and c.is_named(*_SITE)]
    answers = [
        c for c in children if c.kind == "CODE" and not c.is_named(_FINDING, *_SITE) and not _of_algorithm(c)
    ]
    # A threshold, which is in per cent, belongs beside the number even when all groups have the same.
    own = [c.text for c in children if c.is_named(_PARAMETER) and (c.text not in shared or "%" in c.text)]
    texts = [
        c.text for c in children if c.kind == "TEXT" and not c.is_named(_TRACKING) and not _of_algorithm(c)
    ]
    return Finding(
        name=f"{name} ({', '.join(sites)})" if sites else name,
        tracking=tracking,
        measurements=tuple(c for c in children if c.kind == "NUM"),
        evaluations=tuple(answers),
        remarks=(*own, *texts),
        image=next((c.reference for c in children if c.kind == "IMAGE" and c.is_named(*_SOURCE)), ""),
    )


# Algorithm Identification (TID 4019)
_ALGORITHM: Final = frozenset({"111000", "111001", "111002", "111003", "122405"})


def _of_algorithm(item: Item) -> bool:
    return item.is_named(*_ALGORITHM)


def _with_modifiers(item: Item) -> str:
    """Value with its own coded children: ``Lung, Left``."""
    return ", ".join([item.value, *(c.value for c in item.children if c.kind == "CODE")])


def _remarks(tree: Item) -> tuple[Item, ...]:
    """Conclusions first, then quality remarks, then the other texts of Qualitative Evaluations."""
    told = [
        _with_texts(child)
        for item in walk(tree)
        if item.kind == "CONTAINER" and item.is_named(_QUALITATIVE)
        for child in item.children
        if child.kind in {"TEXT", "CODE"}
    ]
    return tuple(sorted(told, key=lambda item: (not item.is_named(_CONCLUSION), not item.is_named(_QUALITY))))


def _with_texts(item: Item) -> Item:
    """`item` with the texts below it in its own: ``COVID-19. The certainty reaches …``."""
    texts = [child.text for child in item.children if child.kind == "TEXT"]
    return replace(item, text=". ".join([item.value, *texts]), code=None) if texts else item
