"""The decision on new weights, and which samples it is made on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from calibrant.policy.verification import Measured, importance, split, verdict


def test_held_back_samples_are_spread_and_few():
    for count in range(1, 200):
        train, held = split(count, 0.15)
        assert sorted([*train, *held]) == list(range(count))
        assert held.size == (round(count * 0.15) if count >= 40 else 0)
        gaps = np.diff(held)
        assert held.size < 2 or gaps.max() - gaps.min() <= 1
    assert split(100, 0.0)[1].size == 0


def measured(coreset: float | None, *held: float) -> Measured:
    return Measured(0.5, coreset, np.array([round(h * 65536) for h in held], np.int64), 1.0, np.ones(0, bool))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (measured(0.90), measured(0.80), None),
        (measured(0.90), measured(0.75), "coreset accuracy fell from 0.900 to 0.750"),
        (measured(None, 1, 1), measured(None, 1, 1), None),
        (measured(0.9, 1, 1, 1), measured(0.9, 2, 2, 2), "held-back loss rose from 1.000 to 2.000 on 3 samples"),
        (measured(0.9, *[0.1] * 14), measured(0.9, 3.0, *[0.1] * 13), None),  # one of 14 may be chance
        (measured(0.9, *[0.1] * 14), measured(0.9, *[3.0] * 5, *[0.1] * 9), "held-back loss rose"),
        (measured(0.9, 1, 5, 1), measured(0.9, 2, 1, 2), None),  # fell on the whole
        (measured(0.9, 1), measured(0.9, 9), None),  # a single sample says nothing
    ],
)
def test_the_verdict(before: Measured, after: Measured, said: str | None):
    reason = verdict(before, after, 0.1)
    assert reason is None if said is None else said in str(reason)


@given(st.lists(st.tuples(st.floats(0, 8), st.floats(0, 8)), min_size=3, max_size=30))
def test_the_verdict_is_a_paired_t_test(pairs: list[tuple[float, float]]):
    losses = np.array([[round(v * 65536) for v in pair] for pair in pairs], np.int64)
    rises = (losses[:, 1] - losses[:, 0]).astype(float)
    error = rises.std(ddof=1) / np.sqrt(len(rises))
    assume(abs(rises.mean() - 2 * error) > 1e-6 * (1 + error))
    before, after = (Measured(0, None, losses[:, i], 0, np.ones(0, bool)) for i in (0, 1))
    reason = verdict(before, after, 0.1)
    assert (reason is not None) == (rises.mean() > 2 * error)


@given(st.integers(1, 600), st.lists(st.booleans(), max_size=60))
def test_the_origin_is_not_outvoted(window: int, of_source: list[bool]):
    source = np.array(of_source, bool)
    weight = importance(window, source, True)
    assert weight.size == window + source.size
    assert (weight[:window] == 1).all()
    assert (weight[window:][~source] == 1).all()
    origin, stream = int(weight[window:][source].sum()), window + int(np.count_nonzero(~source))
    if source.any() and 1 <= stream / source.sum() <= 64:
        assert abs(origin - stream) <= source.sum() / 2
