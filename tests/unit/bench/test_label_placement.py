"""Labels keep apart, stay in the frame, and cover no point."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from calibrant.bench.reports.label_placement import apart, beside
from calibrant.core.rng import generator


@pytest.mark.parametrize(
    "heights", [[0.5], [0.5] * 3, [0.1, 0.9, 0.92], [0.0, 0.0, 1.0, 1.0], [0.4, 0.44, 0.5, 0.97], [0.6] * 16]
)
def test_heights_keep_a_gap_their_order_and_the_range(heights):
    placed = apart(heights, 0.06, 0.0, 1.0)
    assert all(b - a >= 0.06 - 1e-9 for a, b in pairwise(placed))
    assert -1e-9 <= placed[0] <= placed[-1] <= 1 + 1e-9


def test_what_is_apart_stays():
    assert apart([0.1, 0.5, 0.9], 0.06, 0.0, 1.0) == pytest.approx([0.1, 0.5, 0.9])
    assert apart([], 0.06, 0.0, 1.0) == []


def test_too_many_share_the_room():
    assert apart([0.5] * 5, 0.5, 0.0, 1.0) == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def boxes(centers, sizes):
    half = np.asarray(sizes) / 2
    return np.concatenate([np.asarray(centers) - half, np.asarray(centers) + half], axis=1)


def covers(a, b):
    return a[0] < b[2] - 1e-6 and b[0] < a[2] - 1e-6 and a[1] < b[3] - 1e-6 and b[1] < a[3] - 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_names_cover_neither_points_nor_each_other(seed):
    rng = generator(seed, "test")
    points = rng.uniform((60, 60), (840, 340), (16, 2))
    points[:7] = points[0] + rng.normal(0, 8, (7, 2))  # as baselines do that cost the same
    sizes = np.column_stack([rng.uniform(20, 90, 16), np.full(16, 14.0)])
    placed = boxes(beside(points, sizes, (0, 0, 900, 400)), sizes)
    assert not any(covers(a, b) for a, b in combinations(placed, 2))
    dots = boxes(points, np.full((16, 2), 6.0))
    assert not any(covers(a, b) for a in placed for b in dots)
    assert placed.min() >= 0
    assert placed[:, 2].max() <= 900
    assert placed[:, 3].max() <= 400


def test_a_lonely_point_has_its_name_at_its_right():
    ((x, y),) = beside(np.array([[100.0, 50.0]]), np.array([[40.0, 10.0]]), (0, 0, 400, 100))
    assert (round(x - 100), y) == (27, 50)
    ((x, _),) = beside(np.array([[390.0, 50.0]]), np.array([[40.0, 10.0]]), (0, 0, 400, 100))
    assert x < 390
