"""How a radiograph is to be displayed, as the modules that a presentation state needs (PS3.3 A.33.1).

A presentation state replaces what the image says of its own display (PS3.4 N.2): rescale, window, look-up
tables, polarity and shutter that are not repeated here would be lost. Photometric Interpretation is ignored,
so MONOCHROME1 becomes Presentation LUT Shape INVERSE. The first VOI LUT is taken, else the first window, as
the model saw the image; what the standard does not allow is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pydicom import Dataset
from pydicom.uid import DigitalXRayImageStorageForProcessing
from pydicom.valuerep import DSfloat

from cxr_pacs.evidence.attributes import integers, items, octets, single, values
from cxr_pacs.evidence.source import image_reference

__all__ = ["describe_display", "is_displayable"]

_FUNCTIONS: Final = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})
_SHUTTERS: Final = MappingProxyType(
    {
        "RECTANGULAR": MappingProxyType(
            dict.fromkeys(
                (
                    "ShutterLeftVerticalEdge",
                    "ShutterRightVerticalEdge",
                    "ShutterUpperHorizontalEdge",
                    "ShutterLowerHorizontalEdge",
                ),
                1,
            )
        ),
        "CIRCULAR": MappingProxyType({"CenterOfCircularShutter": 2, "RadiusOfCircularShutter": 1}),
        "POLYGONAL": MappingProxyType({"VerticesOfThePolygonalShutter": 0}),
    }
)
_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


def is_displayable(header: Dataset) -> bool:
    """Whether the stored values are meant for display; those for processing need more than a presentation."""
    by_class = single(header, "SOPClassUID") == DigitalXRayImageStorageForProcessing
    return not by_class and single(header, "PresentationIntentType") != "FOR PROCESSING"


def describe_display(dataset: Dataset, header: Dataset) -> None:
    """Add shutter, Modality LUT, VOI LUT and Presentation LUT of the image `header` to `dataset`.

    References
    ----------
    PS3.3 C.7.6.11 and C.11.12 (shutter), C.11.1, C.11.8, C.11.6.
    """
    _add_shutter(dataset, header)
    _add_modality_lut(dataset, header)
    if (voi := _voi(header)) is not None:
        voi.ReferencedImageSequence = [image_reference(header)]
        dataset.SoftcopyVOILUTSequence = [voi]
    inverted = single(header, "PhotometricInterpretation") == "MONOCHROME1"
    dataset.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"


def _add_shutter(dataset: Dataset, header: Dataset) -> None:
    shapes = []
    for shape in dict.fromkeys(values(header, "ShutterShape")):
        wanted = _SHUTTERS.get(shape, _NOTHING)
        found = {keyword: _whole_numbers(header, keyword) for keyword in wanted}
        if found and all(_is_complete(found[keyword], count) for keyword, count in wanted.items()):
            shapes.append(shape)
            for keyword, numbers in found.items():
                setattr(dataset, keyword, numbers[0] if len(numbers) == 1 else numbers)
    if shapes:
        dataset.ShutterShape = shapes
        dataset.ShutterPresentationValue = 0


def _is_complete(numbers: list[int], count: int) -> bool:
    """Whether there are `count` numbers; 0 stands for the vertices of a polygon."""
    return len(numbers) == count if count else len(numbers) >= 6 and len(numbers) % 2 == 0


def _whole_numbers(header: Dataset, keyword: str) -> list[int]:
    try:
        numbers = [int(text) for text in values(header, keyword)]
    except ValueError:
        return []
    return numbers if all(abs(number) < 1 << 31 for number in numbers) else []


def _add_modality_lut(dataset: Dataset, header: Dataset) -> None:
    for item in items(header, "ModalityLUTSequence")[:1]:
        if (lut := _lut(item)) is not None:
            lut.ModalityLUTType = single(item, "ModalityLUTType")[:16] or "US"
            dataset.ModalityLUTSequence = [lut]
            return
    slope, intercept = _number(header, "RescaleSlope"), _number(header, "RescaleIntercept")
    if slope is None and intercept is None:
        return
    dataset.RescaleIntercept = _decimal(intercept or 0.0)
    dataset.RescaleSlope = _decimal(slope or 1.0)
    dataset.RescaleType = single(header, "RescaleType")[:16] or "US"


def _voi(header: Dataset) -> Dataset | None:
    """Item of Softcopy VOI LUT Sequence; None where the full range is to be shown."""
    voi = Dataset()
    for item in items(header, "VOILUTSequence")[:1]:
        if (lut := _lut(item)) is not None:
            voi.VOILUTSequence = [lut]
            return voi
    centre, width = _number(header, "WindowCenter"), _number(header, "WindowWidth")
    function = single(header, "VOILUTFunction")
    function = function if function in _FUNCTIONS else "LINEAR"
    if centre is None or width is None or width <= 0 or (width < 1 and function == "LINEAR"):
        return None
    voi.WindowCenter, voi.WindowWidth = _decimal(centre), _decimal(width)
    if function != "LINEAR":
        voi.VOILUTFunction = function
    return voi


def _lut(item: Dataset) -> Dataset | None:
    """Descriptor and data of a look-up table, without its free text; None when they do not fit together."""
    descriptor, data = integers(item, "LUTDescriptor"), octets(item, "LUTData")
    if len(descriptor) != 3 or not 8 <= descriptor[2] <= 16:
        return None
    count = (descriptor[0] & 0xFFFF) or 1 << 16
    if len(data) in {count, count + 1}:  # two 8-bit entries in a word
        data = data[:count] + b"\0" * (count % 2)
    elif len(data) >= 2 * count:
        data = data[: 2 * count]
    else:
        return None
    copy = Dataset()
    signed = descriptor[1] < 0
    words = [descriptor[0] & 0xFFFF, descriptor[1], descriptor[2]]
    if signed and words[0] >= 1 << 15:
        words[0] -= 1 << 16  # the three share one VR (PS3.3 C.11.1.1)
    copy.add_new("LUTDescriptor", "SS" if signed else "US", words)
    copy.add_new("LUTData", "OW", data)
    return copy


def _number(header: Dataset, keyword: str) -> float | None:
    try:
        found = float(single(header, keyword))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _decimal(number: float) -> DSfloat:
    return DSfloat(number, auto_format=True)
