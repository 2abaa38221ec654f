"""Softmax and loss: close to float64 truth, exact in what is summed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from calibrant.core.fmath import ERROR_ONE, LOSS_ONE, cross_entropy, exp, log


def test_exp_is_within_three_ulp():
    x = -np.linspace(0, 79, 200_001, dtype=np.float32)
    truth = np.exp(x.astype(np.float64))
    assert np.max(np.abs(exp(x) - truth) / np.spacing(truth.astype(np.float32))) < 3


def test_exp_saturates_below_its_domain():
    assert exp(np.float32([-1e30, -81])).tolist() == exp(np.float32([-80, -80])).tolist()


def test_log_is_close_over_the_range_of_softmax_sums():
    x = np.exp(np.linspace(-3, 14, 100_001)).astype(np.float32)
    assert np.max(np.abs(log(x) - np.log(x.astype(np.float64)))) < 1e-6


@given(st.integers(1, 12), st.integers(2, 30), st.floats(0.01, 30), st.integers(0, 2**31))
def test_cross_entropy_matches_float64(n, classes, spread, seed):
    rng = np.random.default_rng(seed)
    scores = (rng.normal(size=(n, classes)) * spread).astype(np.float32)
    y = rng.integers(0, classes, n)
    loss, error = cross_entropy(scores, y)
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    p = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    expected = p.copy()
    expected[np.arange(n), y] -= 1
    assert np.max(np.abs(error / ERROR_ONE - expected)) < 1e-4
    nats = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(n), y]
    assert np.max(np.abs(loss / LOSS_ONE - nats)) < 1e-4


def test_a_huge_loss_saturates_instead_of_overflowing():
    loss, error = cross_entropy(np.float32([[0, 1e9]]), np.array([0]))
    assert loss[0] == 2**14 * LOSS_ONE
    assert error.tolist() == [[-ERROR_ONE, ERROR_ONE]]
