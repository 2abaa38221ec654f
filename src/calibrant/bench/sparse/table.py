"""The protocol's result for programs (rows.json), for readers (table.md) and for the eye (pictures)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from calibrant.bench.harness.workspace import write_text
from calibrant.bench.reports.tables import markdown
from calibrant.bench.sparse import plots
from calibrant.bench.sparse.schemes import METHODS

Row = Mapping[str, Any]

HEAD = (
    *("scheme", "method", "accuracy", "diverged", "extra KB", "arena KB", "trained KB", "accumulators KB", "flash KB"),
    *("parameters", "forward MMAC", "backward MMAC", "seconds", "rate"),
)
KB = 1024  # as the paper counts


def write(out: Path, result: Mapping[str, Any]) -> None:
    """Replace rows.json, table.md and, once all rows are there, the pictures in a folder, one after the other."""
    write_text(out / "rows.json", json.dumps(result, indent=1) + "\n")
    write_text(out / "table.md", page(result))
    if result["protocol"]["complete"]:
        plots.draw(out, groups(result["rows"]), title(result["protocol"]))


def page(result: Mapping[str, Any]) -> str:
    """A Markdown page: what the numbers are, the rows, and how methods compare on the same scheme."""
    parts = [f"# sparse: {title(result['protocol'])}", caption(result), rows(result)]
    if compared := differences(result["rows"]):
        parts += ["## Methods on the same scheme", compared]
    return "\n\n".join(parts) + "\n"


def title(about: Mapping[str, Any]) -> str:
    """For people."""
    return f"{about['model']}, {about['task']}"


def caption(result: Mapping[str, Any]) -> str:
    """What the numbers of a table are, and whether all are there."""
    about, held = result["protocol"], result["rows"]
    lengths = sorted({(row["epochs"], row["warmup"], row["batch"]) for row in held})
    recipe = "; ".join(f"{epochs} epochs after {warmup} of warm-up, batch {batch}" for epochs, warmup, batch in lengths)
    views = "with random crops, mirroring and color" if about["augmented"] else "without augmentation"
    methods = "; ".join(f"`{name}`: {METHODS[name].what}" for name in dict.fromkeys(row["method"] for row in held))
    text = (
        f"{about['train']} samples train, {about['test']} others judge, seeds {', '.join(map(str, about['seeds']))} "
        f"(of the training samples and their order); {recipe}; cosine decay, {views}, classifier of float32 from zero. "
        f"{methods}. Learning rates were tuned per kind of row on training samples that no table judges on "
        "(`benchmarks/tune_sparse.py`). ± is the standard deviation over seeds. `extra` is the published analytic "
        "measure, `arena` the planner's for a step on a microcontroller, with weights that learn (`trained`) and "
        "accumulators beside it; 1 KB is 1,024 bytes. MMAC: million multiply-accumulates a sample. Seconds depend on "
        "the machine"
    )
    text += "." if about["augmented"] else ", and leave out the frozen layers, which run once."
    if about["budget"]:
        text += f" Rows whose arena and trained weights exceed the budget of {about['budget']:,} bytes are marked *."
    if not about["complete"]:
        text += f"\n\n**Unfinished: {about['rows'] - len(held)} of {about['rows']} rows are missing.**"
    return text


def rows(result: Mapping[str, Any]) -> str:
    """A line per scheme and method: means over seeds."""
    budget = result["protocol"]["budget"]
    lines = []
    for (scheme, method), members in groups(result["rows"]).items():
        first = members[0]
        over = budget and first["arena_bytes"] and first["arena_bytes"] + first["trained_bytes"] > budget
        lines.append(
            [
                *(f"{scheme}{'*' if over else ''}", method, f"**{spread([row['accuracy'] for row in members])}**"),
                "; ".join(dict.fromkeys(row["diverged"] for row in members if row["diverged"])),
                *(_kilobytes(first[key]) for key in ("extra_bytes", "arena_bytes", "trained_bytes")),
                *(_kilobytes(first[key]) for key in ("accumulator_bytes", "flash_bytes")),
                *(f"{first['parameters']:,}", f"{first['macs_forward'] / 1e6:.1f}"),
                f"{first['macs_backward'] / 1e6:.1f}",
                *(f"{np.mean([row['seconds'] for row in members]):.0f}", f"{first['rate']:g}"),
            ]
        )
    return markdown(HEAD, lines)


def differences(held: Sequence[Row]) -> str:
    """Quantization-aware scaling minus each other method, seed by seed on the same scheme; empty without any."""
    by_place = {(row["scheme"], row["method"], row["seed"]): row["accuracy"] for row in held}
    lines = []
    for scheme, method in dict.fromkeys((row["scheme"], row["method"]) for row in held):
        seeds = [seed for name, how, seed in by_place if (name, how) == (scheme, method)]
        paired = [seed for seed in seeds if (scheme, "qas", seed) in by_place]
        if method != "qas" and paired:
            gains = [by_place[scheme, "qas", seed] - by_place[scheme, method, seed] for seed in paired]
            lines.append([scheme, method, spread([100 * gain for gain in gains], "+.1f")])
    return markdown(("scheme", "other method", "qas ahead by (points)"), lines) if lines else ""


def groups(held: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """The rows by scheme and method."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in held:
        found.setdefault((row["scheme"], row["method"]), []).append(row)
    return found


def spread(values: Sequence[float], form: str = ".3f") -> str:
    """Mean and, over several values, standard deviation."""
    mean = f"{np.mean(values):{form}}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):{form.lstrip('+')}}"


def _kilobytes(count: int | None) -> str:
    return "" if count is None else f"{count / KB:.1f}"
