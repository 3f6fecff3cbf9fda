"""Every coded concept that an evidence object uses, once.

Codes that the standard's own dictionaries hold come from pydicom's copy of them, the others are written out.
Radiographs cannot prove an aetiology: the class codes name what the model was trained to tell apart, no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from cxr_pacs.errors import EvidenceError

__all__ = ["CLASSES", "CodedClass", "class_names", "coded_class", "item", "question"]

# PS3.16 Annex D and the context groups named in brackets
ALGORITHM_FAMILY: Final[Code] = codes.DCM.ArtificialIntelligence  # [CID 7162]
CERTAINTY: Final[Code] = codes.DCM.CertaintyOfFinding  # [CID 6048]
CLASS_ACTIVATION: Final[Code] = codes.DCM.ClassActivation  # [CID 7180]
COMMENT: Final[Code] = codes.DCM.Comment
DEVICE: Final[Code] = codes.DCM.Device  # [CID 270]
ILLUSTRATION: Final[Code] = codes.DCM.BestIllustrationOfFinding  # [CID 7003]
LUNG: Final[Code] = codes.SCT.Lung
PERCENT: Final[Code] = codes.UCUM.Percent
PROCESSING_EQUIPMENT: Final[Code] = codes.DCM.ProcessingEquipment  # [CID 7005]
QUALITY: Final[Code] = codes.DCM.QualityAssessment
REPORT_TITLE: Final[Code] = codes.DCM.ImagingMeasurementReport  # [CID 7021]
SOURCE_IMAGE: Final[Code] = codes.DCM.SourceImageForImageProcessingOperation  # [CID 7202]
POSITIVE: Final[Code] = codes.SCT.Positive  # [CID 250]
NEGATIVE: Final[Code] = codes.SCT.Negative

# PS3.16 TID 1500 row 12
QUALITATIVE_EVALUATIONS: Final = Code("C0034375", "UMLS", "Qualitative Evaluations")
# Procedure Reported where the source names none; CID 100 is a baseline, its own radiograph has no body part
PLAIN_CHEST_XRAY: Final = Code("399208008", "SCT", "Plain chest X-ray")
CLASSIFICATION: Final = Code("278201002", "SCT", "Classification")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedClass:
    """What a class label of a bundle means.

    Attributes
    ----------
    finding : Code
        Finding type of its measurement group (TID 1501 row 3b).
    name : str
        The class in plain words.
    """

    finding: Code
    name: str


CLASSES: Final = MappingProxyType(
    {
        "covid19": CodedClass(finding=Code("840539006", "SCT", "COVID-19"), name="COVID-19"),
        "bacterial_pneumonia": CodedClass(
            finding=Code("53084003", "SCT", "Bacterial pneumonia"), name="bacterial pneumonia"
        ),
        "normal": CodedClass(finding=codes.SCT.Normal, name="normal"),
        # SNOMED CT's COVID-19 excluded is so by a laboratory's test; this is all else that a network saw.
        "not_covid19": CodedClass(finding=Code("74964007", "SCT", "Other"), name="not COVID-19"),
    }
)


def coded_class(label: str) -> CodedClass:
    """Meaning of the class `label`.

    Raises
    ------
    EvidenceError
        No code is known for it.
    """
    try:
        return CLASSES[label]
    except KeyError:
        raise EvidenceError(
            f"the model's class {label!r} has no code: known are {', '.join(sorted(CLASSES))}; "
            "use a bundle with these classes or add the code to cxr_pacs.evidence.codes"
        ) from None


def class_names(labels: Sequence[str], conjunction: str) -> str:
    """Plain words for `labels`: ``A, B or C`` where `conjunction` is ``or``."""
    *first, last = (coded_class(label).name for label in labels)
    return f"{', '.join(first)} {conjunction} {last}" if first else last


def question(labels: Sequence[str]) -> str:
    """Say what a head over `labels` was asked.

    A head without a class for health, or for all else, answers under a condition, and says so: its scores sum
    to 1 also for a patient who has neither.
    """
    if "normal" in labels or "not_covid19" in labels:
        return class_names(labels, "or")
    return f"assuming pneumonia: {class_names(labels, 'against')}"


def item(code: Code) -> Dataset:
    """Code Sequence Macro item (PS3.3 8.8) for `code`."""
    sequence_item = Dataset()
    sequence_item.CodeValue = code.value
    sequence_item.CodingSchemeDesignator = code.scheme_designator
    sequence_item.CodeMeaning = code.meaning
    return sequence_item
