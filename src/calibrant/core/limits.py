"""What a file may cost, however it was made: each limit with its reason; `docs/reliability.md` shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """At most so much of something, why, and who checks it."""

    most: int
    what: str
    reason: str
    door: str


LIMITS: Mapping[str, Limit] = {
    "macs": Limit(
        10**11,
        "multiply-accumulates a sample",
        "VGG-16 on 224 x 224 pixels takes 1.5e10; a small file could ask for hours",
        "`artifact.check`",
    ),
    "arena": Limit(
        2**30,
        "bytes of an artifact's arena",
        "a small file could ask for all memory",
        "`artifact.check`",
    ),
    "steps": Limit(
        10**4,
        "steps or passes a window",
        "40 are usual; a window must end",
        "`artifact.check`",
    ),
    "constant": Limit(
        2**28,
        "numbers computed from weights alone",
        "a gigabyte, at no cost in the file",
        "`frontend`",
    ),
    "events": Limit(1000, "events in a state", "the newest are kept", "`memory.events`"),
    "deferred": Limit(16, "windows that wait for labels", "the oldest goes", "`memory.samples`"),
}


def table() -> str:
    """The limits as the page has them."""
    rows = [f"| {limit.what} | {limit.most:,} | {limit.reason} | {limit.door} |" for limit in LIMITS.values()]
    return "\n".join(["| What | At most | Why | Checked by |", "| --- | --- | --- | --- |", *rows]) + "\n"
