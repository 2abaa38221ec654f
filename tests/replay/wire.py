"""The commands that the program around an exported model takes, and what they give; `stream.c` says the same in C."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from replay import fingerprint
from replay.record import Row

INFER, ENCODE, OBSERVE, CALIBRATE, ROLLBACK, PARAMETERS, START, RATE = range(1, 9)
UNTOLD = "reason"  # a number that stands for words


@dataclass(frozen=True)
class Result:
    """What one command gives: a record of these fields; `told`: field by field, else as one hash."""

    dtype: np.dtype | None
    told: bool = False


@dataclass(frozen=True)
class Expected:
    """`count` results of one command, and the key they go by."""

    key: str
    count: int
    result: Result


def _record(*fields: str | tuple[str, str], told: bool = True) -> Result:
    return Result(np.dtype([(field, "<i4") if isinstance(field, str) else field for field in fields]), told)


def _measure(when: str) -> tuple[tuple[str, str], ...]:
    names = (("loss", "<i8"), ("held_loss", "<i8"), ("right", "<i4"), ("coreset_right", "<i4"))
    return tuple((f"{name}_{when}", kind) for name, kind in names)


REST = Result(None)  # parameters: all of one size, which is what the other results leave
NOTHING = Result(np.dtype("V0"))
STATUS, ROLLED_BACK = _record("status"), _record("status", "version")
_FLIPPED = ("status", "decision", "reason", "version", "samples", "held", "steps", "accepted", "flips")
_TRAINED = ("status", "decision", "reason", "version", "samples", "coreset_before", "coreset_after")
LEARNING = {  # by updater: what it gives for a sample to learn from, and for a window
    "flip": (_record("status", told=False), _record(*_FLIPPED, *_measure("before"), *_measure("after"))),
    "sparse": (_record("status", "class", ("loss", "<f4"), told=False), _record(*_TRAINED)),
}


def outputs(classes: int) -> Result:
    """A class, then the raw output of each class."""
    return Result(np.dtype(("<i4", (1 + classes,))))


def command(number: int, count: int, *data: np.ndarray) -> bytes:
    """One command and its data."""
    return struct.pack("<ii", number, count) + b"".join(part.tobytes() for part in data)


def rows(raw: bytes, expected: list[Expected]) -> Iterator[Row]:
    """Keys and values of what a program wrote."""
    open_ended = sum(part.result is REST for part in expected)
    known = sum(part.count * part.result.dtype.itemsize for part in expected if part.result.dtype is not None)
    size = (len(raw) - known) // open_ended if open_ended else 0
    if known + size * open_ended != len(raw):
        raise RuntimeError(f"a program's results: expected {known} bytes and {open_ended} parts alike, got {len(raw)}")
    at = 0
    for part in expected:
        end = at + (size if part.result.dtype is None else part.count * part.result.dtype.itemsize)
        if end > at:
            yield part.key, _value(raw[at:end], part.result)
        at = end


def _value(raw: bytes, result: Result) -> str:
    if not result.told or result.dtype is None:
        return fingerprint.of_bytes(raw)
    row = np.frombuffer(raw, result.dtype)[0]
    return " ".join(f"{name}={row[name]}" for name in result.dtype.names or () if name != UNTOLD)
