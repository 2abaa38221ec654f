"""Channels that do not measure any more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts import make_artifact
from calibrant.artifact import Artifact
from calibrant.core.rng import generator
from calibrant.core.statistics import FeatureStatistics
from calibrant.policy.sensor_fault import ENOUGH, stuck_channels

CHANNELS, LENGTH = 3, 8


def about(variance: float = 16.0) -> Artifact:
    """An artifact whose features vary so much at home."""
    made = make_artifact()
    count = made.program.pooled_count
    return replace(made, reference=FeatureStatistics.of(np.zeros(count), np.full(count, variance)))


def codes(count: int, seed: int = 0) -> np.ndarray:
    return generator(seed, "codes").integers(-99, 99, (count, 1, LENGTH, CHANNELS)).astype(np.int8)


def stuck(x: np.ndarray, artifact: Artifact) -> list[int]:
    return stuck_channels(x, artifact.program, artifact.reference)


@given(st.sets(st.integers(0, CHANNELS - 1)), st.integers(-128, 127), st.integers(ENOUGH, 40))
def test_exactly_the_channels_of_one_value_are_stuck(still: set[int], value: int, count: int):
    x = codes(count)
    x[..., sorted(still)] = value
    assert stuck(x, about()) == sorted(still)


def test_few_samples_say_nothing():
    x = codes(ENOUGH)
    x[..., 1] = 5
    assert stuck(x, about()) == [1]
    assert stuck(x[1:], about()) == []
    assert stuck(x[:0], about()) == []


def test_one_sample_that_moves_clears_a_channel():
    x = codes(20)
    x[..., 1] = 5
    x[19, 0, 3, 1] = 6
    assert stuck(x, about()) == []


@pytest.mark.parametrize(("variance", "found"), [(0.25, []), (1.0, [1]), (4.0, [1])])
def test_a_channel_that_is_quiet_at_home_may_stand_still(variance: float, found: list[int]):
    x = codes(20)
    x[..., 1] = 5
    assert stuck(x, about(variance)) == found


def test_samples_that_repeat_are_not_a_stuck_sensor():
    """Each channel still varies over time."""
    assert stuck(np.tile(codes(1), (20, 1, 1, 1)), about()) == []


def test_where_the_first_layer_reads_something_else_nothing_is_said():
    x = np.full((20, 1, LENGTH, CHANNELS + 1), 5, np.int8)
    assert stuck(x, about()) == []
