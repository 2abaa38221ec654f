"""A protocol's result for programs (rows.json), for readers (table.md) and for the eye (pictures)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from calibrant.bench.harness.workspace import write_text
from calibrant.bench.reports import plots

Row = Mapping[str, Any]

OURS = "flip"
# Settings beside bits that one run may vary, and how a table calls them.
SETTINGS = {
    "coreset": "coreset",
    "coreset_rule": "rule",
    "coreset_bits": "coreset bits",
    "labels": "labels",
    "label_choice": "chosen by",
    "delay": "delay",
    "capacity": "capacity",
    "gate": "gate",
}


def write(out: Path, result: Mapping[str, Any]) -> None:
    """Replace rows.json, table.md and, once all rows are there, the pictures in a folder, one after the other."""
    write_text(out / "rows.json", json.dumps(result, indent=1) + "\n")
    write_text(out / "table.md", table(result))
    if result["protocol"]["complete"]:
        plots.draw(out, result["rows"], varied(result["rows"]))


def table(result: Mapping[str, Any]) -> str:
    """A Markdown page: averages over pairs where there are several, paired differences, then a line per pair."""
    rows: Sequence[Row] = result["rows"]
    about = result["protocol"]
    parts = [f"# {about['name']}: {about['dataset']}, {about['network']}", caption(result)]
    if len(_pairs(rows)) > 1:
        parts += ["## All pairs", summary(rows)]
    if differences(rows):
        parts += [f"## {OURS} against the others", differences(rows)]
    parts += ["## Each pair", each_pair(rows)]
    return "\n\n".join(parts) + "\n"


def caption(result: Mapping[str, Any]) -> str:
    """What the numbers of a table are, and whether all are there."""
    about, rows = result["protocol"], result["rows"]
    windows = ", ".join(map(str, sorted({len(row["accuracy_target"]) for row in rows})))
    text = (
        f"Split `{about['split']}`, {windows} windows, coreset {', '.join(map(str, about['coreset']))} "
        f"({', '.join(about['coreset_rule'])}), seeds {', '.join(map(str, about['seeds']))}. Accuracy on test splits: "
        "`target` averages over the windows, `source` is after the last one, `change` from before the first. "
        "± are standard deviations. Seconds depend on the machine."
    )
    if not about["complete"]:
        text += f"\n\n**Unfinished: {about['rows'] - len(rows)} of {about['rows']} rows are missing.**"
    return text


def summary(rows: Sequence[Row]) -> str:
    """A line per bit-width, setting and updater: mean over all pairs and seeds, spread over pairs and over seeds."""
    settings = varied(rows)
    head = [
        *("bits", *(SETTINGS[name] for name in settings), "updater", "rows", "labels used"),
        *("target (± pairs ± seeds)", "worst pair", "last window", "source (± pairs ± seeds)", "change"),
        *("s/window", "KB added", *_untouched(rows)),
    ]
    lines = []
    for (*key, updater), members in _groups(rows, ("bits", *settings, "updater")).items():
        worst = min(np.mean([row["accuracy_target_mean"] for row in pair]) for pair in _by_pair(members))
        lines.append(
            [
                *(*key, updater, len(members), f"{_mean(members, 'labels_used'):.0f}"),
                *(f"**{_spreads(members, 'accuracy_target_mean')}**", f"{worst:.3f}"),
                f"{np.mean([row['accuracy_target'][-1] for row in members]):.3f}",
                *(_spreads(members, "accuracy_source_final"), f"{_mean(members, 'backward_transfer'):+.3f}"),
                *(f"{_mean(members, 'seconds_per_window'):.3f}", f"{_mean(members, 'bytes_added') / 1000:.0f}"),
                *_untouched(rows, members),
            ]
        )
    return markdown(head, lines)


def each_pair(rows: Sequence[Row]) -> str:
    """A line per pair, bit-width, setting and updater: mean and, over several seeds, deviation."""
    settings = varied(rows)
    head = [
        *("source", "target", "bits", *(SETTINGS[name] for name in settings), "updater", "steps", "labels used"),
        *("target before", "target", "last window", "source before", "source", "s/window", "KB added"),
        *_untouched(rows),
    ]
    lines = []
    for (*key, updater), members in _groups(rows, ("source", "target", "bits", *settings, "updater")).items():
        lines.append(
            [
                *(*key, updater, members[0]["steps"], f"{_mean(members, 'labels_used'):.0f}"),
                _spread([row["accuracy_target_before"] for row in members]),
                f"**{_spread([row['accuracy_target_mean'] for row in members])}**",
                _spread([row["accuracy_target"][-1] for row in members]),
                _spread([row["accuracy_source_before"] for row in members]),
                _spread([row["accuracy_source_final"] for row in members]),
                *(f"{_mean(members, 'seconds_per_window'):.3f}", f"{_mean(members, 'bytes_added') / 1000:.0f}"),
                *_untouched(rows, members),
            ]
        )
    return markdown(head, lines)


def differences(rows: Sequence[Row]) -> str:
    """Our updater minus each other one, row by row on the same pair, seed and settings; empty without either."""
    settings = varied(rows)
    groups = _groups(rows, ("updater", "bits", *settings))
    lines = []
    for (updater, bits, *setting), ours in groups.items():
        for other in dict.fromkeys(row["updater"] for row in rows) if updater == OURS else ():
            theirs = _alike([row for row in rows if row["updater"] == other and row["bits"] == bits], settings, setting)
            pairs = _matched(ours, theirs) if other != OURS else []
            if pairs:
                target = [a["accuracy_target_mean"] - b["accuracy_target_mean"] for a, b in pairs]
                source = [a["accuracy_source_final"] - b["accuracy_source_final"] for a, b in pairs]
                ahead = sum(gain > 0 for gain in target)
                lines.append(
                    [bits, *setting, other, _gain(target), _gain(source), f"{ahead} of {len(pairs)}"],
                )
    head = ["bits", *(SETTINGS[name] for name in settings), "other", "target", "source", "rows ahead on target"]
    return markdown(head, lines) if lines else ""


def varied(rows: Sequence[Row]) -> list[str]:
    """The settings that differ between rows of one updater."""
    return [
        name
        for name in SETTINGS
        if any(len({row.get(name) for row in own}) > 1 for own in _groups(rows, ("updater",)).values())
    ]


def markdown(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    body = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in body)


def _groups(rows: Sequence[Row], keys: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def _pairs(rows: Sequence[Row]) -> set[tuple[int, int]]:
    return {(row["source"], row["target"]) for row in rows}


def _by_pair(rows: Sequence[Row]) -> list[list[Row]]:
    return list(_groups(rows, ("source", "target")).values())


def _alike(rows: Sequence[Row], names: Sequence[str], values: Sequence[Any]) -> list[Row]:
    """The rows of one updater under given settings; one that does not depend on a setting is there with one value."""
    for name, value in zip(names, values, strict=True):
        if len({row[name] for row in rows}) > 1:
            rows = [row for row in rows if row[name] == value]
    return list(rows)


def _matched(ours: Sequence[Row], theirs: Sequence[Row]) -> list[tuple[Row, Row]]:
    by_place = {(row["source"], row["target"], row["seed"]): row for row in theirs}
    places = ((row, by_place.get((row["source"], row["target"], row["seed"]))) for row in ours)
    return [(row, other) for row, other in places if other is not None]


def _untouched(rows: Sequence[Row], members: Sequence[Row] = ()) -> list[str]:
    """Where a gate was on, the share of windows that were left alone; the name of the column without members."""
    if all(row["gate"] == "off" for row in rows):
        return []
    if not members:
        return ["untouched"]
    return [f"{np.mean([row['windows_untouched'] / len(row['accuracy_target']) for row in members]):.0%}"]


def _mean(rows: Sequence[Row], key: str) -> float:
    return float(np.mean([row[key] for row in rows]))


def _spread(values: Sequence[float], form: str = ".3f") -> str:
    mean = f"{np.mean(values):{form}}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.3f}"


def _gain(values: Sequence[float]) -> str:
    return _spread(values, "+.3f")


def _spreads(rows: Sequence[Row], key: str) -> str:
    """Mean, deviation of the pairs' means, and root mean square of the deviations over seeds within a pair."""
    pairs = [[row[key] for row in pair] for pair in _by_pair(rows)]
    text = _spread([float(np.mean(values)) for values in pairs])
    repeated = [np.var(values, ddof=1) for values in pairs if len(values) > 1]
    return f"{text} ± {np.sqrt(np.mean(repeated)):.3f}" if repeated else text
