"""Updaters run on samples alone, without a session around them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.engine import Engine
from calibrant.updaters.base import Samples, UpdateOutcome, Updater, evaluate


def update(
    updater: Updater,
    engine: Engine,
    x: NDArray[np.int8],
    y: NDArray[np.int64],
    steps: int | None = None,
    importance: NDArray[np.int64] | None = None,
    remembered: NDArray[np.float32] | None = None,
) -> UpdateOutcome:
    """Every sample counts once, where `importance` does not say otherwise; as many steps as the settings say."""
    counts = np.ones(len(y), np.int64) if importance is None else importance
    samples = Samples(x, y, counts, remembered)
    start = evaluate(engine, samples, updater.meaning)  # type: ignore[attr-defined]
    return updater.update(engine, samples, start, updater.settings.steps if steps is None else steps)
