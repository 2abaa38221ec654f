"""The trainer: batches, rates, heads and accumulators, and what it refuses. Numbers are in tests/conform."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibrant.autodiff import differentiate, full
from calibrant.core.errors import DataError, PlanError
from calibrant.core.parameters import Parameters
from calibrant.core.rng import generator
from calibrant.engine import Engine, Trainer
from calibrant.plan import lower, schedule
from calibrant.quantize import to_integer
from random_graphs import random_annotated

SEED = 5  # weights of 8 bits; convolutions, max pooling, concat


def network():
    annotated, _ = random_annotated(SEED)
    return lower(to_integer(annotated))


PROGRAM, CONSTANTS = network()
TRAININGS = {
    head: schedule(differentiate(PROGRAM, CONSTANTS, full(len(PROGRAM.layers) - 1), head=head), PROGRAM)
    for head in ("int8", "float32")
}
CLASSES = TRAININGS["int8"].buffers[TRAININGS["int8"].logits].elements
T = PROGRAM.tensors[PROGRAM.input]
RATE = 0.05


def trainer_of(head="int8", **options):
    return Trainer(Engine(PROGRAM, CONSTANTS), TRAININGS[head], **options)


def batch(n, seed=0):
    rng = generator(seed, "batch")
    return rng.integers(-128, 128, (n, T.height, T.width, T.channels)).astype(np.int8), rng.integers(0, CLASSES, n)


@pytest.mark.parametrize("head", ["int8", "float32"])
def test_losses_fall_and_the_engine_sees_it(head):
    trainer, (x, y) = trainer_of(head), batch(6)
    before = trainer.engine.infer(x)
    first = trainer.step(x, y, RATE)
    for _ in range(80):
        trainer.step(x, y, RATE)
    last = trainer.loss(x, y)
    assert last.dtype == first.dtype == np.float32
    assert last.mean() < 0.8 * first.mean()
    if head == "int8":
        assert (trainer.engine.infer(x) != before).any()
        scores = trainer.engine.infer(x).astype(np.float32) * TRAININGS[head].head_scale
        np.testing.assert_array_equal(trainer.logits(x), scores)
    else:
        np.testing.assert_array_equal(trainer.logits(x).argmax(1) == y, last < np.log(2))


def test_a_batch_is_its_samples_and_a_commit():
    """Two samples at half the rate, one after another, add up to the batch, but for what was rounded between them."""
    (x, y), whole, parts = batch(2), trainer_of(), trainer_of(carry=True)
    whole.step(x, y, 1e-9)
    for i in range(2):
        parts.step(x[i : i + 1], y[i : i + 1], 0.5e-9)
    np.testing.assert_array_equal(whole.accumulators, parts.accumulators)
    assert whole.accumulators.any()
    np.testing.assert_array_equal(whole.engine.parameters.weights, CONSTANTS.weights)


def test_carry_keeps_what_rounding_leaves():
    (x, y), kept, dropped = batch(4), trainer_of(), trainer_of(carry=False)
    for trainer in (kept, dropped):
        trainer.step(x, y, RATE)
    np.testing.assert_array_equal(kept.engine.parameters.weights, dropped.engine.parameters.weights)
    assert (kept.engine.parameters.weights != CONSTANTS.weights).any()
    assert kept.accumulators.any()
    assert np.abs(kept.accumulators).max() <= 0.5
    assert not dropped.accumulators.any()


def test_bias_rate_is_that_of_biases_alone():
    (x, y), trainer = batch(3), trainer_of()
    trainer.step(x, y, RATE, bias_rate=0.0)
    np.testing.assert_array_equal(trainer.engine.parameters.bias, CONSTANTS.bias)
    assert (trainer.engine.parameters.weights != CONSTANTS.weights).any()
    trainer = trainer_of()
    trainer.step(x, y, 0.0, bias_rate=RATE)
    np.testing.assert_array_equal(trainer.engine.parameters.weights, CONSTANTS.weights)
    assert (trainer.engine.parameters.bias != CONSTANTS.bias).any()


def test_accumulators_and_head_can_be_kept_and_put_back():
    x, y = batch(3)
    trainer = trainer_of("float32")
    trainer.step(x, y, RATE)
    other = Trainer(Engine(PROGRAM, replace(CONSTANTS, **trainer.engine.parameters)),
                    TRAININGS["float32"])  # fmt: skip
    other.accumulators = trainer.accumulators
    other.head_weight, other.head_bias = trainer.head_weight, trainer.head_bias
    np.testing.assert_array_equal(trainer.step(x, y, RATE), other.step(x, y, RATE))
    np.testing.assert_array_equal(trainer.accumulators, other.accumulators)
    np.testing.assert_array_equal(trainer.head_weight, other.head_weight)
    np.testing.assert_array_equal(trainer.engine.parameters.weights, other.engine.parameters.weights)


def test_evaluation_changes_nothing():
    (x, y), trainer = batch(4), trainer_of()
    scores, losses = trainer.logits(x), trainer.loss(x, y)
    np.testing.assert_array_equal(scores, trainer.logits(x))
    np.testing.assert_array_equal(losses, trainer.step(x, y, 0.0))
    assert not trainer.accumulators.any()
    np.testing.assert_array_equal(trainer.engine.parameters.weights, CONSTANTS.weights)


def test_an_empty_batch_is_nothing():
    trainer, (x, y) = trainer_of(), batch(1)
    assert trainer.step(x[:0], y[:0], RATE).shape == (0,)
    assert trainer.logits(x[:0]).shape == (0, CLASSES)
    assert trainer.loss(x[:0], y[:0]).shape == (0,)


def test_memory_counts_the_accumulators():
    with_them, without = trainer_of(), trainer_of(accumulators=False)
    assert with_them.memory_bytes - without.memory_bytes == 4 * TRAININGS["int8"].accumulator_count
    assert without.memory_bytes >= TRAININGS["int8"].arena_bytes
    assert len(with_them.arena) == TRAININGS["int8"].arena_bytes
    assert without.accumulators.shape == (0,)


def test_loading_weights_reaches_the_trainer():
    (x, y), trainer = batch(2), trainer_of()
    first = trainer.loss(x, y)
    trainer.step(x, y, RATE)
    trainer.engine.load(Parameters.of(CONSTANTS))
    np.testing.assert_array_equal(trainer.loss(x, y), first)


def test_wrong_batches_are_refused():
    (x, y), trainer = batch(3), trainer_of()
    for wrong, sentence in (
        (y[:2], r"y: expected int64\[3\], one class a sample, got int64\[2\]"),
        (y.astype(np.float32), "y: expected int64"),
        (list(y), "y: expected int64.*got list"),
        (np.array([0, CLASSES, 0]), rf"y\[1\]: expected a class of 0 to {CLASSES - 1}, got {CLASSES}"),
        (np.array([0, 0, -1]), r"y\[2\]: expected a class"),
        (np.array([0, 2**32, 0]), r"y\[1\]: expected a class"),
    ):
        with pytest.raises(DataError, match=sentence):
            trainer.step(x, wrong, RATE)
    for rate in (-1.0, np.inf, np.nan, 1e39):
        with pytest.raises(DataError, match="rate: expected a finite number of 0 or more"):
            trainer.step(x, y, rate)
        with pytest.raises(DataError, match="bias_rate: expected"):
            trainer.step(x, y, RATE, bias_rate=rate)
    for bad in (x[0], x.astype(np.int16), x[:, :, :-1], x.tolist()):
        with pytest.raises(PlanError, match=r"x: expected int8\["):
            trainer.step(bad, y, RATE)
    np.testing.assert_array_equal(trainer.engine.parameters.weights, CONSTANTS.weights)


def test_wrong_parameters_are_refused():
    with pytest.raises(PlanError, match="head_weight: expected a training with a float32 head, got int8"):
        _ = trainer_of().head_weight
    trainer = trainer_of("float32")
    with pytest.raises(PlanError, match=r"head_bias: expected float32\[\d+\], got float64"):
        trainer.head_bias = np.zeros(CLASSES)
    with pytest.raises(PlanError, match="head_weight: expected float32"):
        trainer.head_weight = np.zeros((CLASSES, 1), np.float32)
    with pytest.raises(PlanError, match="accumulators: expected float32"):
        trainer.accumulators = np.zeros(3, np.float32)
    with pytest.raises(PlanError, match="plan it first"):
        Trainer(trainer.engine, replace(TRAININGS["int8"], offsets=()))
    with pytest.raises(PlanError, match="variant 'sse9'"):
        trainer_of(variant="sse9")
