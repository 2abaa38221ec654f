"""What one window gives to learn from: the labels that are believed, and the samples that are learned beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.window import Window
from calibrant.memory.replay import ReplayBuffer


@dataclass(frozen=True)
class Lesson:
    """Labeled codes x int8[n, height, width, channels] with classes y int64[n], and the coreset beside them.

    `rows` int64[n] says which samples of the window they are. `aside` are samples that are not believed, neither
    learned from nor lost: they are kept where there is room.
    """

    x: NDArray[np.int8]
    y: NDArray[np.int64]
    rows: NDArray[np.intp]
    buffer: ReplayBuffer
    aside: ReplayBuffer | None = None

    @classmethod
    def of(cls, window: Window, buffer: ReplayBuffer) -> Lesson:
        """All labels of a window, and the whole coreset."""
        return cls(window.codes[window.known], window.labels[window.known], window.known, buffer)

    def take(self, index: NDArray[Any]) -> Lesson:
        """With some of the labels only."""
        return replace(self, x=self.x[index], y=self.y[index], rows=self.rows[index])
