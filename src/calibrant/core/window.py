"""Windows at the door: check what a caller hands in, then standardize and quantize it to the program's input codes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.arrays import array_of
from calibrant.core.errors import DataError
from calibrant.core.program import Tensor
from calibrant.core.qparams import QParams
from calibrant.core.reports import UpdateReport
from calibrant.core.rng import generator
from calibrant.core.statistics import Preprocess
from calibrant.core.task import UNLABELED

_AXES = {1: ("features",), 2: ("channels", "time steps"), 3: ("channels", "rows", "columns")}


@dataclass(frozen=True)
class Window:
    """Samples that were let in, to be learned from.

    `codes` is int8[N, height, width, channels], `labels` int64[N] classes, -1 where unlabeled; `arrived` a reading of
    `time.perf_counter`; `ticket` that of a window that waited for its labels.
    """

    codes: NDArray[np.int8]
    labels: NDArray[np.int64]
    arrived: float
    ticket: int | None = None

    @cached_property
    def known(self) -> NDArray[np.intp]:
        """Indices of the labeled ones."""
        return np.flatnonzero(self.labels != UNLABELED)

    def facts(self) -> dict[str, Any]:
        """JSON for the state's history."""
        return {"labels": len(self.known), "samples": len(self.codes)}

    def report(self, version: int, decision: str, reason: str, **measured: Any) -> UpdateReport:
        """What became of it; `measured` are further fields of the report."""
        return UpdateReport(
            version=version,
            decision=decision,
            reason=reason,
            samples=len(self.codes),
            labels=len(self.known),
            milliseconds=(time.perf_counter() - self.arrived) * 1000,
            **measured,
        )


def check_window(x: Any, input_shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The window as float32[N, *input_shape], every value finite.

    Parameters
    ----------
    x : array-like [N, *input_shape]
        Floats or integers.
    input_shape : tuple of int
        (features,), (channels, time) or (channels, rows, columns).

    Raises
    ------
    DataError
        Wrong dtype or shape, no samples, NaN or infinity (also what overflows float32).
    """
    if len(input_shape) not in _AXES:
        raise DataError(f"window: expected samples with 1 to 3 axes, got shape {_shape(input_shape)}")
    array = array_of(x, "window")
    expected = ("N", *input_shape)
    if array.ndim != len(expected):
        raise DataError(f"window: expected shape {_shape(expected)}, got {_shape(array.shape)}")
    for axis, want, got in zip(_AXES[len(input_shape)], input_shape, array.shape[1:], strict=True):
        if want != got:
            raise DataError(f"window: expected {want} {axis} (shape {_shape(expected)}), got {got} in {array.shape}")
    if len(array) == 0:
        raise DataError(f"window: expected at least 1 sample (shape {_shape(expected)}), got 0")
    with np.errstate(over="ignore"):  # an overflow shows as infinity below
        values = array.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        first = tuple(int(i) for i in np.unravel_index(int(np.argmin(finite)), finite.shape))
        raise DataError(f"window: expected finite values, got {array[first]} at index {first}")
    return values


def encode(x: Any, tensor: Tensor, preprocess: Preprocess, input_shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Input codes of a window: checked, standardized per channel in float32, quantized, channels last.

    Parameters
    ----------
    x : array-like [N, *input_shape]
        Floats or integers. Series [N, C, T], images [N, C, H, W] or vectors [N, F].
    tensor : Tensor
        The program's input: its scale and zero point quantize.
    preprocess : Preprocess
        float32[C] mean and standard deviation.
    input_shape : tuple of int
        The shape of one sample as the caller knows it.

    Returns
    -------
    int8[N, height, width, channels]
        Height 1 for a series, height and width 1 for vectors.

    Raises
    ------
    DataError
        See :func:`check_window`.

    Examples
    --------
    >>> tensor = Tensor("x", height=1, width=3, channels=2, scale=0.5, zero_point=0)
    >>> unit = Preprocess(np.zeros(2, np.float32), np.ones(2, np.float32))
    >>> encode([[[1.0, 2.0, 3.0], [-1.0, -2.0, 1e9]]], tensor, unit, (2, 3)).tolist()
    [[[[2, -2], [4, -4], [6, 127]]]]
    >>> encode(np.zeros((1, 3, 3)), tensor, unit, (2, 3))
    Traceback (most recent call last):
    calibrant.core.errors.DataError: window: expected 2 channels (shape (N, 2, 3)), got 3 in (1, 3, 3)
    """
    values = check_window(x, input_shape)
    with np.errstate(over="ignore"):  # saturates when quantized
        codes = QParams(tensor.scale, tensor.zero_point).quantize(preprocess.apply(values))
    channels_last = np.ascontiguousarray(np.moveaxis(codes, 1, -1))
    return channels_last.reshape(len(codes), tensor.height, tensor.width, tensor.channels)


def keep_labels(y: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """The labels as if only some had been given: `fraction` of those that are there, drawn at random, -1 elsewhere.

    Parameters
    ----------
    y : int64[N]
        Classes, -1 where unlabeled.
    fraction : float
        0 to 1; the number kept is rounded.
    seed : int

    Raises
    ------
    DataError
        `fraction` is outside 0 to 1.

    Examples
    --------
    >>> keep_labels(np.array([4, 4, -1, 4, 4]), 0.5, seed=0).tolist()
    [-1, -1, -1, 4, 4]
    """
    if not 0 <= fraction <= 1:
        raise DataError(f"fraction of labels: expected 0 to 1, got {fraction}")
    known = np.flatnonzero(y != UNLABELED)
    kept = generator(seed, "labels").permutation(known)[: round(fraction * known.size)]
    some = np.full(len(y), UNLABELED)
    some[kept] = y[kept]
    return some


def _shape(dims: tuple[object, ...]) -> str:
    """A shape in words: (N, 45, 125)."""
    return "(" + ", ".join(str(d) for d in dims) + ("," if len(dims) == 1 else "") + ")"
