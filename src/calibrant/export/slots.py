"""What a firmware that adapts keeps in its slots: the parts of its parameters, as `c/session/slots.c` stores them.

Those are weights and biases. Multipliers and shifts lie in flash, for no updater of a firmware moves them, and the name
of the model in each slot (`artifact.content_hash`) covers them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

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
    bits; 32 are words, others codes of a byte each that a slot holds packed."""

    flash: str
    ram: str
    count: int
    bits: int

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
