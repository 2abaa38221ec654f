"""Folded graphs compute what the torch models compute, and look as stage ``folded`` promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from binary_networks import OPS
from calibrant import passes
from calibrant.core.errors import ModelError
from calibrant.core.rng import generator
from calibrant.frontend import from_torch
from calibrant.graph import interp, text
from calibrant.graph.graph import Graph
from calibrant.graph.verify import verify
from calibrant.ops import SCHEMAS
from graphs import Draft, random_graph
from networks import NETWORKS, network

INF = math.inf


def folded(graph: Graph) -> Graph:
    """Run the passes, and check that they changed nothing but the form."""
    result = passes.run(graph)
    x = generator(7, "x").standard_normal((4, *graph.values["x"].shape)).astype(np.float32)
    before, after = interp.run(graph, x), interp.run(result, x)
    assert before.shape == after.shape
    assert np.abs(before - after).max() <= 1e-5 * max(1.0, np.abs(before).max())
    assert result.stage == "folded"
    assert [n.output for n in result.nodes] == [n.name for n in result.nodes]
    return result


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def clamps(graph: Graph) -> list[tuple[float, float]]:
    return [(n.attrs["clamp_low"], n.attrs["clamp_high"]) for n in graph.nodes if "clamp_low" in n.attrs]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_compute_the_same(name: str) -> None:
    model, x = network(name)
    graph = passes.run(from_torch(model, x))
    with torch.no_grad():
        expected = model.eval()(x).numpy()
    assert np.abs(interp.run(graph, x.numpy()) - expected).max() <= 1e-4 * np.abs(expected).max()
    assert not {"batch_norm", "relu", "dropout"} & set(ops(graph))
    printed = text.dump(graph)
    assert text.dump(text.parse(printed, graph.arrays())) == printed


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_inception_time_is_only_what_it_must_be() -> None:
    graph = passes.run(from_torch(*network("inception")))
    block = ["conv2d"] * 4 + ["max_pool2d", "conv2d", "concat"]
    assert ops(graph) == [*block, *block, "conv2d", "add", "mean", "linear"]
    assert [n.attrs["clamp_low"] for n in graph.nodes if n.op == "concat"] == [0.0, 0.0]
    bounded = {n.name for n in graph.nodes if n.op == "conv2d" and n.attrs["clamp_low"] == 0.0}
    assert bounded == {
        f"blocks.{i}.{p}" for i in range(2) for p in ("branches.0", "branches.1", "branches.2", "pooled.1")
    }


def test_batch_norm_goes_through_averages_and_positive_max_pools() -> None:
    draft = Draft(3, 1, 12)
    y = draft.add("avg_pool2d", draft.conv(), kernel_h=1, kernel_w=3, pad_left=1)
    y = draft.add("max_pool2d", draft.norm(y), kernel_h=1, kernel_w=2, stride_w=2)
    y = draft.add("adaptive_avg_pool2d", draft.norm(y, positive=True), output_h=1, output_w=2)
    y = draft.add("mean", draft.norm(y, positive=True))
    result = folded(draft.graph(draft.norm(y, positive=True)))
    assert ops(result) == ["conv2d", "avg_pool2d", "max_pool2d", "adaptive_avg_pool2d", "mean"]


def test_batch_norm_stops_at_negative_max_pools_and_counted_padding() -> None:
    draft = Draft(3, 1, 12)
    y = draft.add("max_pool2d", draft.conv(), kernel_h=1, kernel_w=2)
    y = draft.add("avg_pool2d", draft.norm(y), kernel_h=1, kernel_w=3, pad_left=1, count_include_pad=1)
    result = folded(draft.graph(draft.norm(y)))
    assert ops(result) == ["conv2d", "max_pool2d", "conv2d", "avg_pool2d", "conv2d"]
    assert [n.attrs["groups"] for n in result.nodes if n.op == "conv2d"] == [1, 3, 3]


def test_batch_norm_leaves_alone_what_others_read() -> None:
    draft = Draft(3, 1, 12)
    shared = draft.conv()
    result = folded(draft.graph(draft.add("add", shared, draft.norm(shared))))
    assert ops(result) == ["conv2d", "conv2d", "add"]
    draft = Draft(3, 1, 12)
    doubled = draft.add("concat", y := draft.conv(), y)
    assert ops(folded(draft.graph(draft.norm(doubled)))) == ["conv2d", "concat", "conv2d"]
    draft = Draft(3, 1, 12)
    mixed = draft.add("concat", draft.conv(), "x")
    assert ops(folded(draft.graph(draft.norm(mixed)))) == ["conv2d", "concat", "conv2d"]


def test_batch_norm_does_not_pass_a_clamp() -> None:
    draft = Draft(3, 1, 12)
    assert ops(folded(draft.graph(draft.norm(draft.add("relu", draft.conv()))))) == ["conv2d", "conv2d"]
    draft = Draft(3, 1, 12)
    y = draft.conv()
    draft.nodes[-1] = draft.nodes[-1].updated(attrs={**draft.nodes[-1].attrs, "clamp_low": 0.0})
    assert ops(folded(draft.graph(draft.norm(y)))) == ["conv2d", "conv2d"]


def test_batch_norms_on_vectors() -> None:
    draft = Draft(3, 1, 12)
    y = draft.add("mean", draft.add("relu", draft.conv()))
    assert ops(folded(draft.graph(draft.linear(draft.norm(y))))) == ["conv2d", "mean", "linear"]
    draft = Draft(3, 1, 12)
    result = folded(draft.graph(draft.norm(draft.add("mean", draft.add("relu", draft.conv())))))
    assert ops(result) == ["conv2d", "mean", "linear"]
    draft = Draft(3)
    assert ops(folded(draft.graph(draft.norm(draft.norm(draft.linear("x")))))) == ["linear"]
    draft = Draft(3, 1, 1)
    assert ops(folded(draft.graph(draft.norm(draft.add("flatten", draft.conv()))))) == ["conv2d", "flatten"]


def test_clamps_compose() -> None:
    draft = Draft(3, 1, 12)
    y = draft.add("clamp", draft.add("relu", draft.conv()), low=-1.0, high=0.5)
    assert clamps(folded(draft.graph(draft.add("clamp", y, low=0.25)))) == [(0.25, 0.5)]
    draft = Draft(3, 1, 12)  # disjoint: everything becomes the later bound
    y = draft.add("clamp", draft.add("clamp", draft.conv(), low=-2.0, high=-1.0), low=0.5)
    assert clamps(folded(draft.graph(y))) == [(0.5, 0.5)]


def test_clamps_pass_max_pools_and_flattens() -> None:
    draft = Draft(3, 1, 12)
    pooled = draft.add("max_pool2d", draft.conv(), kernel_h=1, kernel_w=3, pad_left=1)
    y = draft.add("relu", draft.add("flatten", pooled))
    result = folded(draft.graph(draft.linear(y)))
    assert ops(result) == ["conv2d", "max_pool2d", "flatten", "linear"]
    assert clamps(result) == [(0.0, INF), (-INF, INF)]


def test_clamps_stay_after_averages_and_shared_values() -> None:
    draft = Draft(3, 1, 12)
    y = draft.add("avg_pool2d", draft.conv(), kernel_h=1, kernel_w=3)
    y = draft.add("clamp", draft.add("relu", y), high=2.0)
    result = folded(draft.graph(y))
    assert ops(result) == ["conv2d", "avg_pool2d", "clamp"]
    assert dict(result.nodes[-1].attrs) == {"low": 0.0, "high": 2.0}
    draft = Draft(3, 1, 12)
    shared = draft.conv()
    result = folded(draft.graph(draft.add("add", shared, draft.add("relu", shared))))
    assert ops(result) == ["conv2d", "clamp", "add"]
    draft = Draft(3, 1, 12)
    assert ops(folded(draft.graph(draft.add("relu")))) == ["clamp"]


def test_clamp_on_concat_reaches_the_parts_that_nobody_else_reads() -> None:
    draft = Draft(3, 1, 12)
    shared, pooled = draft.conv(), draft.add("max_pool2d", draft.conv(), kernel_h=1, kernel_w=1)
    joined = draft.add("relu", draft.add("concat", shared, pooled, draft.conv()))
    result = folded(draft.graph(draft.add("concat", joined, shared)))
    found = {n.name: n.attrs.get("clamp_low") for n in result.nodes if n.op in ("conv2d", "concat")}
    assert list(found.values()) == [-INF, 0.0, 0.0, 0.0, -INF]


def test_identities_and_dead_nodes_go() -> None:
    draft = Draft(3, 1, 12)
    y = draft.add("clamp", draft.add("dropout", draft.add("concat", draft.conv())))
    draft.add("mean", y)
    assert ops(folded(draft.graph(y))) == ["conv2d"]


def test_global_averages_become_means() -> None:
    for pool in (
        {"op": "adaptive_avg_pool2d", "output_h": 1, "output_w": 1},
        {"op": "avg_pool2d", "kernel_h": 1, "kernel_w": 12},
    ):
        draft = Draft(3, 1, 12)
        y = draft.add("flatten", draft.add("flatten", _pool(draft, pool)))
        assert ops(folded(draft.graph(y))) == ["conv2d", "mean"]
    for pool in (
        {"op": "adaptive_avg_pool2d", "output_h": 1, "output_w": 2},
        {"op": "avg_pool2d", "kernel_h": 1, "kernel_w": 14, "pad_left": 2},
        {"op": "avg_pool2d", "kernel_h": 1, "kernel_w": 12, "stride_w": 2, "pad_left": 1},
        {"op": "max_pool2d", "kernel_h": 1, "kernel_w": 12},
    ):
        draft = Draft(3, 1, 12)
        assert ops(folded(draft.graph(draft.add("flatten", _pool(draft, pool)))))[1:] == [pool["op"], "flatten"]


def _pool(draft: Draft, pool: dict[str, Any]) -> str:
    return draft.add(str(pool["op"]), draft.conv(), **{k: v for k, v in pool.items() if k != "op"})


def test_a_pool_that_others_read_is_kept() -> None:
    draft = Draft(3, 1, 12)
    pooled = draft.add("adaptive_avg_pool2d", draft.conv(), output_h=1, output_w=1)
    y = draft.add("add", draft.add("flatten", pooled), draft.add("mean", pooled))
    assert ops(folded(draft.graph(y))) == ["conv2d", "adaptive_avg_pool2d", "flatten", "mean", "add"]


@pytest.mark.parametrize("seed", range(150))
def test_random_graphs_compute_the_same(seed: int) -> None:
    graph = random_graph(seed)
    result = folded(graph)
    assert not {"batch_norm", "relu", "dropout"} & set(ops(result))
    assert text.dump(text.parse(text.dump(result), result.arrays())) == text.dump(result)


def test_random_graphs_contain_every_op() -> None:
    graphs = [random_graph(seed) for seed in range(60)]
    assert {node.op for graph in graphs for node in graph.nodes} == set(SCHEMAS) - OPS
    assert {node.op for graph in graphs for node in passes.run(graph).nodes} == {
        name for name, schema in SCHEMAS.items() if schema.integer_reference and name not in OPS
    }
    assert text.dump(random_graph(5)) == text.dump(random_graph(5))


def test_passes_want_a_sound_float_graph() -> None:
    draft = Draft(3, 1, 12)
    graph = draft.graph(draft.conv())
    with pytest.raises(ModelError, match="expected a graph of stage 'float', got 'folded'"):
        passes.run(passes.run(graph))
    with pytest.raises(ModelError, match="output 'nowhere'"):
        passes.run(Graph(graph.nodes, graph.values, "x", "nowhere"))
    clash = Graph((graph.nodes[0].updated(name="input"),), graph.values, "x", graph.output)
    with pytest.raises(ModelError, match="node 'input': expected another name"):
        passes.run(clash)


def test_every_pass_leaves_a_sound_graph() -> None:
    draft = Draft(3, 1, 12)
    y = draft.add("relu", draft.norm(draft.conv()))
    graph = draft.graph(draft.linear(draft.add("flatten", draft.add("dropout", y))))
    for rewrite in passes.PASSES:
        graph = rewrite(graph)
        verify(graph)
