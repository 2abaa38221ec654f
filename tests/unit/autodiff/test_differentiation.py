"""What a training step contains and what it leaves out, in which order, and what is refused."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrant.autodiff import Scheme, bias_only, classifier, differentiate, full, last, published
from calibrant.core.errors import ModelError
from calibrant.core.program import Program, Tensor, View
from calibrant.core.rng import generator
from calibrant.core.training import BUFFER_DTYPES, STEP_KINDS
from calibrant.ops import KINDS
from calibrant.plan import lower, schedule
from calibrant.quantize import annotate, to_integer
from calibrant.zoo import load_tinyml
from programs import Conv
from random_graphs import Sketch, random_annotated

FOLDER = Path(os.environ.get("CALIBRANT_DATA", Path(__file__).parents[4] / "shared" / "data"))
real = pytest.mark.skipif(not (FOLDER / "tinyml").is_dir(), reason=f"no tinyml in {FOLDER}; set CALIBRANT_DATA")


def block():
    """Four convolutions, an add around the second and third, and a head; five layers."""
    s = Sketch((4, 6, 6), generator(0, "block"))

    def conv(x, c_out):
        return s.emit("conv2d", (x,), s.params(c_out, s.shape(x)[0], 1, 1), clamp_low=0.0, clamp_high=2.0)

    x = conv("x", 4)
    x = s.emit("add", (conv(conv(x, 8), 4), x))
    x = s.emit("mean", (conv(x, 6),))
    graph = s.graph(s.emit("linear", (x,), s.params(3, 6)))
    ranges = {name: (-1.0 - i / 7, 3.0) for i, name in enumerate(graph.values)}  # every value at a scale of its own
    return lower(to_integer(annotate(graph, ranges, 8)))


def kinds(training, start="loss"):
    names = [step.kind for step in training.steps]
    return names[names.index(start) + 1 :]


def test_the_classifier_alone_needs_no_backward_pass():
    program, constants = block()
    training = differentiate(program, constants, classifier())
    assert kinds(training) == ["bias_update", "weight_update"]
    assert not [b for b in training.buffers if b.dtype == "mask"]
    assert training.accumulator_count == 6 * 3 + 3
    assert (training.input, training.logits, training.head) == (program.input, program.output, "int8")
    floating = differentiate(program, constants, classifier(), head="float32")
    assert kinds(floating) == ["dense_update"]
    assert floating.buffers[floating.logits].dtype == "float32"
    assert [part.kind for part in floating.slices] == ["head"]
    assert floating.steps[-2].kind == "loss"
    assert floating.steps[-1].factor == program.tensors[program.ops[-1].inputs[0]].scale


def test_the_step_of_a_residual_block():
    program, constants = block()
    training = differentiate(program, constants, Scheme(3, {2: 0.5}))
    assert [(step.kind, step.op) for step in training.steps] == [
        ("forward", 0),
        ("forward", 1),
        ("mask", 1),
        ("forward", 2),
        ("mask", 2),
        ("gather", 2),
        ("forward", 3),
        ("mask", 3),
        ("forward", 4),
        ("mask", 4),
        ("forward", 5),
        ("mask", 5),
        ("forward", 6),
        ("loss", -1),
        ("bias_update", 6),
        ("conv2d_grad", 6),
        ("weight_update", 6),
        ("gate", 5),
        ("mean_grad", 5),
        ("gate", 4),
        ("bias_update", 4),
        ("conv2d_grad", 4),
        ("gate", 3),
        ("add_grad", 3),  # of the branch; the shortcut leads to nothing that is trained
        ("gate", 2),
        ("bias_update", 2),
        ("conv2d_grad", 2),
        ("weight_update", 2),
        ("gate", 1),
        ("bias_update", 1),
    ]
    trained = [(1, "bias"), (2, "weight"), (2, "bias"), (3, "bias"), (4, "weight"), (4, "bias")]
    assert [(part.layer, part.kind) for part in training.slices] == trained
    x, y = (program.tensors[i] for i in (program.ops[3].inputs[0], program.ops[3].output))
    assert next(step.factor for step in training.steps if step.kind == "add_grad") == x.scale / y.scale


def test_a_tensor_with_two_readers_gets_the_sum():
    program, constants = block()
    training = differentiate(program, constants, bias_only())
    shared = program.ops[0].output
    reads = [step for step in training.steps if step.output >= 0 and training.buffers[step.output].name
             == f"grad({program.tensors[shared].name})" and step.kind != "gate"]  # fmt: skip
    assert [(step.kind, step.op, step.attrs["accumulate"]) for step in reads] == [("add_grad", 3, 0),
                                                                                 ("conv2d_grad", 1, 1)]  # fmt: skip


def test_nothing_below_the_deepest_trained_parameter():
    program, constants = block()
    for count, deepest in ((1, 4), (2, 2), (3, 1), (4, 0)):
        training = differentiate(program, constants, bias_only(count))
        backward = [step.op for step in training.steps if step.kind not in ("forward", "loss")]
        assert min(backward) == deepest
    frozen = differentiate(program, constants, Scheme(0, {0: 1.0}, head=False))
    assert Counter(kinds(frozen))["bias_update"] == 0
    assert kinds(frozen)[-1] == "weight_update"
    assert [part.kind for part in frozen.slices] == ["weight"]


def check_invariants(program: Program, training) -> None:
    tensors = training.buffers[: len(program.tensors)]
    assert [(b.height, b.width, b.channels, b.scale, b.zero_point) for b in tensors] == [
        (t.height, t.width, t.channels, t.scale, t.zero_point) for t in program.tensors
    ]
    assert {b.dtype for b in training.buffers} <= set(BUFFER_DTYPES)
    assert {step.kind for step in training.steps} <= set(STEP_KINDS)
    assert all(a.offset + a.count == b.offset for a, b in pairwise(training.slices))
    assert training.accumulator_count == training.slices[-1].offset + training.slices[-1].count
    updates = Counter(step.slice for step in training.steps if step.kind.endswith("update"))
    assert updates == dict.fromkeys(range(len(training.slices)), 1)
    written, updated = {training.input}, set()
    for step in training.steps:
        assert written >= set(step.inputs), step
        if step.kind == "conv2d_grad":
            assert step.op not in updated  # the gradient is that of the old weights
        if step.kind == "weight_update":
            updated.add(step.op)
        if step.output >= 0:
            again = step.kind == "gate" or step.attrs.get("accumulate", 0)
            assert (step.output in written) == bool(again), step
            written.add(step.output)
    used = {i for step in training.steps for i in (*step.inputs, step.output)}
    assert set(range(len(program.tensors), len(training.buffers))) <= used


@settings(max_examples=30)
@given(seed=st.integers(0, 400), share=st.sampled_from([0.5, 1.0]), head=st.booleans(), data=st.data())
def test_steps_of_random_networks_are_in_order_and_can_be_planned(seed, share, head, data):
    program, constants = lower(to_integer(random_annotated(seed)[0]))
    backbone = len(program.layers) - 1
    biases = data.draw(st.integers(0, backbone))
    wide = [i for i in range(backbone) if program.layers[i].c_in // program.layers[i].groups > 1]
    weights = data.draw(st.lists(st.sampled_from(wide), unique=True)) if wide else []
    scheme = Scheme(biases, dict.fromkeys(weights, share), head or not (biases or weights))
    training = differentiate(program, constants, scheme)
    check_invariants(program, training)
    assert schedule(training, program, search=False).arena_bytes > 0


@real
@pytest.mark.parametrize("head", ["int8", "float32"])
@pytest.mark.parametrize("network", ["mcunet-5fps", "mbv2-w0.35", "proxyless-w0.3"])
def test_published_networks(network, head):
    program, constants = lower(load_tinyml(FOLDER / "tinyml" / network, 10))
    for scheme in (published(network, "49KB"), last(6, len(program.layers) - 1), full(len(program.layers) - 1)):
        check_invariants(program, differentiate(program, constants, scheme, head=head))


def test_no_mask_where_the_clamp_cannot_act():
    s = Sketch((4, 6, 6), generator(0, "masks"))
    x = s.emit("conv2d", ("x",), s.params(4, 4, 1, 1), clamp_low=0.0, clamp_high=np.inf)
    x = s.emit("max_pool2d", (x,), kernel_h=2, kernel_w=2, stride_h=2, stride_w=2)
    x = s.emit("mean", (s.emit("avg_pool2d", (x,), kernel_h=2, kernel_w=2),))
    graph = s.graph(s.emit("linear", (x,), s.params(3, 4)))
    program, constants = lower(to_integer(annotate(graph, dict.fromkeys(graph.values, (-1.0, 3.0)), 8)))
    training = differentiate(program, constants, bias_only())
    assert [step.op for step in training.steps if step.kind == "mask"] == [0]
    assert [step.op for step in training.steps if step.kind == "gate"] == [0]


def test_ops_without_a_rule_are_refused_on_the_way_only():
    program, constants = block()
    assert {name for name, kind in KINDS.items() if kind.gradient is not None} == {
        "conv2d",
        "max_pool2d",
        "avg_pool2d",
        "adaptive_avg_pool2d",
        "mean",
        "add",
        "concat",
        "rescale",
    }
    strange = replace(program, ops=(*program.ops[:3], replace(program.ops[3], kind="sort"), *program.ops[4:]))
    differentiate(strange, constants, bias_only(1))
    with pytest.raises(
        ModelError, match="sort 'add3_out': expected an op with a gradient rule, one of conv2d, max_pool2d, "
    ):
        differentiate(strange, constants, bias_only(2))


def test_programs_that_cannot_be_trained_are_refused():
    program, constants = block()
    with pytest.raises(ModelError, match="head: expected one of int8, float32, got 'int4'"):
        differentiate(program, constants, classifier(), head="int4")
    with pytest.raises(ModelError, match="biases: expected 0 to 4, the layers before the head, got 5"):
        differentiate(program, constants, bias_only(5))
    conv = Conv((4, 3), (5, 5)).program()
    with pytest.raises(ModelError, match="output 'y': expected a vector of logits, got a map of 5x5x3"):
        differentiate(conv, constants, classifier())
    grouped = Conv((4, 2), (1, 1), groups=2, output_bits=32).program()
    with pytest.raises(ModelError, match="layer 'conv': expected a fully connected output"):
        differentiate(grouped, constants, classifier(), head="float32")
    tensors = list(program.tensors)
    t = tensors[program.ops[1].output]
    tensors[program.ops[1].output] = View(*vars(t).values(), parent=len(tensors), row=0)
    striped = replace(program, tensors=(*tensors, Tensor(*vars(t).values())))
    differentiate(striped, constants, bias_only(2))
    with pytest.raises(ModelError, match="expected no gradient to a tensor that is computed in stripes"):
        differentiate(striped, constants, bias_only(3))
    tiny = replace(constants, scale=np.full_like(constants.scale, 1e-20))
    with pytest.raises(ModelError, match=r"layer '.*': scaling: expected below 3.4e38"):
        differentiate(program, tiny, classifier())
