"""Observed ranges, against the numpy interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from calibrant.core.errors import DataError
from calibrant.core.rng import generator
from calibrant.graph import interp
from calibrant.quantize import observe_ranges
from random_graphs import Sketch, random_graph, random_input

POOLS = ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "flatten")


@pytest.mark.parametrize("seed", range(15))
def test_minimum_and_maximum_of_the_reference(seed: int) -> None:
    graph = random_graph(seed)
    x = random_input(graph, 10, seed)
    values, ranges = interp.evaluate(graph, x), observe_ranges(graph, x, batch=3)
    for node in graph.nodes:
        if node.op in POOLS:
            assert ranges[node.output] == ranges[node.inputs[0]]
        else:
            expected = values[node.output].min(), values[node.output].max()
            np.testing.assert_allclose(ranges[node.output], expected, rtol=1e-4, atol=1e-5)
    assert ranges["x"] == (x.min(), x.max())


def test_percentiles_cut_outliers_and_the_input_only_what_is_corrupt() -> None:
    s = Sketch((4, 1, 50), generator(0, "percentile"))
    y = s.emit(
        "conv2d", ("x",), {"weight": np.eye(4, dtype=np.float32)[:, :, None, None], "bias": np.zeros(4, np.float32)}
    )
    graph = s.graph(y)
    x = generator(1, "percentile").normal(0, 1, (64, 4, 50)).astype(np.float32)
    x[0, 0, 0], x[0, 0, 1] = 20.0, -10.0
    full, cut = observe_ranges(graph, x), observe_ranges(graph, x, percentile=99.0)
    assert full == {"x": (-10.0, 20.0), y: (-10.0, 20.0)}
    assert cut["x"] == (-10.0, 20.0)
    np.testing.assert_allclose(cut[y], (-2.33, 2.33), atol=0.15)
    x[0, 0, 0] = 1000.0  # a corrupt reading: what is beyond all measure saturates, and no layer sees it
    spoiled = observe_ranges(graph, x)
    np.testing.assert_allclose([*spoiled["x"], *spoiled[y]], (-3.1, 3.1) * 2, atol=0.4)


def test_fused_clamps_bound_the_range() -> None:
    s = Sketch((2, 1, 9), generator(0, "clamped"))
    y = s.emit("conv2d", ("x",), s.params(2, 2, 1, 3), clamp_low=0.0, clamp_high=0.5)
    lo, hi = observe_ranges(
        s.graph(y), 50 * np.ones((3, 2, 9), np.float32) * np.array([1, -1], np.float32)[None, :, None]
    )[y]
    assert 0.0 <= lo <= hi <= 0.5


def test_refusals() -> None:
    graph = random_graph(0)
    x = random_input(graph, 2, 0)
    with pytest.raises(DataError, match="at least one sample"):
        observe_ranges(graph, x[:0])
    x[1].flat[0] = np.nan
    with pytest.raises(DataError, match="finite"):
        observe_ranges(graph, x)
    with pytest.raises(DataError, match="percentile above 50"):
        observe_ranges(graph, x[:1], percentile=50)
