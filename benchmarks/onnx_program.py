"""An integer program of convolutions, additions and means as a float32 ONNX network that training packages take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from calibrant.core.program import Constants, Op, Program

OPSET, IR_VERSION = 15, 8  # what onnxruntime-training 1.19.2 reads
RELU6 = 6.0


def export(program: Program, constants: Constants, path: Path) -> None:
    """Write the network with weights in reals and ReLU6; the last layer becomes head.weight [classes, features]."""
    names = {id_: f"t{id_}" for id_ in range(len(program.tensors))}
    initializers = {"clip_low": np.float32(0), "clip_high": np.float32(RELU6)}
    nodes: list[Any] = []
    last = program.ops[-1]
    for op in program.ops[:-1]:
        ins, out = [names[i] for i in op.inputs], names[op.output]
        if op.kind == "add":
            nodes.append(helper.make_node("Add", ins, [out]))
        elif op.kind == "mean":
            nodes.append(helper.make_node("GlobalAveragePool", ins, [out]))
        else:
            weight, bias = _real(program, constants, op)
            name = program.layers[op.layer].name
            initializers |= {f"{name}.weight": weight, f"{name}.bias": bias}
            clamped = program.tensors[op.output].zero_point == -128
            raw = f"{out}_raw" if clamped else out
            nodes.append(_conv(program, op, [*ins, f"{name}.weight", f"{name}.bias"], raw))
            if clamped:
                nodes.append(helper.make_node("Clip", [raw, "clip_low", "clip_high"], [out]))
    weight, bias = _real(program, constants, last)
    initializers |= {"head.weight": weight[:, :, 0, 0], "head.bias": bias}
    nodes.append(helper.make_node("Flatten", [names[last.inputs[0]]], ["features"]))
    nodes.append(helper.make_node("Gemm", ["features", "head.weight", "head.bias"], ["logits"], transB=1))
    source, classes = program.tensors[program.input], program.layers[last.layer].c_out
    shape = [1, source.channels, source.height, source.width]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(names[program.input], TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, classes])],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _real(program: Program, constants: Constants, op: Op) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight [c_out, c_in / groups, kernel_h, kernel_w] and bias in reals."""
    layer = program.layers[op.layer]
    scale = constants.scale[layer.channel_slice].astype(np.float64)
    codes = constants.weights[layer.weight_slice].reshape(layer.weight_shape).transpose(0, 3, 1, 2)
    bias = constants.bias[layer.channel_slice] * scale * program.tensors[op.inputs[0]].scale
    return np.ascontiguousarray(codes * scale[:, None, None, None], np.float32), bias.astype(np.float32)


def _conv(program: Program, op: Op, inputs: list[str], output: str) -> Any:
    layer, a = program.layers[op.layer], op.attrs
    source, target = program.tensors[op.inputs[0]], program.tensors[op.output]
    reach_h = (target.height - 1) * a["stride_h"] + (layer.kernel_h - 1) * a["dilation_h"] + 1
    reach_w = (target.width - 1) * a["stride_w"] + (layer.kernel_w - 1) * a["dilation_w"] + 1
    return helper.make_node(
        "Conv", inputs, [output],
        strides=[a["stride_h"], a["stride_w"]],
        dilations=[a["dilation_h"], a["dilation_w"]],
        group=layer.groups,
        pads=[a["pad_top"], a["pad_left"],
              max(reach_h - source.height - a["pad_top"], 0), max(reach_w - source.width - a["pad_left"], 0)],
    )  # fmt: skip
