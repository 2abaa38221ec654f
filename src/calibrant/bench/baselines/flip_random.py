"""The product's updater with directions drawn by lot: what moving weights about and verifying alone gives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.rng import generator
from calibrant.core.settings import FlipSettings
from calibrant.updaters.accumulated_flips import AccumulatedFlips


class RandomFlips(AccumulatedFlips):
    """Every step's gradient, of weights and of biases, is drawn anew from a normal distribution.

    Its size does not matter, as the updater divides gradients by their own root mean square.

    Parameters
    ----------
    artifact : Artifact
    settings : FlipSettings
    seed : int
    """

    def __init__(self, artifact: Artifact, settings: FlipSettings, seed: int) -> None:
        super().__init__(artifact.meaning, settings)
        self._rng = generator(seed, "random flips")

    @property
    def name(self) -> str:
        """'flip-random'."""
        return "flip-random"

    def added_bytes(self, samples: int) -> int:
        """What it needs beyond the product: nothing."""
        return 0

    def _slopes(self, *_: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        weights, biases = self.program.weight_count, self.program.channel_count
        return self._rng.standard_normal(weights, np.float32), self._rng.standard_normal(biases, np.float32)
