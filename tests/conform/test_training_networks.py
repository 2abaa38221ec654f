"""Training as a whole: updates at once against batches, and planned networks against the numpy reference."""

from __future__ import annotations

import numpy as np
import pytest
from convolution import CASES, codes, constants_of, rng_of
from gradient import CLASSES, in_all_variants, trained

from calibrant.autodiff import Scheme, differentiate, full
from calibrant.autodiff.reference import Reference
from calibrant.engine import Engine, Trainer, variants
from calibrant.plan import lower, schedule
from calibrant.quantize import to_integer
from programs import Conv
from random_graphs import random_annotated, random_input


@pytest.mark.parametrize("conv", [Conv((6, 20), (3, 2)), Conv((20, 20), (3, 3), (3, 3), groups=20), CASES[-1]], ids=str)
def test_updates_at_once_equal_batches_of_one(conv):
    rng = rng_of(conv)
    x, constants = codes(rng, (4, *conv.size, conv.channels[0])), constants_of(conv, rng, False)
    y = np.arange(4) % CLASSES
    training, _ = trained(conv)
    rate = 50.0

    def at_once(trainer):
        losses = trainer.step(x, y, rate, bias_rate=rate * 4)
        return {"losses": losses, "weights": trainer.engine.parameters.weights, "bias": trainer.engine.parameters.bias}

    def one_by_one(trainer):
        losses = [trainer.step(x[i : i + 1], y[i : i + 1], rate, bias_rate=rate * 4)[0] for i in range(4)]
        return {
            "losses": np.array(losses),
            "weights": trainer.engine.parameters.weights,
            "bias": trainer.engine.parameters.bias,
        }

    once = in_all_variants(conv.program(), constants, training, at_once, accumulators=False)
    batches = in_all_variants(conv.program(), constants, training, one_by_one, carry=False)
    assert (once["weights"] != constants.weights).any()
    assert (once["bias"] != constants.bias).any()
    for name, values in once.items():
        np.testing.assert_array_equal(values, batches[name])


@pytest.mark.parametrize("head", ["int8", "float32"])
@pytest.mark.parametrize("seed", sorted(set(range(20)) - {10, 12, 16}))  # these have no dense head, or one layer
def test_networks_equal_the_numpy_reference(seed, head):
    """Planned trainings of whole networks, three batches: losses, codes, head and accumulators to the last bit."""
    graph = to_integer(random_annotated(seed)[0])
    program, constants = lower(graph)
    backbone = len(program.layers) - 1
    scheme = full(backbone) if seed % 2 else Scheme(min(3, backbone), {backbone - 1: (0,)})
    training = schedule(differentiate(program, constants, scheme, head=head), program)
    t = program.tensors[program.input]
    x = graph.values["x"].qparams.quantize(random_input(graph, 6, seed)).reshape(6, t.channels, t.height, t.width)
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    y = rng_of(seed).integers(0, training.buffers[training.logits].elements, 6)
    reference = Reference(training, program, constants)
    rate, share = 0.05, np.float32(0.05) / np.float32(2)
    trainers = [Trainer(Engine(program, constants, variant), training) for variant in variants()]
    for trainer in trainers:
        if head == "float32":
            trainer.head_weight, trainer.head_bias = reference.head_weight, reference.head_bias
    for first in (0, 2, 4):
        own = slice(first, first + 2)
        outcomes = [reference.step(a, int(b), share) for a, b in zip(x[own], y[own], strict=True)]
        reference.commit(carry=True)
        for trainer in trainers:
            np.testing.assert_array_equal(trainer.step(x[own], y[own], rate), np.float32([o.loss for o in outcomes]))
            np.testing.assert_array_equal(trainer.engine.parameters.weights, reference.weights)
            np.testing.assert_array_equal(trainer.engine.parameters.bias, reference.bias)
            np.testing.assert_array_equal(trainer.accumulators, reference.accumulators)
            if head == "float32":
                np.testing.assert_array_equal(trainer.head_weight, reference.head_weight)
                np.testing.assert_array_equal(trainer.head_bias, reference.head_bias)


@pytest.mark.parametrize("seed", [15, 23, 30])  # these have depthwise layers of stride 1
def test_gradients_in_place_change_no_bit(seed):
    graph = to_integer(random_annotated(seed)[0])
    program, constants = lower(graph)
    training = differentiate(program, constants, Scheme(None))
    plans = [schedule(training, program, search=False), schedule(training, program, in_place=True)]
    assert [any(step.attrs.get("in_place") for step in plan.steps) for plan in plans] == [False, True]
    t = program.tensors[program.input]
    x = codes(rng_of(seed), (6, t.height, t.width, t.channels))
    y = rng_of(seed).integers(0, training.buffers[training.logits].elements, 6)
    for variant in variants():
        trainers = [Trainer(Engine(program, constants, variant), plan) for plan in plans]
        for first in (0, 3):
            own = slice(first, first + 3)
            losses = [trainer.step(x[own], y[own], 0.05) for trainer in trainers]
            np.testing.assert_array_equal(*losses)
            np.testing.assert_array_equal(*(trainer.engine.parameters.weights for trainer in trainers))
            np.testing.assert_array_equal(*(trainer.engine.parameters.bias for trainer in trainers))
            np.testing.assert_array_equal(*(trainer.accumulators for trainer in trainers))
        assert (trainers[1].engine.parameters.bias != constants.bias).any()
