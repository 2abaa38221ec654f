"""Camel, emulated (Li, Shen, Chen, "Camel: Managing Data for Efficient Stream Learning", SIGMOD 2022).

As the QCore authors' script emulates it: for every window one epoch on the core, then epochs on the window. The core is
kept as Camel keeps data: chosen in input space, without a look at the network, by greedy maximization of a submodular
coverage. Ours is facility location over core and window together. Each core sample weighs as many samples as it stands
for, its own and those it replaced (at first its share of the training set), so that old data keep their share of the
coverage. Not emulated: the quantile sketch that compresses the core, and training on a part of the window only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from calibrant.bench.baselines.learner import Learner, tensor_bytes


class StreamCoreset(Learner):
    """One step on the weighted core, the others on the window; then the core is chosen anew from core and window.

    Parameters are those of :class:`Learner`; the coreset holds at least one sample.
    """

    def __init__(self, net: nn.Module, core_x: NDArray[np.float32], core_y: NDArray[np.int64], **options: Any) -> None:
        super().__init__(net, core_x, core_y, **options)
        self.weight = torch.full((len(core_y),), self._seen / len(core_y))

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy on the window."""
        return nn.functional.cross_entropy(self.net(x), y)

    def before_window(self) -> int:
        """One step on the core."""
        x, y = self.core
        self.descend(lambda: torch.autograd.backward(self._core_loss(x, y)))
        return 1

    def after_window(self, x: Tensor, y: Tensor) -> None:
        """Choose the core anew; what is not chosen leaves its weight to the nearest that is."""
        size = len(self.weight)
        pool, labels = torch.cat([self.core[0], x]), torch.cat([self.core[1], y])
        weight = torch.cat([self.weight, torch.ones(len(y))])
        chosen, nearest = cover(pool.flatten(1).numpy(), weight.numpy(), size)
        rows = torch.from_numpy(chosen)
        self.core = pool[rows], labels[rows]
        self.weight = torch.zeros(size).index_add_(0, torch.from_numpy(nearest), weight)

    def kept_bytes(self) -> int:
        """The core and its weights."""
        return tensor_bytes(*self.core, self.weight)

    def _core_loss(self, x: Tensor, y: Tensor) -> Tensor:
        losses = nn.functional.cross_entropy(self.net(x), y, reduction="none")
        return (losses @ self.weight) / self.weight.sum()


def cover(
    x: NDArray[np.float32], weight: NDArray[np.float32], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Greedy facility location: the rows that bring all rows nearest to one of them, by weighted squared distance.

    Parameters
    ----------
    x : float32[n, features]
    weight : float32[n]
    size : int
        1 <= size <= n.

    Returns
    -------
    chosen : int64[size]
        In the order of choice. Greedy is within 1 - 1/e of the best coverage (Nemhauser et al., 1978).
    nearest : int64[n]
        Position in `chosen` of the one that stands for each row.

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [2.0], [9.0], [11.0]], np.float32)
    >>> [part.tolist() for part in cover(x, np.ones(5, np.float32), 2)]
    [[2, 3], [0, 0, 0, 1, 1]]
    """
    squares = np.square(x, dtype=np.float64).sum(axis=1)
    distance = np.maximum(squares[:, None] + squares - 2 * (x.astype(np.float64) @ x.T.astype(np.float64)), 0)
    np.fill_diagonal(distance, 0)
    left = np.full(len(x), distance.max() + 1)  # to the nearest chosen; none yet
    chosen: list[int] = []
    for _ in range(size):
        gain = weight.astype(np.float64) @ np.maximum(left[:, None] - distance, 0)
        gain[chosen] = -1  # duplicates gain nothing more, but a row is taken once
        chosen.append(int(gain.argmax()))
        left = np.minimum(left, distance[:, chosen[-1]])
    return np.array(chosen, np.int64), distance[:, chosen].argmin(axis=1).astype(np.int64)
