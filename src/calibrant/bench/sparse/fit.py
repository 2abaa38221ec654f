"""The training loop that every row shares: batches in a drawn order, a rate that warms up, then falls as a cosine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from calibrant.core.rng import generator

Codes = NDArray[np.int8]
Labels = NDArray[np.int64]


class Learner(Protocol):
    """A network that learns with its first layers frozen. Features are what leaves the frozen layers, in its own form,
    indexable by samples."""

    def features(self, codes: Codes) -> Any:
        """Of input codes int8[N, height, width, channels]."""

    def step(self, features: Any, y: Labels, rate: float) -> float:
        """Learn from one batch; the sum of its losses in nats, taken before."""

    def scores(self, features: Any) -> NDArray[np.float32]:
        """Logits float32[N, classes]."""


@dataclass(frozen=True)
class Recipe:
    """How long and in which portions: the rate rises over `warmup` epochs, then falls to 0 over `epochs` more."""

    epochs: int
    warmup: int
    batch: int
    rate: float


def rate_at(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Learning rate of a step (Lin et al., NeurIPS 2022, appendix: linear warm-up, cosine decay, both per step).

    Examples
    --------
    >>> recipe = Recipe(epochs=1, warmup=1, batch=8, rate=1.0)
    >>> [round(rate_at(recipe, step, 2), 2) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warm = recipe.warmup * steps_per_epoch
    if step < warm:
        return recipe.rate * (step + 1) / warm
    return recipe.rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / (recipe.epochs * steps_per_epoch)))


def fit(
    learner: Learner,
    sight: Callable[[int], Any],
    y: Labels,
    recipe: Recipe,
    seed: int,
) -> list[float]:
    """Train; stops at a loss that is no number, which cannot get better.

    Parameters
    ----------
    learner : Learner
    sight : callable
        Features of all samples, in their order, as they look in an epoch (its number is the argument).
    y : int64[N]
    recipe : Recipe
    seed : int
        Of the order.

    Returns
    -------
    list of float
        Mean loss of each epoch in nats, every sample's taken just before its batch was learned.
    """
    per_epoch = -(-len(y) // recipe.batch)
    losses = []
    for epoch in range(recipe.warmup + recipe.epochs):
        seen, order, total = sight(epoch), generator(seed, f"order of epoch {epoch}").permutation(len(y)), 0.0
        for number in range(per_epoch):
            rows = order[number * recipe.batch : (number + 1) * recipe.batch]
            total += learner.step(seen[rows], y[rows], rate_at(recipe, epoch * per_epoch + number, per_epoch))
        losses.append(total / len(y))
        if not math.isfinite(losses[-1]):
            break
    return losses


def diverged(losses: list[float], classes: int) -> str:
    """Why a training counts as diverged, empty if it does not: its last epoch's loss is no number, or above chance.

    Examples
    --------
    >>> diverged([2.0, 1.0], 10), diverged([2.0, 5.0], 10), diverged([float("nan")], 10)
    ('', 'loss 5.00 above chance 2.30', 'loss nan')
    """
    last = losses[-1]
    if not math.isfinite(last):
        return f"loss {last}"
    return f"loss {last:.2f} above chance {math.log(classes):.2f}" if last > math.log(classes) else ""
