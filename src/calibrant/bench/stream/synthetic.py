"""Random sequences of one small world: tones that are offset, amplified and drowned in noise, classes that come and go.

They ask what no data set asks often enough: does the loop ever give up, or do harm? Every sequence starts at home or
abroad, goes through two to five places, may come back, and may begin with labels that are wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from calibrant.bench.stream.cases import Case
from calibrant.bench.stream.families import SYNTHETIC
from calibrant.bench.stream.scene import Samples, Scene, Window
from calibrant.core.rng import generator

WINDOW, CLASSES, LENGTH = 60, 3, 64
NAMES = ("low", "middle", "high")


@dataclass(frozen=True)
class Place:
    """What tones go through on their way to the sensor, and which classes occur there."""

    shift: float = 0.0
    gain: float = 1.0
    noise: float = 0.4
    classes: tuple[int, ...] = (0, 1, 2)
    windows: int = 8
    wrong: int = 0  # windows, the first ones, whose labels are off by one


# Streams that once made the loop give up for good.
WAYS: Mapping[str, tuple[Place, ...]] = {
    "one odd window, then back": (Place(1.2, noise=0.6, windows=1), Place(-1.2, noise=0.6, windows=60)),
    "first window off by one": (Place(1.2, noise=0.6, windows=12, wrong=1),),
    "offset turned over": (Place(1.2, windows=8), Place(-1.2, windows=12)),
    "all labels wrong": (Place(0.8, windows=8, wrong=8),),
}


def cases(seed: int, sequences: int) -> list[Case]:
    """The named streams, then random sequences numbered from `seed` on."""
    named = [Case(SYNTHETIC, name, (seed,), ()) for name in WAYS]
    return named + [Case(SYNTHETIC, f"sequence {n}", (n,), ()) for n in range(seed, seed + sequences)]


def tone(n: int, seed: int, shift: float = 0.0, noise: float = 0.4, gain: float = 1.0) -> Samples:
    """Tones float32[n, 2, 64] of three pitches, their classes int64[n].

    Examples
    --------
    >>> x, y = tone(5, 0)
    >>> x.shape, sorted(set(y.tolist()))
    ((5, 2, 64), [0, 1, 2])
    """
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, n)
    t = np.arange(LENGTH) / LENGTH + rng.uniform(0, 1, (n, 1))
    pure = [(1 + 0.3 * c) * np.sin(2 * np.pi * (2 + 2 * y)[:, None] * t + c) for c in (0, 1)]
    x = np.stack(pure, axis=1)
    x = gain * (x + noise * rng.standard_normal(x.shape)) + shift
    return x.astype(np.float32), y.astype(np.int64)


def network(seed: int = 0) -> nn.Module:
    """Two convolutions, untrained; the global random state of torch is left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv1d(2, 16, 7, padding=3),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(16, 24, 5, padding=2),
            nn.ReLU(),
            _Mean(),
            nn.Linear(24, CLASSES),
        )


def trained(seed: int = 0, steps: int = 60) -> tuple[nn.Module, Samples]:
    """The network after full-batch Adam steps on standardized tones, and those tones."""
    x, y = tone(600, 1 + seed)
    mean, deviation = x.mean((0, 2), keepdims=True), x.std((0, 2), keepdims=True)
    net, inputs, labels = network(seed), torch.from_numpy((x - mean) / deviation), torch.from_numpy(y)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(net(inputs), labels))
        optimizer.step()
    return net.eval(), (x, y)


def places(seed: int) -> tuple[Place, ...]:
    """The way of one random sequence."""
    rng = generator(seed, "synthetic places")
    way = [_place(rng) for _ in range(int(rng.integers(2, 6)))]
    if rng.random() < 0.4:
        way.append(Place(windows=6) if rng.random() < 0.5 else way[0])
    first = way[0]
    if rng.random() < 0.25:
        way[0] = Place(first.shift, first.gain, first.noise, first.classes, first.windows, wrong=1)
    return tuple(way)


def scene(seed: int, way: tuple[Place, ...]) -> Scene:
    """A sequence's stream, and a test of its last place with all classes."""
    windows = list[Window]()
    rng = generator(seed, "synthetic stream")
    for at, place in enumerate(way):
        for i in range(place.windows):
            x, y = _of_classes(place, int(rng.integers(2**31)))
            given = (y + 1) % CLASSES if i < place.wrong else y
            windows.append(Window(x, y, given, at))
    last = way[-1]
    final = tone(300, 7, last.shift, last.noise, last.gain)
    return Scene(tone(600, 1), tone(300, 3), NAMES, windows, final)


def _place(rng: np.random.Generator) -> Place:
    few = rng.random() < 0.2
    classes = tuple(sorted(rng.choice(CLASSES, 2, replace=False).tolist())) if few else (0, 1, 2)
    return Place(
        shift=round(float(rng.uniform(-1.5, 1.5)), 2) if rng.random() < 0.7 else 0.0,
        gain=round(float(2 ** rng.uniform(-1, 1)), 2) if rng.random() < 0.5 else 1.0,
        noise=round(float(rng.uniform(0.3, 0.9)), 2),
        classes=classes,
        windows=int(rng.integers(4, 11)),
    )


def _of_classes(place: Place, seed: int) -> Samples:
    x, y = tone(3 * WINDOW, seed, place.shift, place.noise, place.gain)
    rows: NDArray[np.int64] = np.flatnonzero(np.isin(y, place.classes))[:WINDOW]
    return x[rows], y[rows]


class _Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(2)
