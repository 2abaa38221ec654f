"""`calibrant rollback`: go back to an earlier version of a state."""

from __future__ import annotations

from typing import Annotated

import typer

from calibrant.cli.console import emit, out
from calibrant.cli.options import Json, StatePath


def rollback(
    state: StatePath,
    to: Annotated[int, typer.Option("--to", min=0, metavar="N", help="The version to restore, from `calibrant log`.")],
    json: Json = False,
) -> None:
    """Restore the weights of version N, bit for bit, as a new version that points back; nothing is erased.

    The coreset stays: its labels are true whatever the weights are. `calibrant forget` resets it.

    Example: calibrant rollback har.db --to 3
    """
    from calibrant.memory.store import Store

    with Store.open(state) as store:
        version = store.rollback(to)
    if json:
        emit(version)
        return
    out.print(f"version {version.number} restores version {to} (weights {version.weights_sha256[:12]})")
