"""verify rejects planted faults; text round-trips; interp runs every stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from calibrant.core.errors import DataError, ModelError
from calibrant.core.qparams import QParams
from calibrant.core.rng import generator
from calibrant.graph import interp, text
from calibrant.graph.graph import Graph, Node, Value
from calibrant.graph.verify import verify
from calibrant.ops import SCHEMAS


def build(stage: str) -> Graph:
    """input [3, 1, 8] -> conv -> pool -> add with conv's other reader -> mean -> head."""
    rng = generator(0, "graph")
    conv = {
        "weight": rng.standard_normal((4, 3, 1, 3)).astype(np.float32),
        "bias": rng.standard_normal(4).astype(np.float32),
    }
    head = {
        "weight": rng.standard_normal((2, 4)).astype(np.float32),
        "bias": rng.standard_normal(2).astype(np.float32),
    }
    pool = SCHEMAS["max_pool2d"].complete(kernel_h=1, kernel_w=3, pad_left=1, pad_right=1)
    padded = SCHEMAS["conv2d"].complete(pad_left=1, pad_right=1, clamp_low=0.0)
    nodes = [
        Node("conv2d", "conv", ("x",), "c", padded, conv, "body.conv"),
        Node("max_pool2d", "pool", ("c",), "p", pool),
        Node("add", "sum", ("c", "p"), "s", {"clamp_high": 4.0}),
        Node("mean", "mean", ("s",), "m"),
        Node("linear", "head", ("m",), "y", {}, head, 'a "quoted" {path}'),
    ]
    shapes = {"x": (3, 1, 8), "c": (4, 1, 8), "p": (4, 1, 8), "s": (4, 1, 8), "m": (4,), "y": (2,)}
    values = {name: Value(name, shape) for name, shape in shapes.items()}
    graph = Graph(tuple(nodes), values, "x", "y", stage)
    return graph if stage in ("float", "folded") else quantized(graph)


def quantized(graph: Graph) -> Graph:
    """Plain post-training parameters: 4-bit weights, zero points on purpose not zero."""
    scales = {"x": (0.05, 3), "c": (0.04, -128), "p": (0.04, -128), "s": (0.06, -100), "m": (0.03, -90), "y": (0.1, 0)}
    values = {name: Value(name, v.shape, QParams(*scales[name])) for name, v in graph.values.items()}
    nodes = []
    for node in graph.nodes:
        attrs, params = dict(node.attrs), dict(node.params)
        if params:
            weight = params["weight"].astype(np.float64)
            flat = np.abs(weight).reshape(len(weight), -1)
            params["weight_scale"] = (flat.max(axis=1) / 7).astype(np.float32)
            attrs["weight_bits"] = 4
            if graph.stage == "integer":
                scale = params["weight_scale"].astype(np.float64)
                steps = scale.reshape(-1, *[1] * (weight.ndim - 1))
                params["weight"] = np.rint(weight / steps).astype(np.int8)
                bias = params["bias"] / (scale * scales[node.inputs[0]][0])
                params["bias"] = np.rint(bias).astype(np.int32)
            if node.name == "head":
                attrs["output_bits"] = 32
        nodes.append(node.updated(attrs=attrs, params=params))
    return replace(graph, nodes=tuple(nodes), values=values)


@pytest.mark.parametrize("stage", ["float", "folded", "annotated", "integer"])
def test_sound_graphs_pass(stage: str) -> None:
    verify(build(stage))


Fault = Callable[[Graph], Graph]


def node(name: str, /, **changes: Any) -> Fault:
    return lambda g: replace(g, nodes=tuple(n.updated(**changes) if n.name == name else n for n in g.nodes))


def attrs(name: str, /, drop: str = "", **changes: Any) -> Fault:
    def apply(g: Graph) -> Graph:
        old = next(n.attrs for n in g.nodes if n.name == name)
        return node(name, attrs={k: v for k, v in {**old, **changes}.items() if k != drop})(g)

    return apply


def params(name: str, /, drop: str = "", **changes: Any) -> Fault:
    def apply(g: Graph) -> Graph:
        old = next(n.params for n in g.nodes if n.name == name)
        return node(name, params={k: v for k, v in {**old, **changes}.items() if k != drop})(g)

    return apply


def value(name: str, /, **changes: Any) -> Fault:
    return lambda g: replace(g, values={**g.values, name: replace(g.values[name], **changes)})


def extra(*nodes: Node, **shapes: tuple[int, ...]) -> Fault:
    values = {name: Value(name, shape, QParams(0.1, 0)) for name, shape in shapes.items()}
    return lambda g: replace(g, nodes=(*g.nodes, *nodes), values={**g.values, **values})


def without(name: str) -> Fault:
    return lambda g: replace(g, nodes=tuple(n for n in g.nodes if n.name != name))


FAULTS: dict[str, tuple[str, Fault, str]] = {
    "stage": ("float", lambda g: replace(g, stage="baked"), "expected a stage"),
    "no nodes": ("float", lambda g: replace(g, nodes=()), "at least one node"),
    "no input": ("float", lambda g: replace(g, input="z"), "input 'z'"),
    "no output": ("float", lambda g: replace(g, output="z"), "output 'z' is computed by no node"),
    "value name": ("float", value("c", name="d"), "value 'c': is named 'd'"),
    "value shape": ("float", value("c", shape=(4, 8)), "value 'c': expected a shape"),
    "unknown op": ("float", node("pool", op="warp"), "got op 'warp'"),
    "node name twice": ("float", node("pool", name="conv"), "unique name"),
    "arity": ("float", node("sum", inputs=("c",)), "add 'sum': expected 2 to 2 inputs, got 1"),
    "use before definition": ("float", node("pool", inputs=("s",)), "input 's' to be computed before"),
    "two producers": ("float", node("pool", output="c"), "already has a producer"),
    "writes the input": ("float", node("pool", output="x"), "already has a producer"),
    "output not a value": ("float", node("pool", output="q"), "not among the graph's values"),
    "missing attribute": ("float", attrs("pool", drop="kernel_w"), "'kernel_w' is missing"),
    "unknown attribute": ("float", attrs("pool", gain=1), "unknown attribute 'gain'"),
    "attribute type": ("float", attrs("pool", kernel_w=3.0), "expected int, got 3.0"),
    "attribute bool": ("float", attrs("pool", kernel_w=True), "expected int, got True"),
    "attribute range": ("float", attrs("pool", stride_w=0), "at least 1, got 0"),
    "attribute NaN": ("float", attrs("sum", clamp_low=float("nan")), "expected float, got nan"),
    "clamp order": ("float", attrs("sum", clamp_low=9.0), "low <= high, got 9.0 and 4.0"),
    "missing param": ("float", params("conv", drop="bias"), "expected params"),
    "unknown param": ("float", params("conv", gain=np.zeros(1, np.float32)), "expected params"),
    "param type": ("float", params("conv", bias=np.zeros(4)), "expected float32, got float64"),
    "param NaN": ("float", params("conv", bias=np.full(4, np.nan, np.float32)), "finite"),
    "param shape": ("float", params("conv", bias=np.zeros(3, np.float32)), "bias: expected shape"),
    "shape rule": ("float", value("m", shape=(5,)), "expected shape \\[4\\], got \\[5\\]"),
    "relu when folded": ("folded", node("mean", op="relu"), "gone at stage 'folded'"),
    "dead node": ("folded", extra(Node("mean", "dead", ("c",), "d"), d=(4,)), "nothing reads its output 'd'"),
    "dead value": ("folded", extra(d=(4,)), "value 'd': is computed by no node"),
    "no qparams": ("annotated", value("p", qparams=None), "value 'p': expected quantization parameters"),
    "bad scale": ("annotated", value("x", qparams=QParams(0.0, 0)), "scale > 0"),
    "bad zero point": ("annotated", value("x", qparams=QParams(0.1, 9, -8, 7)), "qmin <= zero_point"),
    "pool rescales": ("annotated", value("p", qparams=QParams(0.05, -128)), "its input's scale"),
    "no weight scale": ("annotated", params("conv", drop="weight_scale"), "expected params"),
    "weight scale shape": ("annotated", params("conv", weight_scale=np.ones(1, np.float32)), "4 positive scales"),
    "weight scale zero": ("annotated", params("conv", weight_scale=np.zeros(4, np.float32)), "4 positive scales"),
    "no weight bits": ("annotated", attrs("conv", drop="weight_bits"), "weight_bits: expected one of"),
    "output bits": ("annotated", attrs("conv", output_bits=16), "output_bits: expected 8 or 32"),
    "raw in the middle": ("annotated", attrs("conv", output_bits=32), "unclamped output"),
    "raw and clamped": ("annotated", attrs("head", clamp_low=0.0), "unclamped output"),
    "float weight": ("integer", params("conv", weight=np.zeros((4, 3, 1, 3), np.float32)), "expected int8"),
    "wide bias": ("integer", params("conv", bias=np.zeros(4, np.int64)), "expected int32"),
    "weight range": ("integer", params("conv", weight=np.full((4, 3, 1, 3), 8, np.int8)), "4-bit weights: .* 8"),
    "lowest code": ("integer", params("conv", weight=np.full((4, 3, 1, 3), -8, np.int8)), "expected -7 to 7"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_rejected(name: str) -> None:
    stage, fault, message = FAULTS[name]
    with pytest.raises(ModelError, match=message):
        verify(fault(build(stage)))


def test_output_must_depend_on_the_input() -> None:
    graph = build("folded")
    with pytest.raises(ModelError, match="conv2d 'conv': expected input 'x'"):
        verify(replace(graph, input="z", values={**graph.values, "z": Value("z", (1,))}))


@pytest.mark.parametrize("stage", ["float", "folded", "annotated", "integer"])
def test_text_round_trip(stage: str) -> None:
    graph = build(stage)
    back = text.parse(text.dump(graph), graph.arrays())
    assert text.dump(back) == text.dump(graph)
    assert (back.stage, back.input, back.output, back.values) == (stage, "x", "y", graph.values)
    for old, new in zip(graph.nodes, back.nodes, strict=True):
        assert (new.op, new.name, new.inputs, new.output) == (old.op, old.name, old.inputs, old.output)
        assert new.path == old.path
        assert dict(new.attrs) == dict(old.attrs)
        assert all(new.params[key] is array for key, array in old.params.items())
    x = generator(0, "x").standard_normal((3, 3, 8)).astype(np.float32)
    x = graph.values["x"].qparams.quantize(x) if stage == "integer" else x  # type: ignore[union-attr]
    assert (interp.run(back, x) == interp.run(graph, x)).all()


def test_text_shows_one_node_a_line() -> None:
    lines = text.dump(build("integer")).splitlines()
    assert len(lines) == 7
    assert lines[0] == "graph integer x -> y"
    assert lines[1] == "x [3, 1, 8] q(0.05, 3, -128, 127)"
    assert lines[2].startswith("c = conv2d(x) -> [4, 1, 8] q(0.04, -128, -128, 127) {")
    assert " weight=int8[4, 3, 1, 3]#" in lines[2]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: "", "line 1"),
        (lambda t: t.replace("graph", "grape", 1), "line 1"),
        (lambda t: t.replace(" -> [4, 1, 8]", " => [4]", 1), "line 3: does not parse"),
        (lambda t: t.replace(' name="pool"', "", 1), "line 4"),
        (lambda t: t.replace("weight=float32[4", "weight=float32[5", 1), "line 3: array 'conv.weight': expected"),
    ],
)
def test_text_that_does_not_parse(edit: Callable[[str], str], message: str) -> None:
    graph = build("float")
    with pytest.raises(ModelError, match=message):
        text.parse(edit(text.dump(graph)), graph.arrays())


def test_text_needs_the_very_arrays() -> None:
    graph = build("float")
    arrays = graph.arrays()
    with pytest.raises(ModelError, match=r"'head\.bias' is missing"):
        text.parse(text.dump(graph), {k: v for k, v in arrays.items() if k != "head.bias"})
    with pytest.raises(ModelError, match=r"'head\.bias': expected"):
        text.parse(text.dump(graph), arrays | {"head.bias": arrays["head.bias"] + 1})


def test_interp_runs_integers_near_floats() -> None:
    x = generator(3, "x").standard_normal((16, 3, 1, 8)).astype(np.float32)
    integer, real = build("integer"), interp.run(build("annotated"), x)
    entry = integer.values["x"].qparams
    assert entry is not None
    acc = interp.run(integer, entry.quantize(x))
    assert acc.dtype == np.int32
    before = integer.values["m"].qparams
    assert before is not None
    logits = acc * before.scale * integer.nodes[-1].params["weight_scale"]
    assert np.abs(logits - real).max() < 0.25 * np.abs(real).max()
    assert np.corrcoef(logits.ravel(), real.ravel())[0, 1] > 0.97


def test_evaluate_gives_every_value() -> None:
    graph = build("float")
    x = generator(3, "x").standard_normal((2, 3, 1, 8)).astype(np.float32)
    values = interp.evaluate(graph, x)
    assert set(values) == set(graph.values)
    assert all(values[name].shape == (2, *v.shape) for name, v in graph.values.items())
    assert (values["y"] == interp.run(graph, x)).all()


def test_interp_accepts_series_and_refuses_other_inputs() -> None:
    graph = build("float")
    x = generator(3, "x").standard_normal((2, 3, 8)).astype(np.float32)
    assert (interp.run(graph, x) == interp.run(graph, x[:, :, None])).all()
    with pytest.raises(DataError, match="expected shape"):
        interp.run(graph, x[:, :2])
    with pytest.raises(DataError, match="expected float32, got float64"):
        interp.run(graph, x.astype(np.float64))
    with pytest.raises(DataError, match="expected int8, got float32"):
        interp.run(build("integer"), x)


def test_interp_refuses_float_ops_among_integers() -> None:
    values = {"x": Value("x", (3,), QParams(0.1, 0)), "y": Value("y", (3,))}
    graph = Graph((Node("relu", "r", ("x",), "y"),), values, "x", "y", "integer")
    with pytest.raises(ModelError, match="relu 'r': has no integer form"):
        interp.run(graph, np.zeros((1, 3), np.int8))
    mean = Graph((Node("clamp", "r", ("y",), "x", {"low": 0.0, "high": 1.0}),), values, "y", "x", "integer")
    with pytest.raises(ModelError, match="input 'y' has no quantization parameters"):
        interp.run(mean, np.zeros((1, 3), np.int8))
