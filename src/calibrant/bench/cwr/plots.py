"""A picture of the rows: accuracy over all classes seen, experience by experience."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from calibrant.bench.reports.label_placement import apart
from calibrant.bench.reports.plots import INK, bare, canvas

Row = Mapping[str, Any]
COLORS = {
    "cwr-float": "#5f6b7a",
    "cwr": "#0a7d5a",
    "naive": "#c2571a",
    "joint": "#8c8c8c",
    "ncm": "#2fa6a0",
    "slda": "#1b4f9c",
    "slda-coreset": "#7a3fa0",
}
STYLES = {"none": "-", "raw": ":", "latent": "--"}


def draw(out: Path, groups: Mapping[tuple[str, float | None, int | None], Sequence[Row]]) -> None:
    """Write accuracy.png, a line a head: mean over seeds, one deviation shaded; the last value named at the right."""
    out.mkdir(parents=True, exist_ok=True)
    first = next(iter(groups.values()))[0]
    seeds = max(len(rows) for rows in groups.values())
    title = (
        f"New classes, {first['dataset']}",
        f"{first['bits']}-bit {first['network']}, {seeds} seed{'s' * (seeds > 1)}",
    )
    several = len({key[1:] for key in groups if key[1] is not None}) > 1
    height = max(5.0, 0.22 * len(groups) + 1.4)
    with canvas(out / "accuracy.png", (9.4, height), title, "accuracy over all classes seen so far") as figure:
        axes = figure.add_axes((0.075, 0.55 / height, 0.52, 1 - 1.4 / height))
        seen, ends = np.cumsum(first["sizes"]), list[tuple[float, str, str]]()
        for (label, rate, epochs), rows in groups.items():
            runs = np.array([row["accuracy"] for row in rows])
            mean, deviation, color = runs.mean(axis=0), runs.std(axis=0), COLORS[rows[0]["method"]]
            axes.fill_between(seen, mean - deviation, mean + deviation, color=color, alpha=0.1, linewidth=0)
            axes.plot(seen, mean, STYLES[rows[0]["replay"]], color=color, linewidth=1.6, marker="o", markersize=3)
            how = f", rate {rate:g}, {epochs} epochs" if several and rate is not None else ""
            ends.append((float(mean[-1]), f"{label}{how}  {mean[-1]:.1%}", color))
        low, high = axes.get_ylim()
        high = min(high, 1.01)
        axes.set(xlim=(seen[0], seen[-1]), ylim=(low, high), xticks=seen)
        ends.sort()
        width, last = float(seen[-1] - seen[0]), float(seen[-1])
        places = apart([end[0] for end in ends], 0.03 * (high - low) * 5.0 / height, low, high)
        for place, (value, text, color) in zip(places, ends, strict=True):
            axes.plot([last, last + 0.03 * width], [value, place], color=color, linewidth=0.6, clip_on=False)
            axes.text(last + 0.04 * width, place, text, color=color, fontsize=7, va="center", clip_on=False)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")
        axes.set_xlabel("classes seen", color=INK, fontsize=9)
        bare(axes)
