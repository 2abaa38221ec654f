"""The numpy training step: gradients against torch's, integers against the engine's, reals against plain descent."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from straight_through import Twin
from torch.nn import functional as F

from calibrant.autodiff import Scheme, differentiate, full
from calibrant.autodiff.reference import Reference, trained_indices
from calibrant.core.logits import logits
from calibrant.core.rng import generator
from calibrant.engine import Engine, Trainer
from calibrant.graph.graph import Graph
from calibrant.plan import lower, schedule
from calibrant.quantize import annotate, observe_ranges, to_integer
from random_graphs import Sketch, random_annotated, random_input

TOLERANCE = 1e-4  # of the largest gradient of a slice; float32 sums against float64


def residual(seed: int = 0, bits: int = 8) -> tuple[Graph, np.ndarray]:
    """Two residual blocks, one depthwise and dilated, with strides, groups, an even kernel, a concat and pools."""
    s = Sketch((3, 11, 9), generator(seed, "residual"))

    def conv(x, c_out, kernel=(1, 1), groups=1, clamp=(0.0, 1.5), **attrs):
        params = s.params(c_out, s.shape(x)[0] // groups, *kernel)
        return s.emit("conv2d", (x,), params, groups=groups, clamp_low=clamp[0], clamp_high=clamp[1], **attrs)

    free = (-np.inf, np.inf)
    same = {"pad_top": 1, "pad_bottom": 1, "pad_left": 1, "pad_right": 1}
    x = conv("x", 6, (3, 3), stride_h=2, stride_w=2, **same)
    dilated = {"dilation_h": 2, "dilation_w": 2} | dict.fromkeys(same, 2)
    y = conv(conv(conv(x, 8), 8, (3, 3), groups=8, **dilated), 6, clamp=free)
    x = s.emit("add", (x, y), clamp_low=-np.inf, clamp_high=np.inf)
    y = conv(x, 6, (2, 4), groups=2, clamp=free, pad_top=1, pad_left=1, pad_right=2)  # even kernel, uneven padding
    z = s.emit("max_pool2d", (x,), kernel_h=3, kernel_w=3, **same)
    x = s.emit("concat", (s.emit("add", (y, x)), z, x), clamp_low=-0.5, clamp_high=2.0)
    x = s.emit("avg_pool2d", (x,), kernel_h=3, kernel_w=2, stride_h=2, pad_top=1, count_include_pad=1)
    x = s.emit("clamp", (conv(x, 7, clamp=free),), low=-0.75, high=np.inf)
    x = s.emit("adaptive_avg_pool2d", (x,), output_h=2, output_w=3)
    x = s.emit("linear", (s.emit("mean", (conv(x, 9, (2, 2)),)),), s.params(5, 9))
    graph = s.graph(x)
    data = random_input(graph, 8, seed)
    return annotate(graph, observe_ranges(graph, data, 99.0), bits, 8), data


def prepared(annotated, x):
    """Integer graph, program, constants and codes [N, C, H, W]."""
    graph = to_integer(annotated)
    return graph, *lower(graph), graph.values["x"].qparams.quantize(x)


def torch_gradients(graph, program, training, twin, codes, y, head="int8"):
    """What torch has for each slice, in units of codes, flat in its order."""
    for param in twin.params.values():
        param.grad = None
    loss = F.cross_entropy(twin.logits(codes), torch.tensor([y]))
    loss.backward()
    found = []
    for part in training.slices:
        layer, node = program.layers[part.layer], graph.weighted()[part.layer]
        scale = node.params["weight_scale"].astype(np.float64)
        source = graph.values[node.inputs[0]].qparams.scale
        weight, bias = (twin.params[f"{node.name}.{key}"].grad.numpy() for key in ("weight", "bias"))
        if node.op == "linear" and len(graph.values[node.inputs[0]].shape) == 1:
            flat = graph.producer(node.inputs[0])
            shape = graph.values[flat.inputs[0]].shape if flat is not None and flat.op == "flatten" else None
            weight = weight.reshape(len(weight), *(shape if shape and len(shape) == 3 else (-1, 1, 1)))
        weight = weight.transpose(0, 2, 3, 1)
        if part.kind == "head":
            found.append(np.concatenate([weight.ravel(), bias]))
        elif part.kind == "bias":
            found.append(bias * scale * source)
        else:
            found.append((weight * scale.reshape(-1, 1, 1, 1)).ravel()[trained_indices(layer, part)])
    return float(loss.detach()), found


def compare(graph, program, constants, codes, scheme, labels, head="int8"):
    training = differentiate(program, constants, scheme, head=head)
    twin = Twin(graph)
    expected_outputs = Engine(program, constants).infer(np.ascontiguousarray(codes.transpose(0, 2, 3, 1)))
    for sample, y, outputs in zip(codes, labels, expected_outputs, strict=True):
        reference = Reference(training, program, constants)
        outcome = reference.step(sample.transpose(1, 2, 0), y, 1.0)
        loss, expected = torch_gradients(graph, program, training, twin, sample[None], y, head)
        if head == "int8":
            assert not (outcome.logits != logits(outputs[None], program, constants)[0]).any()
        assert abs(outcome.loss - loss) <= 1e-4 * max(1, abs(loss))
        for part, got, want in zip(training.slices, outcome.gradients, expected, strict=True):
            assert got.dtype == np.float32
            assert got.shape == want.shape == (part.count,)
            assert np.abs(got - want).max() <= TOLERANCE * np.abs(want).max() + 1e-12, (part.layer, part.kind)
    return training


@pytest.mark.parametrize("seed", range(24))
def test_gradients_of_random_networks(seed):
    graph, program, constants, codes = prepared(*random_annotated(seed))
    classes = program.tensors[program.output].channels
    backbone = len(program.layers) - 1
    compare(graph, program, constants, codes[:2], full(backbone), [seed % classes, (seed + 1) % classes])


@pytest.mark.parametrize("head", ["int8", "float32"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gradients_of_a_residual_network(seed, head):
    graph, program, constants, codes = prepared(*residual(seed))
    assert {op.kind for op in program.ops} >= {"conv2d", "add", "concat", "rescale", "mean", "max_pool2d",
                                                "avg_pool2d", "adaptive_avg_pool2d"}  # fmt: skip
    assert any(t.zero_point not in (-128, 0, 127) for t in program.tensors)
    training = compare(graph, program, constants, codes[:3], full(len(program.layers) - 1), [0, 3, 4], head)
    assert sum(step.attrs.get("accumulate", 0) for step in training.steps) >= 4


def test_a_share_trains_the_same_gradients():
    _, program, constants, codes = prepared(*residual())
    backbone = len(program.layers) - 1
    everything = differentiate(program, constants, full(backbone))
    part = differentiate(program, constants, Scheme(backbone, dict.fromkeys(range(1, backbone), 0.5)))
    x = codes[0].transpose(1, 2, 0)
    whole, some = (Reference(t, program, constants).step(x, 2, 1.0) for t in (everything, part))
    by_place = {(s.layer, s.kind): g for s, g in zip(everything.slices, whole.gradients, strict=True)}
    shares = 0
    for own, gradient in zip(part.slices, some.gradients, strict=True):
        of_layer = np.zeros(program.layers[own.layer].weight_count, np.float32)
        of_layer[: len(by_place[own.layer, own.kind])] = by_place[own.layer, own.kind]
        at = trained_indices(program.layers[own.layer], own)
        assert not (of_layer[at] != gradient).any()
        shares += len(own.channels) > 0
    assert shares == backbone - 1
    assert sum(step.kind == "gather" for step in part.steps) == shares


@pytest.mark.parametrize("head", ["int8", "float32"])
def test_without_rounding_it_is_descent_on_reals(head):
    graph, program, constants, _ = prepared(*residual(3))
    backbone, rate = len(program.layers) - 1, 0.02
    training = differentiate(program, constants, full(backbone), head=head)
    reference, twin = Reference(training, program, constants, rounding=False), Twin(graph, rounding=False)
    rng = generator(0, "descent")
    descent = torch.optim.SGD(twin.params.values(), lr=rate)
    start = {name: param.detach().clone() for name, param in twin.params.items()}
    for _ in range(5):
        codes, y = rng.normal(0, 40, (3, 11, 9)), int(rng.integers(5))
        outcome = reference.step(codes.transpose(1, 2, 0), y, rate)
        reference.commit()
        loss = F.cross_entropy(twin.logits(codes[None]), torch.tensor([y]))
        descent.zero_grad()
        loss.backward()
        descent.step()
        assert abs(outcome.loss - float(loss.detach())) < 1e-5
    for layer, node in zip(program.layers, graph.weighted(), strict=True):
        scale = node.params["weight_scale"].astype(np.float64)
        source = graph.values[node.inputs[0]].qparams.scale
        expected = {key: twin.params[f"{node.name}.{key}"].detach().numpy() for key in ("weight", "bias")}
        moved = {key: np.abs(expected[key] - start[f"{node.name}.{key}"].numpy()).max() for key in expected}
        if node.op == "linear" and head == "float32":
            weight, bias = reference.head_weight, reference.head_bias
        else:
            weight = reference.weights[layer.weight_slice].reshape(layer.weight_shape).transpose(0, 3, 1, 2)
            weight = weight.reshape(expected["weight"].shape) * scale.reshape(-1, *[1] * (expected["weight"].ndim - 1))
            bias = reference.bias[layer.channel_slice] * scale * source
        assert min(moved.values()) > 1e-4  # every layer has been trained
        assert np.abs(weight - expected["weight"]).max() < 1e-5 * moved["weight"]
        assert np.abs(bias - expected["bias"]).max() < 1e-5 * moved["bias"]


def test_without_scaling_it_is_descent_on_codes():
    graph, program, constants, codes = prepared(*residual())
    trainings = [differentiate(program, constants, full(len(program.layers) - 1), scaling=on) for on in (False, True)]
    references = [Reference(training, program, constants) for training in trainings]
    outcomes = [reference.step(codes[0].transpose(1, 2, 0), 1, 0.25) for reference in references]
    for plain, scaled in zip(*(outcome.gradients for outcome in outcomes), strict=True):
        assert not (plain != scaled).any()
    assert not (references[0].accumulators != np.concatenate(outcomes[0].gradients) * np.float32(-0.25)).any()
    for part, gradient in zip(trainings[1].slices, outcomes[1].gradients, strict=True):
        layer, node = program.layers[part.layer], graph.weighted()[part.layer]
        scale = node.params["weight_scale"].astype(np.float64)
        scale = scale * graph.values[node.inputs[0]].qparams.scale if part.kind == "bias" else scale
        expected = gradient.reshape(layer.c_out, -1) / scale[:, None] ** 2 * -0.25
        own = references[1].accumulators[part.offset : part.offset + part.count]
        assert np.allclose(own, expected.ravel(), rtol=1e-5)


def test_parameters_move_by_whole_codes_and_saturate():
    _, program, constants, _ = prepared(*residual())
    training = differentiate(program, constants, Scheme(0, {0: 1.0}, head=False))
    (part,) = training.slices
    reference = Reference(training, program, constants)
    reference.weights[:5] = [0, 0, 0, 125, -126]
    kept = reference.weights.copy()
    changes = np.float32([0.5, 1.5, -2.5, 4.75, -1.25])
    reference.accumulators[:5] = changes
    reference.commit(carry=True)
    assert reference.weights[:5].tolist() == [0, 2, -2, 127, -127]  # half to even
    assert reference.accumulators[:5].tolist() == [0.5, -0.5, -0.5, 0.0, -0.25]  # what saturation cut off is dropped
    assert (reference.weights[5:] == kept[5:]).all()
    reference.commit()
    assert not reference.accumulators.any()
    assert reference.weights[:5].tolist() == [0, 2, -2, 127, -127]
    assert part.count == program.layers[0].weight_count


@pytest.mark.parametrize("head", ["int8", "float32"])
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5, 6, 7])
def test_the_engine_gives_the_same_bits(seed, head):
    _, program, constants, codes = prepared(*(residual(seed) if seed < 3 else random_annotated(seed)))
    backbone, classes = len(program.layers) - 1, program.tensors[program.output].channels
    wide = {i: 0.5 if layer.c_in // layer.groups > 1 else 1.0 for i, layer in enumerate(program.layers[:-1])}
    training = differentiate(program, constants, Scheme(backbone, wide), head=head)
    engine, reference = Engine(program, constants), Reference(training, program, constants)
    carry = seed % 2 == 0
    trainer = Trainer(engine, schedule(training, program, search=False), carry=carry)
    if head == "float32":
        trainer.head_weight, trainer.head_bias = reference.head_weight, reference.head_bias
    x, y, rates = np.ascontiguousarray(codes[:3].transpose(0, 2, 3, 1)), np.arange(3) % classes, np.float32([0.3, 0.06])
    for _ in range(3):
        losses = trainer.step(x, y, *rates.tolist())
        outcomes = [reference.step(a, int(b), *(rates / np.float32(3)).tolist()) for a, b in zip(x, y, strict=True)]
        reference.commit(carry)
        assert losses.tolist() == [outcome.loss for outcome in outcomes]
        assert not (engine.parameters.weights != reference.weights).any()
        assert not (engine.parameters.bias != reference.bias).any()
        assert not (trainer.accumulators != reference.accumulators).any()
        if head == "float32":
            assert not (trainer.head_weight != reference.head_weight).any()
            assert not (trainer.head_bias != reference.head_bias).any()
    moved = (engine.parameters.weights != constants.weights).any() or (engine.parameters.bias != constants.bias).any()
    assert moved
