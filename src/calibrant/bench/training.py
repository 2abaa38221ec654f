"""Training a float network on the source domain."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from calibrant.core.rng import generator

Progress = Callable[[str, int, int], None]
EVALUATION_BATCH = 256


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Run torch with `count` threads, then restore; None leaves the number alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(
    model: nn.Module,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    *,
    epochs: int = 30,
    batch: int = 64,
    lr: float = 2e-3,
    shift: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> nn.Module:
    """Train a copy of a classifier with Adam under a one-cycle cosine rate; same seed and torch threads, same weights.

    Parameters
    ----------
    model : torch.nn.Module
        Left unchanged.
    x : float32[N, ...]
        Standardized inputs.
    y : int64[N]
    epochs, batch, lr, seed
    shift : int
        Augmentation: move each batch by up to this many steps along the last axis (and the one before it, for images),
        edges repeated. 0 for none.
    progress : callable, optional
        Called with ("train", epochs done, epochs).

    Returns
    -------
    torch.nn.Module
        Trained, in evaluation mode.
    """
    net = copy.deepcopy(model).train()
    rng = generator(seed, "train")
    inputs, labels = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(np.ascontiguousarray(y))
    # Batch norm needs two samples, so a last batch of one is joined to its neighbor by rounding down.
    batches = max(1, len(labels) // batch)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * batches, pct_start=0.2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout
        for epoch in range(epochs):
            for part in np.array_split(rng.permutation(len(labels)), batches):
                rows = torch.from_numpy(part)
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(net(_shifted(inputs[rows], shift, rng)), labels[rows])
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
            if progress:
                progress("train", epoch + 1, epochs)
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


def _shifted(x: torch.Tensor, shift: int, rng: np.random.Generator) -> torch.Tensor:
    if shift == 0:
        return x
    for dim in range(2, x.ndim):
        offset = int(rng.integers(-shift, shift + 1))
        at = (torch.arange(x.shape[dim]) + offset).clamp(0, x.shape[dim] - 1)
        x = x.index_select(dim, at)
    return x
