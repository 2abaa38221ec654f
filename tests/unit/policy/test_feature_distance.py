"""Distances to what the device remembers."""

from __future__ import annotations

import numpy as np
import pytest

from calibrant.artifact import Artifact
from calibrant.core.rng import generator
from calibrant.core.statistics import FeatureStatistics
from calibrant.engine import Engine
from calibrant.policy.feature_distance import DISTANCE_ONE, Features, nearest


def test_distances_are_those_of_real_arithmetic_to_rounding():
    rng = generator(0, "tests")
    features, remembered = (rng.integers(-4096, 4097, (n, 96)).astype(np.int16) for n in (50, 21))
    exact = np.sqrt((((features[:, None].astype(int) - remembered[None]) / 16) ** 2).mean(axis=2))
    distance, which = nearest(features, remembered)
    assert np.array_equal(distance, np.rint(exact.min(axis=1) * DISTANCE_ONE))
    assert np.array_equal(which, exact.argmin(axis=1))


def test_neither_order_of_samples_nor_of_channels_matters():
    rng = generator(1, "tests")
    features, remembered = (rng.integers(-4096, 4097, (n, 700)).astype(np.int16) for n in (40, 30))
    rows, columns = rng.permutation(40), rng.permutation(700)
    distance, which = nearest(features, remembered)
    again, same = nearest(features[rows][:, columns], remembered[:, columns])
    assert np.array_equal(again, distance[rows])
    assert np.array_equal(same, which[rows])


def test_features_are_standard_deviations_of_the_last_layers_inputs(artifact: Artifact):
    engine = Engine(artifact.program, artifact.constants)
    seen = engine.observe(generator(2, "tests").integers(-128, 128, (9, 1, 8, 3)).astype(np.int8))
    std = np.array([1, 1, 1, 0, 8, 16, 32, 2, 1], np.float32)  # the liveliest of the last layer is 32
    features = Features.of(artifact.program, FeatureStatistics(np.zeros(9, np.float32), std)).observed(seen)
    expected = 16 * seen.pooled[:, 3:] / np.array([2, 8, 16, 32, 2, 2])
    assert features.dtype == np.int16
    assert features == pytest.approx(np.rint(expected))


def test_a_network_without_variation_has_features(artifact: Artifact):
    engine = Engine(artifact.program, artifact.constants)
    seen = engine.observe(artifact.coreset.x)
    features = Features.of(artifact.program, FeatureStatistics(*np.zeros((2, 9), np.float32))).observed(seen)
    assert np.abs(features).max() <= 4096
    assert nearest(features, features)[0].max() == 0
