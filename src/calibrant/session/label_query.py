"""Asks for the labels that would teach most: shows a window to the engine, and lets `policy.active_learning` choose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.errors import DataError
from calibrant.core.logits import logits
from calibrant.engine import Engine
from calibrant.memory.replay import ReplayBuffer
from calibrant.policy import active_learning, pseudo_labels


def ask(artifact: Artifact, engine: Engine, x: NDArray[np.int8], pool: ReplayBuffer, n: int) -> NDArray[np.int64]:
    """Samples of a window to ask labels of, int64[n], the most telling first.

    Parameters
    ----------
    artifact : Artifact
    engine : Engine
        Holds the weights in force.
    x : int8[N, height, width, channels]
    pool : ReplayBuffer
        The coreset in force; what it kept of the stream need not be asked about again.
    n : int

    Raises
    ------
    DataError
        If `n` is not within 0..N.
    """
    if not 0 <= n <= len(x):
        raise DataError(f"labels to ask for: expected 0 to {len(x)} (the window), got {n}")
    program, part = artifact.program, artifact.program.layers[-1].pooled_slice
    observation = engine.observe(np.concatenate([x, pool.x[~pool.source]]))
    features = pseudo_labels.directions(observation.pooled[:, part], program.pooled_positions[part])
    doubt = active_learning.margin_uncertainty(logits(observation.outputs[: len(x)], program, artifact.constants))
    return active_learning.choose(features[: len(x)], doubt, features[len(x) :], n)
