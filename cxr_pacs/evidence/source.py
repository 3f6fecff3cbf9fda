"""What an evidence object takes over from its source image: patient, study, requests, procedures.

Headers in the field have missing, odd and undecodable values. What the standard does not allow is left out
of the copy (or left empty where the attribute must be there); the source itself is never changed. Identifiers
are copied as they are, even when too long: a shortened identifier is another patient's.
"""

from __future__ import annotations

import datetime as dt
import re
import struct
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydicom import Dataset
from pydicom.charset import custom_encoders, decode_bytes, python_encoding
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue
from pydicom.sr.coding import Code
from pydicom.uid import UID

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import codes
from cxr_pacs.inference.findings import Findings

__all__ = [
    "ReadInstance",
    "character_set",
    "image_reference",
    "number",
    "patient_and_study",
    "referenced_requests",
    "references",
    "reported_procedures",
    "required_uid",
    "single",
    "timezone",
    "values",
]

# PS3.3 C.7.1.1, C.7.2.1, C.7.2.2: Type 2 attributes are there even when empty, the others only with a value
_TYPE_2: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
_TYPE_3: Final = ("IssuerOfPatientID", "StudyDescription", "PatientAge")
# PS3.3 C.17.2, Referenced Request Sequence
_REQUEST: Final = (
    "AccessionNumber",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
)
_CUT: Final = {"StudyDescription": 64, "RequestedProcedureDescription": 64}

_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)+")
_AGE: Final = re.compile(r"[0-9]{3}[DWMY]")
_TIME: Final = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?")
_OFFSET: Final = re.compile(r"([+-])(0[0-9]|1[0-4])([0-5][0-9])")
# what ends a code extension (PS3.5 6.1.2.5.3): control characters, and ^ and = of a PN
_DELIMITERS: Final = {0x09, 0x0A, 0x0C, 0x0D, 0x3D, 0x5E}
_EXTENSIBLE: Final = frozenset(term for term in python_encoding if term.startswith("ISO 2022 IR "))
# what pydicom raises when it converts a damaged element
_DAMAGED: Final = (
    AttributeError,
    BytesLengthException,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadInstance:
    """One accepted source image and what was found in it.

    Attributes
    ----------
    header : Dataset
        Its header; pixel data is not needed.
    findings : Findings
        All scores of the model.
    quality : tuple of str
        Remarks on the image, one short sentence each, free of patient identity.

    Raises
    ------
    EvidenceError
        A score is not a share between 0 and 1.
    """

    header: Dataset
    findings: Findings
    quality: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for score in self.findings.scores:
            if not 0 <= score.score <= 1:
                raise EvidenceError(
                    f"the score {score.head}/{score.label} is {score.score}, not between 0 and 1: "
                    "the model's output cannot be reported"
                )


def required_uid(header: Dataset, keyword: str) -> UID:
    """UID in `keyword`; EvidenceError when it is missing or not a UID (PS3.5 9.1)."""
    text = single(header, keyword)
    if len(text) > 64 or not _UID.fullmatch(text):
        raise EvidenceError(
            f"an instance has no usable {keyword}: nothing can be filed with it or refer to it"
        )
    # leading zeroes break PS3.5 9.1 but are what the archive knows the instance by
    return UID(text, IGNORE)


def single(item: Dataset, keyword: str, terms: Sequence[str] | None = None) -> str:
    """First value of `keyword`, see `values`; empty when there is none."""
    return next(iter(values(item, keyword, terms)), "")


def values(item: Dataset, keyword: str, terms: Sequence[str] | None = None) -> list[str]:
    """Values of the text attribute `keyword` as clean text, without those that its VR does not allow.

    Elements that pydicom has not converted yet are decoded here, strictly and without its warnings, which can
    quote values. `terms` is the Specific Character Set in force, by default that of `item`.
    """
    element: Any = item.get_item(keyword)
    if element is None or element.value is None:
        return []
    value = element.value
    if isinstance(element, RawDataElement) and isinstance(value, bytes):
        value = _decoded(value, _terms(item) if terms is None else terms).split("\\")
    elif not isinstance(value, (MultiValue, list, tuple)):
        value = [value]
    vr = dictionary_VR(keyword)
    texts = (_allowed(vr, keyword, _clean(str(v))) for v in value if not isinstance(v, (bytes, Dataset)))
    return [text for text in texts if text]


def number(item: Dataset, keyword: str) -> int | None:
    """Value of the binary number `keyword`; None when it is missing or damaged."""
    try:
        value = item.get(keyword)
    except _DAMAGED:
        return None
    return value if isinstance(value, int) else None


def patient_and_study(header: Dataset) -> Dataset:
    """Copy the Patient and General Study modules for an object in the study of `header`.

    Raises
    ------
    EvidenceError
        There is no usable StudyInstanceUID.
    """
    optional = {keyword: text for keyword in _TYPE_3 if (text := single(header, keyword))}
    return _item(
        StudyInstanceUID=required_uid(header, "StudyInstanceUID"),
        **{keyword: single(header, keyword) for keyword in _TYPE_2},
        **optional,
    )


def character_set(header: Dataset, texts: Iterable[str]) -> list[str]:
    """Specific Character Set that can say all `texts`: empty for ASCII, the source's own, else UTF-8.

    The source's set is preferred because the archive is known to read it.
    """
    foreign = [text for text in texts if not text.isascii()]
    if not foreign:
        return []
    declared = _terms(header)
    if declared and all(_sayable(text, declared) for text in foreign):
        return declared
    return ["ISO_IR 192"]


def timezone(header: Dataset) -> dt.timezone | None:
    """Timezone Offset From UTC of the source, which then governs all dates and times of the object."""
    match = _OFFSET.fullmatch(single(header, "TimezoneOffsetFromUTC"))
    if match is None:
        return None
    offset = dt.timedelta(hours=int(match[2]), minutes=int(match[3]))
    return dt.timezone(-offset if match[1] == "-" else offset)


def referenced_requests(header: Dataset) -> list[Dataset]:
    """Items for Referenced Request Sequence (PS3.3 C.17.2), from the source's requests, where it has some."""
    terms = _terms(header)
    study, accession = required_uid(header, "StudyInstanceUID"), single(header, "AccessionNumber")
    requests = []
    for source in [
        *_items(header, "ReferencedRequestSequence"),
        *_items(header, "RequestAttributesSequence"),
    ]:
        procedures = _codes(source, "RequestedProcedureCodeSequence", terms)
        request = _item(
            StudyInstanceUID=study,
            ReferencedStudySequence=[],
            RequestedProcedureCodeSequence=[codes.item(code) for code in procedures],
            **{keyword: single(source, keyword, terms) for keyword in _REQUEST},
        )
        request.AccessionNumber = request.AccessionNumber or accession
        requests.append(request)
    return requests


def reported_procedures(header: Dataset) -> list[Code]:
    """Imaging procedure in the source's own codes, most specific first; empty when it names none."""
    terms = _terms(header)
    performed = list(_codes(header, "ProcedureCodeSequence", terms))
    requested = [
        code
        for request in _items(header, "RequestAttributesSequence")
        for code in _codes(request, "RequestedProcedureCodeSequence", terms)
    ]
    return list(dict.fromkeys(performed or requested))


def references(instances: Sequence[Dataset]) -> list[Dataset]:
    """Hierarchical SOP Instance Reference items (PS3.3 C.17.2.1) for `instances`, sorted by UID."""
    studies: dict[str, dict[str, dict[str, str]]] = {}
    for instance in instances:
        study, series, uid, sop_class = (
            required_uid(instance, keyword)
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
        )
        studies.setdefault(study, {}).setdefault(series, {})[uid] = sop_class
    return [
        _item(
            StudyInstanceUID=study,
            ReferencedSeriesSequence=[
                _item(
                    SeriesInstanceUID=series,
                    ReferencedSOPSequence=[
                        _item(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=uid)
                        for uid, sop_class in sorted(members.items())
                    ],
                )
                for series, members in sorted(all_series.items())
            ],
        )
        for study, all_series in sorted(studies.items())
    ]


def image_reference(header: Dataset) -> Dataset:
    """Image SOP Instance Reference item (PS3.3 10.3) for `header`; EvidenceError when a UID is unusable."""
    return _item(
        ReferencedSOPClassUID=required_uid(header, "SOPClassUID"),
        ReferencedSOPInstanceUID=required_uid(header, "SOPInstanceUID"),
    )


def _item(**elements: Any) -> Dataset:
    """Dataset of values that are what the standard allows, or identifiers that stay as they are."""
    item = Dataset()
    for keyword, value in elements.items():
        # pydicom's own validation would warn of an identifier that is too long, quoting it
        item.add(DataElement(keyword, dictionary_VR(keyword), value, validation_mode=IGNORE))
    return item


def _items(item: Dataset, keyword: str) -> list[Dataset]:
    try:
        value = item.get(keyword)
    except _DAMAGED:
        return []
    return [i for i in value if isinstance(i, Dataset)] if isinstance(value, (Sequence, MultiValue)) else []


def _codes(item: Dataset, keyword: str, terms: Sequence[str]) -> Iterator[Code]:
    for code in _items(item, keyword):
        value, scheme, meaning = (
            single(code, k, terms) for k in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
        )
        if 0 < len(value) <= 16 and 0 < len(scheme) <= 16 and meaning:
            yield Code(value, scheme, meaning[:64])


def _clean(text: str) -> str:
    """`text` without control characters, and a question mark where it was not decodable."""
    return "".join(c for c in text if unicodedata.category(c) != "Cc").replace("\ufffd", "?").strip()


def _allowed(vr: str, keyword: str, text: str) -> str:
    """`text` in the form its VR asks for (PS3.5 6.2), empty when it has none."""
    match vr:
        case "DA":
            return _date(text)
        case "TM":
            compact = text.replace(":", "")
            return compact if _TIME.fullmatch(compact) else ""
        case "AS":
            return text if _AGE.fullmatch(text) else ""
    if keyword == "PatientSex":
        return text if text in {"M", "F", "O"} else ""
    return text[: _CUT[keyword]] if keyword in _CUT else text


def _date(text: str) -> str:
    compact = text.replace(".", "") if re.fullmatch(r"[0-9]{4}\.[0-9]{2}\.[0-9]{2}", text) else text
    if not re.fullmatch(r"[0-9]{8}", compact):
        return ""
    try:
        dt.date(int(compact[:4]), int(compact[4:6]), int(compact[6:]))
    except ValueError:
        return ""
    return compact


def _terms(header: Dataset) -> list[str]:
    """Return the defined terms of Specific Character Set; empty when there is none or an unknown one."""
    try:
        declared: Any = header.get("SpecificCharacterSet") or []
    except _DAMAGED:
        return []
    terms = [declared] if isinstance(declared, str) else list(declared)
    terms = [str(term).strip() for term in terms]
    if not all(term in {"", *_EXTENSIBLE} for term in terms):
        terms = terms[:1]  # the others are no code extensions (PS3.3 C.12.1.1.2)
    return terms if any(terms) and all(term in python_encoding for term in terms) else []


def _decoded(value: bytes, terms: Sequence[str]) -> str:
    """`value` as text, with a question mark for every byte that the declared character set cannot explain."""
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    codecs = [python_encoding[term] for term in terms] or ["ascii"]
    if b"\x1b" in value and len(codecs) > 1:
        return decode_bytes(value, codecs, _DELIMITERS)
    return value.decode(codecs[0], errors="replace")


def _sayable(text: str, terms: Sequence[str]) -> bool:
    """Whether pydicom can write `text`: whole in a single set, in pieces where there are code extensions."""
    first, *extensions = (python_encoding[term] for term in terms)
    if not extensions:
        return _encodes(text, first)
    return all(any(_encodes(character, codec) for codec in (first, *extensions)) for character in text)


def _encodes(text: str, codec: str) -> bool:
    try:
        # for some sets pydicom is stricter than Python's codecs
        if codec in custom_encoders:
            custom_encoders[codec](text, errors="strict")
        else:
            text.encode(codec)
    except UnicodeEncodeError:
        return False
    return True
