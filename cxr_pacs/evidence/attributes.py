"""Reading single attributes of headers as they are in the field: missing, odd, damaged, not decodable.

What the standard does not allow reads as missing; nothing here raises for a value, warns of it or quotes it.
"""

from __future__ import annotations

import datetime as dt
import re
import struct
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, Final

from pydicom import Dataset
from pydicom.charset import custom_encoders, decode_bytes, python_encoding
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue
from pydicom.uid import UID

from cxr_pacs.errors import EvidenceError

__all__ = [
    "character_set",
    "integers",
    "is_decodable",
    "items",
    "number",
    "octets",
    "required_uid",
    "single",
    "terms_of",
    "values",
]

_CUT: Final = {"StudyDescription": 64, "RequestedProcedureDescription": 64}

_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)+")
_AGE: Final = re.compile(r"[0-9]{3}[DWMY]")
_TIME: Final = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?")
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
        value = _decoded(value, terms_of(item) if terms is None else terms).split("\\")
    elif not isinstance(value, (MultiValue, list, tuple)):
        value = [value]
    vr = dictionary_VR(keyword)
    texts = (_allowed(vr, keyword, _clean(str(v))) for v in value if not isinstance(v, (bytes, Dataset)))
    return [text for text in texts if text]


def is_decodable(header: Dataset, keyword: str) -> bool:
    """Whether the declared Specific Character Set explains every byte of the text attribute `keyword`."""
    element: Any = header.get_item(keyword)
    value = None if element is None else element.value
    text = _decoded(value, terms_of(header)) if isinstance(value, bytes) else str(value)
    return "\ufffd" not in text


def number(item: Dataset, keyword: str) -> int | None:
    """Value of the binary number `keyword`; None when it is missing or damaged."""
    try:
        value = item.get(keyword)
    except _DAMAGED:
        return None
    return value if isinstance(value, int) else None


def integers(item: Dataset, keyword: str) -> list[int]:
    """Values of the binary numbers `keyword`; none when they are missing or damaged."""
    try:
        value = item.get(keyword)
    except _DAMAGED:
        return []
    if isinstance(value, bytes):
        # VR unknown: 16-bit words, little-endian as all that we negotiate
        return list(struct.unpack(f"<{len(value) // 2}H", value[: len(value) // 2 * 2]))
    found = list(value) if isinstance(value, (MultiValue, list, tuple)) else [value]
    return found if all(isinstance(one, int) for one in found) else []


def octets(item: Dataset, keyword: str) -> bytes:
    """Bytes of the 16-bit words `keyword` (US or OW), little-endian; empty when missing or damaged."""
    try:
        value = item.get(keyword)
    except _DAMAGED:
        return b""
    if isinstance(value, bytes):
        return value
    return b"".join((word & 0xFFFF).to_bytes(2, "little") for word in integers(item, keyword))


def items(item: Dataset, keyword: str) -> list[Dataset]:
    """Items of the sequence `keyword`; none when it is missing or damaged."""
    try:
        value = item.get(keyword)
    except _DAMAGED:
        return []
    return [i for i in value if isinstance(i, Dataset)] if isinstance(value, (Sequence, MultiValue)) else []


def character_set(header: Dataset, texts: Iterable[str]) -> list[str]:
    """Specific Character Set that can say all `texts`: empty for ASCII, the source's own, else UTF-8.

    The source's set is preferred because the archive is known to read it.
    """
    foreign = [text for text in texts if not text.isascii()]
    if not foreign:
        return []
    declared = terms_of(header)
    if declared and all(_sayable(text, declared) for text in foreign):
        return declared
    return ["ISO_IR 192"]


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


def terms_of(header: Dataset) -> list[str]:
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
