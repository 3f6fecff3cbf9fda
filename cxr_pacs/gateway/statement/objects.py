"""What the statement says of the objects that are made: information objects, codes, character sets."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

from pydicom import Dataset, FileDataset
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_description
from pydicom.sr.coding import Code
from pydicom.tag import Tag
from pydicom.uid import UID

from cxr_pacs.evidence import codes
from cxr_pacs.gateway.statement.markdown import named, table
from cxr_pacs.inference import Bundle

__all__ = ["character_sets", "coded_terminology", "created_objects", "private_attributes"]


def created_objects(objects: Sequence[FileDataset]) -> str:
    """Write one section for each kind of object: how it is filed, its modules and their attributes."""
    return named(
        "Created SOP instances",
        3,
        "Each is made in the study of its source image, with Patient and General Study as in the source. "
        "UIDs are made from source, model, settings and software version (PS3.5 B.2): the same input makes "
        "the same object.",
        table(
            ("IOD", "SOP class UID", "Modality", "Series Number", "Series Description", "Transfer syntax"),
            dict.fromkeys(
                (
                    made.SOPClassUID.name,
                    made.SOPClassUID,
                    made.Modality,
                    made.SeriesNumber,
                    made.SeriesDescription,
                    UID(made.file_meta.TransferSyntaxUID).name,
                )
                for made in objects
            ),
        ),
        # two pictures of one series are one kind
        *dict.fromkeys(named(made.SOPClassUID.name, 4, _template(made), _modules(made)) for made in objects),
    )


def private_attributes(objects: Sequence[FileDataset]) -> str:
    """List the private attributes of all objects; there should be none."""
    rows = sorted({(str(e.tag), e.VR) for made in objects for e in _elements(made) if e.tag.is_private})
    return named("Data dictionary of private attributes", 3, table(("Tag", "VR"), rows))


def coded_terminology(objects: Sequence[FileDataset], bundle: Bundle) -> str:
    """List the codes of the model's classes, and all others that the objects or the code hold."""
    heads = bundle.manifest.heads
    asked = {
        label.name: [head.name for head in heads if label.name in {known.name for known in head.labels}]
        for head in heads
        for label in head.labels
    }
    classes = [
        (", ".join(asked[one.label]), one.label, one.value, one.scheme, one.meaning)
        for one in bundle.identity.classes
    ]
    own = {(one.value, one.scheme) for one in bundle.identity.classes}
    constants = [value for value in vars(codes).values() if isinstance(value, Code)]
    found = {(code.scheme_designator, code.value): code.meaning for code in constants}
    found |= {key: meaning for made in objects for key, meaning in _codes(made)}
    others = [
        (value, scheme, meaning)
        for (scheme, value), meaning in sorted(found.items())
        if (value, scheme) not in own
    ]
    return named(
        "Coded terminology and templates",
        3,
        "Procedure codes are taken over from the source image. Beside them these are used.",
        f"Classes of the model {bundle.identity.name} {bundle.identity.version}:",
        table(("Head", "Class", "Code value", "Coding scheme", "Code meaning"), classes),
        "All others:",
        table(("Code value", "Coding scheme", "Code meaning"), others),
    )


def character_sets() -> str:
    """Say which character sets are read and written."""
    return named(
        "Support of character sets",
        2,
        "Objects declare no Specific Character Set where all their text is ASCII; else that of the source "
        "image, where it can say all of the text; else ISO_IR 192. Read are:",
        ", ".join(sorted(term for term in python_encoding if term)) + ".",
        "What a declared set cannot explain is replaced by question marks in text that is taken over.",
    )


def _template(made: Dataset) -> str:
    templates = [
        f"TID {item.TemplateIdentifier} ({item.MappingResource})"
        for item in made.get("ContentTemplateSequence") or ()
    ]
    return f"Root template: {', '.join(templates)}." if templates else "No template."


def _modules(made: Dataset) -> str:
    """Write the modules from the standard's own tables: the mandatory ones, and others that are complete."""
    present, rows, explained = set(made.dir()), [], set[str]()
    for module in _standard("iod_module_map")[_standard("sop_class_iod_map")[made.SOPClassUID]]:
        attributes = {
            attribute["keyword"]: attribute["type"]
            for attribute in _standard("module_attribute_map").get(module["key"], ())
            if not attribute["path"]
        }
        mandatory = {keyword for keyword, kind in attributes.items() if kind in {"1", "2"}}
        used = [keyword for keyword in attributes if keyword in present]
        if used and (module["usage"] == "M" or mandatory <= present):
            explained.update(used)
            rows.append(
                (module["ie"], _title(module["key"]), module["usage"], ", ".join(map(_attribute, used)))
            )
    extra = sorted(present - explained - {"SOPClassUID"})
    extension = ", ".join(map(_attribute, extra)) or "none"
    return (
        table(("Entity", "Module", "Usage", "Attributes present"), rows)
        + f"\n\nAttributes of no module above (standard extended): {extension}."
    )


def _title(key: str) -> str:
    """``SR Document General`` for ``sr-document-general``."""
    return " ".join(
        word.upper() if word in {"lut", "sc", "sop", "sr", "voi"} else word.capitalize()
        for word in key.split("-")
    )


def _attribute(keyword: str) -> str:
    return dictionary_description(Tag(keyword))


@functools.cache
def _standard(name: str) -> dict[str, Any]:
    """Load one of the tables of PS3.3 and PS3.4 that highdicom carries."""
    text = resources.files("highdicom").joinpath("_standard", f"{name}.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _elements(dataset: Dataset) -> Iterator[Any]:
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)


def _codes(dataset: Dataset) -> Iterator[tuple[tuple[str, str], str]]:
    for element in _elements(dataset):
        for item in element.value if element.VR == "SQ" else ():
            if "CodeValue" in item:
                yield (str(item.CodingSchemeDesignator), str(item.CodeValue)), str(item.CodeMeaning)
