"""What is remembered pulls outputs back, what is not does nothing, and the pull is bounded like a probability."""

import numpy as np

from calibrant.core.fmath import ERROR_ONE
from calibrant.updaters.logit_distillation import distillation_error


def test_what_is_not_remembered_does_not_pull():
    then = np.float32([[np.nan, np.nan], [0, 0], [1, 1]])
    error = distillation_error(np.ones((3, 2), np.float32), then)
    assert error.tolist() == [[0, 0], [ERROR_ONE // 2] * 2, [0, 0]]


def test_the_pull_is_bounded_like_a_probability():
    error = distillation_error(np.float32([[500, -500, 0]]), np.zeros((1, 3), np.float32))
    assert error.tolist() == [[ERROR_ONE, -ERROR_ONE, 0]]
