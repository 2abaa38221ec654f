"""Remembered outputs: the first count, others are forgotten, and the pull points back to them."""

import numpy as np
import pytest

from calibrant.core.fmath import ERROR_ONE
from calibrant.updaters.logit_distillation import RememberedLogits, distillation_error


@pytest.fixture
def samples():
    return np.arange(24, dtype=np.int8).reshape(3, 1, 4, 2)


def test_the_first_logits_of_a_sample_are_kept(samples):
    memory = RememberedLogits(2)
    memory.add(samples[:2], np.float32([[1, 2], [3, 4]]))
    memory.add(samples, np.float32([[9, 9], [9, 9], [5, 6]]))
    assert memory.of(samples).tolist() == [[1, 2], [3, 4], [5, 6]]


def test_what_is_not_kept_is_unknown_and_does_not_pull(samples):
    memory = RememberedLogits(2)
    memory.add(samples, np.zeros((3, 2), np.float32))
    memory.keep(samples[1:])
    assert np.isnan(memory.of(samples)).all(axis=1).tolist() == [True, False, False]
    error = distillation_error(np.ones((3, 2), np.float32), memory.of(samples))
    assert error.tolist() == [[0, 0], [ERROR_ONE // 2] * 2, [ERROR_ONE // 2] * 2]


def test_the_pull_is_bounded_like_a_probability():
    error = distillation_error(np.float32([[500, -500, 0]]), np.zeros((1, 3), np.float32))
    assert error.tolist() == [[ERROR_ONE, -ERROR_ONE, 0]]
