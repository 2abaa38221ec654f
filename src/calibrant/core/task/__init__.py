"""What a network's outputs mean. One file here is one kind of output; an artifact names its own.

Everything on the device that must know goes through a `Task`: what is predicted, how wrong it is, in which direction
the outputs should move, what a label may be.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from calibrant.core.arrays import INTEGERS, array_of
from calibrant.core.errors import DataError, check_known

CLASSES = "classes"  # what artifacts that name no task have
UNLABELED = -1


class Task(Protocol):
    """Meaning of scores float32[N, K] (see `core.logits`) beside labels int64[N], -1 where unknown.

    Losses are Q16 nats and errors Q15, both integers (`core.fmath`), so that every machine decides alike.
    """

    @property
    def guesses(self) -> bool:
        """Whether predictions are one of K classes, which learning without labels relies on."""

    def labels(self, outputs: int) -> int:
        """How many different labels there are, 0 to that less one, for a network of so many outputs."""

    def words(self, label: int, names: Sequence[str]) -> str:
        """A label as people read it; `names` are those of the outputs, an artifact's `classes`."""

    def decode(self, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """Predictions int64[N], in the form of labels."""

    def probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """How likely each output is, Q15 int64[N, K]."""

    def loss(self, scores: NDArray[np.float32], y: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Loss of each sample, Q16 int64[N], and its derivative by the scores, the error signal, Q15 int64[N, K]; all
        labels known."""

    def right(self, scores: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which predictions are right, bool[N]; all labels known."""


@cache
def tasks() -> tuple[str, ...]:
    """Names of all tasks."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def find(name: str) -> Task:
    """The task of that name.

    Raises
    ------
    DataError
        There is none; lists those there are.

    Examples
    --------
    >>> find("classes").decode(np.float32([[0.5, 2.0]])).tolist()
    [1]
    >>> find("regression")
    Traceback (most recent call last):
    calibrant.core.errors.DataError: task: expected one of ...classes..., got 'regression'
    """
    check_known("task", name, tasks())
    return cast(Task, importlib.import_module(f"{__name__}.{name}").TASK)


def check_labels(y: Any, n: int, labels: int) -> NDArray[np.int64]:
    """Labels as int64[n], each one of 0..labels-1 or -1 for unlabeled.

    Raises
    ------
    DataError
        Wrong dtype, wrong length, or a label out of range; names the first bad position.

    Examples
    --------
    >>> check_labels([0, -1, 2], 3, 3).tolist()
    [0, -1, 2]
    >>> check_labels([0, 3], 2, 3)
    Traceback (most recent call last):
    calibrant.core.errors.DataError: labels: expected classes 0 to 2 or -1 for unlabeled, got 3 at index 1
    """
    array = array_of(y, "labels", INTEGERS)
    if array.shape != (n,):
        raise DataError(f"labels: expected shape ({n},) as the window has {n} samples, got {array.shape}")
    wrong = (array >= labels) | (array < UNLABELED)
    if wrong.any():
        first = int(np.argmax(wrong))
        got = f"{array[first]} at index {first}"
        remedy = "; labels that count from 1? subtract 1" if array.min() == 1 and array.max() == labels else ""
        raise DataError(f"labels: expected classes 0 to {labels - 1} or -1 for unlabeled, got {got}{remedy}")
    return array.astype(np.int64)
