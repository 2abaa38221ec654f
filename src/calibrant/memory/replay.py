"""The samples a device learns from beside each window: the artifact's coreset at first, then redrawn as labels come.

Source: QCore (PVLDB 17(11), 2024), the coreset refreshed from the stream by misses. How it is drawn here is Calibrant's
own: a weighted reservoir whose lottery numbers are hashes of the samples, so that neither the order of a window's
samples nor a generator's state matters, and the same labels give the same coreset however they are cut into windows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from calibrant.core.nibbles import rounded
from calibrant.core.statistics import Coreset

UNTRIED = -1  # of `misses`: no weights have had the sample right yet
NEVER = -3  # nor in two windows, one after the other: likely a wrong label
_TICKETS = 32  # in the lottery at most, whatever the misses
_STRIDE, _MIX_A, _MIX_B = (np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@dataclass(frozen=True)
class ReplayBuffer:
    """Samples with what is known of them; those of the artifact first, in its order, then the stream's by `id`.

    x int8[n, height, width, channels] input codes; y int64[n] classes; misses int64[n] how often weights lost the
    sample lately, halved from window to window, negative while none had it right; source bool[n] whether it came with
    the artifact; version int64[n] the one in force when it came; id int64[n] hash of codes and class; scores
    float32[n, K] that the version gave which learned the sample first, NaN where none has, for updaters that distill
    (K is 0 for others); `bits` 8 or 4.
    """

    x: NDArray[np.int8]
    y: NDArray[np.int64]
    misses: NDArray[np.int64]
    source: NDArray[np.bool_]
    version: NDArray[np.int64]
    id: NDArray[np.int64]
    scores: NDArray[np.float32]
    bits: int = 8

    @classmethod
    def of(cls, coreset: Coreset, outputs: int = 0) -> Self:
        """What a device starts with, with room for so many scores. Samples that occur twice are kept once."""
        count = len(coreset.y)
        ids = identities(coreset.x, coreset.y)
        first = np.sort(np.unique(ids, return_index=True)[1])
        start = cls(
            coreset.x,
            coreset.y,
            np.zeros(count, np.int64),
            np.ones(count, np.bool_),
            np.zeros(count, np.int64),
            ids,
            np.full((count, outputs), np.nan, np.float32),
            coreset.bits,
        )
        return start.take(first) if first.size < count else start

    def of_stream(self, x: NDArray[np.int8], y: NDArray[np.int64], version: int) -> Self:
        """Labeled samples of a window as this pool would keep them: rounded to its bits, none of them tried yet."""
        kept, count = rounded(x) if self.bits == 4 else x, len(y)
        return replace(
            self,
            x=kept,
            y=y,
            misses=np.full(count, UNTRIED, np.int64),
            source=np.zeros(count, np.bool_),
            version=np.full(count, version, np.int64),
            id=identities(kept, y),
            scores=np.full((count, self.scores.shape[1]), np.nan, np.float32),
        )

    def take(self, index: NDArray[np.int64]) -> Self:
        """Some of the samples."""
        return replace(
            self,
            x=self.x[index],
            y=self.y[index],
            misses=self.misses[index],
            source=self.source[index],
            version=self.version[index],
            id=self.id[index],
            scores=self.scores[index],
        )

    def and_also(self, other: Self) -> Self:
        """Both; a sample that both have is taken from this one."""
        fresh = other.take(np.flatnonzero(~np.isin(other.id, self.id)))
        fresh = fresh.take(np.unique(fresh.id, return_index=True)[1])
        return replace(
            self,
            x=np.concatenate([self.x, fresh.x]),
            y=np.concatenate([self.y, fresh.y]),
            misses=np.concatenate([self.misses, fresh.misses]),
            source=np.concatenate([self.source, fresh.source]),
            version=np.concatenate([self.version, fresh.version]),
            id=np.concatenate([self.id, fresh.id]),
            scores=np.concatenate([self.scores, fresh.scores]),
        )

    def learned(self, scores: NDArray[np.float32]) -> Self:
        """With scores float32[n, K] remembered of the stream's samples that have none yet."""
        if self.scores.shape[1] == 0:
            return self
        fresh = np.isnan(self.scores).all(axis=1) & ~self.source
        return replace(self, scores=np.where(fresh[:, None], scores, self.scores))

    def __len__(self) -> int:
        return len(self.y)

    @property
    def of_source(self) -> int:
        """How many samples came with the artifact."""
        return int(np.count_nonzero(self.source))


def identities(x: NDArray[np.int8], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """A sample's name, int64[n]: the first eight bytes of the SHA-256 of its codes and class."""
    labels = np.ascontiguousarray(y, "<i8")
    digests = [
        hashlib.sha256(codes.tobytes() + label.tobytes()).digest() for codes, label in zip(x, labels, strict=True)
    ]
    return np.frombuffer(b"".join(digest[:8] for digest in digests), "<i8").astype(np.int64)


def update_misses(
    misses: NDArray[np.int64], lost: NDArray[np.int64], before: NDArray[np.bool_], after: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Misses brought up to date by one window's learning.

    Parameters
    ----------
    misses : int64[n]
        Until now.
    lost : int64[n]
        How often a step lost the sample (`UpdateOutcome.misses`).
    before, after : bool[n]
        Whether the weights had it right.

    Returns
    -------
    int64[n]
        Half of the old, plus `lost`, plus one if it was wrong before. One that no weights ever had right goes down
        towards `NEVER` instead, so that what cannot be learned does not count as hard.

    Examples
    --------
    >>> wrong, right = np.zeros(3, bool), np.ones(3, bool)
    >>> update_misses(np.array([4, UNTRIED, UNTRIED]), np.array([3, 2, 0]), wrong, right).tolist()
    [6, 3, 1]
    >>> update_misses(np.array([4, UNTRIED, NEVER]), np.zeros(3, int), wrong, wrong).tolist()
    [3, -2, -3]
    """
    learned = before | after | (lost > 0) | (misses >= 0)
    return np.where(learned, np.maximum(misses, 0) // 2 + lost + ~before, np.maximum(misses - 1, NEVER))


def resample(pool: ReplayBuffer, window: ReplayBuffer, capacity: int, source_share: float) -> ReplayBuffer:
    """The pool after a window: free room is filled first; a full pool is drawn anew from both.

    In a full pool, `source_share` of the places belong to the artifact's samples, which leave only as samples of the
    stream need the others. Within each part every class that is there comes before any class comes twice; within a
    class a weighted lottery decides, with one ticket plus one per miss. Tickets are hashes, so this is a reservoir: a
    sample's chance does not depend on when it came. What was never learned comes last.

    Parameters
    ----------
    pool, window : ReplayBuffer
        `window` as :meth:`ReplayBuffer.of_stream` gives it, its misses counted.
    capacity : int
        Samples to keep.
    source_share : float
        0 to 1.
    """
    both = pool.and_also(window)
    if len(both) <= capacity:
        return _ordered(both)
    if len(pool) < capacity:
        fresh = np.arange(len(pool), len(both))
        kept = np.arange(len(pool))
        return _ordered(
            both.take(np.concatenate([kept, fresh[_best(both.take(fresh), pool.y)[: capacity - len(pool)]]]))
        )
    source, stream = np.flatnonzero(both.source), np.flatnonzero(~both.source)
    learnable = int(np.count_nonzero(both.misses[stream] > NEVER))
    places = min(source.size, max(round(source_share * capacity), capacity - learnable))
    origin = source[_best(both.take(source), np.zeros(0, np.int64))[:places]]
    rest = stream[_best(both.take(stream), both.y[origin])[: capacity - places]]
    return _ordered(both.take(np.concatenate([np.sort(origin), rest])))


def beside(pool: ReplayBuffer, aside: ReplayBuffer, capacity: int) -> ReplayBuffer:
    """A pool with samples that nobody believes where there is room for them: later ones may bear them out."""
    room = np.arange(min(max(capacity - len(pool), 0), len(aside)))
    return _ordered(pool.and_also(aside.take(room)))


def _best(some: ReplayBuffer, beside: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices, first choice first: classes in turn, those that `beside` has later, then by lottery."""
    number = _numbers(some.id, some.misses)
    hopeless = some.misses <= NEVER
    order = np.lexsort((some.id, ~number, hopeless, some.y))
    classes, start = np.unique(some.y[order], return_index=True)
    turn = np.empty(len(some), np.int64)
    taken = np.array([np.count_nonzero(beside == label) for label in classes], np.int64)
    place = np.searchsorted(classes, some.y[order])
    turn[order] = np.arange(len(some)) - start[place] + taken[place] if len(some) else 0
    return np.lexsort((some.id, ~number, turn, hopeless))


def _numbers(ids: NDArray[np.int64], misses: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The highest of a sample's lottery numbers, one per ticket; that of the largest of w uniform numbers is the key of
    weighted sampling without replacement (Efraimidis and Spirakis 2006), without a logarithm."""
    tickets = np.clip(misses + 1, 1, _TICKETS)
    state, best = ids.view(np.uint64), np.zeros(len(ids), np.uint64)
    for ticket in range(int(tickets.max(initial=0))):
        state = state + _STRIDE
        best = np.where(ticket < tickets, np.maximum(best, _mixed(state)), best)
    return best


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finalizer (Steele, Lea and Flood 2014)."""
    value = (value ^ (value >> np.uint64(30))) * _MIX_A
    value = (value ^ (value >> np.uint64(27))) * _MIX_B
    mixed: NDArray[np.uint64] = value ^ (value >> np.uint64(31))
    return mixed


def _ordered(pool: ReplayBuffer) -> ReplayBuffer:
    """The artifact's samples as they stand, then the stream's by id."""
    stream = np.flatnonzero(~pool.source)
    order = np.concatenate([np.flatnonzero(pool.source), stream[np.argsort(pool.id[stream])]])
    return pool.take(order)
