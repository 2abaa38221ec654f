"""Asks the engine about samples, about each once under the same parameters: what it said is remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from calibrant.core.evaluation import Evaluation, Meaning
from calibrant.core.parameters import Parameters
from calibrant.core.statistics import Observation
from calibrant.core.task import UNLABELED
from calibrant.engine import Engine


class Evaluator:
    """Evaluates samples under whatever parameters the engine holds.

    Parameters
    ----------
    engine : Engine
    meaning : Meaning
    base : Parameters
        The artifact's.

    Notes
    -----
    While a window is learned everything is remembered; :meth:`keep` bounds it to the samples that will be asked about
    again, under the parameters in force, those last given to :meth:`enter`, and the artifact's. Samples and parameters
    go by the hash of what they are.
    """

    def __init__(self, engine: Engine, meaning: Meaning, base: Parameters) -> None:
        self._engine, self.meaning = engine, meaning
        self._base = self._in_force = base.sha256
        self._held: dict[str, _Seen] = {}

    def of(self, x: NDArray[np.int8], y: NDArray[np.int64] | None = None) -> Evaluation:
        """Evaluate samples int8[N, height, width, channels] with labels int64[N], -1 where unknown (all, without)."""
        labels = np.full(len(x), UNLABELED) if y is None else y
        parameters, names = self._engine.parameters, _names(x)
        held = self._held.setdefault(parameters.sha256, _Seen())
        fresh = held.unknown(names)
        if fresh:
            held.add([names[i] for i in fresh], self._engine.observe(x[fresh]))
        seen = held.take(names) if names else self._engine.observe(x)
        return Evaluation.of(parameters, seen, labels, self.meaning)

    def enter(self, parameters: Parameters) -> None:
        """Take note of what is in force."""
        self._in_force = parameters.sha256

    def add(self, x: NDArray[np.int8], evaluation: Evaluation) -> None:
        """Remember what someone else has evaluated of samples."""
        names, held = _names(x), self._held.setdefault(evaluation.parameters.sha256, _Seen())
        fresh = held.unknown(names)
        if fresh:
            held.add([names[i] for i in fresh], evaluation.observation.take(np.array(fresh)))

    def keep(self, x: NDArray[np.int8]) -> None:
        """Forget all other samples, and all under other parameters."""
        names = dict.fromkeys(_names(x))
        kept = {each: self._held[each] for each in (self._base, self._in_force) if each in self._held}
        self._held = {parameters: seen.only(names) for parameters, seen in kept.items()}


class _Seen:
    """What was said of samples under the same parameters, by their names."""

    def __init__(self) -> None:
        self._rows: dict[bytes, int] = {}
        self._observed: Observation | None = None

    def unknown(self, names: list[bytes]) -> list[int]:
        """Places of names, each once, of which nothing is known."""
        return list({name: i for i, name in enumerate(names) if name not in self._rows}.values())

    def add(self, names: list[bytes], observed: Observation) -> None:
        """Remember samples of which nothing is known."""
        start = len(self._rows)
        self._rows |= {name: start + i for i, name in enumerate(names)}
        self._observed = observed if self._observed is None else self._observed.then(observed)

    def take(self, names: Iterable[bytes]) -> Observation:
        """Of samples that are known, at least one of any."""
        assert self._observed is not None
        return self._observed.take(np.array([self._rows[name] for name in names], np.int64))

    def only(self, names: Iterable[bytes]) -> _Seen:
        """Without samples that are not among these."""
        found, known = _Seen(), [name for name in names if name in self._rows]
        if known:
            found.add(known, self.take(known))
        return found


def _names(x: NDArray[np.int8]) -> list[bytes]:
    return [hashlib.blake2b(codes.tobytes(), digest_size=16).digest() for codes in x]
