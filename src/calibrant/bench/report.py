"""A protocol's result for programs (rows.json), for readers (table.md) and for the eye (accuracy PNGs)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from calibrant.bench.workspace import write_text

Row = Mapping[str, Any]

COLORS = {"none": "#9a9a9a", "flip": "#0a7d5a", "flip-taps": "#1b4f9c", "bp": "#c2571a"}
OTHER, INK = "#7a5195", "#333333"


def write(out: Path, result: Mapping[str, Any]) -> None:
    """Replace rows.json, table.md and one accuracy-BITS.png per bit-width in a folder, one after the other."""
    write_text(out / "rows.json", json.dumps(result, indent=1) + "\n")
    write_text(out / "table.md", table(result))
    if result["protocol"]["complete"]:
        draw(out, result["rows"])


def table(result: Mapping[str, Any]) -> str:
    """A Markdown table: one line per pair, bit-width and updater; mean and, over several seeds, deviation.

    A closing part averages over pairs when there are several.
    """
    rows: Sequence[Row] = result["rows"]
    about = result["protocol"]
    lines = [
        f"# {about['name']}: {about['dataset']}, {about['network']}",
        "",
        f"Split `{about['split']}`, {about['windows']} windows, coreset {about['coreset']} ({about['coreset_rule']}), "
        f"seeds {', '.join(map(str, about['seeds']))}. Accuracy on test splits: "
        "`target` averages over the windows, `source` is after the last. Seconds depend on the machine.",
        "",
    ]
    if not about["complete"]:
        lines += ["**Unfinished: rows are missing.**", ""]
    lines += _part(rows, ("source", "target", "bits"))
    if len({(row["source"], row["target"]) for row in rows}) > 1:
        lines += ["", "## All pairs", "", *_part(rows, ("bits",))]
    return "\n".join(lines) + "\n"


def _part(rows: Sequence[Row], keys: tuple[str, ...]) -> list[str]:
    head = [
        *keys,
        "updater",
        "steps",
        "target before",
        "target",
        "last window",
        "source before",
        "source",
        "s/window",
        "KB added",
    ]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((*(row[key] for key in keys), row["updater"]), []).append(row)
    for group, members in groups.items():
        cells = [
            *map(str, group),
            str(members[0]["steps"]),
            _spread([row["accuracy_target_before"] for row in members]),
            f"**{_spread([row['accuracy_target_mean'] for row in members])}**",
            _spread([row["accuracy_target"][-1] for row in members]),
            _spread([row["accuracy_source_before"] for row in members]),
            _spread([row["accuracy_source_final"] for row in members]),
            f"{np.mean([row['seconds_per_window'] for row in members]):.3f}",
            f"{np.mean([row['bytes_added'] for row in members]) / 1000:.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _spread(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.3f}"


def draw(out: Path, rows: Sequence[Row]) -> None:
    """One picture per bit-width: target accuracy over windows, a line per updater, its range over runs shaded."""
    for bits in sorted({row["bits"] for row in rows}):
        _picture(out / f"accuracy-{bits}bit.png", [row for row in rows if row["bits"] == bits])


def _picture(path: Path, rows: Sequence[Row]) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(7.5, 4.4), dpi=150)
    axes = figure.add_axes((0.09, 0.13, 0.68, 0.7))
    ends = []
    for updater in dict.fromkeys(row["updater"] for row in rows):
        runs = np.array(
            [[row["accuracy_target_before"], *row["accuracy_target"]] for row in rows if row["updater"] == updater]
        )
        at, mean, color = np.arange(runs.shape[1]), runs.mean(axis=0), COLORS.get(updater, OTHER)
        axes.fill_between(at, runs.min(axis=0), runs.max(axis=0), color=color, alpha=0.12, linewidth=0)
        axes.plot(at, mean, color=color, linewidth=2.2, marker="o", markersize=3.5)
        ends.append((float(mean[-1]), f"{updater}  {runs[:, 1:].mean():.1%}", color))
    for height, (_, label, color) in zip(_apart([end[0] for end in sorted(ends)]), sorted(ends), strict=True):
        axes.text(at[-1] + 0.3, height, label, color=color, va="center", clip_on=False)
    axes.set_xlim(0, at[-1])
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("windows seen", color=INK)
    axes.grid(axis="y", color="#e8e8e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    first = rows[0]
    pairs = len({(row["source"], row["target"]) for row in rows})
    runs_each = len(rows) // len({row["updater"] for row in rows})
    figure.text(
        0.09, 0.92, f"{first['bits']}-bit {first['network']}, {first['dataset']}", fontsize=13, weight="bold", color=INK
    )
    scope = f"{pairs} subject pairs" if pairs > 1 else f"subject {first['source']} to subject {first['target']}"
    figure.text(
        0.09,
        0.865,
        f"Target's test split; {scope}; {runs_each} run(s), range shaded; means over windows at the right",
        fontsize=8,
        color="#666666",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _apart(heights: Sequence[float], gap: float = 0.05) -> list[float]:
    """Ascending label heights, pushed down from the top until none overlaps another."""
    placed = list(heights)
    for i in range(len(placed) - 2, -1, -1):
        placed[i] = min(placed[i], placed[i + 1] - gap)
    return placed
