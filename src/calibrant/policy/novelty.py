"""Does a stream without labels show a class that nobody has taught? Samples unlike all that their place has shown, and
like each other.

A place keeps some of what it has shown, drawn by lot: signatures (`policy.signature`), which weights do not move. How
far a sample usually is from the nearest of them, they say of each other: beyond the distance that a share `RATE` of
them has to its nearest, a new sample of the same place lies with that probability (R. Laxhammar and G. Falkman,
"Conformal prediction for distribution-independent anomaly detection in streaming vessel data", 2010).

Single samples beyond it are no news. What counts are many within reach of each other: if nothing is new, every order of
the samples is as probable as any other, so that of m kept samples and the n after them some c that belong together are
all among the n with a probability of C(n, c) / C(n + m, c). Where everything has moved there are many such groups; a
class that is new leaves the other samples where they were.

Whole numbers throughout, and the order of a window's samples does not matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.policy.kept import data_of, fields_of, nonsense, text_of, whole
from calibrant.policy.signature import ONE

RATE = 1, 50  # of a place's samples may be called unlike it, by chance
MOST = 256  # samples that a place keeps, that a window is judged by, and after which what waits has waited long enough
LEAST = 128  # samples that a place is known by
CHANCE = 1, 100  # probability of a false alarm of a window, if nothing but chance orders the samples
_APART = 1, 10  # of the samples beside a group may be unlike their place; where more are, it is another place
_OTHERS = 1, 4  # of a window at least must not be of the group: they say that the place is the same
_REACH = 3, 2  # samples belong together within so many times the usual squared distance
_GROUP = 3  # samples; fewer do not wait for others to join them
_KNOWN = 2  # samples that show that the class a group is taken for is known here, and looks otherwise
WAITING = 128  # samples that wait at most; the oldest are released first
SEARCHING = 12 * (MOST + WAITING) ** 2  # bytes at most while a window is judged: distances, three times over
_STEP = ONE // 16  # of codes: a sixteenth of a standard deviation
_CODE = 127  # eight standard deviations; what is farther is no farther
_IDENTITY = np.dtype("<u8")
_ALWAYS = 2**50  # windows, more than there will be


def codes(signatures: NDArray[np.int16]) -> NDArray[np.int8]:
    """Signatures int16[n, D] as they are kept, int8[n, D]."""
    return np.clip(np.rint(signatures / _STEP), -_CODE, _CODE).astype(np.int8)


@dataclass(frozen=True, eq=False)
class Samples:
    """`codes` int8[n, D] and the classes int64[n] that they are taken for by the artifact's own parameters; each is
    there once, in an order that does not tell when it came."""

    codes: NDArray[np.int8]
    predicted: NDArray[np.int64]

    @classmethod
    def of(cls, codes: NDArray[np.int8], predicted: NDArray[np.int64], most: int | None = None) -> Self:
        """Of all of these, or of `most` drawn by lot: a sample's number is a hash, so it is the same every time."""
        digests = [hashlib.sha256(code.tobytes()).digest()[: _IDENTITY.itemsize] for code in codes]
        drawn = np.unique(np.frombuffer(b"".join(digests), _IDENTITY), return_index=True)[1][:most]
        return cls(codes[drawn], predicted[drawn])

    @classmethod
    def none(cls, dimensions: int) -> Self:
        return cls(np.zeros((0, dimensions), np.int8), np.zeros(0, np.int64))

    @classmethod
    def kept(cls, kept: Any, dimensions: int, classes: int) -> Self:
        """What :meth:`memory` gave; StateError if it did not."""
        fields = fields_of(kept, ("codes", "predicted"), "familiar samples")
        found, data = fields["predicted"], data_of(fields["codes"], "familiar samples")
        if not isinstance(found, list) or len(found) > MOST or len(data) != len(found) * dimensions:
            raise nonsense("familiar samples", f"at most {MOST} of {dimensions} codes", found)
        predicted = [whole(each, 0, classes - 1, "a familiar sample's class") for each in found]
        return cls.of(np.frombuffer(data, np.int8).reshape(-1, dimensions), np.array(predicted, np.int64))

    def memory(self) -> dict[str, Any]:
        """JSON for :meth:`kept`."""
        return {"codes": text_of(self.codes.tobytes()), "predicted": self.predicted.tolist()}

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: NDArray[np.bool_]) -> Self:
        return replace(self, codes=self.codes[rows], predicted=self.predicted[rows])

    def joined(self, others: Sequence[Self], most: int | None = None) -> Self:
        """With others, of which `most` are drawn."""
        every = [self, *others]
        predicted = np.concatenate([each.predicted for each in every])
        return type(self).of(np.concatenate([each.codes for each in every]), predicted, most)


class Waiting(NamedTuple):
    """Samples that nobody knows yet what to think of, among so many that their window had."""

    samples: Samples
    among: int


@dataclass(frozen=True, eq=False)
class Finding:
    """What a place makes of a window.

    `beyond` bool[n]: which of its samples are unlike the place. `pool` are these and what waits; `labels` int64[pool]
    say who belongs together, `group` bool[pool] is the largest that the window has samples of. `strays` of the `others`
    are beyond without being of that group. The group is news where it has more samples than `limit`.
    """

    beyond: NDArray[np.bool_]
    pool: Samples
    labels: NDArray[np.int64]
    group: NDArray[np.bool_]
    strays: int
    others: int
    limit: int
    broad: bool
    explained: bool

    @property
    def size(self) -> int:
        """Samples of the group."""
        return int(np.count_nonzero(self.group))

    @property
    def fits(self) -> bool:
        """Whether the other samples are of this place."""
        part, whole = _APART
        return self.others * _OTHERS[1] >= len(self.beyond) * _OTHERS[0] and self.strays * whole <= self.others * part

    @property
    def unknown(self) -> bool:
        """Whether the group is a class that nobody has taught, as far as anybody can tell."""
        return self.fits and self.size > self.limit and not self.broad and not self.explained


@dataclass(frozen=True, eq=False)
class Familiar:
    """What a place has shown: samples drawn by lot, and what waits. `last`: the window that it was seen in last."""

    known: Samples
    waiting: tuple[Waiting, ...] = ()
    last: int = 0

    @classmethod
    def of(cls, kept: Any, dimensions: int, classes: int) -> Self:
        """What :meth:`memory` gave; StateError if it did not."""
        fields = fields_of(kept, ("known", "waiting", "last"), "a familiar place")
        waiting = fields["waiting"]
        if not isinstance(waiting, list) or len(waiting) > MOST:
            raise nonsense("a familiar place field 'waiting'", f"at most {MOST} windows", waiting)
        held = [fields_of(each, ("samples", "among"), "a waiting window") for each in waiting]
        return cls(
            Samples.kept(fields["known"], dimensions, classes),
            tuple(
                Waiting(
                    Samples.kept(each["samples"], dimensions, classes),
                    whole(each["among"], 1, MOST, "a waiting window's field 'among'"),
                )
                for each in held
            ),
            whole(fields["last"], 0, _ALWAYS, "a familiar place field 'last'"),
        )

    def memory(self) -> dict[str, Any]:
        """JSON for :meth:`of`."""
        waiting = [{"samples": each.samples.memory(), "among": each.among} for each in self.waiting]
        return {"known": self.known.memory(), "waiting": waiting, "last": self.last}

    @cached_property
    def _between(self) -> NDArray[np.int32]:
        return squared_distances(self.known.codes, self.known.codes)

    @cached_property
    def spread(self) -> float:
        """Mean squared distance of two samples, half way from two that are taken for one class to any two."""
        same = self.known.predicted[:, None] == self.known.predicted
        return (_mean(self._between, same) + _mean(self._between, np.ones_like(same))) / 2

    @cached_property
    def reach(self) -> int:
        """The squared distance to the nearest known sample that a share `RATE` of these, each left out, exceeds."""
        alone = np.eye(len(self.known), dtype=np.bool_)
        nearest = np.sort(np.where(alone, np.iinfo(np.int32).max, self._between).min(axis=1))
        return int(nearest[len(nearest) - max(1, (len(nearest) + 1) * RATE[0] // RATE[1])])

    def unlike(self, codes: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Which samples int8[n, D] are unlike all that the place has shown; a share `RATE` of its own are."""
        far: NDArray[np.bool_] = squared_distances(codes, self.known.codes).min(axis=1) > self.reach
        return far

    def judge(self, window: Samples) -> Finding:
        """What a window is to this place, which knows `LEAST` samples."""
        beyond = self.unlike(window.codes)
        news = window.take(beyond)
        pool = news.joined([waiting.samples.take(self.unlike(waiting.samples.codes)) for waiting in self.waiting])
        between = squared_distances(pool.codes, pool.codes)
        labels = _groups(between * _REACH[1] <= self.reach * _REACH[0])
        of_window = (squared_distances(pool.codes, news.codes) == 0).any(axis=1)
        sizes = np.bincount(labels) * (np.bincount(labels, weights=of_window) > 0)
        group = labels == sizes.argmax() if len(news) else np.zeros(len(pool), np.bool_)
        own = int(np.count_nonzero(group & of_window))
        counted = len(window) + sum(waiting.among for waiting in self.waiting)
        taken_for = int(np.bincount(pool.predicted[group], minlength=1).argmax())
        return Finding(
            beyond,
            pool,
            labels,
            group,
            strays=len(news) - own,
            others=len(window) - own,
            limit=largest_by_chance(counted, len(self.known)),
            broad=_mean(between, group[:, None] & group) > self.spread,
            explained=int(np.count_nonzero(self.known.predicted == taken_for)) < _KNOWN,
        )

    def after(self, window: Samples, finding: Finding) -> Self:
        """After a window that fits. A group that may grow waits; one that is unknown never becomes known by itself."""
        size = np.bincount(finding.labels)[finding.labels]
        every = (*self.waiting, Waiting(window.take(finding.beyond), len(window)))
        later = np.cumsum([0, *(waiting.among for waiting in every[:0:-1])])[::-1]  # samples after each
        waits = np.cumsum([len(waiting.samples) for waiting in every[::-1]])[::-1]  # samples, with all after each
        kept, released = list[Waiting](), [window.take(~finding.beyond)]
        for waiting, since, held in zip(every, later, waits, strict=True):
            same = squared_distances(waiting.samples.codes, finding.pool.codes) == 0
            leaves = since >= MOST or held > WAITING
            stays = (same & (finding.group & finding.unknown if leaves else size >= _GROUP)).any(axis=1)
            released.append(waiting.samples.take(~stays))
            if not leaves:
                kept.append(Waiting(waiting.samples.take(stays), waiting.among))
        return replace(self, known=self.known.joined(released, MOST), waiting=tuple(kept))

    def knowing(self, window: Samples) -> Self:
        """After samples that are known, whatever they look like, and with them all that waits."""
        released = [window, *(waiting.samples for waiting in self.waiting)]
        return replace(self, known=self.known.joined(released, MOST), waiting=())


@dataclass(frozen=True, eq=False)
class Novelty:
    """The places that a device has seen, each for itself: a window is of the one that it fits best.

    These are not the contexts of `policy.contexts`: there a window with a class that is new may well be of another.
    `most` places are kept; the one not seen for longest leaves.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> places = rng.normal(0, 2000, (4, 50))
    >>> def window(*classes, count=100):
    ...     of = rng.choice(classes, count)
    ...     return np.rint(places[of] + rng.normal(0, 200, (count, 50))).astype(np.int16), of % 3
    >>> novelty = Novelty(most=2)
    >>> for _ in range(3):
    ...     novelty, finding = novelty.after(*window(0, 1, 2))
    >>> finding.unknown, novelty.after(*window(0, 1, 2, 3))[1].unknown
    (False, True)
    """

    most: int
    places: tuple[Familiar, ...] = ()

    def after(self, signatures: NDArray[np.int16], predicted: NDArray[np.int64]) -> tuple[Self, Finding | None]:
        """After a window int16[n, D] whose samples are taken for these classes int64[n]; what it is to the place that
        it is of, None where that is a place that knows too little yet."""
        window = Samples.of(codes(signatures), predicted, MOST)
        number, place, finding = self._of(window)
        seen = place.knowing(window) if finding is None else place.after(window, finding)
        return self._with(number, seen), finding

    def knowing(self, signatures: NDArray[np.int16], predicted: NDArray[np.int64]) -> Self:
        """After a window that has labels: what it shows is known, and what waited for more of its kind."""
        window = Samples.of(codes(signatures), predicted, MOST)
        number, place, _ = self._of(window)
        return self._with(number, place.knowing(window))

    def unlike(self, signatures: NDArray[np.int16]) -> NDArray[np.bool_] | None:
        """Which samples int16[n, D] are unlike the place that they are of, as a share `RATE` of its own are, too; None
        where they are of none. Nothing changes."""
        window = Samples.of(codes(signatures), np.zeros(len(signatures), np.int64), MOST)
        _, place, finding = self._of(window)
        return None if finding is None else place.unlike(codes(signatures))

    def memory(self) -> list[dict[str, Any]]:
        """JSON for :meth:`of`, a row for each place."""
        return [place.memory() for place in self.places]

    @classmethod
    def of(cls, kept: Sequence[Any], dimensions: int, classes: int, most: int) -> Self:
        """What :meth:`memory` gave, of signatures of so many dimensions and so many classes; StateError if it did
        not."""
        return cls(most, tuple(Familiar.of(row, dimensions, classes) for row in kept[:most]))

    def _of(self, window: Samples) -> tuple[int, Familiar, Finding | None]:
        """The place that a window is of, by its number, and what it is to that; one that knows little where it is of
        none."""
        found = {n: place.judge(window) for n, place in enumerate(self.places) if len(place.known) >= LEAST}
        fits = [n for n in found if found[n].fits]
        if fits:
            best = min(fits, key=lambda n: found[n].strays / found[n].others)
            return best, self.places[best], found[best]
        young = next((n for n in range(len(self.places)) if n not in found), None)
        if young is not None:
            return young, self.places[young], None
        fresh = Familiar(Samples.none(window.codes.shape[1]))
        if len(self.places) < self.most:
            return len(self.places), fresh, None
        return min(found, key=lambda n: self.places[n].last), fresh, None

    def _with(self, number: int, place: Familiar) -> Self:
        now = replace(place, last=1 + max((each.last for each in self.places), default=0))
        return replace(self, places=(*self.places[:number], now, *self.places[number + 1 :]))


def squared_distances(a: NDArray[np.int8], b: NDArray[np.int8]) -> NDArray[np.int32]:
    """Between rows of codes int8[n, D] and int8[m, D]: int32[n, m]. Sums of 512 products are at most 2^23, so that
    float32 holds them exactly in any order."""
    wide, other = a.astype(np.float32), b.astype(np.float32)
    products: NDArray[np.int32] = (wide @ other.T).astype(np.int32)
    squares = [(each * each).sum(axis=1).astype(np.int32) for each in (wide, other)]
    found: NDArray[np.int32] = squares[0][:, None] + squares[1] - 2 * products
    return found


def _mean(between: NDArray[np.int32], pairs: NDArray[np.bool_]) -> float:
    """Mean squared distance of pairs of different samples; 0 where there are none. `pairs` has each sample's own."""
    count = int(np.count_nonzero(pairs)) - int(np.count_nonzero(pairs.diagonal()))
    return int(between[pairs].sum(dtype=np.int64)) / count if count else 0.0


def largest_by_chance(after: int, known: int) -> int:
    """Samples of a group that are all among the last `after` of `after + known`, as many as chance may give.

    Above that, none of the groups of that size that there is room for would be there with a probability of `CHANCE`.

    Examples
    --------
    >>> largest_by_chance(90, 256), largest_by_chance(360, 256), largest_by_chance(5, 64)
    (6, 13, 2)
    """
    some, every = 1, 1  # C(after, size) and C(after + known, size), both times the factorial of the size
    for size in range(1, after + 1):
        some, every = some * (after - size + 1), every * (after + known - size + 1)
        if some * max(1, known // size) * CHANCE[1] < every * CHANCE[0]:
            return size - 1
    return after


def _groups(near: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Connected components int64[n] of a symmetric relation bool[n, n]: single linkage."""
    labels, fresh = np.full(len(near), -1, np.int64), 0
    for start in range(len(near)):
        if labels[start] >= 0:
            continue
        front = np.arange(len(near)) == start
        while front.any():
            labels[front] = fresh
            front = near[front].any(axis=0) & (labels < 0)
        fresh += 1
    return labels
