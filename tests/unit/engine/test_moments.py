"""Which layers' moments an engine measures, and that it refuses others."""

from __future__ import annotations

import numpy as np
import pytest

from artifacts import make_artifact
from calibrant.core.errors import PlanError
from calibrant.core.rng import generator
from calibrant.engine import Engine


def codes(n: int) -> np.ndarray:
    return generator(0, "moments").integers(-128, 128, (n, 1, 8, 3)).astype(np.int8)


def test_only_layers_that_are_asked_for_are_measured():
    artifact = make_artifact()
    engine, x = Engine(artifact.program, artifact.constants), codes(5)
    whole = engine.moments(x)
    assert whole.total.shape == whole.square.shape == (5, artifact.program.channel_count)
    assert whole.positions.tolist() == [8] * 6 + [0] * 3
    assert not whole.total[:, 6:].any()
    assert (whole.square[:, :6] * 8 >= whole.total[:, :6] ** 2).all()
    nothing = engine.moments(x, ())
    assert not nothing.square.any()
    assert not nothing.positions.any()
    assert engine.moments(x[:0]).total.shape == (0, artifact.program.channel_count)


def test_a_run_after_it_gives_what_it_gave():
    artifact = make_artifact()
    engine, x = Engine(artifact.program, artifact.constants), codes(5)
    before = engine.infer(x)
    engine.moments(x)
    assert np.array_equal(engine.infer(x), before)


@pytest.mark.parametrize("layer", [-1, 2])
def test_layers_that_do_not_exist_are_refused(layer: int):
    artifact = make_artifact()
    with pytest.raises(PlanError, match=f"moments: expected a layer of 0 to 1, got {layer}"):
        Engine(artifact.program, artifact.constants).moments(codes(1), (layer,))


def test_raw_accumulators_have_none():
    artifact = make_artifact()
    engine = Engine(artifact.program, artifact.constants)
    with pytest.raises(PlanError, match="moments: layer 1: expected an output of 8 bits"):
        engine.moments(codes(1), (1,))


def test_buffers_that_do_not_fit_are_refused():
    artifact = make_artifact()
    engine = Engine(artifact.program, artifact.constants)._native  # private: the engine allocates them right
    x, good, layers = np.zeros((2, 24), np.int8), np.zeros((2, 9), np.int64), np.zeros(2, np.uint8)
    engine.moments(x, layers, good, good.copy())
    for given in ((x[:, 1:], layers, good, good), (x, layers[1:], good, good), (x, layers, good[1:], good)):
        with pytest.raises(PlanError, match="moments: a buffer does not fit the program"):
            engine.moments(*(np.ascontiguousarray(each) for each in given))
