"""Is there anything to adapt to? The gate judges a window before anything is learned from it, at the cost of inference.

Two things are watched. How far windows lie from what the device remembers (`policy.nearness`) needs no labels: beyond a
limit, the model is abroad. How many labels are wrong is summed up as in Page's test: for each label the logarithm of
how much likelier it is at a clearly higher error rate than at the usual one. Abroad little evidence suffices, and errors
are expected to get as rare as on the training samples; at home, where samples look as they did in training, much more is
needed, for some errors are no drift. Labels overrule distances where there are enough of them. Other streaming tests
watch both for slow changes.

A level that adapting does not lower becomes the usual one (`policy.level`), so that the gate does not call for
adaptation for ever. What decides are whole numbers and single float operations on them, so a window gets the same
judgment on every machine and in any order of its samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core import fmath
from calibrant.core.records import Usual
from calibrant.policy.drift import Adwin, PageHinkley
from calibrant.policy.level import Level, is_number
from calibrant.policy.nearness import DISTANCE_ONE

TOLERANCE, SAMPLING = 1.75, 4.0  # spreads above usual that are no drift: the second by the root of samples reached
ERRORS_ABROAD, ERRORS_AT_HOME = 0.005, 0.05  # no model is expected to be better
LIMIT_ABROAD, LIMIT_AT_HOME = 1.0, 3.0  # nats of evidence that errors are more than usual
LASTING = 3.0  # nats above the limit at most: right labels end an alarm, however bad it was
DECISIVE = 10  # so many labels overrule what distances say
ENOUGH = 100  # labels that say whether adapting still lowers the error rate
_SIGNIFICANCE = 2, 25  # less probable than 8 %: clearly more errors than at some rate
_RATE_ONE = 1 << 16


@dataclass(frozen=True)
class Evidence:
    """What one window says.

    `errors` of `labels` known labels are wrong. `distance`: mean distance of all samples above the usual one, in its
    spreads, None where that is unknown; `reached`: how many remembered samples are nearest to some sample.
    """

    labels: int
    errors: int
    distance: float | None
    reached: int

    @classmethod
    def of(
        cls, wrong: NDArray[np.bool_], distance: NDArray[np.int64], which: NDArray[np.int64], usual: Usual
    ) -> Evidence:
        """From the labeled samples' errors bool[labels] and what `nearness.nearest` says of all samples."""
        above = None
        if usual.spread > 0 and distance.size:
            above = (int(distance.sum()) / (distance.size * DISTANCE_ONE) - usual.distance) / usual.spread
        return cls(wrong.size, int(np.count_nonzero(wrong)), above, int(np.unique(which).size))

    @property
    def tolerated(self) -> float:
        """How far above usual a window's mean distance may be: one of few kinds of samples more than one of many."""
        return TOLERANCE + SAMPLING / math.sqrt(max(self.reached, 1))


@dataclass(frozen=True)
class Judgment:
    """Whether to adapt, and why."""

    adapt: bool
    reason: str


class Gate:
    """Judges windows one after the other.

    Parameters
    ----------
    usual : Usual
        From the artifact.
    memory : JSON, optional
        What :meth:`memory` said earlier; the tests for slow changes start over.

    Examples
    --------
    >>> gate = Gate(Usual(error=0.01, distance=0.1, spread=0.1))
    >>> gate.judge(Evidence(labels=50, errors=1, distance=0.2, reached=12))
    Judgment(adapt=False, reason='1 of 50 wrong, usual is 5.0 %')
    >>> gate.judge(Evidence(labels=0, errors=0, distance=4.0, reached=16))
    Judgment(adapt=True, reason='distance 4.00 spreads above usual, limit 2.75')
    """

    def __init__(self, usual: Usual, memory: object = None) -> None:
        kept: Mapping[str, Any] = memory if isinstance(memory, Mapping) else {}
        excess, abroad = kept.get("excess"), kept.get("abroad")
        self._abroad_floor, self._home_floor = (max(usual.error, least) for least in (ERRORS_ABROAD, ERRORS_AT_HOME))
        self._error = Level.of(self._abroad_floor, kept.get("error"))
        self._distance = Level.of(0.0, kept.get("distance"))
        self._excess: float = float(excess) if is_number(excess) else 0.0  # type: ignore[arg-type]
        self._abroad = abroad if isinstance(abroad, bool) else usual.spread == 0  # unknown: as if it were
        self._judged: tuple[Level, Level] | None = None  # levels once the window judged last has been adapted to
        self._start_slow_tests()

    def _start_slow_tests(self) -> None:
        """What they have seen is of other weights."""
        self._slow_error, self._slow_distance = Adwin(delta=0.02, ahead=1), PageHinkley(5, 0.5, 4.0, 1.0, "up")
        self._crept: bool = False  # errors did, but no window since has been worse than usual

    def memory(self) -> dict[str, Any]:
        """JSON to go on from."""
        levels = {"error": asdict(self._error), "distance": asdict(self._distance)}
        return {**levels, "excess": self._excess, "abroad": self._abroad}

    def judge(self, evidence: Evidence) -> Judgment:
        """Look at the next window; :meth:`adapted` is due after one that calls for it and was learned from."""
        before = self._error, self._distance
        self._locate(evidence)
        wrong = self._judge_errors(evidence) if evidence.labels else None
        far = self._judge_distance(evidence) if evidence.distance is not None else None
        if wrong is not None and (wrong.adapt or far is None or evidence.labels >= DECISIVE):
            judgment = wrong
        elif far is not None:
            judgment = far
        else:
            judgment = Judgment(True, "nothing is known of what is usual")
        self._judged = None
        if judgment.adapt:
            self._judged, (self._error, self._distance) = (self._error, self._distance), before
        elif wrong is not None and evidence.labels >= DECISIVE and evidence.distance is not None:
            self._distance = Level(max(0.0, (before[1].expected + evidence.distance) / 2))  # far but right is usual
        return judgment

    def adapted(self) -> None:
        """The window judged last was adapted to, whatever came of it."""
        if self._judged is not None:
            self._error, self._distance = self._judged
            self._judged = None
            self._start_slow_tests()

    def _locate(self, evidence: Evidence) -> None:
        """Abroad begins with a far window; it ends with one as near as training samples, once errors are explained."""
        if evidence.distance is not None:
            far, near = evidence.distance > evidence.tolerated, evidence.distance <= 0
            self._abroad = far or (self._abroad and not (near and self._excess == 0))

    def _judge_errors(self, evidence: Evidence) -> Judgment:
        errors, labels, level = evidence.errors, evidence.labels, self._error
        usual = level.expected if self._abroad else max(level.expected, self._home_floor)
        limit = LIMIT_ABROAD if self._abroad else LIMIT_AT_HOME
        rate, said = errors / labels, f"{errors} of {labels} wrong, usual is {100 * usual:.1f} %"
        wrong, right = weights(usual)
        self._excess = min(max(self._excess + errors * wrong - (labels - errors) * right, 0.0), limit + LASTING)
        row = np.zeros(labels)
        row[(2 * np.arange(errors) + 1) * labels // (2 * max(errors, 1))] = 1  # evenly: no order of samples counts
        self._crept |= self._slow_error.update(row).size > 0
        worse = rate > usual
        slow = self._crept and worse  # the window that completes the evidence may itself be a good one
        if not (self._excess > limit or slow):
            self._error = level.stayed(rate, labels, self._abroad_floor)
            return Judgment(False, said)
        if level.stuck(ENOUGH) and not improbable(errors, labels, max(level.best or 0.0, usual)):
            self._error, self._excess = level.settled(), 0.0
            return Judgment(False, f"{said}, adapting has not lowered it")
        if not worse:
            self._error = level.stayed(rate, labels, self._abroad_floor)
            return Judgment(True, f"{said}, too few labels to end an alarm")
        self._error = level.adapted(rate, labels, lambda best: improbable(errors, labels, max(best, usual)))
        return Judgment(True, f"{said}, slowly more" if slow else said)

    def _judge_distance(self, evidence: Evidence) -> Judgment:
        value, level = evidence.distance, self._distance
        assert value is not None
        limit = level.expected + evidence.tolerated
        said = f"distance {value:.2f} spreads above usual, limit {limit:.2f}"
        slow = self._slow_distance.update(value).size > 0 and value > level.expected
        if not (value > limit or slow):
            self._distance = level.stayed(value, evidence.reached, 0.0)
            return Judgment(False, said)
        if level.stuck(0.0) and value <= (level.best or 0.0) + evidence.tolerated:
            self._distance = level.settled()
            return Judgment(False, f"{said}, adapting has not lowered it")
        self._distance = level.adapted(value, evidence.reached, lambda best: value > best + evidence.tolerated)
        return Judgment(True, said if value > limit else f"{said}, slowly more")


def weights(usual: float) -> tuple[float, float]:
    """What a wrong label says for a drifted error rate against a usual one, and a right label against it, in nats.

    Source: E. S. Page, "Continuous Inspection Schemes", Biometrika 41 (1954); drifted is twice the usual rate plus 2 %.

    Examples
    --------
    >>> [round(weight, 3) for weight in weights(0.005)]
    [1.792, 0.025]
    """
    drifted = min(2 * usual + 0.02, 0.9)
    ratios = np.array([drifted / usual, (1 - usual) / (1 - drifted)], np.float32)
    wrong, right = fmath.log(np.maximum(ratios, np.float32(1))).astype(np.float64).tolist()
    return wrong, right


def improbable(errors: int, labels: int, rate: float) -> bool:
    """Whether chance gives `errors` or more of `labels` at an error rate with a probability below 8 %.

    Exact: the binomial distribution in whole numbers.

    Examples
    --------
    >>> improbable(1, 19, 0.005), improbable(2, 19, 0.005), improbable(5, 100, 0.05)
    (False, True, False)
    """
    wrong = min(max(round(rate * _RATE_ONE), 0), _RATE_ONE)
    right = _RATE_ONE - wrong
    if errors * _RATE_ONE <= labels * wrong:
        return False
    total: int = _RATE_ONE**labels
    term: int = right**labels
    rarer = total
    for k in range(errors):
        rarer -= term
        if rarer * _SIGNIFICANCE[1] < total * _SIGNIFICANCE[0]:
            return True
        term = term * (labels - k) * wrong // ((k + 1) * right)
    return False
