"""Asks for the labels that would teach most: shows a window to the engine, and lets `policy.active_learning` choose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError
from calibrant.policy import active_learning, pseudo_labels
from calibrant.session.deployment import Deployment


def ask(deployed: Deployment, x: NDArray[np.int8], n: int) -> NDArray[np.int64]:
    """Samples of a window to ask labels of, int64[n], the most telling first.

    Parameters
    ----------
    deployed : Deployment
        What its coreset kept of the stream need not be asked about again.
    x : int8[N, height, width, channels]
    n : int

    Raises
    ------
    DataError
        If `n` is not within 0..N.
    """
    if not 0 <= n <= len(x):
        raise DataError(f"labels to ask for: expected 0 to {len(x)} (the window), got {n}")
    evaluator, buffer = deployed.evaluator, deployed.buffer
    program, part = evaluator.meaning.program, evaluator.meaning.program.layers[-1].pooled_slice
    seen = evaluator.of(np.concatenate([x, buffer.x[~buffer.source]]))
    features = pseudo_labels.directions(seen.observation.pooled[:, part], program.pooled_positions[part])
    doubt = active_learning.margin_uncertainty(evaluator.meaning.task.probabilities(seen.scores[: len(x)]))
    return active_learning.choose(features[: len(x)], doubt, features[len(x) :], n)
