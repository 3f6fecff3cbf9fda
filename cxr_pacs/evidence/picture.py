"""The heatmap as a picture: radiograph, class activation map in colour, and a caption that says what it is.

The caption stands below the radiograph, never on it. Everything is drawn at the size of the result: a larger
source is area-averaged first.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cxr_pacs.errors import EvidenceError
from cxr_pacs.inference.findings import ClassScore

__all__ = [
    "Caption",
    "HeatmapPicture",
    "overlay",
    "paint",
    "paint_at_source_size",
    "render",
    "render_at_source_size",
]

LONGEST_SIDE: Final = 1024
# smaller radiographs are enlarged, so that radiograph and caption keep a sensible proportion
SHORTEST_LONG_SIDE: Final = 640
NARROWEST: Final = 512

_OPACITY: Final = 0.55
# below this share of the maximum nothing is painted
_FLOOR: Final = 0.05

_BLACK: Final = (0, 0, 0)
_WHITE: Final = (235, 235, 235)
_GREY: Final = (175, 175, 175)
_AMBER: Final = (255, 190, 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatmapPicture:
    """A source image as displayed, and the map that explains one class of it.

    Attributes
    ----------
    pixels : float32 ndarray, shape (rows, columns)
        P-values in [0, 1].
    saliency : float32 ndarray, shape (rows, columns)
        In [0, 1]: share of the strongest contribution to the class's logit; all zero where nothing argues
        for it.
    shown : ClassScore
        Whose map it is.
    aspect : float
        Row spacing divided by column spacing, 1 for square pixels.
    """

    pixels: NDArray[np.float32]
    saliency: NDArray[np.float32]
    shown: ClassScore
    aspect: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """The words below a heatmap, free of patient identity.

    Attributes
    ----------
    title : str
        Class and certainty.
    lines : tuple of str
        What else must be known to read the picture.
    warning : str
        The disclaimer.
    colours : str
        What the colours mean.
    dark : str
        Stands in their place where nothing is coloured.
    """

    title: str
    lines: tuple[str, ...]
    warning: str
    colours: str
    dark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    text: str
    font: ImageFont.FreeTypeFont
    colour: tuple[int, int, int]


def render(picture: HeatmapPicture, caption: Caption) -> NDArray[np.uint8]:
    """Draw `picture` with `caption` below it.

    Returns
    -------
    uint8 ndarray, shape (height, width, 3)
        RGB, no side longer than 1024. The radiograph stands at the top, centred where the caption is wider;
        its pixels are square.

    Raises
    ------
    EvidenceError
        Radiograph and map are empty, differ in shape, or hold values that are not finite; or the caption is
        too long.
    """
    _require_sound(picture)
    width, height, strip = _layout(picture, caption)
    return _stacked(_painted(picture, width, height), strip, (strip.shape[1] - width) // 2)


def render_at_source_size(picture: HeatmapPicture, caption: Caption) -> NDArray[np.uint8]:
    """Draw `picture` pixel by pixel, with `caption` below it.

    Returns
    -------
    uint8 ndarray, shape (height, width, 3)
        RGB, as wide as the source or, if that is narrow, as the caption. The radiograph stands at the upper
        left: each of its pixels has the row and column that it has in the source.

    Raises
    ------
    EvidenceError
        As `render`, but no caption is too long.
    """
    _require_sound(picture)
    rows, columns = picture.pixels.shape
    strip = _strip(max(columns, NARROWEST), caption, lit=_is_lit(picture))
    return _stacked(_painted(picture, columns, rows), strip, 0)


def paint(picture: HeatmapPicture) -> NDArray[np.uint8]:
    """Draw `picture` without a word: uint8 [height, width, 3] as `render`, the radiograph alone."""
    _require_sound(picture)
    return _painted(picture, *_fitted(picture))


def paint_at_source_size(picture: HeatmapPicture) -> NDArray[np.uint8]:
    """Draw `picture` without a word, pixel by pixel: uint8 [rows, columns, 3]."""
    _require_sound(picture)
    rows, columns = picture.pixels.shape
    return _painted(picture, columns, rows)


def _painted(picture: HeatmapPicture, width: int, height: int) -> NDArray[np.uint8]:
    grey, share = _resized(picture.pixels, width, height), _resized(picture.saliency, width, height)
    # what is not finite in the source stays so in every average that it enters
    if not (np.isfinite(grey).all() and np.isfinite(share).all()):
        raise EvidenceError("a heatmap cannot be drawn from values that are not finite")
    return overlay(grey, share)


def _stacked(radiograph: NDArray[np.uint8], strip: NDArray[np.uint8], left: int) -> NDArray[np.uint8]:
    height, width, _ = radiograph.shape
    canvas = np.zeros((height + strip.shape[0], strip.shape[1], 3), np.uint8)
    canvas[:height, left : left + width] = radiograph
    canvas[height:] = strip
    return canvas


def overlay(grey: NDArray[np.float32], share: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Paint the map `share` over the radiograph `grey` (both in [0, 1], same shape) as RGB.

    Opacity grows with the share, so that the radiograph shows through everywhere and is untouched where the
    share is next to nothing.
    """
    paint, keep = _palette()
    index = _eight_bits(share)
    kept = cv2.multiply(_eight_bits(grey), cv2.LUT(index, keep), scale=1 / 255)
    painted = cv2.add(cv2.cvtColor(kept, cv2.COLOR_GRAY2RGB), np.take(paint, index, axis=0))
    return np.asarray(painted, dtype=np.uint8)


def _eight_bits(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return (np.clip(values, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


@functools.cache
def _palette() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Colour times opacity, and what is kept of the radiograph, for each of 256 shares.

    The colours are those of *plasma*, even in perceived lightness and readable with colour-vision deficiency.
    """
    ramp = np.arange(256, dtype=np.uint8)
    colours = cv2.applyColorMap(ramp, cv2.COLORMAP_PLASMA).reshape(256, 3)[:, ::-1]
    opacity = _OPACITY * np.clip((ramp / 255 - _FLOOR) / (1 - _FLOOR), 0, 1)
    paint = np.rint(colours * opacity[:, None]).astype(np.uint8)
    return paint, np.rint(255 * (1 - opacity)).astype(np.uint8)


def _require_sound(picture: HeatmapPicture) -> None:
    shape = picture.pixels.shape
    if len(shape) != 2 or 0 in shape or shape != picture.saliency.shape:
        raise EvidenceError(
            f"a heatmap needs a radiograph and a map of one shape, not {shape} and {picture.saliency.shape}"
        )
    if not 0 < picture.aspect < float("inf"):
        raise EvidenceError(f"a heatmap needs a positive pixel aspect, not {picture.aspect}")


def _layout(picture: HeatmapPicture, caption: Caption) -> tuple[int, int, NDArray[np.uint8]]:
    """Width and height of the radiograph in the result, and the caption drawn for it."""
    rows, columns = picture.pixels.shape
    square_rows = rows * picture.aspect
    lit = _is_lit(picture)
    width, height = _fitted(picture)
    strip = _strip(max(width, NARROWEST), caption, lit=lit)
    # a narrower radiograph may need a taller caption, so the fit is found step by step
    while height + strip.shape[0] > LONGEST_SIDE:
        height = LONGEST_SIDE - strip.shape[0]
        if height < LONGEST_SIDE // 2:
            raise EvidenceError(
                "the words below a heatmap leave it no room: shorten the intended_use of the bundle"
            )
        width = _scaled(columns, height / square_rows)
        strip = _strip(max(width, NARROWEST), caption, lit=lit)
    return width, height, strip


def _fitted(picture: HeatmapPicture) -> tuple[int, int]:
    """Width and height of the radiograph, with square pixels, that fit the longest side."""
    rows, columns = picture.pixels.shape
    square_rows = rows * picture.aspect
    longest = max(columns, square_rows)
    scale = min(max(longest, SHORTEST_LONG_SIDE), LONGEST_SIDE) / longest
    return _scaled(columns, scale), _scaled(square_rows, scale)


def _is_lit(picture: HeatmapPicture) -> bool:
    return bool(picture.saliency.max() > _FLOOR)


def _scaled(length: float, scale: float) -> int:
    return max(1, round(length * scale))


def _resized(values: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Area-averaged where it shrinks, bilinear where it grows; each axis for itself when they differ."""
    rows, columns = values.shape
    steps = [(width, height)] if (width < columns) == (height < rows) else [(width, rows), (width, height)]
    result = np.ascontiguousarray(values, dtype=np.float32)
    for step in steps:
        shrinks = step[0] < result.shape[1] or step[1] < result.shape[0]
        way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        result = np.asarray(cv2.resize(result, step, interpolation=way), dtype=np.float32)
    return result


def _strip(width: int, caption: Caption, *, lit: bool) -> NDArray[np.uint8]:
    """Draw the caption, `width` pixels wide, with the colour scale or, for a dark map, a sentence instead."""
    size = 13 if width < 640 else max(15, width // 68)  # 15 at 1024, and as legible in a larger picture
    margin, leading = size, round(size * 1.45)
    plain, bold = _font("DejaVuSans.ttf", size), _font("DejaVuSans-Bold.ttf", size)
    legend = caption.colours if lit else caption.dark
    wanted = [
        _Line(text=caption.title, font=_font("DejaVuSans-Bold.ttf", size + 3), colour=_WHITE),
        _Line(text=caption.warning, font=bold, colour=_AMBER),
        *(_Line(text=line, font=plain, colour=_GREY) for line in (*caption.lines, legend)),
    ]
    lines = list(_wrapped(wanted, width - 2 * margin))
    height = margin + leading * len(lines) + (leading + size if lit else 0)

    strip = Image.new("RGB", (width, height), _BLACK)
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        draw.text((margin, margin // 2 + number * leading), line.text, font=line.font, fill=line.colour)
    if lit:
        _draw_scale(strip, plain, (margin, margin // 2 + len(lines) * leading))
    return np.asarray(strip)


def _draw_scale(strip: Image.Image, font: ImageFont.FreeTypeFont, origin: tuple[int, int]) -> None:
    """Draw the colours as they look over mid-grey, with ticks in per cent."""
    left, top = origin
    size = round(font.size)
    length = min(max(360, 24 * size), strip.width - 4 * size)
    share = np.tile(np.linspace(0, 1, length, dtype=np.float32), (size - 2, 1))
    strip.paste(Image.fromarray(overlay(np.full_like(share, 0.5), share)), (left, top + 2))
    draw = ImageDraw.Draw(strip)
    for percent, anchor in ((0, "la"), (25, "ma"), (50, "ma"), (75, "ma"), (100, "ra")):
        x = left + round(percent / 100 * (length - 1))
        draw.line((x, top + size, x, top + size + 3), fill=_GREY)
        draw.text((x, top + size + 4), f"{percent} %", font=font, fill=_GREY, anchor=anchor)


def _wrapped(lines: Sequence[_Line], width: int) -> Iterator[_Line]:
    """Break `lines` at spaces so that each fits `width` where its words do."""
    for line in lines:
        current = ""
        for word in line.text.split():
            longer = f"{current} {word}".lstrip()
            if current and line.font.getlength(longer) > width:
                yield replace(line, text=current)
                longer = word
            current = longer
        yield replace(line, text=current)


@functools.cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    data = (resources.files(__package__) / "fonts" / name).read_bytes()
    # the basic layout engine is in every Pillow, so that the same words give the same pixels everywhere
    return ImageFont.truetype(io.BytesIO(data), size, layout_engine=ImageFont.Layout.BASIC)
