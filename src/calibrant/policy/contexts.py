"""Which domain is this? Home, one that was seen before, or one that is new. Each can then keep what it has learned.

A domain is a place in the space of signatures (`policy.signature`): the mean of its samples. Two means of n and m
samples of one domain are apart by chance: with v the variance of single signatures, their mean squared distance times
n m / (n + m) / v is 1 on average. A domain wanders, too, from one stretch of time to the next, which adds what the
artifact knows of home (`core.recognition.Recognition`); without that every stretch would be a domain. The variance is
home's, or where that is larger, that of the two places (B. L. Welch, "The generalization of 'Student's' problem when
several different population variances are involved", 1947): with home's alone a livelier domain falls into several.

What home is not, one window shows, or many do together: a cumulative sum over windows that are all a little strange
(E. S. Page, "Continuous inspection schemes", 1954) always compares with home, never with the stream's own past.

Distances are sums of whole numbers, and single float operations on them, so every machine recognizes the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self

from calibrant.core.errors import DataError
from calibrant.core.recognition import Recognition
from calibrant.policy.kept import fields_of, nonsense, whole
from calibrant.policy.place import Place, apart

MOST = 8  # contexts, home among them
DEVIATIONS = 3.0  # above what is usual at home: from there on a window is of another domain
FEW = 16  # samples; means of fewer deviate more, by the root of how much fewer
STEP, SLACK, ALARM = 4.0, 1.0, 4.0  # of the cumulative sum: what a window adds at most, and loses; where it alarms
HALF = 0.5  # times as far as home: near enough to predict by a context that is not recognized
LONGEST_NAME = 64
HOME = 0  # its number
_ALWAYS = 2**50  # windows, more than there will be


@dataclass(frozen=True, eq=False)
class Context:
    """A domain by its number, which no other gets; `last` seen in that window; `place` is empty for home.

    `name` is empty unless somebody has given it one.
    """

    number: int
    name: str
    last: int
    place: Place


@dataclass(frozen=True)
class Recognized:
    """What samples are taken for.

    `context` is a number, None if they are of no known domain. `distance` and `limit`: how far they are from it, or
    from the nearest, and how far they may be; chance and wandering give 1. `closest`: the context at that distance.
    `nearest`: by which to predict them, as long as nobody knows better.
    `strain`: the cumulative sum of home, from 4 on this is not home.
    """

    context: int | None
    distance: float
    limit: float
    closest: int
    nearest: int
    strain: float


@dataclass(frozen=True, eq=False)
class Contexts:
    """The domains that a device knows; home first.

    Attributes
    ----------
    recognition : Recognition
        From the artifact.
    known : tuple of Context
    clock : int
        Windows seen.
    latest : int
        The highest number given.
    strain : float
        Cumulative sum of how strange windows of home were.
    most : int
        Contexts that there is room for, 2 to 8, home among them.

    Examples
    --------
    >>> import numpy as np
    >>> known = Recognition(*np.zeros((2, 2), np.float32), np.eye(2, dtype=np.float32), 1.0, 0.0, 1.0, 0.3, 1.0)
    >>> contexts, samples = Contexts.of(known), np.tile(np.array([[-100, -100], [100, 100]], np.int16), (20, 1))
    >>> here, away = Place.of(samples), Place.of(samples + np.array([100, 1000], np.int16))
    >>> contexts.recognize(here).context, contexts.recognize(away).context
    (0, None)
    >>> contexts = contexts.seen(away, None).named(1, "garage")
    >>> contexts.recognize(away).context, contexts[1].name, len(contexts.known)
    (1, 'garage', 2)
    """

    recognition: Recognition
    known: tuple[Context, ...]
    clock: int = 0
    latest: int = HOME
    strain: float = 0.0
    most: int = MOST

    @classmethod
    def of(cls, recognition: Recognition, kept: Any = None, most: int = MOST) -> Self:
        """Home alone, or what :meth:`memory` gave.

        Raises
        ------
        StateError
            `kept` is not what such contexts could say of themselves.
        """
        dimensions = len(recognition.mean)
        if kept is None:
            return cls(recognition, (Context(HOME, "home", 0, Place.empty(dimensions)),), most=most)
        fields = fields_of(kept, ("clock", "latest", "strain", "contexts"), "contexts")
        clock = whole(fields["clock"], 0, _ALWAYS, "contexts field 'clock'")
        latest = whole(fields["latest"], 0, _ALWAYS, "contexts field 'latest'")
        strain, rows = fields["strain"], fields["contexts"]
        if type(strain) not in (int, float) or not 0 <= strain <= ALARM + SLACK:
            raise nonsense("contexts field 'strain'", f"0 to {ALARM + SLACK:g}", strain)
        if not isinstance(rows, list) or not 1 <= len(rows) <= MOST:
            raise nonsense("contexts", f"1 to {MOST}", rows)
        known = tuple(_context(row, clock, dimensions) for row in rows)
        numbers, names = [c.number for c in known], [c.name for c in known if c.name]
        if numbers[0] != HOME or numbers != sorted(set(numbers)) or numbers[-1] > latest:
            raise nonsense("contexts", f"home and numbers that rise to {latest} at most", numbers)
        if len(set(names)) < len(names) or any((c.place.samples > 0) == (c.number == HOME) for c in known):
            raise nonsense("contexts", "names of their own, and samples of all but home", names)
        return cls(recognition, _latest(known, most), clock, latest, float(strain), most)

    def memory(self) -> dict[str, Any]:
        """JSON for :meth:`of`."""
        rows = [{"number": c.number, "name": c.name, "last": c.last, **c.place.memory()} for c in self.known]
        return {"clock": self.clock, "latest": self.latest, "strain": self.strain, "contexts": rows}

    def __getitem__(self, number: int) -> Context:
        found = next((context for context in self.known if context.number == number), None)
        if found is None:
            raise DataError(f"context: expected one of {', '.join(str(c.number) for c in self.known)}, got {number}")
        return found

    def recognize(self, here: Place) -> Recognized:
        """What samples, at least one, are taken for. Nothing changes."""
        most, strain = limit(self.recognition, here.samples), self._strained(here)
        distances = {context.number: self._distance(here, context) for context in self.known}
        near = min(distances, key=distances.__getitem__)
        here_or_there = [n for n in distances if distances[n] <= most and (n != HOME or strain <= ALARM)]
        if here_or_there:
            best = min(here_or_there, key=distances.__getitem__)
            return Recognized(best, distances[best], most, best, best, strain)
        close = near if distances[near] < HALF * distances[HOME] else HOME
        return Recognized(None, distances[near], most, near, close, strain)

    def seen(self, here: Place, context: int | None) -> Self:
        """After samples of a context by its number; None: of a new one, whose number is then `latest`.

        Where there are too many, the one leaves that was not seen for longest, those without a name first. What home is
        does not change.

        Raises
        ------
        DataError
            There is no such context.
        """
        clock = self.clock + 1
        after = replace(self, clock=clock, strain=self._strained(here))
        if context is None:
            number = self.latest + 1
            known = (*_latest(self.known, self.most - 1), Context(number, "", clock, here.joined(None)))
            return replace(after, known=known, latest=number)
        old = self[context]
        place = old.place if context == HOME else here.joined(old.place)
        now = replace(old, last=clock, place=place)
        return replace(after, known=tuple(now if c.number == context else c for c in self.known))

    def named(self, number: int, name: str) -> Self:
        """With another name for a context: printable, and no other's.

        Raises
        ------
        DataError
            There is no such context, or it cannot have that name.
        """
        old = self[number]
        if not name or not _is_name(name):
            expected = f"1 to {LONGEST_NAME} printable characters"
            raise DataError(f"name of context {number}: expected {expected}, got {name!r:.80}")
        if any(c.name == name for c in self.known if c.number != number):
            raise DataError(f"name of context {number}: expected one that no other has, got {name!r}")
        return replace(self, known=tuple(replace(old, name=name) if c is old else c for c in self.known))

    def _distance(self, here: Place, context: Context) -> float:
        return distance(self.recognition, here, context.place)

    def _strained(self, here: Place) -> float:
        """The cumulative sum after a window, if it is one of home; what one window tells alone does not add up."""
        away = self._distance(here, self.known[HOME])
        if away > limit(self.recognition, here.samples):
            return self.strain
        excess = (away - self.recognition.usual) / _deviation(self.recognition, here.samples)
        return min(max(0.0, self.strain + min(excess, STEP) - SLACK), ALARM + SLACK)


def distance(recognition: Recognition, here: Place, there: Place) -> float:
    """How far the means of two places are apart, in what chance and wandering explain; 1 on average in one domain.

    A place of no samples is home's: its mean is known, and its variance.
    """
    weight, variance = float(here.samples), recognition.variance
    if there.samples:
        weight = here.samples * there.samples / (here.samples + there.samples)
        pooled = (here.variance * there.samples + there.variance * here.samples) / (here.samples + there.samples)
        variance = max(variance, pooled)
    return apart(here, there) * weight / variance / (1.0 + recognition.wander * weight)


def limit(recognition: Recognition, samples: int) -> float:
    """How far the mean of so many samples of a domain may be from its place."""
    return recognition.usual + DEVIATIONS * _deviation(recognition, samples)


def _deviation(recognition: Recognition, samples: int) -> float:
    return recognition.deviation * math.sqrt(max(1.0, FEW / samples))


def _latest(known: tuple[Context, ...], most: int) -> tuple[Context, ...]:
    """As many contexts as there is room for; those without a name leave first, and then those not seen for longest."""
    away = sorted(known[1:], key=lambda c: (c.name != "", c.last))[: max(0, len(known) - most)]
    return tuple(c for c in known if c not in away)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and len(name) <= LONGEST_NAME and name.isprintable()


def _context(row: Any, clock: int, dimensions: int) -> Context:
    fields = fields_of(row, ("number", "name", "last", "samples", "total", "squares"), "a context")
    number = whole(fields["number"], 0, _ALWAYS, "a context's number")
    last = whole(fields["last"], 0, clock, f"context {number} field 'last'")
    if not _is_name(fields["name"]):
        raise nonsense(f"context {number}", f"at most {LONGEST_NAME} printable characters", fields["name"])
    return Context(number, fields["name"], last, Place.kept(fields, dimensions, f"context {number}"))
