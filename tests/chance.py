"""The seed of what tests draw at random, in their names: one for a whole run; ``CXR_SEED`` repeats one."""

from __future__ import annotations

import os
import random

__all__ = ["SEED"]

# In the environment, so that the processes that share a run's tests share it.
SEED = int(os.environ.setdefault("CXR_SEED", str(random.SystemRandom().randrange(10**6))))
