"""Simulated modalities: from the worklist to committed images, as a bench and as a load.

The conversation is that of an ordinary modality. What it sends names its manufacturer,
``cxr-pacs simulator``.
"""

from __future__ import annotations

from cxr_pacs.simulator.asking import Wanted
from cxr_pacs.simulator.commitments import Commitments
from cxr_pacs.simulator.day import Plan, play
from cxr_pacs.simulator.examination import Examination, Failure, Outcome, Step
from cxr_pacs.simulator.film import Film, default_films, films_in, synthetic_chest, synthetic_film
from cxr_pacs.simulator.image import MANUFACTURER, image_of, new_performance
from cxr_pacs.simulator.modality import Modality, Servers
from cxr_pacs.simulator.summary import Latency, Summary

__all__ = [
    "MANUFACTURER",
    "Commitments",
    "Examination",
    "Failure",
    "Film",
    "Latency",
    "Modality",
    "Outcome",
    "Plan",
    "Servers",
    "Step",
    "Summary",
    "Wanted",
    "default_films",
    "films_in",
    "image_of",
    "new_performance",
    "play",
    "synthetic_chest",
    "synthetic_film",
]
