"""The protocol's result for programs (rows.json) and for readers (table.md)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from calibrant.bench.adaptation import LABEL_FREE
from calibrant.bench.harness.workspace import write_text
from calibrant.bench.reports.tables import markdown

Row = Mapping[str, Any]
HEAD = ("method", "gate", "stream", "± seeds", "worst case", "against none, worst", "source, before", "source, after",
        "in runs", "untouched", "alerts", "cases")  # fmt: skip


def write(out: Path, result: Mapping[str, Any]) -> None:
    """Replace rows.json and table.md in a folder."""
    write_text(out / "rows.json", json.dumps(result, indent=1) + "\n")
    write_text(out / "table.md", page(result))


def page(result: Mapping[str, Any]) -> str:
    """A Markdown page: a table for each family, label regime and order; cases that settings were chosen on apart."""
    about = result["protocol"]
    parts = [f"# stream: {', '.join(about['families'])}", caption(about)]
    if not about["complete"]:
        parts.append("Not all rows are there yet.")
    # a line of those that labels make no difference to stands in every table
    shown = {row["labels"] for row in result["rows"] if row["method"] not in LABEL_FREE} or {"0"}
    groups = defaultdict[tuple[str, str, str, bool], list[Row]](list)
    for row in result["rows"]:
        for labels in sorted(shown) if row["method"] in LABEL_FREE else (row["labels"],):
            groups[row["family"], labels, row["order"], row["chosen"]].append(row)
    for (family, labels, order, chosen), rows in groups.items():
        which = "settings were chosen on these cases" if chosen else "no setting was chosen on these cases"
        parts += [f"## {family}, labels {labels}, {order}: {which}", markdown(HEAD, list(_lines(rows)))]
    return "\n\n".join(parts) + "\n"


def caption(about: Mapping[str, Any]) -> str:
    """What the numbers are."""
    return (
        f"Seeds {', '.join(map(str, about['seeds']))}. Every window is predicted before anything is learned from it; "
        "`stream` is the share that was right, the mean over cases and seeds, ± the standard deviation over seeds. "
        "`against none` is the worst case's difference to the same network left alone. `source` is home's test, asked "
        "in batches of ten, shuffled or in runs of one class. `untouched` is the share of windows on which nothing was "
        "tried."
    )


def _lines(rows: Sequence[Row]) -> Iterable[tuple[str, ...]]:
    none = {(row["case"], row["seed"]): row["accuracy"] for row in rows if row["method"] == "none"}
    methods = dict.fromkeys((row["method"], row["gate"]) for row in rows)
    for method, gate in methods:
        own = [row for row in rows if (row["method"], row["gate"]) == (method, gate)]
        seeds = defaultdict[int, list[float]](list)
        for row in own:
            seeds[row["seed"]].append(row["accuracy"])
        means = [float(np.mean(values)) for values in seeds.values()]
        gains = [row["accuracy"] - none[key] for row in own if (key := (row["case"], row["seed"])) in none]
        alerts = sum(sum(row["alerts"].values()) for row in own)
        windows = sum(row["windows"] for row in own)
        yield (
            method,
            gate or "",
            _number(np.mean([row["accuracy"] for row in own])),
            _number(np.std(means)) if len(means) > 1 else "",
            _number(min(row["accuracy"] for row in own)),
            f"{min(gains):+.3f}" if gains else "",
            _number(np.mean([row["source_before"] for row in own])),
            _number(np.mean([row["source_shuffled"] for row in own])),
            _number(np.mean([row["source_runs"] for row in own])),
            _number(sum(row["untouched"] for row in own) / windows),
            str(alerts),
            str(len(own)),
        )


def _number(value: Any) -> str:
    return f"{float(value):.3f}"
