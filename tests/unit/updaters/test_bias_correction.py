"""Biases that follow a domain's statistics."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from artifacts import make_artifact
from calibrant.artifact import Artifact
from calibrant.core.dtype import BIAS_LIMIT
from calibrant.core.rng import generator
from calibrant.core.statistics import FeatureStatistics
from calibrant.engine import Engine
from calibrant.updaters.bias_correction import OUTLIER, BiasCorrection

SAMPLES = 400


def codes(artifact: Artifact, offset: int = 0, seed: int = 0) -> np.ndarray:
    entry = artifact.program.tensors[0]
    rng = generator(seed, "codes")
    drawn = rng.normal(offset, 25, (SAMPLES, entry.height, entry.width, entry.channels))
    return np.clip(np.rint(drawn), -128, 127).astype(np.int8)


@pytest.fixture
def known() -> tuple[Artifact, Engine]:
    """An artifact whose reference is of `codes`."""
    artifact = make_artifact(bits=8)
    engine = Engine(artifact.program, artifact.constants)
    means = engine.observe(codes(artifact)).pooled / artifact.program.pooled_positions
    return dataclasses.replace(artifact, reference=FeatureStatistics.of(means.mean(axis=0), means.var(axis=0))), engine


def follow(artifact: Artifact, engine: Engine, x: np.ndarray, times: int) -> np.ndarray:
    bias_correction = BiasCorrection(artifact.program, artifact.constants, artifact.reference)
    for _ in range(times):
        pooled = engine.observe(x).pooled.sum(axis=0, dtype=np.int64)
        now = engine.parameters
        engine.load(now.replaced(bias=bias_correction.bias(now.weights, now.bias, pooled, len(x))))
    return engine.parameters.bias


def test_without_drift_nothing_moves(known: tuple[Artifact, Engine]):
    artifact, engine = known
    assert np.array_equal(follow(artifact, engine, codes(artifact), 3), artifact.constants.bias)


def test_it_undoes_an_offset_in_every_layer(known: tuple[Artifact, Engine]):
    artifact, engine = known
    usual = engine.observe(codes(artifact))
    drifted = codes(artifact, 12)
    before, predicted = engine.observe(drifted), usual.outputs.argmax(axis=1)
    agreed = (before.outputs.argmax(axis=1) == predicted).mean()
    follow(artifact, engine, drifted, 25)
    after = engine.observe(drifted)
    assert (after.outputs.argmax(axis=1) == predicted).mean() > 0.97 > agreed + 0.05
    last = artifact.program.layers[-1].pooled_slice
    far = [np.abs(o.pooled[:, last].mean(axis=0) - usual.pooled[:, last].mean(axis=0)).mean() for o in (before, after)]
    assert far[1] < far[0] / 3
    follow(artifact, engine, codes(artifact), 60)
    # home again; one is below the last step's half
    assert np.abs(engine.parameters.bias - artifact.constants.bias).max() <= 1


def test_more_samples_go_further(known: tuple[Artifact, Engine]):
    artifact, engine = known
    bias_correction = BiasCorrection(artifact.program, artifact.constants, artifact.reference)
    pooled = engine.observe(codes(artifact, 12)).pooled.sum(axis=0, dtype=np.int64)
    bias = artifact.constants.bias
    moved = [
        np.abs(bias_correction.bias(engine.parameters.weights, bias, pooled * n, SAMPLES * n) - bias)
        .astype(np.int64)
        .sum()
        for n in (1, 2, 1000)
    ]
    assert moved[0] < moved[1] < moved[2]
    assert moved[0] == pytest.approx(moved[2] * SAMPLES / (SAMPLES + 273), rel=0.05)


def test_a_dead_sensor_counts_as_an_outlier(known: tuple[Artifact, Engine]):
    artifact, _ = known
    bias_correction = BiasCorrection(artifact.program, artifact.constants, artifact.reference)
    pooled = np.rint(artifact.reference.mean.astype(np.float64) * artifact.program.pooled_positions * 10).astype(
        np.int64
    )
    pooled[1] = 10**9
    shift = bias_correction.shift(pooled, 10)
    assert np.flatnonzero(shift).tolist() == [1]
    assert shift[1] == pytest.approx(256 * OUTLIER * artifact.reference.std[1], abs=1)


def test_biases_saturate(known: tuple[Artifact, Engine]):
    artifact, engine = known
    far = np.full(artifact.program.channel_count, BIAS_LIMIT, np.int32)
    reference = dataclasses.replace(artifact.reference, std=np.full_like(artifact.reference.std, 6e4))
    constants = dataclasses.replace(artifact.constants, bias=far)
    pooled = np.full(artifact.program.pooled_count, -(10**7), np.int64)
    moved = BiasCorrection(artifact.program, constants, reference).bias(
        np.abs(engine.parameters.weights), far, pooled, 1
    )
    assert moved.dtype == np.int32
    assert moved.max() == BIAS_LIMIT
