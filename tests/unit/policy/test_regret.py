"""Regret counts what only one of two versions gets right, and believes nothing that it did not write."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant.policy.regret import Regret

answers = st.lists(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30), max_size=8)


def bits(*values: int) -> np.ndarray:
    return np.array(values, np.bool_)


@given(answers)
def test_it_counts_until_adapting_has_paid(windows: list[list[tuple[bool, bool]]]):
    told, labels, errors, lost, won = Regret(4), 0, 0, 0, 0
    for pairs in windows:
        home, head = np.array(pairs, np.bool_).T
        told = told.after(home=home, head=head)
        labels, errors = labels + len(pairs), errors + sum(a for a, _ in pairs)
        lost, won = lost + sum(b > a for a, b in pairs), won + sum(a > b for a, b in pairs)
        if won - lost > 2 * math.sqrt(won + lost):
            labels = errors = lost = won = 0
        assert told == Regret(4, labels, errors, lost, won)
        assert told.regretted == (lost - won > 2 * math.sqrt(won + lost))
        assert Regret.of(json.loads(json.dumps(told.memory())), 5) == told


def test_home_must_be_ahead_beyond_chance():
    right, wrong = bits(*[0] * 9), bits(*[1] * 9)
    assert not Regret(0).regretted
    assert not Regret(0).after(home=right[:4], head=wrong[:4]).regretted
    assert Regret(0).after(home=right[:5], head=wrong[:5]).regretted
    mixed = Regret(0).after(home=wrong[:4], head=right[:4]).after(home=right, head=wrong)
    assert (mixed.lost, mixed.won, mixed.regretted) == (9, 4, False)
    assert mixed.error == 4 / 13


def test_what_paid_in_one_place_may_not_in_the_next():
    right, wrong = bits(*[0] * 9), bits(*[1] * 9)
    told = Regret(2).after(home=wrong, head=right)
    assert told == Regret(2)
    assert told.after(home=right, head=wrong).regretted


@pytest.mark.parametrize(
    "kept",
    [
        None,
        [],
        "regret",
        {},
        {"home": 0, "labels": 4, "errors": 1, "lost": 1, "won": 1, "more": 0},
        {"home": 0.0, "labels": 4, "errors": 1, "lost": 1, "won": 1},
        {"home": True, "labels": 4, "errors": 1, "lost": 1, "won": 1},
        {"home": -1, "labels": 4, "errors": 1, "lost": 1, "won": 1},
        {"home": 0, "labels": 4, "errors": 5, "lost": 0, "won": 1},
        {"home": 0, "labels": 4, "errors": 0, "lost": 0, "won": 1},
        {"home": 0, "labels": 4, "errors": 3, "lost": 2, "won": 1},
        {"home": 3, "labels": 4, "errors": 1, "lost": 1, "won": 1},
    ],
)
def test_what_it_did_not_write_is_forgotten(kept: object):
    assert Regret.of(kept, 3) is None
