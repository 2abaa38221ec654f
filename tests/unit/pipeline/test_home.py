"""What training samples' pre-activations are said to be."""

from __future__ import annotations

import numpy as np
import pytest

from artifacts import make_artifact
from calibrant.core.rng import generator
from calibrant.engine import Engine
from calibrant.pipeline import home
from calibrant.pipeline.home import cheap, pre_activations

CLASSES = 4


def samples(n: int = 41) -> tuple[Engine, np.ndarray, np.ndarray]:
    artifact, rng = make_artifact(), generator(0, "home")
    codes = rng.integers(-128, 128, (n, 1, 8, 3)).astype(np.int8)
    return Engine(artifact.program, artifact.constants), codes, rng.integers(0, CLASSES - 1, n).astype(np.int64)


@pytest.mark.parametrize("batch", [256, 7])
def test_moments_over_samples_and_positions(batch: int):
    engine, codes, y = samples()
    seen, told = engine.moments(codes), pre_activations(engine, codes, y, CLASSES, batch)
    mean, square = seen.total[:, :6] / 8, seen.square[:, :6] / 8
    assert told.mean[:6] == pytest.approx(mean.mean(axis=0), rel=1e-6)
    assert told.variance[:6] == pytest.approx(square.mean(axis=0) - mean.mean(axis=0) ** 2, rel=1e-5)
    assert told.mean_spread[:6] == pytest.approx(mean.std(axis=0), rel=1e-5)
    assert told.square_spread[:6] == pytest.approx(square.std(axis=0), rel=1e-5)
    for array in (told.mean, told.variance, told.mean_spread, told.square_spread):
        assert array.dtype == np.float32
        assert not array[6:].any()  # the last layer's
    assert told.class_mean is None  # of a network as small as this they are not cheap


def test_by_class_where_it_is_cheap(monkeypatch: pytest.MonkeyPatch):
    engine, codes, y = samples()
    assert not cheap(engine.program, CLASSES)
    monkeypatch.setattr(home, "CLASS_SHARE", 0)
    told, seen = pre_activations(engine, codes, y, CLASSES), engine.moments(codes)
    assert told.class_mean is not None
    assert told.class_std is not None
    for k in range(CLASSES - 1):
        mean = seen.total[y == k, :6].mean(axis=0) / 8
        assert told.class_mean[k, :6] == pytest.approx(mean, rel=1e-3)
        variance = seen.square[y == k, :6].mean(axis=0) / 8 - mean**2
        assert told.class_std[k, :6] == pytest.approx(np.sqrt(variance), rel=1e-3)
    assert told.class_mean[-1] == pytest.approx(told.mean, rel=1e-3)  # of a class that no sample has


def test_a_channel_that_never_moves_has_no_variance():
    engine, codes, y = samples()
    weights = engine.parameters.weights.copy()
    weights[engine.program.layers[0].weight_slice][:9] = 0  # of the first channel
    engine.load(engine.parameters.replaced(weights=weights))
    told = pre_activations(engine, codes, y, CLASSES)
    assert (told.variance[0], told.mean_spread[0], told.square_spread[0]) == (0, 0, 0)
    assert told.variance[1:6].all()
