"""ADWIN: a window that forgets its older part as soon as the newer part has another mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibrant.core import fmath
from calibrant.policy.drift.stream import NOWHERE, between, checked


class Adwin:
    """Adaptive windowing: detects a change of the mean, with a bound on false alarms, in logarithmic memory.

    All values since the last detection are the window. It is cut where an exponential histogram has its borders: up to
    `max_buckets` buckets of each size 1, 2, 4, ..., the small ones for the newest values. A cut whose two sides differ
    in mean by more than the bound allows is a change. Where the borders stand depends only on how many values there
    are, so running totals at the borders are all that is kept, and everything else is planned a block of checks ahead.

    Source: A. Bifet, R. Gavalda, "Learning from Time-Changing Data with Adaptive Windowing", SDM 2007 (ADWIN2).

    Parameters
    ----------
    delta : float
        Significance: the smaller, the fewer false alarms; above 0, at most 1.
    clock : int
        Check after every so many values.
    max_buckets : int
        Buckets of one size, at least 2.
    min_window_length : int
        The smallest part that is compared.
    grace_period : int
        Check only with more values than this.
    ahead : int
        Checks planned at a time: time against memory, some 3 KB each.

    Examples
    --------
    >>> Adwin().update([0.0] * 500 + [1.0] * 500).tolist()
    [511]
    """

    def __init__(
        self,
        delta: float = 0.002,
        clock: int = 32,
        max_buckets: int = 5,
        min_window_length: int = 5,
        grace_period: int = 10,
        ahead: int = 32,
    ) -> None:
        between("delta", delta, 1e-30, 1)
        between("clock", clock, 1, 2**20)
        between("max_buckets", max_buckets, 2, 2**10)
        between("min_window_length", min_window_length, 1, 2**31)
        between("grace_period", grace_period, 1, 2**31)  # the bound has the logarithm of log(width)
        between("ahead", ahead, 1, 2**10)
        self._delta, self._clock, self._max_buckets = delta, clock, max_buckets
        self._shortest, self._grace = min_window_length, grace_period
        self._checks = ahead
        self._pending: list[float] = []  # came one at a time since the last check
        self._origin: float | None  # the first value: what sums are taken from, so that digits are not lost
        self._start_over()

    @property
    def width(self) -> int:
        """Values in the window."""
        return self._start + self._filled + len(self._pending)

    def memory(self) -> dict[str, Any]:
        """Plain numbers to :meth:`resume` from, with a test of the same settings."""
        return {
            "origin": self._origin,
            "start": self._start,
            "filled": self._filled,
            "total": self._total,
            "squares": self._squares,
            "borders": self._borders.tolist(),
            "known": self._known[: self._borders.size + self._filled].tolist(),
            "pending": list(self._pending),
        }

    def resume(self, memory: Mapping[str, Any]) -> None:
        """Go on as the test that gave this memory."""
        self._origin, self._pending = memory["origin"], list(memory["pending"])
        self._start, self._filled = int(memory["start"]), int(memory["filled"])
        self._total, self._squares = float(memory["total"]), float(memory["squares"])
        self._borders = np.array(memory["borders"], np.int64)
        self._known = np.zeros(self._borders.size + self._checks * self._clock)
        self._known[: len(memory["known"])] = memory["known"]
        self._plan = self._planned(self._borders)

    def update(self, values: float | ArrayLike) -> NDArray[np.int64]:
        """Watch the next values, see :class:`DriftTest`."""
        waiting = len(self._pending)
        if isinstance(values, float) and math.isfinite(values):  # one at a time: nothing to do until a check is due
            self._pending.append(values)
            if (self._filled + waiting + 1) % self._clock:
                return NOWHERE
            row = np.array(self._pending)
        else:
            row = checked(values)
            row = np.concatenate([self._pending, row]) if waiting else row
        self._pending.clear()
        found, at = [], 0
        while at < row.size:
            taken = row[at : at + self._checks * self._clock - self._filled]
            change = self._watch(taken)
            at += taken.size if change is None else change + 1
            if change is not None:
                found.append(at - 1 - waiting)
                self._start_over()
            elif self._filled == self._checks * self._clock:
                self._compress()
        return np.array(found, np.int64) if found else NOWHERE

    def _start_over(self) -> None:
        self._origin = None
        self._start = self._filled = 0
        self._total = self._squares = 0.0
        self._known = np.zeros(self._checks * self._clock)
        self._borders = np.zeros(0, np.int64)
        self._plan = self._planned(self._borders)

    def _compress(self) -> None:
        """Keep the totals at the borders of this moment only, and plan the next block."""
        kept = self._known[self._plan.kept_index]
        self._start, self._filled = self._start + self._filled, 0
        self._borders = np.append(self._plan.kept, self._start)  # this moment becomes a border with the next value
        self._known = np.concatenate([kept, [self._total], np.zeros(self._checks * self._clock)])
        self._plan = self._planned(self._borders)

    def _watch(self, values: NDArray[np.float64]) -> int | None:
        """Take in values that end within the block; where the first check of theirs stands that detects a change."""
        if self._origin is None:
            self._origin = float(values[0])
        before, after = self._filled, self._filled + values.size
        known, first = self._known, self._known.size - self._checks * self._clock
        distance = values - self._origin
        totals = known[first + before : first + after] = np.cumsum(np.append(self._total, distance))[1:]
        squares = np.cumsum(np.append(self._squares, distance * distance))[1:]  # in one order however calls are cut
        self._filled, self._total, self._squares = after, float(totals[-1]), float(squares[-1])

        due = slice(before // self._clock, after // self._clock)
        plan = self._plan
        width = plan.width[due]
        if not width.size:
            return None
        at = width - (self._start + before + 1)
        sums = totals[at]
        deviation = np.sqrt(np.maximum(squares[at] - sums * sums / width, 0) / width)
        differing = np.abs(known[plan.index[due]] - (sums / width)[:, None] * plan.older[due])
        changed = (differing > deviation[:, None] * plan.gain[due] + plan.offset[due]).any(axis=1)
        return int(at[changed.argmax()]) if changed.any() else None

    def _planned(self, borders: NDArray[np.int64]) -> _Plan:
        """The next block's checks, when totals are known after `borders` values and after each value from here on.

        A full row of buckets merges its two oldest into one bucket of the next row. Followed through, with n values,
        k = max_buckets - 1 and v = (n + k) >> i, row i holds k + v % 2 buckets, the last row v - k, and its borders
        stand after (v - k - j) << i values, j = 1, 2, ...
        """
        most, k = self._max_buckets, self._max_buckets - 1
        width = self._start + self._clock * np.arange(1, self._checks + 1, dtype=np.int64)
        rows = np.arange(((int(width[-1]) + k) // (2 * most)).bit_length() + 1)[:, None]
        v = (width[:, None, None] + k) >> rows
        j = np.arange(1, most + 1)
        older = (v - k - j) << rows
        older *= j <= np.where(v > 2 * k + 1, k + (v & 1), v - k)  # 0 where no bucket is: no cut, all is newer
        older = older.reshape(self._checks, -1)
        index = older + (borders.size - self._start - 1)
        known = older <= self._start
        index[known] = np.minimum(np.searchsorted(borders, older[known]), max(borders.size - 1, 0))

        shortest, wide = self._shortest, np.maximum(width, 2 * self._shortest)[:, None]
        n0 = np.clip(older, shortest, wide - shortest).astype(np.float64)
        unusable = (n0 != older) | (width <= self._grace)[:, None]
        log = fmath.log(2 * fmath.log(np.maximum(width, 2).astype(np.float32)) / np.float32(self._delta))
        confidence = 2 * np.maximum(log, 0).astype(np.float64)[:, None] * (wide - (2 * shortest - 2))
        confidence = confidence / ((n0 - (shortest - 1)) * (wide - (shortest - 1) - n0))
        scale = (wide - n0) * n0 / wide
        gain, offset = np.sqrt(confidence) * scale, confidence * scale / 3
        offset[unusable] = np.inf
        last, place = older[-1, ::-1], index[-1, ::-1]
        return _Plan(width, index, n0, gain, offset, last[last > 0], place[last > 0])


@dataclass(frozen=True)
class _Plan:
    """A block of checks; arrays [checks, cuts] but for `width` [checks] and what is kept of the last check, [borders].

    With the total of the `older` values before a cut at `index` of the known totals, the sides differ if |that total -
    older x mean| is above gain x standard deviation + offset: the paper's bound, multiplied by n0 n1 / (n0 + n1).
    """

    width: NDArray[np.int64]
    index: NDArray[np.int64]
    older: NDArray[np.float64]
    gain: NDArray[np.float64]
    offset: NDArray[np.float64]
    kept: NDArray[np.int64]
    kept_index: NDArray[np.int64]
