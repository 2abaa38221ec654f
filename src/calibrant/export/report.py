"""Where every byte of a firmware goes, and the refusal of one that does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calibrant.core.errors import BudgetError
from calibrant.export.boards import Board

RAM, FLASH = "ram", "flash"
BLOCK_ALIGNMENT, IMAGE_ALIGNMENT = 16, 32  # of a RAM block, so that blocks leave no gaps; of all of RAM


def aligned(nbytes: int, alignment: int = BLOCK_ALIGNMENT) -> int:
    """The next multiple.

    Examples
    --------
    >>> aligned(33), aligned(0), aligned(33, 32)
    (48, 0, 64)
    """
    return -(-nbytes // alignment) * alignment


@dataclass(frozen=True)
class Block:
    """One object of the image: its `symbol` in model.c, `what` it is, `kind` for sums over blocks."""

    symbol: str
    kind: str
    what: str
    nbytes: int
    memory: str


@dataclass(frozen=True)
class ExportReport:
    """What was exported. `ram_limit` and `window` are as granted; `code_bytes` is known once the firmware was built.

    `kind` of a block is 'arena', 'mutable' (parameters that adapt), 'samples' (window and coreset), 'workspace' (of the
    updater) or 'constants'; the stack comes on top.
    """

    board: str
    updater: str
    ram_limit: int
    window: int
    stack_bytes: int
    blocks: tuple[Block, ...]
    code_bytes: int | None = None

    def total(self, kind: str) -> int:
        """Bytes of the blocks of a kind."""
        return sum(block.nbytes for block in self.blocks if block.kind == kind)

    @property
    def ram_bytes(self) -> int:
        """What the linked image takes of RAM, stack included."""
        held = sum(block.nbytes for block in self.blocks if block.memory == RAM)
        return aligned(self.stack_bytes + held, IMAGE_ALIGNMENT)

    @property
    def constant_bytes(self) -> int:
        """Bytes of tables in flash."""
        return sum(block.nbytes for block in self.blocks if block.memory == FLASH)

    def rows(self) -> tuple[tuple[str, str, int], ...]:
        """What, where and bytes, for tables: the parts of RAM with its total, then those of flash."""
        ram, flash = self.parts(RAM), self.parts(FLASH)
        ram["RAM in total"], flash["flash in total"] = self.ram_bytes, self.constant_bytes + (self.code_bytes or 0)
        return tuple((what, memory, n) for memory, sums in ((RAM, ram), (FLASH, flash)) for what, n in sums.items())

    def parts(self, memory: str) -> dict[str, int]:
        """Bytes in a memory by what they are for."""
        found: dict[str, int] = {}
        for block in self.blocks:
            if block.memory == memory:
                found[block.what] = found.get(block.what, 0) + block.nbytes
        if memory == RAM and self.stack_bytes:
            found["stack"] = self.stack_bytes
        if memory == FLASH and self.code_bytes is not None:
            found["code"] = self.code_bytes
        return found


def check(report: ExportReport, board: Board, alternatives: Sequence[str]) -> None:
    """Refuse a firmware that does not fit its board.

    Parameters
    ----------
    report : ExportReport
    board : Board
    alternatives : sequence of str
        Options that would fit, and what they need.

    Raises
    ------
    BudgetError
        Says by how much RAM or flash is exceeded, and what would fit.
    """
    over = report.ram_bytes - report.ram_limit
    if over > 0:
        parts = ", ".join(f"{what} {nbytes:,}" for what, nbytes in report.parts(RAM).items())
        remedy = f"; {' or '.join(alternatives)} would fit" if alternatives else ""
        raise BudgetError(
            f"--ram: {report.board} grants {report.ram_limit:,} bytes, the firmware needs {report.ram_bytes:,} "
            f"({over:,} over): {parts}{remedy}"
        )
    if board.constants is not None and report.constant_bytes > board.constants.nbytes:
        raise BudgetError(
            f"{board.name}: expected at most {board.constants.nbytes:,} bytes of constants, got "
            f"{report.constant_bytes:,} ({report.constant_bytes - board.constants.nbytes:,} over); weights take a byte "
            "each whatever their bits, so only a smaller network or coreset would fit"
        )
