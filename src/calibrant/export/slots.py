"""What a firmware that adapts keeps in its slots: the parts of its parameters, as `c/session/slots.c` stores them.

Those that its updater moves, and what it remembers. The rest lies in flash, and the name of the model in each slot
(`artifact.content_hash`) covers it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibrant.core.dtype import BIAS_LIMIT
from calibrant.export import tables
from calibrant.export.boards import Board
from calibrant.export.model import Text
from calibrant.export.report import aligned

PAGE = 64  # CAL_SLOT_PAGE
SOURCES = ("session/rollback", "session/slots")
SOURCE_HEADERS = ("session/slots.h", "session/verification.h")
_SUM_BYTES = 4


@dataclass(frozen=True)
class Part:
    """A stretch of parameters: C expressions of where it lies in flash and in RAM, how many values it has, and their
    bits; 32 are words, others codes of a byte each that a slot holds packed. `flash` 0 stands for zeros.

    Words lie between `low` and `high`, or a slot is not loaded; `real` ones are float32, and the bounds are the bits of
    the least and the largest magnitude."""

    flash: str | int
    ram: str
    count: int
    bits: int
    low: int = 0
    high: int = 0
    real: int = 0

    @classmethod
    def biases(cls, flash: str, ram: str, count: int) -> Part:
        """Of biases: up to here lowering proves that no sum overflows."""
        return cls(flash, ram, count, 32, -BIAS_LIMIT, BIAS_LIMIT)

    @classmethod
    def reals(cls, ram: str, count: int, largest: float) -> Part:
        """Of float32, zeros at first, up to `largest` in magnitude."""
        return cls(0, ram, count, 32, high=int(np.float32(largest).view(np.int32)), real=1)

    @property
    def nbytes(self) -> int:
        """In a slot."""
        return -(-self.count * self.bits // 8)


def slot_bytes(parts: Sequence[Part]) -> int:
    """Of one version in storage: a page of header, the parts, a checksum, in whole pages.

    Examples
    --------
    >>> slot_bytes([Part("", "", 100, 4), Part("", "", 2, 32)]), slot_bytes([Part("", "", 60, 8)])
    (128, 128)
    """
    return PAGE + aligned(sum(part.nbytes for part in parts) + _SUM_BYTES, PAGE)


def sizes(parts: Sequence[Part]) -> Mapping[str, int]:
    """What the caller of the model must know, by name."""
    return {"SLOT_BYTES": slot_bytes(parts), "PARTS": len(parts)}


def define_slots(text: Text, parts: Sequence[Part], model: bytes, board: Board) -> None:
    """The parts and the 32 bytes that name the model, in flash."""
    text.constant("model", np.frombuffer(model, np.uint8), "name of the model")
    rows = (tables.record(vars(part)) for part in parts)
    text.records("cal_part", "parts", rows, board.pointer_bytes)
