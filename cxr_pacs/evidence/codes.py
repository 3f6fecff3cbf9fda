"""Every coded concept that an evidence object uses, once; those of the classes come from the model.

Codes that the standard's own dictionaries hold come from pydicom's copy of them, the others are written out.
Radiographs cannot prove an aetiology: the class codes name what the model was trained to tell apart, no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from cxr_pacs.errors import EvidenceError
from cxr_pacs.evidence import words
from cxr_pacs.evidence.words import Language
from cxr_pacs.inference.findings import ClassCode, ModelIdentity

__all__ = [
    "class_name",
    "class_names",
    "coded_class",
    "finding",
    "is_conditional",
    "is_disease",
    "is_health",
    "item",
    "question",
]

# PS3.16 Annex D and the context groups named in brackets
ALGORITHM_FAMILY: Final[Code] = codes.DCM.ArtificialIntelligence  # [CID 7162]
BILATERAL: Final[Code] = codes.SCT.Bilateral  # [CID 244]
CERTAINTY: Final[Code] = codes.DCM.CertaintyOfFinding  # [CID 6048]
CLASS_ACTIVATION: Final[Code] = codes.DCM.ClassActivation  # [CID 7180]
COMMENT: Final[Code] = codes.DCM.Comment
CONCLUSION: Final[Code] = codes.DCM.Conclusion  # [CID 7002]
DEVICE: Final[Code] = codes.DCM.Device  # [CID 270]
ILLUSTRATION: Final[Code] = codes.DCM.BestIllustrationOfFinding  # [CID 7003]
INDETERMINATE: Final[Code] = codes.SCT.Indeterminate
LEFT: Final[Code] = codes.SCT.Left  # [CID 244]
LUNG: Final[Code] = codes.SCT.Lung
PERCENT: Final[Code] = codes.UCUM.Percent
PROCESSING_EQUIPMENT: Final[Code] = codes.DCM.ProcessingEquipment  # [CID 7005]
QUALITY: Final[Code] = codes.DCM.QualityAssessment
REPORT_TITLE: Final[Code] = codes.DCM.ImagingMeasurementReport  # [CID 7021]
RIGHT: Final[Code] = codes.SCT.Right  # [CID 244]
SOURCE_IMAGE: Final[Code] = codes.DCM.SourceImageForImageProcessingOperation  # [CID 7202]
POSITIVE: Final[Code] = codes.SCT.Positive  # [CID 250]
NEGATIVE: Final[Code] = codes.SCT.Negative
NOT_EVALUATED: Final[Code] = codes.SCT.NotEvaluated
# of the segmentation of a map
SEGMENTATION: Final[Code] = codes.DCM.SegmentationImageDerivation  # [CID 7203]
SPATIAL_CONCEPT: Final[Code] = codes.SCT.SpatialAndRelationalConcept  # [CID 7150]
# of a key object selection
KEY_OBJECT_DESCRIPTION: Final[Code] = codes.DCM.KeyObjectDescription
OF_INTEREST: Final[Code] = codes.DCM.OfInterest  # [CID 7010]
SOURCE: Final[Code] = codes.SCT.Source
# of a report in plain words
PLAIN_REPORT_TITLE: Final[Code] = codes.LN.XRayReport  # [CID 7000]
SUMMARY_SECTION: Final[Code] = codes.LN.Summary  # [CID 7001, and its text: CID 7002]
FINDINGS_SECTION: Final[Code] = codes.LN.Findings
PROCEDURE_SECTION: Final[Code] = codes.LN.CurrentProcedureDescriptions
IMAGES_SECTION: Final[Code] = codes.LN.KeyImages
FINDING: Final[Code] = codes.DCM.Finding  # [CID 7002]
PROCEDURE_DESCRIPTION: Final[Code] = codes.DCM.ProcedureDescription

# PS3.16 TID 1500 row 12
QUALITATIVE_EVALUATIONS: Final = Code("C0034375", "UMLS", "Qualitative Evaluations")
# Procedure Reported where the source names none; CID 100 is a baseline, its own radiograph has no body part
PLAIN_CHEST_XRAY: Final = Code("399208008", "SCT", "Plain chest X-ray")
# [CID 5000]
ENGLISH: Final = Code("en", "RFC5646", "English")
SPANISH: Final = Code("es", "RFC5646", "Spanish")
CLASSIFICATION: Final = Code("278201002", "SCT", "Classification")

_HEALTH: Final = "normal"
# Labels that stand for all that is not the disease in question
_OPEN: Final = frozenset({_HEALTH, "not_covid19"})


def coded_class(model: ModelIdentity, label: str) -> ClassCode:
    """Look up what `label` means, in the model's own words.

    Raises
    ------
    EvidenceError
        The model names no code for it.
    """
    try:
        return model.coded(label)
    except KeyError:
        raise EvidenceError(
            f"{model.name} {model.version} names no code for its class {label!r}: "
            "nothing can be reported of it"
        ) from None


def finding(model: ModelIdentity, label: str) -> Code:
    """Code of the class `label`: finding type of its measurement group (TID 1501 row 3b)."""
    coded = coded_class(model, label)
    return Code(coded.value, coded.scheme, coded.meaning)


def class_name(model: ModelIdentity, label: str, language: Language) -> str:
    """Plain words for `label`, for the middle of a sentence; the model's own where no others are known."""
    return words.translated(coded_class(model, label).name, language)


def class_names(
    model: ModelIdentity, labels: Sequence[str], conjunction: words.Text, language: Language
) -> str:
    """Plain words for `labels`: ``A, B or C`` where `conjunction` is `words.OR`."""
    *first, last = (class_name(model, label, language) for label in labels)
    return f"{', '.join(first)} {conjunction.say(language)} {last}" if first else last


def is_disease(label: str) -> bool:
    """Whether class `label` names a disease; False where it stands for health or for all else."""
    return label not in _OPEN


def is_health(label: str) -> bool:
    """Whether class `label` says that there is no disease."""
    return label == _HEALTH


def is_conditional(labels: Sequence[str]) -> bool:
    """Whether a head over `labels` presumes disease: it has no class for health, or for all else."""
    return not _OPEN & set(labels)


def question(model: ModelIdentity, labels: Sequence[str], language: Language) -> str:
    """Say what a head over `labels` was asked.

    A head without a class for health, or for all else, answers under a condition, and says so: its scores sum
    to 1 also for a patient who has neither.
    """
    if not is_conditional(labels):
        return class_names(model, labels, words.OR, language)
    names = class_names(model, labels, words.AGAINST, language)
    return words.ASSUMING.say(language, names=names)


def item(code: Code) -> Dataset:
    """Code Sequence Macro item (PS3.3 8.8) for `code`."""
    sequence_item = Dataset()
    sequence_item.CodeValue = code.value
    sequence_item.CodingSchemeDesignator = code.scheme_designator
    if code.scheme_version:
        sequence_item.CodingSchemeVersion = code.scheme_version
    sequence_item.CodeMeaning = code.meaning
    return sequence_item
