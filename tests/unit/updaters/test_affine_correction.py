"""Affine correction leads pre-activations home, in integers that the engine takes, and leaves what needs none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts import at_home, make_artifact, make_window
from calibrant.artifact import Artifact
from calibrant.core.dtype import BIAS_LIMIT
from calibrant.core.errors import DataError
from calibrant.core.parameters import Parameters
from calibrant.core.rng import generator
from calibrant.core.window import encode
from calibrant.engine import Engine, variants
from calibrant.updaters.affine_correction import REMEMBERED, AffineCorrection, AffineMemory, scales

FIRST = slice(0, 6)  # channels of the layer that is corrected
ARTIFACT = at_home(make_artifact(), n=400)


def window(n: int = 90, seed: int = 3, gain: float = 1.0, offset: float = 0.0) -> np.ndarray:
    """Input codes of a domain in which everything is `gain` times as large, and `offset` more."""
    x, _ = make_window(ARTIFACT, n, seed)
    return codes((x * gain + offset).astype(np.float32))


def codes(x: np.ndarray) -> np.ndarray:
    return encode(x, ARTIFACT.program.tensors[0], ARTIFACT.preprocess, ARTIFACT.input_shape)


def engine_of(artifact: Artifact = ARTIFACT, variant: str | None = None) -> Engine:
    return Engine(artifact.program, artifact.constants, variant)


def corrected(x: np.ndarray, artifact: Artifact = ARTIFACT, **about: object) -> tuple[Parameters, AffineMemory]:
    correction = AffineCorrection.of(artifact)
    return correction.correct(engine_of(artifact), x, correction.from_nothing(), **about)  # type: ignore[arg-type]


def same(a: AffineMemory, b: AffineMemory) -> bool:
    pairs = zip(vars(a).values(), vars(b).values(), strict=True)
    return all(np.array_equal(*pair) for pair in pairs)


def test_a_window_of_home_changes_nothing():
    x, _ = make_window(ARTIFACT, 400, seed=100)  # of these home was told
    parameters, memory = corrected(codes(x))
    assert parameters == Parameters.of(ARTIFACT.constants)
    assert ARTIFACT.home is not None
    assert memory.mean == pytest.approx(ARTIFACT.home.mean, rel=1e-6, abs=1e-6)
    moved, _ = corrected(window())
    assert np.count_nonzero(moved.shift != ARTIFACT.constants.shift) <= 2  # 1 in 20 of six, by chance


@given(st.floats(0.6, 1.5), st.floats(-1.0, 1.0), st.integers(0, 20))
def test_pre_activations_come_home(gain: float, offset: float, seed: int):
    engine, x = engine_of(), window(60, seed, gain, offset)
    before, home = engine.parameters, ARTIFACT.home
    assert home is not None
    parameters, _ = AffineCorrection.of(ARTIFACT).correct(engine, x, AffineCorrection.of(ARTIFACT).from_nothing())
    assert engine.parameters == before
    engine.load(parameters)
    found = engine.moments(x)
    mean, square = (each[:, FIRST].sum(axis=0) / (60 * 8) for each in (found.total, found.square))
    moved = parameters.multiplier[FIRST] != ARTIFACT.constants.multiplier[FIRST]
    usual = home.variance[FIRST]
    assert np.abs(mean - home.mean[FIRST])[moved] == pytest.approx(0, abs=0.6)  # half a code, and a step of the bias
    assert np.sqrt(square - mean**2)[moved] == pytest.approx(np.sqrt(usual)[moved], rel=0.05, abs=0.1)


@given(st.floats(0.0, 30.0), st.floats(-9.0, 9.0), st.integers(1, 40), st.integers(0, 99))
def test_constants_stay_within_their_bounds(gain: float, offset: float, n: int, seed: int):
    parameters, memory = corrected(window(n, seed, gain, offset))
    base = Parameters.of(ARTIFACT.constants)
    assert np.array_equal(parameters.weights, base.weights)
    for name in ("bias", "multiplier", "shift"):
        assert np.array_equal(parameters[name][6:], base[name][6:])  # the last layer's
    assert int(np.abs(parameters.bias.astype(np.int64)).max()) <= BIAS_LIMIT
    ratio = scales(ARTIFACT.constants, parameters) / ARTIFACT.constants.scale
    assert ((ratio >= 1 / 8 - 1e-6) & (ratio <= 8 + 1e-6)).all()
    engine_of().load(parameters)  # refuses what is out of range
    assert (memory.samples <= n).all()
    assert np.isfinite(memory.mean).all()


@given(st.permutations(range(20)), st.floats(0.5, 2.0))
def test_the_order_of_samples_does_not_matter(order: list[int], gain: float):
    x = window(20, gain=gain)
    (a, kept), (b, other) = corrected(x), corrected(x[order])
    assert a == b
    assert same(kept, other)


@given(st.lists(st.integers(0, 1), min_size=20, max_size=20), st.integers(1, 1000))
def test_a_sample_of_weight_0_is_not_there(chosen: list[int], weight: int):
    x, weights = window(20, gain=1.7), np.array(chosen, np.int64)
    parameters, memory = corrected(x, weights=weights * weight)
    expected, kept = corrected(x[weights > 0])
    assert parameters == expected
    assert same(memory, kept) == (weight == 1 or not weights.any() or np.allclose(memory.samples, kept.samples))
    assert memory.mean == pytest.approx(kept.mean, rel=1e-12)


def test_weights_are_shares():
    x, weights = window(30, gain=1.7), generator(0, "weights").integers(0, 9, 30).astype(np.int64)
    _, memory = corrected(x, weights=weights)
    _, repeated = corrected(np.repeat(x, weights, axis=0))
    assert memory.mean == pytest.approx(repeated.mean, rel=1e-12)
    assert memory.samples[0] < min(30, repeated.samples[0])


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_every_variant_gives_the_same_bits(bits: int):
    artifact = at_home(make_artifact(bits=bits, hidden=19))
    correction, x = AffineCorrection.of(artifact), window(gain=1.4, offset=0.5)
    results = [correction.correct(engine_of(artifact, v), x, correction.from_nothing()) for v in variants()]
    assert results[0][0] != Parameters.of(artifact.constants)
    for parameters, memory in results[1:]:
        assert parameters == results[0][0]
        assert same(memory, results[0][1])
    used = {v: engine_of(artifact, v) for v in variants()}
    for engine in used.values():
        engine.load(results[0][0])
    outputs = [engine.infer(x) for engine in used.values()]
    assert all(np.array_equal(each, outputs[0]) for each in outputs)


def test_a_channel_that_measures_nothing_any_more_stays():
    rng = generator(1, "stuck")
    weights = ARTIFACT.constants.weights.copy()
    weights[ARTIFACT.program.layers[0].weight_slice] = np.tile([5, 0, 0], 18)  # each output reads the first input
    weights[9:18] = np.tile([0, 5, 0], 3)  # but one, which reads the second
    artifact = at_home(replace(ARTIFACT, constants=replace(ARTIFACT.constants, weights=weights)), n=400)
    x = rng.integers(-90, 90, (40, 1, 8, 3)).astype(np.int8)
    x[..., 0] = 7  # a dead sensor
    correction = AffineCorrection.of(artifact)
    known = correction.correct(engine_of(artifact), window(40, gain=1.3), correction.from_nothing())[1]
    x[:, :, [0, -1]] = 0
    x[..., 0] = 0
    parameters, memory = correction.correct(engine_of(artifact), x, known)
    stays = np.array([True, False, True, True, True, True])
    base = Parameters.of(artifact.constants)
    assert np.array_equal(parameters.multiplier[FIRST] == base.multiplier[FIRST], stays)
    assert np.array_equal(parameters.bias[FIRST][stays], base.bias[FIRST][stays])
    assert np.array_equal(memory.mean[FIRST] == known.mean[FIRST], stays)  # what it gave is not remembered


def test_memory_accumulates_and_is_cut():
    correction, engine = AffineCorrection.of(ARTIFACT), engine_of()
    memory, seen = correction.from_nothing(), []
    for seed in range(4):
        x = window(90, seed, gain=1.4)
        seen.append(engine.moments(x).total[:, FIRST].sum(axis=0) / (90 * 8))
        parameters, memory = correction.correct(engine, x, memory)
        again, kept = correction.correct(engine, x[:0], memory)  # what the memory says by itself
        assert again == parameters
        assert same(kept, memory)
    assert (memory.samples[FIRST] == REMEMBERED).all()
    expected, count = np.zeros(6), 0
    for mean in seen:
        expected += 90 / (count + 90) * (mean - expected)
        count = min(count + 90, REMEMBERED)
    assert memory.mean[FIRST] == pytest.approx(expected, rel=1e-9)


def test_from_home_the_way_is_longer():
    correction, x = AffineCorrection.of(ARTIFACT), window(100, gain=1.6)
    at, far = (scales(ARTIFACT.constants, correction.correct(engine_of(), x, memory)[0])[FIRST]
               for memory in (correction.from_nothing(), correction.from_home()))  # fmt: skip
    usual = ARTIFACT.constants.scale[FIRST]
    assert (np.abs(far - usual) < np.abs(at - usual)).all()
    assert (np.abs(far - usual) > 0).all()
    nothing, _ = correction.correct(engine_of(), x[:0], correction.from_home())
    assert nothing == Parameters.of(ARTIFACT.constants)


def test_home_of_the_classes_that_came():
    by_class = at_home(ARTIFACT, n=400, by_class=True)
    assert by_class.home is not None
    assert by_class.home.class_mean is not None
    shifted = by_class.home.class_mean.copy()
    shifted[1] += 16
    artifact = replace(by_class, home=replace(by_class.home, class_mean=shifted))
    x = window()
    apart = corrected(x, artifact, mix=np.array([0.0, 1.0, 0.0]))[0].bias[FIRST] - ARTIFACT.constants.bias[FIRST]
    assert (apart > 0).all()
    for mix in (np.array([0.5, 0.5]), np.array([0.5, 0.6, -0.1]), np.array([0.5, 0.6, 0.1])):
        with pytest.raises(DataError, match="mix: expected shares of 3 classes"):
            corrected(x, artifact, mix=mix)
    with pytest.raises(DataError, match="expected an artifact with moments by class"):
        corrected(x, mix=np.array([0.0, 1.0, 0.0]))


class Failing(Engine):
    def moments(self, x, layers=None):
        raise KeyboardInterrupt


def test_an_interrupt_leaves_the_engine_as_it_was():
    engine = Failing(ARTIFACT.program, ARTIFACT.constants)
    held = engine.parameters.replaced(bias=engine.parameters.bias + 1)
    engine.load(held)
    correction = AffineCorrection.of(ARTIFACT)
    with pytest.raises(KeyboardInterrupt):
        correction.correct(engine, window(), correction.from_nothing())
    assert engine.parameters is held
    stored = np.empty_like(held.bias)
    engine._native.read(bias=stored)  # private: what the engine runs with, not what it remembers
    assert np.array_equal(stored, held.bias)


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="expected an artifact with pre-activations"):
        AffineCorrection.of(make_artifact())
    x = window(5)
    for weights in (np.ones(4, np.int64), np.ones(5, np.int32), np.array([1, 1, 1, 1, -1])):
        with pytest.raises(DataError, match=r"weights: expected int64\[5\] of at least 0"):
            corrected(x, weights=weights)
    with pytest.raises(DataError, match="weights: expected a sum below 1,073,741,824"):
        corrected(x, weights=np.full(5, 2**28, np.int64))
