"""Where labels go in a picture so that none covers another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]  # left, bottom, right, top


def apart(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending label heights, moved as little as it takes to keep a gap between neighbors, within low and high.

    Labels that have no room with the gap get an equal part of the room each.

    Examples
    --------
    >>> apart([0.5, 0.5, 1.0], 0.25, 0.0, 1.0)
    [0.375, 0.625, 1.0]
    >>> apart([1.0, 1.0, 1.0], 0.25, 0.0, 1.0)
    [0.5, 0.75, 1.0]
    """
    if not heights:
        return []
    gap = min(gap, (high - low) / max(1, len(heights) - 1))
    # Neighbors that are too near form a block about the mean of where its labels want to be.
    blocks: list[list[float]] = []
    for height in heights:
        blocks.append([height])
        while len(blocks) > 1 and _bottom(blocks[-1], gap, low, high) < _top(blocks[-2], gap, low, high) + gap - 1e-12:
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return [_bottom(block, gap, low, high) + i * gap for block in blocks for i in range(len(block))]


def _bottom(block: Sequence[float], gap: float, low: float, high: float) -> float:
    extent = gap * (len(block) - 1)
    return float(np.clip(np.mean(block) - extent / 2, low, high - extent))


def _top(block: Sequence[float], gap: float, low: float, high: float) -> float:
    return _bottom(block, gap, low, high) + gap * (len(block) - 1)


def beside(
    points: NDArray[np.float64], sizes: NDArray[np.float64], frame: Box, taken: Sequence[Box] = ()
) -> list[tuple[float, float]]:
    """Centers of labels, each near its point, covering neither a point nor a label that was placed before.

    Rings of candidates around each point are tried from the inside out; the most crowded points choose first.

    Parameters
    ----------
    points : float64[N, 2]
        In pixels.
    sizes : float64[N, 2]
        Width and height of the labels, in pixels.
    frame : (left, bottom, right, top)
        All labels stay within.
    taken : sequence of boxes
        What labels must not cover besides.

    Returns
    -------
    list of (x, y)
    """
    boxes, radius = list(taken), 5.0
    boxes += [(x - radius, y - radius, x + radius, y + radius) for x, y in points]
    distance = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    crowd = (distance < 2 * float(sizes.max(initial=0))).sum(axis=1)
    centers: list[tuple[float, float]] = [(0.0, 0.0)] * len(points)
    for i in np.argsort(-crowd, kind="stable"):
        best = min(
            _candidates(points[i], sizes[i], radius), key=lambda c: (_covered(_box(c, sizes[i]), boxes, frame), c[2])
        )
        centers[i] = best[:2]
        boxes.append(_box(best, sizes[i]))
    return centers


def _candidates(
    point: NDArray[np.float64], size: NDArray[np.float64], radius: float
) -> list[tuple[float, float, float]]:
    """Centers around a point with their distance: right first, then around the clock, ring after ring."""
    found = []
    for ring in range(8):
        gap = radius + 2 + 9 * ring
        for step in range(16):
            # Fine steps for the outer rings only: near the point eight directions are enough.
            angle = 2 * np.pi * step / 16
            if ring < 2 and step % 2:
                continue
            across, up = np.cos(angle), np.sin(angle)
            x = point[0] + across * (gap + size[0] / 2)
            y = point[1] + up * (gap + size[1] / 2)
            found.append((float(x), float(y), ring + 0.01 * min(step, 16 - step)))
    return found


def _box(center: Sequence[float], size: NDArray[np.float64]) -> Box:
    x, y, (width, height) = center[0], center[1], size
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _covered(box: Box, boxes: Sequence[Box], frame: Box) -> float:
    """Area in which a box lies over others or out of the frame."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    others = sum(_overlap(box, other) for other in boxes)
    return others + area - _overlap(box, frame)


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
