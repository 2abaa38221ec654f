"""When windows without labels say enough, and what keeps learning from them in bounds."""

from __future__ import annotations

import json
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant.core.errors import StateError
from calibrant.core.rng import generator
from calibrant.policy.label_free import (
    BROAD,
    Evidence,
    covers_classes,
    effective_classes,
    prediction_collapse,
    rejection_reason,
)

CLASSES = 5
windows = st.lists(st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=60), min_size=1, max_size=5)


def together(parts: list[np.ndarray], count: int = CLASSES) -> Evidence:
    """Of windows one after the other, by predicted class."""
    first, *others = [Evidence.of(part, count) for part in parts]
    return reduce(lambda earlier, evidence: evidence.after(earlier), others, first)


@given(st.integers(2, 12), st.integers(0, 500))
def test_one_class_is_never_broad(classes: int, samples: int):
    counts = np.zeros(classes, np.int64)
    counts[-1] = samples
    assert not covers_classes(counts, BROAD)


@given(st.integers(2, 40))
def test_all_classes_alike_are_broad_once_there_are_enough(classes: int):
    assert covers_classes(np.full(classes, 20), BROAD)
    assert not covers_classes(np.ones(classes, np.int64), BROAD)  # of so few nobody can say


def test_effective_classes_do_not_depend_on_names():
    counts = np.array([9, 0, 4, 30])
    assert effective_classes(counts) == effective_classes(counts[::-1])
    assert 1.5 < effective_classes(counts) < 3


@given(windows)
def test_evidence_counts_samples_and_pairs_of_single_windows(parts: list[list[int]]):
    evidence = together([np.array(part) for part in parts])
    assert evidence.predicted.tolist() == [sum(part.count(label) for part in parts) for label in range(CLASSES)]
    assert evidence.samples == sum(map(len, parts))
    assert evidence.pairs == sum(len(part) * (len(part) - 1) for part in parts)
    assert evidence.same == sum(part.count(label) * (part.count(label) - 1) for part in parts for label in range(5))
    assert evidence.several == (len(parts) > 1)


@given(windows)
def test_its_memory_gives_it_again(parts: list[list[int]]):
    evidence = together([np.array(part) for part in parts])
    again = Evidence.kept(json.loads(json.dumps(evidence.memory())), CLASSES)
    assert again.memory() == evidence.memory()
    assert (again.predicted.dtype, again.mixed, again.several) == (np.int64, evidence.mixed, evidence.several)


def test_old_evidence_fades():
    both = together([np.zeros(600, np.int64), np.ones(10, np.int64)], 3)
    assert both.predicted.tolist() == [300, 10, 0]


def test_classes_that_come_one_after_the_other_are_not_mixed():
    order = np.repeat(np.arange(3), 20)
    assert not together(np.split(order, 3)).mixed
    assert together(np.split(generator(0, "mixed").permutation(order), 3)).mixed
    assert not Evidence.of(np.array([0, 1, 2]), 3).mixed  # of so few nobody can say


def test_a_window_is_partial_next_to_the_stream_that_it_is_of():
    broad, narrow = np.arange(40) % 4, np.zeros(40, np.int64)
    stream = together([broad, narrow], 4)
    assert Evidence.of(narrow, 4).partial(stream)
    assert not Evidence.of(broad, 4).partial(stream)
    steady = together([narrow, narrow], 4)  # a stream that shows nothing else, so nothing else is to be waited for
    assert not Evidence.of(narrow, 4).partial(steady)


@pytest.mark.parametrize(("seen", "partial"), [(1, True), (2, True), (3, False), (12, False)])
def test_a_first_window_is_partial_by_how_many_of_all_classes_it_shows(seen: int, partial: bool):
    first = Evidence.of(np.arange(60) % seen, 12)
    assert first.partial(first) == partial


@given(windows, st.permutations(range(CLASSES)))
def test_names_of_classes_do_not_matter(parts: list[list[int]], names: list[int]):
    told = []
    for order in (range(CLASSES), names):
        each = [np.array(order)[part] for part in parts]
        stream, last = together(each), Evidence.of(each[-1], CLASSES)
        told.append((stream.mixed, last.partial(stream), effective_classes(stream.predicted)))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    "change",
    [
        {"predicted": [1] * 4},
        {"predicted": "11111"},
        {"predicted": [1, 1, 1, 1, -1]},
        {"predicted": [1, 1, 1, 1, True]},
        {"predicted": [1, 1, 1, 1, 2**60]},
        {"pairs": -1},
        {"pairs": 20.0},
        {"pairs": 2**60},
        {"pairs": float("nan")},
        {"same": -1},
        {"same": 91},
        {"same": None},
        {"more": 1},
    ],
)
def test_nonsense_is_refused(change: dict[str, object]):
    memory = Evidence.of(np.arange(10) % CLASSES, CLASSES).memory()
    assert memory["pairs"] == 90
    with pytest.raises(StateError, match=r"^evidence.*state is damaged"):
        Evidence.kept(memory | change, CLASSES)


@pytest.mark.parametrize("memory", [None, [], "evidence", {}, {"predicted": [0] * CLASSES, "pairs": 0}])
def test_what_is_no_memory_is_refused(memory: object):
    with pytest.raises(StateError, match=r"^evidence: expected fields"):
        Evidence.kept(memory, CLASSES)


def test_predictions_may_not_fall_together():
    before = np.array([20, 20, 20])
    assert prediction_collapse(before, np.array([60, 0, 0]))
    assert not prediction_collapse(before, np.array([26, 20, 14]))


def test_losses_are_counted_from_the_artifact_and_flips_are_capped():
    assert rejection_reason(18, 20, 20, 0.1, 0, 100) is None
    assert "from 1.000 to 0.850" in str(rejection_reason(17, 20, 20, 0.1, 0, 100))
    assert rejection_reason(20, 20, 20, 0.1, 10, 100) is None
    assert "11 of 100 weights" in str(rejection_reason(20, 20, 20, 0.1, 11, 100))
