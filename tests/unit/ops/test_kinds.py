"""Kinds of op in a program: the rows, the engine's table and the rules agree, and an op without a rule is refused."""

from dataclasses import replace

import numpy as np
import pytest

from calibrant import _engine, ops  # private: the engine's own list of ops
from calibrant.autodiff import differentiate, full
from calibrant.core.errors import DataError, ModelError
from calibrant.core.training import STEP_KINDS
from calibrant.graph.graph import Graph, Node, Value
from calibrant.ops.schema import kinds
from calibrant.plan import lower
from calibrant.quantize import FakeQuantNet, annotate, to_integer
from calibrant.updaters import build
from calibrant.updaters.channel_gradients import require_rules


def hide(monkeypatch, kind, rule):
    """The row of `kind` without one of its rules."""
    monkeypatch.setitem(ops.KINDS, kind, replace(ops.KINDS[kind], **{rule: None}))


def test_the_engine_has_a_row_for_every_kind():
    assert set(ops.KINDS) == set(_engine.KINDS)


SIGNS = {"sign", "binary_conv2d"}  # of binary layers, which no training step passes


def test_every_kind_has_every_rule():
    for name, kind in ops.KINDS.items():
        assert kind.name == name
        assert kind.propagation is not None
        assert (kind.gradient is None) == (name in SIGNS)
        if name in SIGNS:
            continue
        assert kind.gradient.step in STEP_KINDS
        assert (kind.forward is None) == (name == "conv2d")


BINARY = {"binary_conv2d", "binary_linear"}


def test_nodes_that_become_layers():
    assert {name for name, row in ops.SCHEMAS.items() if row.weighted} == {"conv2d", "linear", *BINARY}
    assert {name for name, row in ops.SCHEMAS.items() if row.clamps} == {"conv2d", "linear", "add", "concat", *BINARY}
    assert {name for name, row in ops.SCHEMAS.items() if row.binary} == BINARY


def test_two_meanings_of_one_kind_are_refused():
    other = replace(ops.SCHEMAS["linear"], kind=replace(ops.KINDS["conv2d"], rows=None))
    with pytest.raises(ModelError, match="op 'linear': expected the kind 'conv2d' of other rows, got another"):
        kinds([ops.SCHEMAS["conv2d"], other])


def test_signals_are_handed_on_or_split():
    signal = np.array([[1.0, 2.0, 3.0]])
    both = ops.KINDS["add"].propagation(signal, (3, 3), None)
    assert [part.tolist() for part in both] == [[[1.0, 2.0, 3.0]]] * 2
    first, second = ops.KINDS["concat"].propagation(signal, (1, 2), None)
    assert (first.tolist(), second.tolist()) == ([[1.0]], [[2.0, 3.0]])
    kernel = np.array([[[1.0, 0.0]], [[0.0, 2.0]]])  # two groups of one output and two inputs
    (grouped,) = ops.KINDS["conv2d"].propagation(np.array([[3.0, 5.0]]), (4,), kernel)
    assert grouped.tolist() == [[3.0, 0.0, 0.0, 10.0]]


def test_without_a_propagation_rule_only_the_form_that_propagates_refuses(monkeypatch, build_artifact):
    artifact = build_artifact()
    require_rules(artifact.program)
    hide(monkeypatch, "mean", "propagation")
    with pytest.raises(DataError, match="mean 'm': expected an op with a propagation rule, one of conv2d, max_pool2d"):
        build(artifact, replace(artifact.settings, form="accumulated"))
    build(artifact, artifact.settings)


def test_without_a_gradient_rule_training_refuses(monkeypatch, artifact):
    hide(monkeypatch, "mean", "gradient")
    with pytest.raises(ModelError, match="mean 'm': expected an op with a gradient rule, one of conv2d, max_pool2d"):
        differentiate(artifact.program, artifact.constants, full(1))


def vector(op):
    values = {"x": Value("x", (3,)), "y": Value("y", (3,))}
    return Graph((Node(op, "act", ("x",), "y", {"low": 0.0, "high": 6.0}),), values, "x", "y", "folded")


def test_without_a_lowering_or_a_quantization_rule_an_op_is_refused_by_name(monkeypatch):
    annotated = annotate(vector("clamp"), {"x": (-1.0, 1.0), "y": (0.0, 1.0)}, 8)
    integer = to_integer(annotated)
    monkeypatch.setitem(ops.SCHEMAS, "clamp", replace(ops.SCHEMAS["clamp"], kind=None, quantization=None))
    with pytest.raises(ModelError, match="clamp 'act': expected an op with a lowering rule, one of conv2d, linear"):
        lower(integer)
    with pytest.raises(ModelError, match="clamp 'act': expected an op with a quantization rule, one of adaptive_avg"):
        FakeQuantNet(annotated)
