"""The published int8 networks of Lin et al., "On-Device Training Under 256KB Memory", NeurIPS 2022, as graphs.

A network is two files, NAME.npz with the arrays and NAME.json with the list of nodes; the format stands in the README
of the data folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.dtype import BIAS_LIMIT
from calibrant.core.errors import DataError, ModelError
from calibrant.core.qparams import QParams
from calibrant.data import archive
from calibrant.graph.graph import Graph, Node, Value
from calibrant.graph.verify import infer_shape, verify
from calibrant.ops import SCHEMAS

HEAD = "classifier"
ARRAYS = {"weight": np.dtype(np.int8), "bias": np.dtype(np.int32), "weight_scale": np.dtype(np.float64)}
LARGEST_INPUT = 255  # |x - z_x| of any code and zero point
CODES = (-128, 127)

Entry = Mapping[str, Any]  # a node of the JSON file
Params = dict[str, NDArray[Any]]
Values = dict[str, Value]


def load_tinyml(path: str | Path, classes: int | None = None) -> Graph:
    """A published network as a graph of stage ``integer``, with exactly the outputs of its formula.

    Input codes are ``255 * (p - 0.5)`` of pixels p in 0..1: scale 2/255, zero point 0, [3, 128, 128]. Biases of
    lifeless channels lie beyond what an accumulator may hold; such a channel gets a coarser scale and the same outputs.

    Parameters
    ----------
    path : str or Path
        Of one of the two files, or of both without suffix: ``tinyml/mcunet-5fps``.
    classes : int, optional
        Replace the head by one of so many classes: weights and biases 0, raw 32-bit output, the weight scale the median
        of the published head's. Default is the published head: 1000 classes of ImageNet, 8-bit output.

    Returns
    -------
    Graph
        Convolutions and additions, a ``mean``, a ``linear`` named "classifier"; layers in the published order.

    Raises
    ------
    DataError
        If a file is missing or damaged, or an array is missing or of the wrong shape or type.
    ModelError
        If a node is malformed or has an unknown op, or `classes` is below one.

    References
    ----------
    J. Lin et al., NeurIPS 2022, section 3.1; networks of github mit-han-lab/tiny-training.
    """
    if classes is not None and classes < 1:
        raise ModelError(f"classes: expected at least 1, got {classes}")
    stem = str(path).removesuffix(".npz").removesuffix(".json")
    shape, entries = _read(Path(f"{stem}.json"))
    layers = [str(entry.get("name")) for entry in entries if entry.get("op") == "conv2d"]
    arrays = archive.read(Path(f"{stem}.npz"), tuple(f"{name}.{key}" for name in layers for key in ARRAYS))
    values: Values = {"input": Value("input", shape, _qparams(entries[0], "in", _where(0, entries[0])))}
    nodes: list[Node] = []
    for at, entry in enumerate(entries):
        node, qparams = _node(_where(at, entry), entry, values, arrays, classes)
        nodes.append(node)
        values[node.output] = Value(node.output, infer_shape(node, SCHEMAS[node.op], values), qparams)
    graph = Graph(tuple(nodes), values, "input", nodes[-1].output, "integer")
    verify(graph)
    return graph


def _read(path: Path) -> tuple[tuple[int, ...], list[Entry]]:
    """Input shape without batch, and the nodes."""
    try:
        network = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: expected a readable file, got {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: expected JSON, got something else ({error})") from error
    fields: Mapping[str, Any] = network if isinstance(network, dict) else {}
    shape, nodes = fields.get("input_shape", ()), fields.get("nodes")
    if not isinstance(nodes, list) or not nodes or not all(isinstance(entry, dict) for entry in nodes):
        raise DataError(f"{path}: expected a list of nodes under 'nodes'")
    if not _integers(shape) or len(shape) != 4:
        raise DataError(f"{path}: expected 'input_shape' [1, channels, height, width], got {shape!r}")
    return tuple(shape[1:]), nodes


def _where(at: int, entry: Entry) -> str:
    return f"node {at} '{entry.get('name')}'"


def _node(where: str, entry: Entry, values: Values, arrays: Params, classes: int | None) -> tuple[Node, QParams]:
    """A node and the quantization parameters of its output; both have the entry's name."""
    op, name, inputs = entry.get("op"), entry.get("name"), entry.get("inputs")
    if not isinstance(op, str) or op not in RULES:
        raise ModelError(f"{where}: expected an op of {', '.join(RULES)}, got {op!r}")
    count = 2 if op == "add" else 1
    if not isinstance(name, str) or not isinstance(inputs, list) or len(inputs) != count:
        raise ModelError(f"{where}: expected a name and {count} input(s), got {name!r} and {inputs!r}")
    if not all(isinstance(source, str) and source in values for source in inputs) or name in values:
        raise ModelError(f"{where}: expected inputs that stand before it and a new name, got {inputs!r} and {name!r}")
    return RULES[op](where, entry, values[inputs[0]], arrays, classes)


def _conv2d(where: str, entry: Entry, source: Value, arrays: Params, classes: int | None) -> tuple[Node, QParams]:
    given, output = _qparams(entry, "in", where), _qparams(entry, "out", where)
    if source.qparams != given:
        raise ModelError(f"{where}: expected input '{source.name}' with {source.qparams}, got {given}")
    geometry = {key: entry.get(key) for key in ("in_channels", "out_channels", "groups", "kernel", "padding")}
    if entry["name"] == HEAD:
        return _head(entry, _params(where, geometry, entry["name"], arrays), classes), output
    if not _integers([entry.get("stride")]):
        raise ModelError(f"{where}: expected a positive integer as stride, got {entry.get('stride')!r}")
    params = _params(where, geometry, entry["name"], arrays)
    (top, left), stride = entry["padding"], entry["stride"]
    attrs = {"stride_h": stride, "stride_w": stride, "groups": entry["groups"], "weight_bits": 8}
    attrs |= {"pad_top": top, "pad_bottom": top, "pad_left": left, "pad_right": left}
    params = _within_limit(where, params, given, output)
    return _emit("conv2d", entry, SCHEMAS["conv2d"].complete(**attrs), params), output


def _head(entry: Entry, params: Params, classes: int | None) -> Node:
    """The classifier on the vector of means, as published or empty."""
    weight, scale = params["weight"], params["weight_scale"]
    if classes is None:
        return _emit("linear", entry, {"weight_bits": 8}, {**params, "weight": weight.reshape(len(weight), -1)})
    empty: Params = {
        "weight": np.zeros((classes, weight[0].size), np.int8),
        "bias": np.zeros(classes, np.int32),
        "weight_scale": np.full(classes, np.median(scale), np.float32),
    }
    return _emit("linear", entry, {"weight_bits": 8, "output_bits": 32}, empty)


def _add(where: str, entry: Entry, source: Value, arrays: Params, classes: int | None) -> tuple[Node, QParams]:
    return _emit("add", entry, {}, {}), _qparams(entry, "out", where)


def _mean(where: str, entry: Entry, source: Value, arrays: Params, classes: int | None) -> tuple[Node, QParams]:
    assert source.qparams is not None
    return _emit("mean", entry, {}, {}), source.qparams  # the mean of codes, at the same scale


def _emit(op: str, entry: Entry, attrs: Mapping[str, Any], params: Params) -> Node:
    return Node(op, entry["name"], tuple(entry["inputs"]), entry["name"], attrs, params)


def _params(where: str, geometry: Entry, name: str, arrays: Params) -> Params:
    """Arrays of a convolution, of the shapes that its node names; scales as float32, which holds them exactly."""
    c_in, c_out, groups = (geometry[key] for key in ("in_channels", "out_channels", "groups"))
    kernel, padding = geometry["kernel"], geometry["padding"]
    pair = isinstance(padding, list) and len(padding) == 2 and all(type(n) is int and n >= 0 for n in padding)
    if not _integers([c_in, c_out, groups]) or not _integers(kernel) or len(kernel) != 2 or not pair or c_in % groups:
        raise ModelError(f"{where}: expected channels, groups, kernel [h, w] and padding [h, w], got {dict(geometry)}")
    shapes = {"weight": (c_out, c_in // groups, *kernel), "bias": (c_out,), "weight_scale": (c_out,)}
    params = {key: arrays[f"{name}.{key}"] for key in ARRAYS}
    for key, array in params.items():
        if array.dtype != ARRAYS[key] or array.shape != shapes[key]:
            expected, found = f"{ARRAYS[key]} {list(shapes[key])}", f"{array.dtype} {list(array.shape)}"
            raise DataError(f"{where}: array '{name}.{key}': expected {expected}, got {found}")
    scale = params["weight_scale"].astype(np.float32)
    if not (scale == params["weight_scale"]).all():
        raise DataError(f"{where}: array '{name}.weight_scale': expected values that float32 holds exactly")
    return {**params, "weight_scale": scale}


def _within_limit(where: str, params: Params, source: QParams, output: QParams) -> Params:
    """The same channels with every bias within `BIAS_LIMIT`: powers of two move from bias and weights to the scale.

    A channel whose bias is out of the limit has a scale near 0, so that its output hardly depends on the input; it is
    refused unless the output is one code whatever the input, before and after.
    """
    weight, bias, scale = params["weight"].astype(np.int64), params["bias"].astype(np.int64), params["weight_scale"]
    shift = np.ceil(np.log2(np.maximum(np.abs(bias) / BIAS_LIMIT, 1))).astype(np.int64)
    if not shift.any():
        return params
    factor = 2.0**shift
    moved = {
        "weight": np.rint(weight / factor.reshape(-1, 1, 1, 1)).astype(np.int8),
        "bias": np.rint(bias / factor).astype(np.int32),
        "weight_scale": (scale * factor).astype(np.float32),
    }
    codes = [_extreme_codes(which, source, output) for which in (params, moved)]
    for channel in np.flatnonzero(shift):
        found = {int(code[channel]) for pair in codes for code in pair}
        if len(found) > 1:
            raise DataError(
                f"{where}: channel {channel}: expected |bias| of at most {BIAS_LIMIT} or a constant output, got bias "
                f"{bias[channel]} and outputs {min(found)} to {max(found)}"
            )
    return moved


def _extreme_codes(params: Params, source: QParams, output: QParams) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Least and largest output code of each channel over all inputs, as int64 arithmetic without a limit gives them."""
    weight, bias = params["weight"].astype(np.int64), params["bias"].astype(np.int64)
    reach = np.abs(weight).reshape(len(weight), -1).sum(axis=1) * LARGEST_INPUT
    real = source.scale * params["weight_scale"].astype(np.float64) / output.scale
    low, high = (np.floor(np.abs(acc * real) + 0.5) * np.sign(acc) for acc in (bias - reach, bias + reach))
    clipped = [np.clip(code + output.zero_point, *CODES).astype(np.int64) for code in (low, high)]
    return clipped[0], clipped[1]


def _qparams(entry: Entry, side: str, where: str) -> QParams:
    scale, zero = entry.get(f"{side}_scale"), entry.get(f"{side}_zero")
    if type(scale) is not float or not 0 < scale < math.inf or type(zero) is not int or not -128 <= zero <= 127:
        raise ModelError(f"{where}: expected {side}_scale > 0 and {side}_zero in -128..127, got {scale!r}, {zero!r}")
    return QParams(scale, zero)


def _integers(values: Any) -> bool:
    """Whether it is a list of positive integers."""
    return isinstance(values, list) and all(type(n) is int and n > 0 for n in values)


RULES: Mapping[str, Callable[[str, Entry, Value, Params, int | None], tuple[Node, QParams]]] = {
    "conv2d": _conv2d,
    "add": _add,
    "mean_hw": _mean,
}
