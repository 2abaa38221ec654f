"""What `prepare` composes beyond calling its stages; preparing whole networks is covered by `bench` and `e2e`."""

from __future__ import annotations

import numpy as np
import pytest

from calibrant import pipeline
from calibrant.artifact import Artifact
from calibrant.core.rng import generator
from calibrant.runtime.engine import Engine


def test_the_reference_is_the_moments_of_mean_codes(artifact: Artifact, monkeypatch: pytest.MonkeyPatch):
    engine = Engine(artifact.program, artifact.constants)
    codes = generator(3, "tests").integers(-128, 128, (23, 1, 8, 3)).astype(np.int8)
    seen = engine.observe(codes)
    means = seen.pooled / artifact.program.pooled_positions
    for batch in (256, 5):
        monkeypatch.setattr(pipeline, "_BATCH", batch)
        reference, outputs, pooled = pipeline.training_statistics(engine, codes)
        assert reference.mean == pytest.approx(means.mean(axis=0), rel=1e-3, abs=1e-6)
        assert reference.std == pytest.approx(means.std(axis=0), rel=1e-3, abs=1e-6)
        assert np.array_equal(outputs, seen.outputs)
        assert np.array_equal(pooled, seen.pooled[:, 3:])
    assert reference.mean[:3] == pytest.approx(codes.mean(axis=(0, 1, 2)), rel=1e-3)


def test_the_usual_distance_is_that_to_the_nearest_sample_of_the_coreset(artifact: Artifact):
    engine = Engine(artifact.program, artifact.constants)
    codes = generator(4, "tests").integers(-128, 128, (11, 1, 8, 3)).astype(np.int8)
    _, _, pooled = pipeline.training_statistics(engine, codes)
    std = np.maximum(artifact.reference.std, artifact.reference.std.max() / 16)[3:]
    features, remembered = pooled / std, engine.observe(artifact.coreset.x).pooled[:, 3:] / std
    apart = np.sqrt(((features[:, None] - remembered[None]) ** 2).mean(axis=2)).min(axis=1)
    usual = pipeline.usual(artifact, engine, np.arange(20) < 3, pooled)
    assert usual.error == 0.15
    assert usual.distance == pytest.approx(apart.mean(), abs=0.03)  # features are sixteenths
    assert usual.spread == pytest.approx(apart.std(), abs=0.03)
    assert pipeline.usual(artifact, engine, np.arange(20) < 3, pooled[:0]).spread == 0
