"""The protocol's result for programs (rows.json), for readers (table.md) and at a glance (accuracy.png)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from calibrant.bench.cwr import plots
from calibrant.bench.cwr.row import FEW
from calibrant.bench.harness.workspace import write_text
from calibrant.bench.reports.tables import markdown

Row = Mapping[str, Any]
HEAD = ("head", "rate", "epochs", "end", "± seeds", "mean", "forgetting", *(f"recall of {n}" for n in FEW),
        "lost steps", "bits", "remembered", "bytes", "seconds")  # fmt: skip


def write(out: Path, result: Mapping[str, Any]) -> None:
    """Replace rows.json, table.md and accuracy.png in a folder."""
    write_text(out / "rows.json", json.dumps(result, indent=1) + "\n")
    write_text(out / "table.md", page(result))
    if result["rows"]:
        plots.draw(out, grouped(result["rows"]))


def page(result: Mapping[str, Any]) -> str:
    """A Markdown page: one line a head, means over seeds; then every experience."""
    about, rows = result["protocol"], result["rows"]
    parts = [f"# cwr: {about['dataset']}", caption(about)]
    if not about["complete"]:
        parts.append("Not all rows are there yet.")
    if rows:
        sizes = rows[0]["sizes"]
        after = ("head", "rate", "epochs", *(f"{sum(sizes[: i + 1])} classes" for i in range(len(sizes))))
        parts += [markdown(HEAD, list(_lines(rows))), "## After each experience", markdown(after, list(_after(rows)))]
    return "\n\n".join(parts) + "\n"


def caption(about: Mapping[str, Any]) -> str:
    """What the numbers are."""
    return (
        f"Seeds {', '.join(map(str, about['seeds']))}, which also order the classes. The backbone has seen the first "
        "experience's classes only, and stands still. `end` is the accuracy over all classes after the last "
        "experience, `mean` over all experiences. `recall of n`: a class that is taught alone by n samples after the "
        "first experience, in brackets the points that the first classes lose. `lost steps`: share of the last "
        "experience's steps that are below half a step of the weights; of `cwr-float` what 8-bit weights would lose. "
        "`slda-coreset` knows the first classes by the artifact's coreset alone. "
        "`bytes` are the head's, without remembered samples."
    )


def grouped(rows: Sequence[Row]) -> dict[tuple[str, float | None, int | None], list[Row]]:
    """Rows by what they are of, seeds together, in order of appearance."""
    groups = defaultdict[tuple[str, float | None, int | None], list[Row]](list)
    for row in rows:
        groups[row["label"], row["rate"], row["epochs"]].append(row)
    return dict(groups)


def _lines(rows: Sequence[Row]) -> Iterable[tuple[str, ...]]:
    for (label, rate, epochs), own in grouped(rows).items():
        ends = [row["accuracy"][-1] for row in own]
        predicted = [row["predicted_lost"][-1]["8"] for row in own if row["predicted_lost"][-1]]
        lost = [row["lost"][-1] for row in own if row["lost"][-1] is not None] or predicted
        yield (
            label,
            "" if rate is None else f"{rate:g}",
            "" if epochs is None else str(epochs),
            _number(np.mean(ends)),
            _number(np.std(ends)) if len(ends) > 1 else "",
            _number(np.mean([np.mean(row["accuracy"]) for row in own])),
            _number(np.mean([row["forgetting"] for row in own])),
            *(_few(own, str(n)) for n in FEW),
            _number(np.mean(lost)) if lost else "",
            "/".join(sorted({str(row["head_bits"][-1]) for row in own if row["head_bits"][-1]})),
            f"{np.mean([row['remembered'] for row in own]):.0f}",
            f"{np.mean([row['bytes'] for row in own]):.0f}",
            f"{np.mean([row['seconds'] for row in own]):.2f}",
        )


def _after(rows: Sequence[Row]) -> Iterable[tuple[str, ...]]:
    for (label, rate, epochs), own in grouped(rows).items():
        means = np.mean([row["accuracy"] for row in own], axis=0)
        how = ("" if rate is None else f"{rate:g}", "" if epochs is None else str(epochs))
        yield (label, *how, *(_number(value) for value in means))


def _few(own: Sequence[Row], count: str) -> str:
    recall, lost = (float(np.mean([row["few"][count][key] for row in own])) for key in ("recall", "lost"))
    return f"{recall:.3f} ({100 * lost:.1f})"


def _number(value: Any) -> str:
    return f"{float(value):.3f}"
