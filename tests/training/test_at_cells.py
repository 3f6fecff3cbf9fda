"""Whether lungs are looked for in the mask where each feature cell looks in the picture."""

from __future__ import annotations

import numpy as np
import pytest

from training.classification import at_cells
from training.recipe import LITE0, RESNET50


@pytest.mark.parametrize("architecture", [RESNET50, LITE0], ids=["resnet50", "lite0"])
@pytest.mark.parametrize("cell", [(1, 1), (2, 3), (3, 2)])
def test_what_lies_around_a_cells_centre_is_that_cells(architecture, cell):
    side, stride = 160, architecture.stride
    rows, columns = (np.array(cell) + architecture.first_centre) * stride
    places = np.arange(side) + 0.5
    near = (abs(places[:, None] - rows) <= stride / 2) & (abs(places - columns) <= stride / 2)
    found = at_cells(near.astype(np.float32), architecture)
    assert found.shape == (5, 5)
    assert np.unravel_index(found.argmax(), found.shape) == cell
    assert found[cell] > 0.9
    assert found.sum() < 1.3
