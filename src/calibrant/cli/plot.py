"""The demo's picture: what the drifting camera sees, and what that does to accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

CALIBRANT, FIXED, INK = "#0a7d5a", "#9a9a9a", "#333333"
LEFT, WIDTH = 0.08, 0.73  # of the plot, as shares of the figure
LABEL = 0.13  # of the axis
THUMBNAILS = 10
SHOWN_DIGIT = 3


class Row(Protocol):
    """What is drawn of a window."""

    @property
    def window(self) -> int: ...
    @property
    def accuracy_no_adaptation(self) -> float: ...
    @property
    def accuracy_calibrant(self) -> float: ...


def draw(
    path: Path,
    rows: Sequence[Row],
    windows: Sequence[tuple[NDArray[Any], NDArray[np.int64]]],
    accuracy_before: float,
) -> None:
    """Write the plot as PNG: two lines over windows, pictures of the stream along the top."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    number = [row.window for row in rows]
    fixed = [row.accuracy_no_adaptation for row in rows]
    calibrant = [row.accuracy_calibrant for row in rows]

    figure = Figure(figsize=(9, 5.4), dpi=150)
    plot = figure.add_axes((LEFT, 0.12, WIDTH, 0.58))
    plot.axhline(accuracy_before, color=INK, linewidth=0.8, linestyle=(0, (1, 3)))
    plot.fill_between(number, fixed, calibrant, color=CALIBRANT, alpha=0.08, linewidth=0)
    plot.plot(number, fixed, color=FIXED, linewidth=2.2, marker="o", markersize=4)
    plot.plot(number, calibrant, color=CALIBRANT, linewidth=2.6, marker="o", markersize=4.5)
    plot.set_xlim(number[0] - 0.5, number[-1] + 0.5)
    plot.set_ylim(0, 1.02)
    plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    plot.yaxis.set_major_formatter(PercentFormatter(1.0))
    plot.set_xlabel(f"window of {len(windows[0][1])} pictures, drifting further from left to right", color=INK)
    plot.tick_params(colors=INK, length=0)
    plot.grid(axis="y", color="#e8e8e8", linewidth=0.8)
    plot.set_axisbelow(True)
    for side in ("top", "right", "left"):
        plot.spines[side].set_visible(False)
    plot.spines["bottom"].set_color("#bbbbbb")

    labels = [
        (accuracy_before, f"before any drift\n{accuracy_before:.0%}", INK),
        (calibrant[-1], f"with Calibrant\n{np.mean(calibrant):.0%} on average", CALIBRANT),
        (fixed[-1], f"without adaptation\n{np.mean(fixed):.0%} on average", "#777777"),
    ]
    labels.sort(key=lambda label: -label[0])
    heights = [height for height, _, _ in labels]
    for i in (1, 2):  # two lines of text are LABEL high: push down what would overlap
        heights[i] = min(heights[i], heights[i - 1] - LABEL)
    lift = max(0.0, LABEL / 2 - heights[-1])
    for height, (_, text, color) in zip(heights, labels, strict=True):
        plot.text(number[-1] + 0.7, height + lift, text, color=color, va="center", clip_on=False)

    for at in range(0, len(rows), -(-len(rows) // THUMBNAILS)):
        x, y = windows[at]
        picture = x[int(np.argmax(y == SHOWN_DIGIT))].squeeze()
        center = LEFT + WIDTH * (number[at] - plot.get_xlim()[0]) / (plot.get_xlim()[1] - plot.get_xlim()[0])
        thumbnail = figure.add_axes((center - 0.032, 0.735, 0.064, 0.107))
        thumbnail.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        thumbnail.set_axis_off()

    figure.text(LEFT, 0.945, "What a drifting camera does to a 4-bit network", fontsize=15, weight="bold", color=INK)
    figure.text(
        LEFT, 0.895, "Accuracy on each window, measured before the network learns from it", fontsize=10, color="#666666"
    )
    figure.savefig(path)
