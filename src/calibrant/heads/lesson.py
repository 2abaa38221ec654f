"""What a head learns from: whole-numbered features of samples, and the names of their classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError
from calibrant.core.fixedpoint import divide_round
from calibrant.core.program import Program
from calibrant.core.statistics import Observation

FEATURE_LIMIT = 255  # what an 8-bit code less its zero point can be at most, either way


def features(program: Program, observation: Observation) -> NDArray[np.int32]:
    """Mean inputs of the last layer int32[N, c_in], in steps of its input tensor: codes less their zero point.

    An observation by the artifact's own weights gives what its head sees; where the last layer sees one position, as
    after a global mean, exactly that.
    """
    where = program.layers[-1].pooled_slice
    mean = divide_round(observation.pooled[:, where], program.pooled_positions[where])
    return mean.astype(np.int32)


@dataclass(frozen=True)
class Lesson:
    """Samples of named classes.

    Parameters
    ----------
    x : int32[N, D]
        Features, at most `FEATURE_LIMIT` either way.
    y : int64[N]
        Which of `names` each sample is of.
    names : tuple of str
        Different ones; those that no sample is of say nothing.
    blocks : int64[N], optional
        Which stretch of a recording each sample is of: those of one stretch resemble each other, and count for fewer.

    Raises
    ------
    DataError
        Shapes, types or ranges are others, or there is no sample.

    Examples
    --------
    >>> Lesson(np.array([[3, 4]], np.int32), np.array([1]), ("walk", "run")).present.tolist()
    [1]
    """

    x: NDArray[np.int32]
    y: NDArray[np.int64]
    names: tuple[str, ...]
    blocks: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        check_features(self.x)
        if len(self.x) == 0:
            raise DataError("lesson: expected at least 1 sample, got none")
        for what, given in (("y", self.y), ("blocks", self.y if self.blocks is None else self.blocks)):
            if given.shape != (len(self.x),) or given.dtype.kind not in "iu":
                raise DataError(f"lesson: expected {what} int64[{len(self.x)}], got {given.dtype} {list(given.shape)}")
        if len(set(self.names)) != len(self.names) or not all(self.names):
            raise DataError(f"lesson: expected different names of classes, got {', '.join(map(repr, self.names))}")
        if int(self.y.min()) < 0 or int(self.y.max()) >= len(self.names):
            raise DataError(
                f"lesson: expected y of 0 to {len(self.names) - 1}, got {int(self.y.min())} to {int(self.y.max())}"
            )

    @cached_property
    def present(self) -> NDArray[np.int64]:
        """Indices of the names that samples are of, ascending."""
        return np.unique(self.y)


def check_features(x: NDArray[np.int32]) -> None:
    """Raise DataError unless `x` is int32[N, D] within `FEATURE_LIMIT`."""
    if x.ndim != 2 or x.dtype != np.int32 or x.shape[1] == 0:
        raise DataError(f"features: expected int32[N, D], got {x.dtype} {list(x.shape)}")
    if x.size and int(np.abs(x).max()) > FEATURE_LIMIT:
        raise DataError(f"features: expected at most {FEATURE_LIMIT} either way, got {int(np.abs(x).max())}")
