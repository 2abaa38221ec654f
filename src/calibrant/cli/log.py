"""`calibrant log`: the versions of a state, newest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.text import Text

from calibrant.cli.console import emit, fraction, out, visible
from calibrant.cli.options import Json, StatePath
from calibrant.core.reports import Version


def log(
    state: StatePath,
    number: Annotated[int | None, typer.Option("-n", min=1, help="Show only the newest N versions.")] = None,
    json: Json = False,
) -> None:
    """Show what the device learned and when, newest first, as `git log` does.

    Example: calibrant log har.db -n 5
    """
    from calibrant.memory.store import Store

    with Store.open(state) as store:
        versions = store.versions()
    newest = list(reversed(versions))[:number]
    if json:
        emit(newest)
        return
    for version in newest:
        _show(version, current=version is newest[0])


def _show(version: Version, current: bool) -> None:
    mark = (" (current)", "bold") if current else ""
    out.print(
        Text.assemble(
            (f"version {version.number}", "yellow"), mark, (f"  {visible(version.weights_sha256[:12])}", "dim")
        )
    )
    out.print(f"    {version.created}  {version.updater}: {version.decision}, {version.flips} flips")
    told = version.metrics
    to, reason = told.get("to"), told.get("reason")
    if to is not None:
        out.print(f"    {reason or f'back to version {to}'}")
    if (context := told.get("context")) is not None:
        name = told.get("context_name")
        out.print(f"    context {context}{f', {name}' if name else ''}")
    if isinstance(alerts := told.get("alerts"), list) and alerts:
        out.print(f"    alerts: {', '.join(map(str, alerts))}")
    before, after = _number(told, "accuracy_before"), _number(told, "accuracy_after")
    if before is not None:
        out.print(f"    accuracy {fraction(before)} -> {fraction(after)}")
    kept, source = _number(told, "coreset"), _number(told, "coreset_source")
    if kept is not None and source is not None:
        out.print(f"    coreset {kept}: {source} of the artifact, {kept - source} of the stream")


def _number(told: Mapping[str, Any], name: str) -> float | None:
    """A fact that is for people alone, and that nobody has checked."""
    value = told.get(name)
    return value if type(value) in (int, float) else None
