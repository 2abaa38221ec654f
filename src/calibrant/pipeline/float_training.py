"""Training a float network on the source domain."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from calibrant.core.errors import DataError
from calibrant.core.progress import Progress
from calibrant.core.rng import generator
from calibrant.coreset.parallel import backward, threads

__all__ = ["TrainingSettings", "accuracy", "mirrored", "shifted", "threads", "train"]

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how a float network is trained.

    Parameters
    ----------
    epochs, batch : int
    rate : float
        The highest of the cycle.
    shift : int
        Augmentation: move each batch by up to this many steps along the last axis (and the one before it, for images),
        edges repeated. 0 for none.
    mirror : bool
        Augmentation: reverse half of each batch, drawn anew, along the last axis.
    shards : int
        Parts that each batch is cut into; batch norm normalizes within a part, and several parts are computed with one
        torch thread a process. As many as processes, or a multiple, keeps all of them busy.
    """

    epochs: int = 30
    batch: int = 64
    rate: float = 2e-3
    shift: int = 0
    mirror: bool = False
    shards: int = 1


def train(
    model: nn.Module,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    settings: TrainingSettings | None = None,
    *,
    seed: int = 0,
    after_epoch: Callable[[int, nn.Module], None] | None = None,
    progress: Progress | None = None,
) -> nn.Module:
    """Train a copy of a classifier with Adam under a one-cycle cosine rate; same seed and torch threads, same weights.

    Where torch.distributed is initialized, all processes call this with the same arguments, share the shards of each
    batch and end with the weights that one process would have.

    Parameters
    ----------
    model : torch.nn.Module
        Left unchanged.
    x : float32[N, ...]
        Standardized inputs.
    y : int64[N]
    settings : TrainingSettings, optional
        Its defaults without.
    seed : int
    after_epoch : callable, optional
        Called with the epoch, from 0, and the network as it is, in training mode: `MissCounter.after_epoch` fits.
    progress : callable, optional
        Called with ("train", epochs done, epochs).

    Returns
    -------
    torch.nn.Module
        Trained, in evaluation mode.

    Raises
    ------
    DataError
        If a batch cannot be cut into that many shards of two samples, which batch norm needs.
    """
    how = settings or TrainingSettings()
    net = copy.deepcopy(model).train()
    rng = generator(seed, "train")
    inputs, labels = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(np.ascontiguousarray(y))
    # Batch norm needs two samples, so a last batch of one is joined to its neighbor by rounding down.
    batches = max(1, len(labels) // how.batch)
    most = max(1, len(labels) // batches // 2)
    if not 1 <= how.shards <= most:
        raise DataError(f"shards: expected 1 to {most} for this batch, got {how.shards}")
    optimizer = torch.optim.Adam(net.parameters(), lr=how.rate)
    steps = how.epochs * batches
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, how.rate, total_steps=steps, pct_start=0.2)

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(net(x), y)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout
        for epoch in range(how.epochs):
            for part in np.array_split(rng.permutation(len(labels)), batches):
                rows = torch.from_numpy(part)
                optimizer.zero_grad()
                seen = mirrored(shifted(inputs[rows], how.shift, rng), how.mirror, rng)
                backward(net, loss, seen, labels[rows], shards=how.shards)
                optimizer.step()
                schedule.step()
            if after_epoch:
                after_epoch(epoch, net)
            if progress:
                progress("train", epoch + 1, how.epochs)
    return net.eval()


def accuracy(model: nn.Module, x: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """Fraction of samples whose largest logit is the label."""
    hits = 0
    with torch.no_grad():
        for start in range(0, len(y), EVALUATION_BATCH):
            rows = slice(start, start + EVALUATION_BATCH)
            predicted = model(torch.from_numpy(np.ascontiguousarray(x[rows]))).argmax(1).numpy()
            hits += int((predicted == y[rows]).sum())
    return hits / len(y)


def shifted(x: torch.Tensor, shift: int, rng: np.random.Generator) -> torch.Tensor:
    """A batch moved as `TrainingSettings.shift` says, all samples alike."""
    if shift == 0:
        return x
    for dim in range(2, x.ndim):
        offset = int(rng.integers(-shift, shift + 1))
        at = (torch.arange(x.shape[dim]) + offset).clamp(0, x.shape[dim] - 1)
        x = x.index_select(dim, at)
    return x


def mirrored(x: torch.Tensor, mirror: bool, rng: np.random.Generator) -> torch.Tensor:
    """A batch with half of its samples reversed, as `TrainingSettings.mirror` says."""
    if not mirror:
        return x
    chosen = torch.from_numpy(rng.permutation(len(x)) < len(x) // 2)
    return torch.where(chosen.view(-1, *(1,) * (x.ndim - 1)), x.flip(-1), x)
