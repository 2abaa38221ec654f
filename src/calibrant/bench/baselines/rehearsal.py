"""Baselines that rehearse a reservoir of the stream, the coreset being what the source left in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from calibrant.bench.baselines.learner import Learner, tensor_bytes
from calibrant.bench.baselines.reservoir import Reservoir


class Rehearsal(Learner):
    """A learner whose memory has the coreset's size and starts as the coreset.

    The stream of these methods' papers begins with the source's training samples, so the coreset counts as the
    reservoir after `seen` of them: the later windows displace it only as fast as they displace any sample. Parameters
    are those of :class:`Learner`; the coreset holds at least one sample.
    """

    capacity: int | None = None  # samples; None: as many as the coreset

    def __init__(self, net: nn.Module, core_x: NDArray[np.float32], core_y: NDArray[np.int64], **options: Any) -> None:
        super().__init__(net, core_x, core_y, **options)
        self.memory = Reservoir(*self.remembered(*self.core), seen=self._seen, rng=self._rng, capacity=self.capacity)

    def remembered(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """What is stored of samples at their insertion: themselves and their classes."""
        return x, y

    def rehearse(self) -> list[Tensor]:
        """One minibatch of the memory, all fields."""
        rows = self.draw(len(self.memory))
        return [field[rows] for field in self.memory.fields]

    def after_window(self, x: Tensor, y: Tensor) -> None:
        """Offer the window to the memory."""
        self.memory.add(*self.remembered(x, y))

    def kept_bytes(self) -> int:
        """The memory."""
        return tensor_bytes(*self.memory.fields)
