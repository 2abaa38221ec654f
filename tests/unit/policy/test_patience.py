"""Going back: longer waits in the same place, none elsewhere, and a memory that refuses nonsense."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant.policy.patience import LONGEST, MOST, Patience

HERE, THERE = np.zeros(3), np.full(3, 5.0)


def test_waits_double_in_one_place_only():
    patience, waits = Patience(), []
    for _ in range(4):
        patience = patience.went_back(HERE)
        waits.append(patience.wait)
    assert waits == [0, 1, 3, 7]
    assert patience.went_back(THERE).wait == 0
    assert patience.waited().wait == 6


def test_no_place_is_given_up_on():
    patience = Patience()
    for _ in range(100):
        patience = patience.went_back(HERE)
    assert patience.wait == 2**LONGEST - 1


@given(st.lists(st.integers(-8, 8), max_size=30))
def test_a_memory_goes_on_as_what_wrote_it(steps):
    patience = Patience()
    for step in steps:
        patience = patience.went_back(np.full(3, float(step)))
    assert len(patience.places) <= MOST
    again = Patience.of(json.loads(json.dumps(patience.memory())), 3)
    assert again.memory() == patience.memory()
    assert again.went_back(HERE).wait == patience.went_back(HERE).wait


@pytest.mark.parametrize(
    "kept",
    [
        None,
        3,
        {},
        {"places": 3, "wait": 0},
        {"places": [], "wait": -1},
        {"places": [], "wait": 2**30},
        {"places": [{"mean": [0, 0], "returns": 1}], "wait": 0},
        {"places": [{"mean": [0, 0, float("nan")], "returns": 1}], "wait": 0},
        {"places": [{"mean": [0, 0, 0], "returns": 0}], "wait": 0},
        {"places": [{"mean": [0, 0, 0], "returns": 1}] * 9, "wait": 0},
    ],
)
def test_what_is_no_memory_is_forgotten(kept):
    assert Patience.of(kept, 3) == Patience()
