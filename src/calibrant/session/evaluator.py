"""Asks the engine about samples, about each once: what it said under the parameters in force is remembered."""

from __future__ import annotations

import hashlib

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

    Notes
    -----
    Only under the parameters in force, those last given to :meth:`enter`, is anything remembered; :meth:`keep` bounds
    it to the samples that will be asked about again. Samples go by the hash of their codes.
    """

    def __init__(self, engine: Engine, meaning: Meaning) -> None:
        self._engine, self.meaning = engine, meaning
        self._parameters: Parameters | None = None
        self._rows: dict[bytes, int] = {}
        self._held: Observation | None = None

    def of(self, x: NDArray[np.int8], y: NDArray[np.int64] | None = None) -> Evaluation:
        """Evaluate samples int8[N, height, width, channels] with labels int64[N], -1 where unknown (all, without)."""
        labels = np.full(len(x), UNLABELED) if y is None else y
        parameters = self._engine.parameters
        if parameters is not self._parameters:
            return Evaluation.of(parameters, self._engine.observe(x), labels, self.meaning)
        names = _names(x)
        fresh = list({name: i for i, name in enumerate(names) if name not in self._rows}.values())
        if fresh:
            self._add([names[i] for i in fresh], self._engine.observe(x[fresh]))
        held = self._held
        assert held is not None or not names  # every name has a row now
        seen = held.take(np.array([self._rows[n] for n in names], np.int64)) if held else self._engine.observe(x)
        return Evaluation.of(parameters, seen, labels, self.meaning)

    def enter(self, parameters: Parameters) -> None:
        """Take note of what is in force; what was said under other parameters is forgotten."""
        if parameters is not self._parameters:
            self._parameters, self._rows, self._held = parameters, {}, None

    def add(self, x: NDArray[np.int8], evaluation: Evaluation) -> None:
        """Remember what someone else has evaluated of samples, if it was under the parameters in force."""
        if evaluation.parameters is not self._parameters:
            return
        names = _names(x)
        fresh = list({name: i for i, name in enumerate(names) if name not in self._rows}.values())
        if fresh:
            self._add([names[i] for i in fresh], evaluation.observation.take(np.array(fresh)))

    def keep(self, x: NDArray[np.int8]) -> None:
        """Forget all other samples."""
        rows = {name: self._rows[name] for name in _names(x) if name in self._rows}
        self._held = self._held.take(np.array(list(rows.values()), np.int64)) if self._held and rows else None
        self._rows = {name: i for i, name in enumerate(rows)}

    def _add(self, names: list[bytes], observation: Observation) -> None:
        start = len(self._rows)
        self._rows |= {name: start + i for i, name in enumerate(names)}
        self._held = observation if self._held is None else self._held.then(observation)


def _names(x: NDArray[np.int8]) -> list[bytes]:
    return [hashlib.blake2b(codes.tobytes(), digest_size=16).digest() for codes in x]
