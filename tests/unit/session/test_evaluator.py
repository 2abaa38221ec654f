"""What was said of samples is remembered as long as somebody may ask again."""

from __future__ import annotations

import numpy as np
import pytest

from artifacts import make_artifact, make_window
from calibrant.core.evaluation import Evaluation
from calibrant.core.parameters import Parameters
from calibrant.core.statistics import Observation
from calibrant.core.window import encode
from calibrant.engine import Engine
from calibrant.session.evaluator import Evaluator

ARTIFACT = make_artifact()
BASE = Parameters.of(ARTIFACT.constants)
OTHERS = [BASE.replaced(bias=BASE.bias + number) for number in (1, 2)]


class Asked(Engine):
    """Counts the samples that it is asked about."""

    samples = 0

    def observe(self, x: np.ndarray) -> Observation:
        self.samples += len(x)
        return super().observe(x)


@pytest.fixture
def engine() -> Asked:
    return Asked(ARTIFACT.program, ARTIFACT.constants)


@pytest.fixture
def evaluator(engine: Asked) -> Evaluator:
    return Evaluator(engine, ARTIFACT.meaning, BASE)


def codes(count: int = 12, seed: int = 0) -> np.ndarray:
    x, _ = make_window(ARTIFACT, count, seed)
    return encode(x, ARTIFACT.program.tensors[0], ARTIFACT.preprocess, ARTIFACT.input_shape)


def test_samples_are_asked_about_once_under_each_parameters(engine: Asked, evaluator: Evaluator):
    x, y = codes(), np.arange(12) % 3
    for parameters in (BASE, *OTHERS, BASE, Parameters(**OTHERS[0]), OTHERS[1]):
        engine.load(parameters)
        for rows in (slice(4), slice(2, 12), slice(11, None, -1), slice(0)):
            expected = Evaluation.of(parameters, Engine.observe(engine, x[rows]), y[rows], ARTIFACT.meaning)
            found = evaluator.of(x[rows], y[rows])
            for name in ("scores", "loss", "error", "right"):
                assert np.array_equal(getattr(found, name), getattr(expected, name))
            for name in ("outputs", "active", "pooled"):
                assert np.array_equal(getattr(found.observation, name), getattr(expected.observation, name))
    assert engine.samples == 3 * len(x)


def test_the_same_sample_twice_is_asked_about_once(engine: Asked, evaluator: Evaluator):
    x = codes(1)
    assert len(evaluator.of(np.concatenate([x, x, x]))) == 3
    assert engine.samples == 1


def test_what_is_kept_are_some_samples_in_force_and_by_the_artifact(engine: Asked, evaluator: Evaluator):
    x, kept = codes(), codes()[:3]
    evaluator.enter(OTHERS[0])
    for parameters in (BASE, *OTHERS):
        engine.load(parameters)
        evaluator.of(x)
    evaluator.keep(kept)
    for parameters, asked in ((BASE, 9), (OTHERS[0], 9), (OTHERS[1], 12)):
        engine.load(parameters)
        engine.samples = 0
        evaluator.of(kept)
        evaluator.of(x)
        assert engine.samples == asked


def test_what_somebody_else_has_asked_is_not_asked_again(engine: Asked, evaluator: Evaluator):
    x = codes()
    engine.load(OTHERS[0])
    seen = Evaluation.of(OTHERS[0], Engine.observe(engine, x), np.full(len(x), -1), ARTIFACT.meaning)
    evaluator.add(x, seen)
    assert np.array_equal(evaluator.of(x).scores, seen.scores)
    assert engine.samples == 0
