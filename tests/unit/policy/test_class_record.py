"""New classes call, known ones do not; windows of few classes are told from others."""

from __future__ import annotations

import json

import numpy as np
import pytest

from calibrant.policy.class_record import ClassRecord, narrow, quota

HELD = np.array([True, True, False, True])


def test_a_class_never_right_calls_and_then_waits_twice_as_long():
    record = ClassRecord.start(HELD)
    calls = []
    for _ in range(7):
        record, new = record.after(np.array([1, 0]), np.array([False, True]))
        calls.append(bool(new.any()))
    assert calls == [False, False, True, False, False, False, False]
    record, new = record.after(np.array([1, 1]), np.array([False, False]))
    assert new.tolist() == [True, True]


def test_a_class_without_samples_calls_at_once_and_a_hit_ends_it():
    record, new = ClassRecord.start(HELD).after(np.array([2, 0]), np.array([False, True]))
    assert new.tolist() == [True, False]
    record, _ = record.after(np.array([2]), np.array([True]))
    for _ in range(9):
        record, new = record.after(np.array([2]), np.array([False]))
        assert not new.any()


def test_a_memory_goes_on_as_what_wrote_it():
    record, _ = ClassRecord.start(HELD).after(np.array([0, 2, 3]), np.array([True, False, False]))
    again = ClassRecord.of(json.loads(json.dumps(record.memory())), HELD)
    assert again.memory() == record.memory()


@pytest.mark.parametrize(
    "kept",
    [
        None,
        {"tries": [0]},
        {"tries": [0] * 4, "hits": [0] * 4, "needed": [0] * 4},
        {"tries": [-1] * 4, "hits": [0] * 4, "needed": [1] * 4},
        {"tries": ["a"] * 4, "hits": [0] * 4, "needed": [1] * 4},
        {"tries": [10**30] * 4, "hits": [0] * 4, "needed": [1] * 4},
    ],
)
def test_what_is_no_memory_is_forgotten(kept):
    assert ClassRecord.of(kept, HELD).memory() == ClassRecord.start(HELD).memory()


def test_few_labels_say_nothing_of_classes():
    assert not narrow(np.zeros(9, int), 19)
    assert narrow(np.zeros(10, int), 19)


def test_a_quota_takes_as_many_of_each_class_in_the_order_given():
    y = np.array([0] * 10 + [1] * 2)
    use = quota(y, np.arange(12)[::-1], held=6, classes=3)
    assert np.flatnonzero(use).tolist() == [6, 7, 8, 9, 10, 11]
