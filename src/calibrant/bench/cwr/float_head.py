"""Float references on the same features: CWR*, a head that is only trained on (naive), one trained on all at once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from calibrant.core.rng import generator
from calibrant.heads import CwrSettings, Lesson
from calibrant.heads.grid import Grid
from calibrant.heads.roster import grown, padded
from calibrant.heads.training import DeadZone, batches, unit_of

MODES = ("cwr", "naive", "joint")
PREDICTED = (8, 16)  # bits of the grids that the dead zone is predicted for, w_max = 1


@dataclass(frozen=True)
class FloatHead:
    """Softmax regression in float64 by the draws of `heads.training`, so that only the arithmetic differs from `cwr`.

    `mode` cwr averages a lesson's rows into those kept, naive goes on from what it has, joint starts anew. `zones` say
    what 8- and 16-bit weights would have lost of the last lesson's steps.
    """

    mode: str
    training: CwrSettings
    classes: tuple[str, ...] = ()
    kept: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    past: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    unit: int = 0
    lessons: int = 0
    zones: tuple[DeadZone, ...] = ()

    def learn(self, lesson: Lesson) -> Self:
        """One experience."""
        classes = grown(self.classes, tuple(lesson.names[i] for i in lesson.present))
        places = np.array([classes.index(name) if name in classes else -1 for name in lesson.names])
        y, width = places[lesson.y], lesson.x.shape[1]
        kept = padded(self.kept, len(classes)) if self.lessons else np.zeros((len(classes), width))
        past = padded(self.past, len(classes))
        current = np.bincount(y, minlength=len(classes)).astype(np.float64)
        seen = current > 0
        unit = self.unit if self.lessons else unit_of(lesson.x)
        start = {"cwr": np.where(seen[:, None], kept, 0), "naive": kept, "joint": np.zeros_like(kept)}[self.mode]
        fresh, zones = self._descend(start, lesson.x / 2.0**unit, y)
        if self.mode == "cwr":
            wp = np.sqrt(past[seen] / current[seen])[:, None]
            kept = kept.copy()
            kept[seen] = (kept[seen] * wp + fresh[seen] - fresh[seen].mean()) / (wp + 1)
        else:
            kept = fresh
        return replace(
            self, classes=classes, kept=kept, past=past + current, unit=unit, lessons=self.lessons + 1, zones=zones
        )

    def _descend(
        self, w: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], tuple[DeadZone, ...]]:
        how, zones = self.training, tuple(DeadZone() for _ in PREDICTED)
        order = generator(how.seed, f"cwr {self.lessons} order")
        for rows in batches(len(y), how.batch, how.epochs, order):
            z = x[rows] @ w.T
            p = np.exp(z - z.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            p[np.arange(len(rows)), y[rows]] -= 1
            gradient = p.T @ x[rows] / len(rows)
            w = w - how.rate * gradient
            zones = tuple(
                zone.then(DeadZone.of(gradient, how.rate / Grid(bits).step))
                for zone, bits in zip(zones, PREDICTED, strict=True)
            )
        return w, zones

    def predict(self, x: NDArray[np.int32]) -> NDArray[np.int64]:
        """Index of the best class, int64[N]."""
        best: NDArray[np.int64] = (x @ self.kept.T).argmax(axis=1).astype(np.int64)
        return best

    @property
    def nbytes(self) -> int:
        """Bytes, as float32 would take."""
        return 4 * (self.kept.size + self.past.size)
