"""Which of several candidates to believe."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant.core.errors import StateError
from calibrant.policy.contest import DECAY, Contest

NAMES = ("as it is", "affine", "flips")
scores = st.lists(
    st.dictionaries(st.sampled_from(NAMES), st.integers(-(2**17), 2**19).map(lambda n: n / 2**16), min_size=1),
    min_size=1,
    max_size=8,
)


def held(windows: list[dict[str, float]]) -> Contest:
    contest = Contest()
    for window in windows:
        contest = contest.after(window)
    return contest


@given(scores)
def test_a_score_is_the_mean_over_windows_the_latest_counting_most(windows: list[dict[str, float]]):
    contest = held(windows)
    for name in NAMES:
        own = [window[name] for window in windows if name in window]
        assert (name in contest.standings) == bool(own)
        if own:
            weights = [DECAY**age for age in reversed(range(len(own)))]
            mean = sum(w * s for w, s in zip(weights, own, strict=True)) / sum(weights)
            assert contest.score(name) == pytest.approx(mean, abs=1e-9)
            assert min(own) - 1e-9 <= contest.score(name) <= max(own) + 1e-9


@given(scores)
def test_its_memory_gives_it_again_bit_for_bit(windows: list[dict[str, float]]):
    again, stayed = Contest(), Contest()
    for window in windows:
        again = Contest.of(json.loads(json.dumps(again.memory()))).after(window)
        stayed = stayed.after(window)
    assert again.standings == stayed.standings


def test_a_contest_that_lasts_can_be_kept():
    """The sum of the weights comes as near to its limit as numbers go."""
    contest = held([{"as it is": 3.5, "affine": -1.0}] * 2000)
    assert Contest.of(json.loads(json.dumps(contest.memory()))).standings == contest.standings


def test_the_best_wins_and_of_equally_good_ones_the_first_that_is_named():
    contest = held([{"as it is": 1.0, "affine": 1.0, "flips": 0.5}])
    assert contest.winner(NAMES) == "as it is"
    assert contest.winner(("flips", "affine", "as it is")) == "affine"
    assert contest.winner(("nobody", "flips")) == "flips"


def test_who_leaves_starts_anew():
    contest = held([{"as it is": 1.0, "affine": 9.0}])
    without = contest.among(["as it is"])
    assert without.winner(NAMES) == "as it is"
    assert without.after({"affine": 2.0}).score("affine") == 2.0
    assert contest.score("affine") == 9.0  # nothing changes in place


NONSENSE: list[Any] = [
    None,
    [],
    "affine",
    3,
    {"affine": None},
    {"affine": [1.0, 1.0]},
    {"affine": {"total": 1.0}},
    {"affine": {"total": 1.0, "weight": 1.0, "more": 1}},
    {"affine": {"total": 1, "weight": 1.0}},
    {"affine": {"total": "1", "weight": 1.0}},
    {"affine": {"total": 1.0, "weight": True}},
    {"affine": {"total": float("nan"), "weight": 1.0}},
    {"affine": {"total": float("inf"), "weight": 1.0}},
    {"affine": {"total": -1e300, "weight": 1.0}},
    {"affine": {"total": 1.0, "weight": float("nan")}},
    {"affine": {"total": 1.0, "weight": 0.0}},
    {"affine": {"total": 1.0, "weight": -1.0}},
    {"affine": {"total": 1.0, "weight": 1 / (1 - DECAY)}},
    {"affine": {"total": 1.0, "weight": 1e300}},
]


@pytest.mark.parametrize("memory", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_refused(memory: Any):
    with pytest.raises(StateError, match=r"state is damaged\)$"):
        Contest.of(memory)
