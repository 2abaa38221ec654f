"""When the gate calls for adaptation, and when it stops."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from calibrant.core.rng import generator
from calibrant.core.statistics import InDistribution
from calibrant.policy.contexts import HOME
from calibrant.policy.drift_gate import DECISIVE, PATIENCE, PLACES, DriftGate, Evidence, improbable

USUAL = InDistribution(error=0.0, distance=0.1, spread=0.1)


def labeled(errors: int, labels: int, distance: float | None = None, reached: int = 16) -> Evidence:
    return Evidence(labels, errors, distance, reached)


def unlabeled(distance: float, reached: int = 16) -> Evidence:
    return Evidence(0, 0, distance, reached)


def follow(gate: DriftGate, evidence: Evidence, place: int | None = None) -> bool:
    """Judge a window, and adapt to it where that is called for."""
    decision = gate.judge(evidence, place)
    if decision.adapt:
        gate.adapted()
    return decision.adapt


@given(st.integers(1, 400), st.data(), st.floats(0, 1))
def test_improbable_is_the_binomial_tail(labels: int, data: st.DataObject, rate: float):
    errors = data.draw(st.integers(0, labels))
    rate = round(rate * 65536) / 65536
    tail = float(binom.sf(errors - 1, labels, rate))
    if abs(tail - 0.08) > 1e-9:
        assert improbable(errors, labels, rate) == (tail < 0.08 and errors > labels * rate)


def test_improbable_is_exact_where_floats_are_not():
    labels, rate = 3000, 0.5
    tail = [Fraction(sum(math.comb(labels, k) for k in range(n, labels + 1)), 2**labels) for n in (1538, 1539)]
    assert tail[1] < Fraction(2, 25) < tail[0]
    assert [improbable(n, labels, rate) for n in (1538, 1539)] == [False, True]


def test_usual_windows_are_left_alone():
    gate, rng = DriftGate(USUAL), generator(0, "tests")
    errors = rng.binomial(19, 0.002, 200)
    assert sum(follow(gate, labeled(int(n), 19)) for n in errors) <= 4
    gate = DriftGate(USUAL)
    assert not any(follow(gate, unlabeled(float(d))) for d in rng.normal(0.5, 0.5, 200))


def test_what_the_model_gets_wrong_anyway_is_no_drift():
    rng = generator(1, "tests")
    errors = rng.binomial(150, 0.28, 50)
    assert sum(follow(DriftGate(InDistribution(error=0.28, spread=0.1)), labeled(int(n), 150)) for n in errors) <= 2
    assert follow(DriftGate(InDistribution(error=0.28, spread=0.1)), labeled(75, 150))
    assert sum(follow(DriftGate(USUAL), labeled(int(n), 150)) for n in errors) == 50


@pytest.mark.parametrize("error", [0.32, 0.6, 0.9, 1.0])
def test_a_model_that_knows_little_is_watched_as_any(error: float):
    gate = DriftGate(InDistribution(error=error, spread=0.1))
    assert not follow(gate, labeled(round(100 * error), 100))
    assert follow(gate, labeled(100, 100)) == (error < 1)
    for n in (0, 50, 100, 100, 100, 100, 100, 100):
        follow(gate, labeled(n, 100))


def test_drift_is_noticed_at_once_with_labels_and_without():
    assert follow(DriftGate(USUAL), labeled(8, 19))
    assert follow(DriftGate(USUAL), unlabeled(3.5))
    assert "8 of 19 wrong" in DriftGate(USUAL).judge(labeled(8, 19)).reason
    assert "distance 3.50" in DriftGate(USUAL).judge(unlabeled(3.5)).reason


def test_enough_labels_overrule_the_distance_and_few_do_not():
    assert not follow(DriftGate(USUAL), labeled(0, DECISIVE, distance=5.0))
    assert follow(DriftGate(USUAL), labeled(0, DECISIVE - 1, distance=5.0))
    assert follow(DriftGate(USUAL), labeled(5, DECISIVE - 1, distance=0.0))
    assert not follow(DriftGate(USUAL), labeled(0, DECISIVE - 1, distance=0.0))


def test_what_is_far_but_right_becomes_usual():
    gate = DriftGate(USUAL)
    for _ in range(6):
        assert not follow(gate, labeled(0, 50, distance=4.0))
    assert not follow(gate, unlabeled(4.0))
    assert follow(gate, unlabeled(8.0))


def test_nothing_known_of_what_is_usual_stops_nothing():
    gate = DriftGate(InDistribution())
    assert gate.judge(Evidence(0, 0, None, 3)).adapt
    assert not gate.judge(labeled(0, 20)).adapt


def test_an_alarm_lasts_until_enough_labels_are_right():
    gate = DriftGate(USUAL)
    assert follow(gate, labeled(8, 19))
    judged = [follow(gate, labeled(0, 19)) for _ in range(5)]
    assert judged == [True] + [False] * 4  # the first good window does not outweigh the bad one
    assert follow(gate, labeled(8, 19))
    assert not follow(gate, labeled(0, 91))


def test_adapting_ends_where_it_gains_nothing_and_begins_with_a_new_drift():
    gate = DriftGate(USUAL)
    judged = [follow(gate, labeled(19, 91)) for _ in range(20)]
    assert judged == [True] * (PATIENCE + 1) + [False] * (20 - PATIENCE - 1)
    assert "usual is 20.9 %" in gate.judge(labeled(19, 91)).reason
    assert follow(gate, labeled(60, 91))


def test_without_labels_too():
    gate = DriftGate(USUAL)
    judged = [follow(gate, unlabeled(4.0)) for _ in range(20)]
    assert judged == [True] * (PATIENCE + 1) + [False] * (20 - PATIENCE - 1)
    assert follow(gate, unlabeled(9.0))


def test_while_it_gains_adapting_goes_on():
    gate = DriftGate(USUAL)
    assert all(follow(gate, labeled(n, 91)) for n in (50, 40, 30, 25, 20, 16, 13, 10, 8))
    assert not follow(gate, labeled(0, 91))


def test_only_windows_that_were_adapted_to_count():
    gate = DriftGate(USUAL)
    assert all(gate.judge(unlabeled(4.0)).adapt for _ in range(20))  # nobody could learn from them


def test_what_became_usual_falls_back():
    gate = DriftGate(USUAL)
    for _ in range(8):
        follow(gate, labeled(19, 91))
    assert not follow(gate, labeled(9, 91))
    for _ in range(10):
        assert not follow(gate, labeled(0, 91))
    assert follow(gate, labeled(9, 91))


def test_slow_changes_are_noticed():
    def first(values: np.ndarray) -> int:
        gate = DriftGate(USUAL)
        return next((i for i, value in enumerate(values) if gate.judge(unlabeled(float(value))).adapt), -1)

    rng = generator(3, "tests")
    steady, creeping = rng.normal(0.2, 0.3, 60), rng.normal(0.2, 0.3, 60) + np.linspace(0, 2.2, 60)
    assert first(steady) == -1
    assert 0 < first(creeping) < 60
    assert (creeping[: first(creeping) + 1] < 2.7).all()  # no window alone was beyond the limit


def test_so_are_error_rates_that_creep():
    gate = DriftGate(USUAL)
    errors = np.minimum(generator(4, "tests").binomial(20, np.repeat([0.03, 0.15], 120)), 3)
    assert not any(follow(DriftGate(USUAL), labeled(int(n), 20)) for n in errors)  # no window alone is too bad
    alarms = [i for i, n in enumerate(errors) if gate.judge(labeled(int(n), 20)).adapt]
    assert alarms
    assert min(alarms) >= 120


def test_memory_is_json_and_goes_on():
    rng = generator(5, "tests")
    windows = [
        labeled(int(n), 30, float(d)) for n, d in zip(rng.binomial(30, 0.1, 40), rng.normal(2, 1, 40), strict=True)
    ]
    through, again = DriftGate(USUAL), DriftGate(USUAL)
    for window in windows:
        again = DriftGate(USUAL, json.loads(json.dumps(again.memory())))
        assert follow(through, window) == follow(again, window)
    assert through.memory() == again.memory() != DriftGate(USUAL).memory()


@pytest.mark.parametrize(
    "memory",
    [
        {},
        {"error": None},
        {"error": {}, "distance": {"expected": 1}},
        {"error": {"expected": "high", "best": None, "idle": 0, "total": 0.0, "weight": 0.0, "quiet": 0.0}},
        {"error": {"expected": math.nan, "best": None, "idle": 0, "total": 0.0, "weight": 0.0, "quiet": 0.0}},
        {"error": {"expected": 0.0, "best": [], "idle": 0, "total": 0.0, "weight": 0.0, "quiet": 0.0}},
        {"error": {"expected": 0.0, "best": None, "idle": 0, "total": 0.0, "weight": 0.0, "quiet": 0.0}},
    ],
)
def test_a_memory_that_is_none_starts_over(memory: dict[str, object]):
    assert DriftGate(USUAL, memory).memory() == DriftGate(USUAL).memory()


def test_evidence_of_a_window():
    wrong, distance, which = np.array([True, False]), np.array([51, 77, 128]), np.array([4, 0, 4])
    evidence = Evidence.of(wrong, distance, which, USUAL)
    assert (evidence.labels, evidence.errors, evidence.reached) == (2, 1, 2)
    assert evidence.distance == pytest.approx((256 / 3 / 256 - 0.1) / 0.1)
    assert Evidence.of(wrong, distance, which, InDistribution(0.1, 0.2)).distance is None


def test_away_from_home_any_error_more_than_usual_is_worth_a_lesson():
    assert not DriftGate(USUAL).judge(labeled(1, 60)).adapt  # nobody says where
    assert not DriftGate(USUAL).judge(labeled(1, 60), HOME).adapt
    gate = DriftGate(USUAL)
    assert gate.judge(labeled(1, 60), 1).adapt
    gate.adapted()
    assert not gate.judge(labeled(0, 60), 1).adapt  # an alarm there lasts no longer than its errors
    assert not gate.judge(labeled(1, 60)).adapt  # too small a window to say where it is from
    assert gate.judge(labeled(1, 60), 1).adapt


def test_what_comes_back_is_not_doubted_for_one_error():
    gate = DriftGate(USUAL)
    for place in (1, 2):
        assert gate.judge(labeled(9, 60), place).adapt
        gate.adapted()
        assert not gate.judge(labeled(0, 60), place).adapt
    assert not gate.judge(labeled(1, 60), 1).adapt
    assert gate.judge(labeled(1, 60), 1).adapt  # it stays
    assert gate.judge(labeled(9, 60), 2).adapt


def test_what_adapting_does_not_lower_is_usual_in_its_context_only():
    gate = DriftGate(USUAL)
    gate.judge(labeled(0, 60), HOME)
    called = [follow(gate, labeled(20, 60), 1) for _ in range(12)]
    assert called[0]
    assert not any(called[-4:])
    assert gate.judge(labeled(20, 60), 2).adapt
    gate = DriftGate(USUAL, json.loads(json.dumps(gate.memory())))
    assert not gate.judge(labeled(20, 60), 1).adapt
    assert gate.usual_error == pytest.approx(1 / 3)


def test_it_knows_of_no_more_places_than_it_says():
    gate = DriftGate(USUAL)
    for place in range(3 * PLACES):
        gate.judge(labeled(0, 60), place)
    assert list(gate.memory()["levels"]) == [str(n) for n in range(2 * PLACES - 1, 3 * PLACES - 1)]


@pytest.mark.parametrize("nonsense", [{"levels": [1]}, {"levels": {"1": "much"}}, {"levels": None}, {"place": "home"}])
def test_nonsense_about_places_is_forgotten(nonsense: dict[str, object]):
    gate = DriftGate(USUAL)
    gate.judge(labeled(0, 60), 1)
    gate.judge(labeled(0, 60), 2)
    assert DriftGate(USUAL, gate.memory() | nonsense).memory()["levels"] == {}
