"""The results page: a template of prose with places for tables, filled from what runs have left."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from calibrant.bench.reports import tables
from calibrant.bench.sparse import table
from calibrant.core.errors import DataError

NOTICE = "<!-- Written by `calibrant bench report` from {template}: edit that one. -->\n\n"
PLACE = re.compile(r"\{\{(\w+):([^{}]+)\}\}")
LINE = 110  # characters of a command before it is continued on the next line


def page(template: str, runs: Path, partial: bool = False) -> str:
    """Fill a template; under each table stands the command that regenerates it.

    Parameters
    ----------
    template : str
        Markdown with places ``{{table:NAME}}`` (averages over pairs, or the pair if there is one), ``{{pairs:NAME}}``
        (every pair) and ``{{against:NAME}}`` (our updater minus the others; of ``sparse`` quantization-aware scaling
        minus the other methods); NAME is the folder of a run.
    runs : Path
        Where the folders are.
    partial : bool
        Whether a run that is not there yet is said so in its place, instead of refusing.

    Raises
    ------
    DataError
        If a place is of another kind, or a run is missing (names all that are) or damaged.
    """
    names = dict.fromkeys(name for _, name in PLACE.findall(template))
    missing = [name for name in names if not (runs / name / "rows.json").is_file()]
    if missing and not partial:
        raise DataError(f"runs in {runs}: expected {', '.join(missing)} too, got no rows.json there")
    results = {name: _load(runs / name / "rows.json") for name in names if name not in missing}

    def fill(place: re.Match[str]) -> str:
        kind, name = place.groups()
        if kind not in KINDS:
            raise DataError(f"results template: expected {' or '.join(KINDS)} before the colon, got {place[0]}")
        return f"*Not run yet: {name}.*" if name in missing else _section(kind, name, results[name])

    return PLACE.sub(fill, template)


def _section(kind: str, name: str, result: Mapping[str, Any]) -> str:
    if result["protocol"]["name"] == "sparse":
        shown = table.rows(result) if kind == "table" else table.differences(result["rows"])
        caption = table.caption(result)
    else:
        shown, caption = KINDS[kind](result["rows"]), tables.caption(result)
    command = f"{result['protocol']['command']} --data DATA --out OUT/{name}"
    return f"{caption}\n\n{shown}\n\n```\n{_wrapped(command)}\n```"


def _table(rows: list[Any]) -> str:
    several = len({(row["source"], row["target"]) for row in rows}) > 1
    return tables.summary(rows) if several else tables.each_pair(rows)


KINDS: dict[str, Callable[[list[Any]], str]] = {
    "table": _table,
    "pairs": tables.each_pair,
    "against": tables.differences,
}


def _load(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not found["rows"] or "command" not in found["protocol"]:
            raise KeyError("rows")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected the rows of a benchmark, got something else ({error})") from error
    return dict(found)


def _wrapped(command: str) -> str:
    """Long commands go on in further lines, broken before an option."""
    lines = [""]
    for part in re.split(r" (?=--)", command):
        if lines[-1] and len(lines[-1]) + len(part) > LINE:
            lines.append("    " + part)
        else:
            lines[-1] = f"{lines[-1]} {part}".strip() if len(lines) == 1 else f"{lines[-1]} {part}"
    return " \\\n".join(lines)
