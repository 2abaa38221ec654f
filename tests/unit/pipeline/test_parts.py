"""What compositions share beyond calling their stages; preparing whole networks is covered by `bench` and `e2e`."""

from __future__ import annotations

import numpy as np
import pytest

from calibrant.artifact import Artifact
from calibrant.core.program import Constants, Layer, Program
from calibrant.core.rng import generator
from calibrant.engine import Engine
from calibrant.pipeline import parts


def test_the_reference_is_the_moments_of_mean_codes(artifact: Artifact):
    engine = Engine(artifact.program, artifact.constants)
    codes = generator(3, "tests").integers(-128, 128, (23, 1, 8, 3)).astype(np.int8)
    seen = engine.observe(codes)
    means = seen.pooled / artifact.program.pooled_positions
    for batch in (256, 5):
        reference, outputs, pooled = parts.training_statistics(engine, codes, batch)
        assert reference.mean == pytest.approx(means.mean(axis=0), rel=1e-3, abs=1e-6)
        assert reference.std == pytest.approx(means.std(axis=0), rel=1e-3, abs=1e-6)
        assert np.array_equal(outputs, seen.outputs)
        assert np.array_equal(pooled, seen.pooled[:, 3:])
    assert reference.mean[:3] == pytest.approx(codes.mean(axis=(0, 1, 2)), rel=1e-3)


def test_the_usual_distance_is_that_to_the_nearest_sample_of_the_coreset(artifact: Artifact):
    engine = Engine(artifact.program, artifact.constants)
    codes = generator(4, "tests").integers(-128, 128, (11, 1, 8, 3)).astype(np.int8)
    _, _, pooled = parts.training_statistics(engine, codes)
    std = np.maximum(artifact.reference.std, artifact.reference.std.max() / 16)[3:]
    features, remembered = pooled / std, engine.observe(artifact.coreset.x).pooled[:, 3:] / std
    apart = np.sqrt(((features[:, None] - remembered[None]) ** 2).mean(axis=2)).min(axis=1)
    usual = parts.usual(artifact, engine, np.arange(20) < 3, pooled)
    assert usual.error == 0.15
    assert usual.distance == pytest.approx(apart.mean(), abs=0.03)  # features are sixteenths
    assert usual.spread == pytest.approx(apart.std(), abs=0.03)
    assert parts.usual(artifact, engine, np.arange(20) < 3, pooled[:0]).spread == 0


def test_the_rate_follows_the_size_of_most_weights():
    sizes = ((1, 4, 90), (2, 10, 60), (1, 100, 20))  # outputs, inputs, code: 4, 20 and 100 weights
    layers, weights, end, first = [], [], 0, 0
    for number, (c_out, c_in, code) in enumerate(sizes):
        layers.append(Layer(f"l{number}", 8, c_out, 1, 1, c_in, 1, end, first, 0))
        weights.append(np.resize([code, -code], c_out * c_in).astype(np.int8))
        end, first = end + c_out * c_in, first + c_out
    scale = np.array([1e-3, 1e-3, 1e-3, 1e-3], np.float32)
    empty = np.zeros(first, np.int32)
    program = Program((), (), tuple(layers), 0, 0, (), 0)
    constants = Constants(np.concatenate(weights), empty, empty, empty, scale)
    assert parts.weight_size(program, constants) == pytest.approx(0.02)
    few = Program((), (), tuple(layers[:2]), 0, 0, (), 0)
    assert parts.weight_size(few, constants) == pytest.approx(0.06)
    rates = [
        parts.usual_settings("accumulated", None, bits, size).rate for bits, size in ((4, 0.02), (2, 0.02), (4, 0.06))
    ]
    assert rates == [4e-4, 1.2e-3, 1e-3]
    assert parts.usual_settings("sparse", None, 8, 0.02).rate == parts.usual_settings("sparse", None, 8).rate
