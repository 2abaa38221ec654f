"""Channels that do not measure any more. A sensor that died or sticks is no drift: nothing may be corrected for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.core.program import Program
from calibrant.core.statistics import FeatureStatistics

ENOUGH = 8  # samples that say so
LIVELY = 1.0  # code: a channel whose mean differs less from sample to sample at home may well stand still


def stuck_channels(codes: NDArray[np.int8], program: Program, reference: FeatureStatistics) -> list[int]:
    """Input channels that have one value all over a window, and do not at home.

    Parameters
    ----------
    codes : int8[N, height, width, channels]
    program : Program
    reference : FeatureStatistics
        From the artifact.
    """
    if len(codes) < ENOUGH:
        return []
    flat = codes.reshape(-1, codes.shape[-1])
    lively = reference.std[program.layers[0].pooled_slice] >= LIVELY
    still = (flat == flat[0]).all(axis=0)
    if len(lively) != len(still):  # the first layer reads something else than the input
        return []
    return np.flatnonzero(still & lively).tolist()
