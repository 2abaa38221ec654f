"""`calibrant log`: the versions of a state, newest first."""

from __future__ import annotations

from typing import Annotated

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
    to, reason = version.metrics.get("to"), version.metrics.get("reason")
    if to is not None:
        out.print(f"    {reason or f'back to version {to}'}")
    if (context := version.metrics.get("context")) is not None:
        name = version.metrics.get("context_name")
        out.print(f"    context {context}{f', {name}' if name else ''}")
    if alerts := version.metrics.get("alerts"):
        out.print(f"    alerts: {', '.join(map(str, alerts))}")
    before, after = version.metrics.get("accuracy_before"), version.metrics.get("accuracy_after")
    if before is not None:
        out.print(f"    accuracy {fraction(before)} -> {fraction(after)}")
    kept, source = version.metrics.get("coreset"), version.metrics.get("coreset_source")
    if kept is not None and source is not None:
        out.print(f"    coreset {kept}: {source} of the artifact, {kept - source} of the stream")
