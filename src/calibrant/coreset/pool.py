"""What a coreset rule sees of the training samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pool:
    """Training samples as rules see them; a rule that needs `misses` or `features` is only called with them.

    y int64[N]; misses int64[N], -1 where nothing ever learned the sample (see `MissCounter.misses`); features
    float[N, F]; `quotas`: whether the rules by misses give every class an equal share.
    """

    y: NDArray[np.int64]
    misses: NDArray[np.int64] | None = None
    features: NDArray[np.float32] | None = None
    quotas: bool = True
