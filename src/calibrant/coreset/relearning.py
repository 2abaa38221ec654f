"""Quantization misses of a network whose training is over: it trains on for a while, and misses are counted then."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from calibrant.core.progress import Progress
from calibrant.core.rng import generator
from calibrant.coreset.misses import MissCounter
from calibrant.coreset.parallel import backward

EPOCHS = 10
RATE = 2e-3  # moves weights enough for answers at 2 bits to change
BATCH = 64
SHARDS = 2  # of a batch, so that two processes started by torchrun share the work


def count_misses(
    model: nn.Module,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """Misses int64[N] over 2, 4 and 8 bits while a copy of a trained network trains on in full precision.

    Counts taken during the training that made the network (:class:`MissCounter`) know more: use them where you can.

    Parameters
    ----------
    model : torch.nn.Module
        Left unchanged.
    x : float32[N, ...]
        Inputs as the network takes them.
    y : int64[N]
    seed : int
        Same seed, same misses, in one process and in several.
    progress : callable, optional
        Called with ("misses", epochs done, epochs).
    """
    net = copy.deepcopy(model)
    counter = MissCounter(x, y)
    counter.check(net)
    inputs, labels = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(np.ascontiguousarray(y))
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    rng = generator(seed, "misses")

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(net(x), y)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout
        for epoch in range(EPOCHS):
            for rows in np.array_split(rng.permutation(len(labels)), max(1, len(labels) // BATCH)):
                backward(net, loss, inputs[rows], labels[rows], shards=SHARDS)
                optimizer.step()
            counter.check(net)
            if progress is not None:
                progress("misses", epoch + 1, EPOCHS)
    return counter.misses()
