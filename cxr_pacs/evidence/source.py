"""What an evidence object takes over from its source image: patient, study, requests, procedures.

Headers in the field have missing, odd and undecodable values. What the standard does not allow is left out
of the copy (or left empty where the attribute must be there); the source itself is never changed. Identifiers
are copied as they are, even when too long: a shortened identifier is another patient's.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydicom import Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.sr.coding import Code

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import codes
from cxr_pacs.evidence.attributes import is_decodable, items, required_uid, single, terms_of
from cxr_pacs.inference.findings import ClassScore, Findings, Withheld

__all__ = [
    "ReadInstance",
    "ReportedStudy",
    "image_reference",
    "order_digests",
    "orders_of",
    "patient_and_study",
    "referenced_requests",
    "references",
    "reported_procedures",
    "request_of",
    "timezone",
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
_REQUEST_CODES: Final = "RequestedProcedureCodeSequence"
# What tells one request from another.
_OF_ONE_REQUEST: Final = _REQUEST[:-1]

_OFFSET: Final = re.compile(r"([+-])(0[0-9]|1[0-4])([0-5][0-9])")


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
    order : Dataset or None
        What is known of the request beside the header: what `request_of` gave. Not to contradict the header.

    Raises
    ------
    EvidenceError
        A score is not a share between 0 and 1.
    """

    header: Dataset
    findings: Findings
    quality: tuple[str, ...] = ()
    order: Dataset | None = None

    @property
    def classes(self) -> tuple[ClassScore | Withheld, ...]:
        """Every class of the model: those that are told, then those that are withheld."""
        return (*self.findings.scores, *self.findings.withheld)

    def __post_init__(self) -> None:
        for score in self.findings.scores:
            if not 0 <= score.score <= 1:
                raise EvidenceError(
                    f"the score {score.head}/{score.label} is {score.score}, not between 0 and 1: "
                    "the model's output cannot be reported"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedStudy:
    """What a report was made of, for the objects that stand beside it.

    Attributes
    ----------
    instances : tuple of ReadInstance
        The images that it reports.
    heatmaps : tuple of Dataset
        The heatmaps that it refers to; their pixel data is not needed.
    document : Dataset
        The report.
    """

    instances: tuple[ReadInstance, ...]
    heatmaps: tuple[Dataset, ...]
    document: Dataset

    @property
    def read(self) -> tuple[ReadInstance, ...]:
        """The images in the order of the report: by SOP Instance UID."""
        return tuple(sorted(self.instances, key=lambda i: required_uid(i.header, "SOPInstanceUID")))


def patient_and_study(header: Dataset) -> Dataset:
    """Copy the Patient and General Study modules for an object in the study of `header`.

    Of Procedure Code Sequence only whole codes are taken over.

    Raises
    ------
    EvidenceError
        There is no usable StudyInstanceUID, or what identifies the patient cannot be decoded.
    """
    for keyword in ("PatientName", "PatientID", "AccessionNumber"):
        if not is_decodable(header, keyword):
            raise EvidenceError(
                f"{keyword} cannot be decoded with its Specific Character Set: "
                "results could not be filed safely"
            )
    optional: dict[str, Any] = {key: text for key in _TYPE_3 if (text := single(header, key))}
    if procedures := list(_codes(header, "ProcedureCodeSequence", terms_of(header))):
        optional["ProcedureCodeSequence"] = [codes.item(code) for code in procedures]
    return _item(
        StudyInstanceUID=required_uid(header, "StudyInstanceUID"),
        **{keyword: single(header, keyword) for keyword in _TYPE_2},
        **optional,
    )


def timezone(header: Dataset) -> dt.timezone | None:
    """Timezone Offset From UTC of the source, which then governs all dates and times of the object."""
    match = _OFFSET.fullmatch(single(header, "TimezoneOffsetFromUTC"))
    if match is None:
        return None
    offset = dt.timedelta(hours=int(match[2]), minutes=int(match[3]))
    return dt.timezone(-offset if match[1] == "-" else offset)


def request_of(order: Dataset) -> Dataset:
    """Copy from a worklist item, or whatever has its attributes, what a report says of a request."""
    return _request_item(_request(order, terms_of(order), ""))


def orders_of(read: Iterable[ReadInstance]) -> list[Dataset]:
    """Give each order of the images once, in the order of the images."""
    orders = [instance.order for instance in read if instance.order is not None]
    return list({_digest(order): order for order in reversed(orders)}.values())[::-1]


def order_digests(orders: Iterable[Dataset]) -> list[str]:
    """SHA-256 of each order: they are among what a document is made of, and so of what makes its UID."""
    return list(map(_digest, orders))


def _digest(order: Dataset) -> str:
    said = _request(order, terms_of(order), "")
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def referenced_requests(header: Dataset, orders: Sequence[Dataset] = ()) -> list[Dataset]:
    """Items for Referenced Request Sequence (PS3.3 C.17.2); none where nothing is known of any request.

    The source's own requests come first. An order fills in what the request that it belongs to leaves empty;
    one that belongs to none of them is a request of its own.
    """
    terms = terms_of(header)
    study, accession = required_uid(header, "StudyInstanceUID"), single(header, "AccessionNumber")
    requests = [
        _request(source, terms, accession)
        for source in [
            *items(header, "ReferencedRequestSequence"),
            *items(header, "RequestAttributesSequence"),
        ]
    ]
    for order in orders:
        ordered = _request(order, terms_of(order), accession)
        same = next((request for request in requests if _may_be_one(request, ordered)), None)
        if same is None:
            requests.append(ordered)
        else:
            same.update({keyword: same[keyword] or value for keyword, value in ordered.items()})
    return [
        _request_item(request, StudyInstanceUID=study, ReferencedStudySequence=[]) for request in requests
    ]


def _request(source: Dataset, terms: Sequence[str], accession: str) -> dict[str, Any]:
    texts = {keyword: single(source, keyword, terms) for keyword in _REQUEST}
    texts["AccessionNumber"] = texts["AccessionNumber"] or accession
    return {**texts, _REQUEST_CODES: list(_codes(source, _REQUEST_CODES, terms))}


def _request_item(request: Mapping[str, Any], **more: Any) -> Dataset:
    coded = {_REQUEST_CODES: [codes.item(code) for code in request[_REQUEST_CODES]]}
    return _item(**{**request, **coded, **more})


def _may_be_one(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(
        one[keyword] == other[keyword] for keyword in _OF_ONE_REQUEST if one[keyword] and other[keyword]
    )


def reported_procedures(header: Dataset) -> list[Code]:
    """Imaging procedure in the source's own codes, most specific first; empty when it names none."""
    terms = terms_of(header)
    performed = list(_codes(header, "ProcedureCodeSequence", terms))
    requested = [
        code
        for request in items(header, "RequestAttributesSequence")
        for code in _codes(request, _REQUEST_CODES, terms)
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


def _codes(item: Dataset, keyword: str, terms: Sequence[str]) -> Iterator[Code]:
    for code in items(item, keyword):
        value, scheme, meaning, version = (
            single(code, k, terms)
            for k in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning", "CodingSchemeVersion")
        )
        if 0 < len(value) <= 16 and 0 < len(scheme) <= 16 and meaning and len(version) <= 16:
            yield Code(value, scheme, meaning[:64], version or None)
