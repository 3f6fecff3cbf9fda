"""The heatmap of a picture that is not DICOM, as PNG: marked, since it belongs to no study."""

from __future__ import annotations

import io
from dataclasses import replace

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cxr_pacs.evidence import words
from cxr_pacs.evidence.picture import HeatmapPicture, render
from cxr_pacs.evidence.secondary_capture import caption
from cxr_pacs.evidence.words import Language
from cxr_pacs.inference.findings import Findings

__all__ = ["research_picture"]


def research_picture(findings: Findings, picture: HeatmapPicture, language: Language) -> bytes:
    """Draw the heatmap of `picture` as `heatmap` does, and say that it is for research only.

    Returns
    -------
    bytes
        A PNG file; the warning stands in the picture and in its ``Comment``.

    Raises
    ------
    EvidenceError
        As `heatmap`.
    """
    said = caption(picture.shown, findings, language)
    warning = f"{words.RESEARCH_ONLY.say(language)}. {said.warning}"
    comment = PngInfo()
    comment.add_itxt("Comment", warning)
    buffer = io.BytesIO()
    Image.fromarray(render(picture, replace(said, warning=warning))).save(buffer, "PNG", pnginfo=comment)
    return buffer.getvalue()
