"""`calibrant forget`: delete the samples that a state has kept."""

from __future__ import annotations

from calibrant.cli.console import emit, out
from calibrant.cli.options import Json, StatePath


def forget(state: StatePath, json: Json = False) -> None:
    """Delete every sample of the stream from a state, those that wait for labels too, and overwrite their bytes.

    The coreset is the artifact's again. The weights keep what they learned: `calibrant rollback` undoes that.

    Example: calibrant forget har.db
    """
    from calibrant.memory.store import Store

    with Store.open(state) as store:
        count = store.forget()
    if json:
        emit({"forgotten": count})
        return
    out.print(f"forgot {count} samples of the stream; the coreset is the artifact's own again")
