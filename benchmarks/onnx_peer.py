"""ONNX Runtime as the peer: a folded Graph as ONNX, in float32 and statically quantized, single thread."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from calibrant.core.errors import ModelError
from calibrant.graph.graph import Graph, Node

QUANTIZED = {  # what ONNX Runtime may choose from; the fastest counts
    "int8 QDQ u8s8": (QuantFormat.QDQ, QuantType.QUInt8),
    "int8 QDQ s8s8": (QuantFormat.QDQ, QuantType.QInt8),
    "int8 QOperator u8s8": (QuantFormat.QOperator, QuantType.QUInt8),
}


def export(graph: Graph, path: Path, flat: bool) -> None:
    """Write a folded graph as ONNX with a dynamic batch.

    `flat` drops the height of 1 and uses one-dimensional convolutions and pools, for networks on series.
    """
    rows, weights = [], []
    for node in graph.nodes:
        made, constants = _rows(node, flat)
        rows += made
        weights += constants
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *_shape(graph.values[name].shape, flat)])
        for name in (graph.input, graph.output)
    ]
    body = helper.make_graph(rows, "calibrant", ports[:1], ports[1:], weights)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _shape(shape: tuple[int, ...], flat: bool) -> tuple[int, ...]:
    return (shape[0], shape[2]) if flat and len(shape) == 3 else shape


def _rows(node: Node, flat: bool) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """A graph node as ONNX nodes (itself, and a Relu for a clamp at 0) and constants."""
    a, sides = node.attrs, ("w",) if flat else ("h", "w")
    low, high = a.get("clamp_low", -np.inf), a.get("clamp_high", np.inf)
    if high != np.inf or low not in (0.0, -np.inf):
        raise ModelError(f"{node.op} '{node.name}': expected no clamp but ReLU, got [{low}, {high}]")
    raw = f"{node.output}_raw" if low == 0.0 else node.output
    window = {}
    if node.op in ("conv2d", "max_pool2d"):
        window["strides"] = [a[f"stride_{s}"] for s in sides]
        window["dilations"] = [a[f"dilation_{s}"] for s in sides]
        begin, end = (("pad_left",), ("pad_right",)) if flat else (("pad_top", "pad_left"), ("pad_bottom", "pad_right"))
        window["pads"] = [a[name] for name in (*begin, *end)]
    constants = []
    if node.op in ("conv2d", "linear"):
        weight = node.params["weight"].astype(np.float32)
        weight = weight[:, :, 0] if flat and weight.ndim == 4 else weight
        for name, value in (("weight", weight), ("bias", node.params["bias"].astype(np.float32))):
            constants.append(numpy_helper.from_array(np.ascontiguousarray(value), f"{node.name}.{name}"))
    inputs = [*node.inputs, *(c.name for c in constants)]
    match node.op:
        case "conv2d":
            kernel = list(node.params["weight"].shape[3 if flat else 2 :])
            made = helper.make_node("Conv", inputs, [raw], kernel_shape=kernel, group=a["groups"], **window)
        case "max_pool2d":
            kernel = [a[f"kernel_{s}"] for s in sides]
            made = helper.make_node("MaxPool", inputs, [raw], kernel_shape=kernel, **window)
        case "linear":
            made = helper.make_node("Gemm", inputs, [raw], transB=1)
        case "mean":
            made = helper.make_node("ReduceMean", inputs, [raw], axes=[2] if flat else [2, 3], keepdims=0)
        case "add":
            made = helper.make_node("Add", inputs, [raw])
        case "concat":
            made = helper.make_node("Concat", inputs, [raw], axis=1)
        case "flatten":
            made = helper.make_node("Flatten", inputs, [raw])
        case _:
            raise ModelError(f"{node.op} '{node.name}': the benchmark has no ONNX form for it")
    relu = [helper.make_node("Relu", [raw], [node.output])] if raw != node.output else []
    return [made, *relu], constants


class _Samples(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, name: str, x: NDArray[np.float32]) -> None:
        self.batches: Iterator[dict[str, NDArray[np.float32]]] = iter([{name: x[i : i + 1]} for i in range(len(x))])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self.batches, None)


def session(path: Path) -> onnxruntime.InferenceSession:
    """A session on one thread with all graph optimizations."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def sessions(
    graph: Graph, x: NDArray[np.float32], folder: Path
) -> dict[str, tuple[onnxruntime.InferenceSession, bool]]:
    """Every form of the network that ONNX Runtime gets to try: (session, whether it takes [N, C, T])."""
    logging.getLogger().setLevel(logging.ERROR)  # the quantizer recommends its own pre-processing on every call
    out = {}
    for flat in (False, True) if graph.values[graph.input].shape[1] == 1 else (False,):
        dims = "1-D" if flat else "2-D"
        plain, ready = folder / f"{dims}.onnx", folder / f"{dims}-ready.onnx"
        export(graph, plain, flat)
        quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
        out[f"float32 {dims}"] = session(plain), flat
        feed = x[:, :, 0] if flat else x
        for name, (form, activations) in QUANTIZED.items():
            target = folder / f"{dims}-{name.replace(' ', '-')}.onnx"
            reader = _Samples(graph.input, feed)
            quantize_static(
                str(ready), str(target), reader, quant_format=form, activation_type=activations,
                weight_type=QuantType.QInt8, per_channel=True,
            )  # fmt: skip
            out[f"{name} {dims}"] = session(target), flat
    return out
