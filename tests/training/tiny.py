"""Networks and lengths for a fit of seconds, in place of the recipe's."""

from __future__ import annotations

from pathlib import Path

import pytest
from packed_films import ARCHITECTURE, STAGES
from toy_bundle import write_toy_bundle

from cxr_pacs.inference.architecture import LungNetwork

LUNG_LAYOUT = LungNetwork(size=32, widths=(2, 2))
"""Of the toy bundle's lung network, which takes for lung what is dark."""


def make_tiny(patch: pytest.MonkeyPatch) -> None:
    from training import lungs, recipe  # noqa: PLC0415 - Keras is slow to import

    patch.setattr(recipe, "RESNET50", ARCHITECTURE)
    patch.setattr(recipe, "NETWORKS", {**recipe.NETWORKS, "resnet50": ARCHITECTURE})
    patch.setattr(recipe, "DISTILLED", STAGES)
    patch.setattr(recipe, "RECIPE", STAGES)
    patch.setattr(recipe, "TRANSFER", STAGES)
    patch.setattr(recipe, "_BATCH", 8)
    patch.setattr(recipe, "_EPOCH", 16)
    patch.setattr(lungs, "LAYOUT", LUNG_LAYOUT)


def lungs_file(folder: Path) -> Path:
    return write_toy_bundle(folder, lungs="lung-fields-area") / "lungs.npz"
