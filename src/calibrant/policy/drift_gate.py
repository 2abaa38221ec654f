"""Is there anything to adapt to? The gate judges a window before anything is learned from it, at the cost of inference.

Labels decide where there are enough of them: more errors than the usual rate explains are drift. Without labels the
distance to what the device remembers decides (`policy.feature_distance`). Streaming tests watch both for slow changes
that no single window shows.

After an alarm adapting goes on while windows are worse than usual. A level that adapting does not lower becomes the
usual one, so that the gate does not call for adaptation for ever, and it falls back when windows do better. Each
context has a level of its own. Away from home any error more than usual calls, for there is something to learn; only
the first window after a return must show that what was learned there does no more. What decides are whole numbers and
single float operations on them, so a window gets the same decision on every machine and in any order of its samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.decision import Action, Decision
from calibrant.core.statistics import InDistribution
from calibrant.policy.contexts import HOME
from calibrant.policy.drift import Adwin, PageHinkley
from calibrant.policy.feature_distance import DISTANCE_ONE
from calibrant.policy.significance import improbable

ERROR_FLOOR = 0.005  # no model is expected to be better than this, and none than on its training samples
WORST = 0.98  # error rate above which no difference counts
DECISIVE = 10  # so many labels overrule what distances say
TOLERANCE, SAMPLING = 1.75, 4.0  # spreads above usual that are no alarm: the second by the root of samples reached
QUIET = 60  # labels without more errors than usual end an alarm; so do as many remembered samples reached
PATIENCE, ENOUGH = 4, 100  # windows adapted to, and labels in them, without a gain: what remains is usual from then on
NEGLIGIBLE = (
    0.05  # error rate that nobody adapts to where inputs look as they used to: neighbors in time differ as much
)
LIMIT, SLACK = 3.0, 1.5  # of the log-likelihood ratio of twice the usual errors: alarm, and how far above it may run
PLACES = 16  # contexts, left last, of which it is known how many errors are usual
NEAR = 1.0  # spreads above usual at which a window that was far is home again


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
        cls, wrong: NDArray[np.bool_], distance: NDArray[np.int64], which: NDArray[np.int64], usual: InDistribution
    ) -> Evidence:
        """From the labeled samples' errors bool[labels] and what `feature_distance.nearest` says of all samples."""
        above = None
        if usual.spread > 0 and distance.size:
            above = (int(distance.sum()) / (distance.size * DISTANCE_ONE) - usual.distance) / usual.spread
        return cls(wrong.size, int(np.count_nonzero(wrong)), above, int(np.unique(which).size))


@dataclass(frozen=True)
class BaselineLevel:
    """How high something usually is, and whether adapting lowers it.

    After an alarm the level is open: `best` is then the lowest value of a window that was adapted to, and `idle` such
    windows did not go below it since; `total` is the sum of value times weight over all windows since the best one,
    `weight` the sum of their weights, `quiet` that of the latest windows without an alarm.
    """

    expected: float
    best: float | None = None
    idle: int = 0
    total: float = 0.0
    weight: float = 0.0
    quiet: float = 0.0

    @classmethod
    def of(cls, floor: float, kept: Mapping[str, Any] | None) -> BaselineLevel:
        """What `asdict` gave, if it is that, and not below the floor; else a level at the floor."""
        names = set(cls.__dataclass_fields__)
        if kept is None or set(kept) != names or not all(_is_number(kept[n]) for n in names - {"best"}):
            return cls(floor)
        if not (kept["best"] is None or _is_number(kept["best"])):
            return cls(floor)
        return replace(cls(**kept), expected=max(floor, float(kept["expected"])))

    @property
    def open(self) -> bool:
        """Whether adapting goes on."""
        return self.best is not None

    def adapted(self, value: float, weight: float, worse: Callable[[float], bool]) -> BaselineLevel:
        """After a window that was adapted to; `worse(best)` says that it is clearly above such a level."""
        if self.best is None or value < self.best or worse(self.best):
            return BaselineLevel(self.expected, value)
        total, weight = self.total + value * weight, self.weight + weight
        return replace(self, idle=self.idle + 1, total=total, weight=weight, quiet=0.0)

    def stuck(self, enough: float) -> bool:
        """Whether adapting has not lowered it for long."""
        return self.idle >= PATIENCE and self.weight >= enough

    def settled(self) -> BaselineLevel:
        """What remains when it is stuck is usual."""
        return BaselineLevel(max(self.expected, self.total / self.weight))

    def stayed(self, value: float, weight: float, floor: float) -> BaselineLevel:
        """After a window that gave no alarm: the expected level follows it down."""
        step = min(value - self.expected, 0.0) * weight / (weight + ENOUGH)
        expected, quiet = max(floor, self.expected + step), self.quiet + weight
        if not self.open or quiet >= QUIET:
            return BaselineLevel(expected)
        total, weight = self.total + value * weight, self.weight + weight
        return replace(self, expected=expected, total=total, weight=weight, quiet=quiet)


class DriftGate:
    """Judges windows one after the other.

    Parameters
    ----------
    usual : InDistribution
        From the artifact.
    memory : mapping, optional
        What :meth:`memory` said earlier; of an earlier release, the streaming tests start over.

    Examples
    --------
    >>> gate = DriftGate(InDistribution(distance=0.1, spread=0.1))
    >>> gate.judge(Evidence(labels=50, errors=1, distance=0.2, reached=12))
    Decision(action=<Action.SKIP: 'skipped'>, reason='1 of 50 wrong, usual is 0.5 %', version=None)
    >>> gate.judge(Evidence(labels=0, errors=0, distance=4.0, reached=16))
    Decision(action=<Action.ADAPT: 'adapt'>, reason='distance 4.00 spreads above usual, limit 2.85', version=None)
    >>> DriftGate(InDistribution(error=0.28)).judge(Evidence(labels=150, errors=44, distance=None, reached=0))
    Decision(action=<Action.SKIP: 'skipped'>, reason='44 of 150 wrong, usual is 28.0 %', version=None)
    """

    def __init__(self, usual: InDistribution, memory: Mapping[str, Any] | None = None) -> None:
        kept = memory or {}
        self._floor = max(ERROR_FLOOR, usual.error)
        self._place, self._levels = _places(kept)
        self._returned = self._sure = False  # with the window that is judged; of where it is from
        self._excess = kept.get("excess", 0.0)
        self._abroad = kept.get("abroad", usual.spread == 0)
        self._error = BaselineLevel.of(self._floor, kept.get("error"))
        self._distance = BaselineLevel.of(0.0, kept.get("distance"))
        self._judged: tuple[BaselineLevel, BaselineLevel] | None = (
            None  # of a window that is to be adapted to, when it has been
        )
        self._start_slow_tests()
        if "slow_error" in kept:
            self._slow_error.resume(kept["slow_error"])
            self._slow_distance.resume(kept["slow_distance"])
            self._crept = bool(kept["crept"])

    def _start_slow_tests(self) -> None:
        """What they have seen is of other weights."""
        self._slow_error, self._slow_distance = Adwin(delta=0.02, ahead=1), PageHinkley(5, 0.5, 4.0, 1.0, "up")
        self._crept = False  # errors did, but no window since has been worse than usual

    def memory(self) -> dict[str, Any]:
        """JSON to go on from."""
        return {
            "error": asdict(self._error),
            "distance": asdict(self._distance),
            "place": self._place,
            "levels": self._levels,
            "excess": self._excess,
            "abroad": self._abroad,
            "crept": self._crept,
            "slow_error": self._slow_error.memory(),
            "slow_distance": self._slow_distance.memory(),
        }

    def judge(self, evidence: Evidence, place: int | None = None) -> Decision:
        """Look at the next window, of the context `place`, or nobody knows of which; :meth:`adapted` is due after one
        that calls for it and was learned from."""
        self._judged = None
        self._returned, self._sure = place is not None and str(place) in self._levels, place is not None
        if place is not None and place != self._place:
            self._enter(place)
        before = self._error, self._distance
        if evidence.distance is not None:
            above = TOLERANCE + SAMPLING / math.sqrt(evidence.reached)
            self._abroad = evidence.distance > above or (self._abroad and evidence.distance > NEAR)
        wrong = self._judge_errors(evidence) if evidence.labels else None
        if wrong is not None and evidence.labels >= DECISIVE:
            if evidence.distance is not None and not wrong.adapt:  # far but right: that is usual from now on
                self._distance = BaselineLevel(max(0.0, (self._distance.expected + evidence.distance) / 2))
            decision = wrong
        else:
            far = self._judge_distance(evidence) if evidence.distance is not None else None
            given = [judged for judged in (wrong, far) if judged is not None]
            decision = next((judged for judged in given if judged.adapt), None) or (
                given[0] if given else _adapt("nothing is known of what is usual")
            )
        if decision.adapt:
            self._judged, (self._error, self._distance) = (self._error, self._distance), before
        return decision

    @property
    def open(self) -> bool:
        """Whether an alarm goes on."""
        return self._error.open or self._distance.open

    @property
    def _learns_all(self) -> bool:
        """Whether any error more than usual is worth a lesson."""
        return self._sure and self._place != HOME and not self._returned

    @property
    def usual_error(self) -> float:
        """Error rate that is no alarm."""
        return self._error.expected

    def went_back(self) -> None:
        """Adapting did harm and was undone. What is usual stays: see `policy.patience` for how that ends."""
        self._excess, self._judged = 0.0, None
        self._start_slow_tests()

    def adapted(self) -> None:
        """The window judged last was adapted to, whatever came of it."""
        if self._judged is not None:
            self._error, self._distance = self._judged
            self._judged = None
            self._start_slow_tests()

    def _enter(self, place: int) -> None:
        """Come to another context: what is usual there is what it was, and an alarm elsewhere is over."""
        if self._place is not None:
            self._levels[str(self._place)] = self._error.expected
            self._error, self._excess = BaselineLevel(max(self._floor, self._levels.pop(str(place), 0.0))), 0.0
            self._levels = dict(list(self._levels.items())[-PLACES:])
            self._start_slow_tests()
        self._place = place

    def _judge_errors(self, evidence: Evidence) -> Decision:
        errors, labels, level = evidence.errors, evidence.labels, self._error
        rate, said = errors / labels, f"{errors} of {labels} wrong, usual is {100 * level.expected:.1f} %"
        row = np.zeros(labels)
        row[(2 * np.arange(errors) + 1) * labels // (2 * max(errors, 1))] = 1  # evenly: no order of samples counts
        abroad = self._place != HOME if self._sure else self._abroad
        usual = min(level.expected if abroad else max(level.expected, NEGLIGIBLE), WORST)
        drifted = min(2 * usual + 0.02, max(0.9, (1 + usual) / 2))
        up, down = math.log(drifted / usual), math.log((1 - usual) / (1 - drifted))
        self._excess = min(max(self._excess + errors * up - (labels - errors) * down, 0.0), LIMIT + SLACK)
        more = rate > usual
        self._crept |= self._slow_error.update(row).size > 0
        slow = self._crept and more  # the window that completes the evidence may itself be a good one
        fast = more if self._learns_all else self._excess > LIMIT
        if not (fast or slow):
            self._error = level.stayed(rate, labels, self._floor)
            return _stay(said)
        if level.stuck(ENOUGH) and not improbable(errors, labels, max(level.best or 0.0, usual)):
            self._error = level.settled()
            self._excess = 0.0
            return _stay(f"{said}, adapting has not lowered it")
        if not more:
            self._error = level.stayed(rate, labels, self._floor)
            return _adapt(f"{said}, too few labels to end an alarm")
        self._error = level.adapted(rate, labels, lambda best: improbable(errors, labels, max(best, usual)))
        return _adapt(said if fast else f"{said}, slowly more")

    def _judge_distance(self, evidence: Evidence) -> Decision:
        value, level = evidence.distance, self._distance
        assert value is not None
        above = TOLERANCE + SAMPLING / math.sqrt(evidence.reached)
        limit = level.expected + above
        said = f"distance {value:.2f} spreads above usual, limit {limit:.2f}"
        slow = self._slow_distance.update(value).size > 0 and value > level.expected
        if not (value > limit or slow):
            self._distance = level.stayed(value, evidence.reached, 0.0)
            return _stay(said)
        if level.stuck(0.0) and value <= (level.best or 0.0) + above:
            self._distance = level.settled()
            return _stay(f"{said}, adapting has not lowered it")
        self._distance = level.adapted(value, evidence.reached, lambda best: value > best + above)
        return _adapt(said if value > limit else f"{said}, slowly more")


def _adapt(reason: str) -> Decision:
    return Decision(Action.ADAPT, reason)


def _stay(reason: str) -> Decision:
    return Decision(Action.SKIP, reason)


def _places(kept: Mapping[str, Any]) -> tuple[int | None, dict[str, float]]:
    """Number of the context that the stream is in, None if unknown, and usual error rates of others, by theirs."""
    place, levels = kept.get("place"), kept.get("levels")
    if type(place) is not int or not isinstance(levels, dict) or not all(map(_is_number, levels.values())):
        return None, {}
    return place, levels


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
