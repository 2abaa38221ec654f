"""Pictures of the rows: accuracy against the published measure of extra memory, and against the planned arena."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from calibrant.bench.reports.plots import INK, Series, bare, canvas, name_points

Row = Mapping[str, Any]
COLORS = {"qas": "#0a7d5a", "qas-direct": "#1b4f9c", "plain": "#c2571a", "float": "#5f6b7a"}
MARKERS = {"qas": "o", "qas-direct": "s", "plain": "D", "float": "^"}
PICTURES = (
    ("extra", "extra_bytes", "extra memory by the published measure"),
    ("arena", "arena_bytes", "planned arena of a training step"),
)
KB = 1024


def draw(out: Path, groups: Mapping[tuple[str, str], Sequence[Row]], title: str) -> None:
    """Write extra.png and arena.png; what has no bytes, as float32 has none here, is a line at its accuracy.

    Parameters
    ----------
    out : Path
        A folder, made where it is missing.
    groups : mapping
        Rows by scheme and method.
    title : str
    """
    out.mkdir(parents=True, exist_ok=True)
    seeds = max(len(members) for members in groups.values())
    about = title, f"{seeds} seed{'s' * (seeds > 1)}"
    for name, key, what in PICTURES:
        _draw(out / f"{name}.png", groups, about, key, what)


def _draw(
    path: Path, groups: Mapping[tuple[str, str], Sequence[Row]], title: tuple[str, str], key: str, what: str
) -> None:
    from matplotlib.ticker import MaxNLocator

    series = [
        Series(f"{scheme} {method}" if method != "qas" else scheme, COLORS[method], MARKERS[method], tuple(members))
        for (scheme, method), members in groups.items()
    ]
    placed = [one for one in series if one.rows[0][key]]
    with canvas(path, (8.4, 5.6), title, f"test accuracy, mean over seeds ± one deviation, against {what}") as figure:
        axes = figure.add_axes((0.085, 0.11, 0.89, 0.74))
        x = np.array([one.rows[0][key] / KB for one in placed])
        y = np.array([one.values("accuracy").mean() for one in placed])
        deviation = np.array([one.values("accuracy").std() for one in placed])
        for at, height, spread, one in zip(x, y, deviation, placed, strict=True):
            axes.errorbar(at, height, spread, color=one.color, marker=one.marker, markersize=6, linewidth=1)
        for one in series:
            if one not in placed:
                height = one.values("accuracy").mean()
                axes.axhline(height, color=one.color, linewidth=0.8, linestyle=":")
                axes.text(1.0, height, one.label, color=one.color, fontsize=8, va="bottom", ha="right",
                          transform=axes.get_yaxis_transform())  # fmt: skip
        if placed and x.max() > 8 * x.min():
            axes.set_xscale("log")
        axes.margins(0.09)
        axes.set_xlabel(f"{what} (KB)", color=INK, fontsize=9)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
        axes.yaxis.set_major_locator(MaxNLocator(8, steps=(1, 2, 5, 10)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")
        bare(axes)
        if placed:
            name_points(figure, axes, x, y, deviation, placed)
