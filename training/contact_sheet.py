"""A contact sheet: films under their activation maps, lungs outlined, a row for each class and source."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cxr_pacs.evidence.picture import overlay
from cxr_pacs.inference.saliency import share_inside
from training.evaluation.table import class_of
from training.judged import spread_evenly

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from training.corpus import Film
    from training.reader import Reader, Reading

__all__ = ["COLUMNS", "contact_sheet"]

COLUMNS = 6
_SIDE = 200
_GAP = 8
_LEADING = 15
_LINES = 4
_HEADING = 24
_CONTOUR = (90, 220, 255)
_INK, _PALE, _RIGHT, _WRONG = (30, 30, 30), (110, 110, 110), (20, 110, 40), (190, 40, 20)
_Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Tile:
    """One film: RGB pixels, and lines of text with their colours."""

    pixels: _Pixels
    lines: tuple[tuple[str, tuple[int, int, int]], ...]


def contact_sheet(reader: Reader, films: Sequence[Film], columns: int = COLUMNS) -> _Pixels:
    """
    Draw some films of each class and source, of different patients where there are enough.

    Each shows the activation map of the leading class in colour (the stronger the colour, the more it argues
    for the class), the outline of the lungs, the name of its file, the true class, the leading one with its
    score, and the share of the map in the lungs.

    Parameters
    ----------
    reader : Reader
    films : sequence of Film
        At least one.
    columns : int
        Most films of a row.

    Returns
    -------
    uint8 ndarray, shape (height, width, 3)
        RGB.

    Raises
    ------
    CorpusError
        There is no lung network.
    """
    rows: dict[tuple[str, str], list[Film]] = defaultdict(list)
    for film in films:
        rows[film.label, film.source].append(film)
    height = _HEADING + _SIDE + _LINES * _LEADING + _GAP
    size = (columns * (_SIDE + _GAP) + _GAP, len(rows) * height + _GAP)
    sheet = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for number, ((label, source), members) in enumerate(sorted(rows.items())):
        top = _GAP + number * height
        heading = f"{_words(label)}, {source or 'source unknown'} ({len(members)} films)"
        draw.text((_GAP, top), heading, fill=_INK, font=_font(15))
        for place, film in enumerate(spread_evenly(members, columns)):
            left = _GAP + place * (_SIDE + _GAP)
            tile = _tile(film, reader.read(film.p_values()))
            # Narrower or lower films stand in the middle of their square.
            down, across = ((_SIDE - side) // 2 for side in tile.pixels.shape[:2])
            sheet.paste(Image.fromarray(tile.pixels), (left + across, top + _HEADING + down))
            for line, (text, colour) in enumerate(tile.lines):
                at = (left, top + _HEADING + _SIDE + line * _LEADING)
                draw.text(at, _cut(text), fill=colour, font=_font(11))
    return np.asarray(sheet)


def _tile(film: Film, reading: Reading) -> _Tile:
    rows, columns = reading.picture.shape
    scale = _SIDE / max(rows, columns)
    shape = (max(1, round(rows * scale)), max(1, round(columns * scale)))
    grey = cv2.resize(reading.picture, shape[::-1], interpolation=cv2.INTER_AREA)
    pixels = overlay(np.clip(grey, 0, 1).astype(np.float32), reading.saliency.over(shape))
    lungs = cv2.resize(reading.lungs.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(lungs, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(pixels, outlines, -1, _CONTOUR, 1)
    return _Tile(pixels=pixels, lines=tuple(_lines(film, reading)))


def _lines(film: Film, reading: Reading) -> Iterator[tuple[str, tuple[int, int, int]]]:
    shown = reading.shown
    labels = reading.analysis.findings.labels(shown.head)
    true = class_of(film.label, labels)
    right = true is not None and labels[true] == shown.label
    yield PurePath(film.file).name, _PALE
    yield f"true: {_words(film.label)}", _INK
    yield f"read: {_words(shown.label)} {shown.score:.2f}", _RIGHT if right else _WRONG
    share = share_inside(reading.saliency.over(reading.lungs.shape[:2]), reading.lungs)
    if not reading.lungs.any():
        yield "no lungs found", _WRONG
    elif share is None:
        yield "no map: nothing argues for it", _WRONG
    else:
        yield f"in the lungs: {share:.2f}", _INK


def _cut(text: str) -> str:
    """Shorten in the middle what is too wide for a tile."""
    font = _font(11)
    kept = len(text)
    while font.getlength(text) > _SIDE and kept > 2:
        kept -= 1
        text = f"{text[: kept // 2]}…{text[-(kept // 2) :]}"
    return text


def _words(label: str) -> str:
    return label.replace("_", " ")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
