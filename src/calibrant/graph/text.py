"""Prints a graph one node a line, and parses it back.

A line reads ``output = op(inputs) -> [shape] {attributes} param=dtype[shape]#hash name="..." path="..."``, with
``q(scale, zero_point, qmin, qmax)`` after the shape when the value has quantization parameters. Arrays are printed
as type, shape and the first 12 hex digits of their SHA-256; `parse` takes the arrays themselves beside the text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import ModelError
from calibrant.core.qparams import QParams
from calibrant.graph.graph import Graph, Node, Value

HEAD = re.compile(r"graph (?P<stage>\w+) (?P<input>\S+) -> (?P<output>\S+)")
VALUE = r"(?P<value>\S+)(?P<op> = \w+\([^)]*\) ->)? (?P<shape>\[[\d, ]*\])(?: q\((?P<qparams>[^)]*)\))?"
LINE = re.compile(VALUE + r"(?: (?P<attrs>\{[^}]*\}))?(?P<params>(?: \w+=\w+\[[\d, ]*\]#\w+)*)(?P<tail> name=.*)?")
PARAM = re.compile(r"(\w+)=(\w+\[[\d, ]*\]#\w+)")
TAIL = re.compile(r' name=(?P<name>".*?") path=(?P<path>".*")')


def dump(graph: Graph) -> str:
    """The graph as text.

    Examples
    --------
    >>> values = {"x": Value("x", (2, 1, 4)), "y": Value("y", (2,))}
    >>> print(dump(Graph((Node("mean", "y", ("x",), "y"),), values, "x", "y")))
    graph float x -> y
    x [2, 1, 4]
    y = mean(x) -> [2] {} name="y" path=""
    """
    lines = [f"graph {graph.stage} {graph.input} -> {graph.output}", _value(graph.values[graph.input], "")]
    for node in graph.nodes:
        call = f" = {node.op}({', '.join(node.inputs)}) ->"
        params = "".join(f" {key}={_digest(array)}" for key, array in node.params.items())
        tail = f" {json.dumps(dict(node.attrs))}{params} name={json.dumps(node.name)} path={json.dumps(node.path)}"
        lines.append(_value(graph.values[node.output], call) + tail)
    return "\n".join(lines)


def parse(text: str, arrays: Mapping[str, NDArray[Any]]) -> Graph:
    """The graph that `text` describes, with params from `arrays` (keys as in `Graph.arrays`).

    Raises
    ------
    ModelError
        If a line does not parse, or an array is missing or is not the one that was printed.

    Examples
    --------
    >>> dump(parse('graph float x -> y\\nx [2, 1, 4]\\ny = mean(x) -> [2] {} name="y" path=""', {})).splitlines()[2]
    'y = mean(x) -> [2] {} name="y" path=""'
    """
    lines = text.strip().splitlines()
    head = HEAD.fullmatch(lines[0]) if lines else None
    if head is None:
        raise ModelError("graph text: line 1: expected 'graph STAGE INPUT -> OUTPUT'")
    values: dict[str, Value] = {}
    nodes = []
    for number, line in enumerate(lines[1:], 2):
        match = LINE.fullmatch(line)
        if match is None:
            raise ModelError(f"graph text: line {number}: does not parse: {line[:80]!r}")
        name = match["value"]
        values[name] = Value(name, tuple(json.loads(match["shape"])), _parse_qparams(match["qparams"]))
        if match["op"]:
            nodes.append(_parse_node(match, arrays, number))
    return Graph(tuple(nodes), values, head["input"], head["output"], head["stage"])


def _value(value: Value, call: str) -> str:
    q = value.qparams
    printed = f" q({q.scale!r}, {q.zero_point}, {q.qmin}, {q.qmax})" if q else ""
    return f"{value.name}{call} {list(value.shape)}{printed}"


def _digest(array: NDArray[Any]) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:12]
    return f"{array.dtype}{list(array.shape)}#{digest}"


def _parse_qparams(text: str | None) -> QParams | None:
    if text is None:
        return None
    scale, zero_point, qmin, qmax = text.split(", ")
    return QParams(float(scale), int(zero_point), int(qmin), int(qmax))


def _parse_node(match: re.Match[str], arrays: Mapping[str, NDArray[Any]], number: int) -> Node:
    op, inputs = match["op"].removeprefix(" = ").removesuffix(") ->").split("(")
    tail = TAIL.fullmatch(match["tail"] or "")
    if tail is None or match["attrs"] is None:
        raise ModelError(f"graph text: line {number}: expected attributes, name and path")
    name = json.loads(tail["name"])
    params = {}
    for key, printed in PARAM.findall(match["params"]):
        array = arrays.get(f"{name}.{key}")
        if array is None:
            raise ModelError(f"graph text: line {number}: array '{name}.{key}' is missing")
        if _digest(array) != printed:
            raise ModelError(
                f"graph text: line {number}: array '{name}.{key}': expected {printed}, got {_digest(array)}"
            )
        params[key] = array
    names = tuple(inputs.split(", ")) if inputs else ()
    return Node(op, name, names, match["value"], json.loads(match["attrs"]), params, json.loads(tail["path"]))
