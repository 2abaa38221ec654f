"""What is legal at each stage, checked from the schemas alone; every pass and stage runs it before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from calibrant.core.dtype import WEIGHT_BITS, is_weight, weight_range
from calibrant.core.errors import ModelError
from calibrant.core.qparams import QParams
from calibrant.graph.graph import Graph, Node, Value
from calibrant.ops import SCHEMAS, Schema, clamp_bounds
from calibrant.ops.binary import SIGNS
from calibrant.ops.schema import Shape

STAGES = ("float", "folded", "annotated", "integer")
ACCUMULATOR_BITS = 32


def verify(graph: Graph) -> None:
    """Check that a graph is legal at its stage.

    Raises
    ------
    ModelError
        Naming the node or value, what is expected there and what was found.
    """
    if graph.stage not in STAGES:
        raise ModelError(f"graph: expected a stage of {STAGES}, got '{graph.stage}'")
    if not graph.nodes:
        raise ModelError("graph: expected at least one node, got none")
    for key, value in graph.values.items():
        _check_value(key, value)
    if graph.input not in graph.values:
        raise ModelError(f"graph: input '{graph.input}' is not among its values")
    defined, names = {graph.input}, set[str]()
    for node in graph.nodes:
        if node.name in names:
            raise ModelError(f"{_label(node)}: expected a unique name, got a second node of this name")
        names.add(node.name)
        _check_wiring(graph, node, defined)
        _check_attrs(node, SCHEMAS[node.op])
        _check_params(graph.stage, node, SCHEMAS[node.op])
        _check_shape(graph, node, SCHEMAS[node.op])
        defined.add(node.output)
    if graph.output not in defined:
        raise ModelError(f"graph: output '{graph.output}' is computed by no node")
    if graph.stage != "float":
        _check_liveness(graph, defined)
    if graph.stage in ("annotated", "integer"):
        for node in graph.nodes:
            _check_quantization(graph, node)


def _label(node: Node) -> str:
    return f"{node.op} '{node.name}'"


def _check_value(key: str, value: Value) -> None:
    if key != value.name:
        raise ModelError(f"value '{key}': is named '{value.name}'")
    if len(value.shape) not in (1, 3) or any(not isinstance(n, int) or n < 1 for n in value.shape):
        raise ModelError(
            f"value '{key}': expected a shape [features] or [channels, height, width], got {list(value.shape)}"
        )


def _check_wiring(graph: Graph, node: Node, defined: set[str]) -> None:
    schema = SCHEMAS.get(node.op)
    if schema is None:
        raise ModelError(f"{_label(node)}: expected one of {sorted(SCHEMAS)}, got op '{node.op}'")
    if graph.stage != "float" and schema.integer_reference is None:
        raise ModelError(f"{_label(node)}: expected to be gone at stage '{graph.stage}'; run the passes first")
    if not schema.inputs_min <= len(node.inputs) <= schema.inputs_max:
        expected = f"{schema.inputs_min} to {schema.inputs_max} inputs"
        raise ModelError(f"{_label(node)}: expected {expected}, got {len(node.inputs)}")
    for name in node.inputs:
        if name not in defined:
            raise ModelError(f"{_label(node)}: expected input '{name}' to be computed before, it is not")
    if node.output in defined:
        raise ModelError(f"{_label(node)}: output '{node.output}' already has a producer")
    if node.output not in graph.values:
        raise ModelError(f"{_label(node)}: output '{node.output}' is not among the graph's values")


def _check_attrs(node: Node, schema: Schema) -> None:
    for key in node.attrs:
        if key not in schema.attrs:
            raise ModelError(f"{_label(node)}: unknown attribute '{key}'; expected {sorted(schema.attrs)}")
    for key, rule in schema.attrs.items():
        if key not in node.attrs:
            if rule.optional:
                continue
            raise ModelError(f"{_label(node)}: attribute '{key}' is missing")
        value = node.attrs[key]
        allowed = (int,) if rule.kind is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, allowed) or math.isnan(value):
            raise ModelError(f"{_label(node)}: attribute '{key}': expected {rule.kind.__name__}, got {value!r}")
        if value < rule.minimum:
            raise ModelError(f"{_label(node)}: attribute '{key}': expected at least {rule.minimum}, got {value}")
    low, high = clamp_bounds(node.attrs)
    if low > high:
        raise ModelError(f"{_label(node)}: clamp: expected low <= high, got {low} and {high}")


def _check_params(stage: str, node: Node, schema: Schema) -> None:
    quantized = stage in ("annotated", "integer") and schema.weighted
    names = {*schema.params, *(("weight_scale",) if quantized else ())}
    if set(node.params) != names:
        raise ModelError(f"{_label(node)}: expected params {sorted(names)}, got {sorted(node.params)}")
    integer = {"weight": np.int8, "bias": np.int32} if stage == "integer" else {}
    for name, array in node.params.items():
        expected = np.dtype(integer.get(name, np.float32))
        if array.dtype != expected:
            raise ModelError(f"{_label(node)}: param '{name}': expected {expected}, got {array.dtype}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ModelError(f"{_label(node)}: param '{name}': expected finite numbers, got NaN or infinity")


def _check_shape(graph: Graph, node: Node, schema: Schema) -> None:
    found = graph.values[node.output].shape
    expected = infer_shape(node, schema, graph.values)
    if found != expected:
        raise ModelError(f"{_label(node)}: output '{node.output}': expected shape {list(expected)}, got {list(found)}")


def infer_shape(node: Node, schema: Schema, values: Mapping[str, Value]) -> Shape:
    """The output shape by the op's shape rule; ModelError with the node's name if it does not fit its inputs."""
    try:
        return schema.shape(node.attrs, node.params, tuple(values[name].shape for name in node.inputs))
    except ModelError as error:
        raise ModelError(f"{_label(node)}: {error}") from error


def _check_liveness(graph: Graph, defined: set[str]) -> None:
    needed = {graph.output}
    for node in reversed(graph.nodes):
        if node.output not in needed:
            raise ModelError(f"{_label(node)}: nothing reads its output '{node.output}'")
        needed.update(node.inputs)
    for name in graph.values:
        if name not in defined:
            raise ModelError(f"value '{name}': is computed by no node")
    if graph.input not in needed:
        raise ModelError(f"graph: the output does not depend on the input '{graph.input}'")


def _check_quantization(graph: Graph, node: Node) -> None:
    raw = node.attrs.get("output_bits", 8) == ACCUMULATOR_BITS
    if SCHEMAS[node.op].weighted:
        _check_weights(graph, node)
        allowed = (1, 8, ACCUMULATOR_BITS) if SCHEMAS[node.op].binary else (8, ACCUMULATOR_BITS)
        if node.attrs.get("output_bits", 8) not in allowed:
            expected = " or ".join(map(str, allowed))
            raise ModelError(f"{_label(node)}: output_bits: expected {expected}, got {node.attrs['output_bits']}")
        if raw and (node.output != graph.output or clamp_bounds(node.attrs) != (-math.inf, math.inf)):
            raise ModelError(f"{_label(node)}: 32-bit output: expected the graph's unclamped output")
    inputs = [_checked_qparams(graph.values[name]) for name in node.inputs]
    if SCHEMAS[node.op].binary and inputs != [SIGNS]:
        raise ModelError(f"{_label(node)}: expected an input of signs, got {inputs[0]}")
    if SIGNS in inputs and not SCHEMAS[node.op].binary and node.op != "flatten":
        raise ModelError(f"{_label(node)}: expected inputs of codes, got signs, which only binary layers read")
    if raw:
        return
    output = _checked_qparams(graph.values[node.output])
    if node.attrs.get("output_bits") == 1 and (output != SIGNS or node.output == graph.output):
        raise ModelError(f"{_label(node)}: 1-bit output: expected signs that a node reads, got {output}")
    if SCHEMAS[node.op].keeps_qparams and (inputs[0].scale, inputs[0].zero_point) != (output.scale, output.zero_point):
        raise ModelError(
            f"{_label(node)}: expected its input's scale and zero point {inputs[0].scale}, {inputs[0].zero_point}, "
            f"got {output.scale}, {output.zero_point}"
        )


def _check_weights(graph: Graph, node: Node) -> None:
    scale, weight = node.params["weight_scale"], node.params["weight"]
    bits = int(node.attrs.get("weight_bits", 0))
    allowed = (1,) if SCHEMAS[node.op].binary else WEIGHT_BITS
    if bits not in allowed:
        raise ModelError(f"{_label(node)}: weight_bits: expected one of {allowed}, got {bits}")
    if scale.shape != weight.shape[:1] or not (scale > 0).all():
        raise ModelError(
            f"{_label(node)}: weight_scale: expected {weight.shape[0]} positive scales, got {list(scale.shape)} "
            f"from {float(scale.min(initial=np.inf))}"
        )
    low, high = weight_range(bits)
    if graph.stage == "integer" and not is_weight(weight, bits):
        found = f"{weight.min()} to {weight.max()}"
        raise ModelError(f"{_label(node)}: {bits}-bit weights: expected {low} to {high}, got {found}")


def _checked_qparams(value: Value) -> QParams:
    qparams = value.qparams
    if qparams is None:
        raise ModelError(f"value '{value.name}': expected quantization parameters, got none")
    ordered = -128 <= qparams.qmin <= qparams.zero_point <= qparams.qmax <= 127 and qparams.qmin < qparams.qmax
    if not ordered or not 0 < qparams.scale < math.inf:
        raise ModelError(
            f"value '{value.name}': expected scale > 0 and -128 <= qmin <= zero_point <= qmax <= 127, got {qparams}"
        )
    return qparams
