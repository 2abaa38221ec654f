"""The boards a firmware can be made for: where their memory lies and what their compiler is told."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from calibrant.core.errors import DataError

KIB = 1024
COARSE_FROM, COARSE, FINE = 256 * KIB, 1024, 32  # bytes: how finely the protection unit can fence RAM off


@dataclass(frozen=True)
class Memory:
    """A stretch of a board's address space."""

    origin: int
    nbytes: int


@dataclass(frozen=True)
class Board:
    """One target. `port` is its folder under c/ports; `memory` is None on a host, where nothing is placed.

    `code` holds vectors and text, `constants` the tables, `ram` everything that changes. The protection unit of
    Armv7-M opens powers of two aligned to themselves, so `code` and `constants` are such. `machine` is what
    qemu-system-arm calls the board; `packages` are Debian's names of what builds and runs its firmware. `kernels` is
    the folder under c/simd with kernels for its processor.
    """

    name: str
    what: str
    port: str
    compiler: str
    flags: str
    stack_bytes: int
    packages: tuple[str, ...]
    machine: str = ""
    kernels: str = "ref"
    code: Memory | None = None
    constants: Memory | None = None
    ram: Memory | None = None

    @property
    def pointer_bytes(self) -> int:
        """Bytes of an address: the cores of boards have 32 bits."""
        return 4 if self.machine else struct.calcsize("P")

    def granted(self, ram: int) -> int:
        """Bytes of a RAM limit that the board can fence off: rounded down, at most what it has.

        Raises
        ------
        DataError
            The board has less RAM than that.

        Examples
        --------
        >>> BOARDS["mps2-an386"].granted(64_010)
        64000
        """
        if self.ram is None:
            return ram
        if ram > self.ram.nbytes:
            raise DataError(f"--ram: {self.name} has {self.ram.nbytes:,} bytes of RAM, got {ram:,}")
        return ram - ram % (COARSE if ram >= COARSE_FROM else FINE)


_ARM = ("gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "qemu-system-arm")
_MPS2 = {
    "port": "cortex_m",
    "compiler": "arm-none-eabi-gcc",
    "stack_bytes": 4 * KIB,
    "packages": _ARM,
    "code": Memory(0x0000_0000, 1024 * KIB),
    "constants": Memory(0x0020_0000, 2048 * KIB),
    "ram": Memory(0x2000_0000, 4096 * KIB),
}

BOARDS: Mapping[str, Board] = {
    board.name: board
    for board in (
        Board(
            name="mps2-an386",
            what="Arm MPS2, Cortex-M4 with single-precision floats",
            flags="-mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -mfloat-abi=hard -mthumb",
            machine="mps2-an386",
            kernels="dsp",
            **_MPS2,  # type: ignore[arg-type]
        ),
        Board(
            name="mps2-an500",
            what="Arm MPS2, Cortex-M7",
            flags="-mcpu=cortex-m7 -mfpu=fpv5-d16 -mfloat-abi=hard -mthumb",
            machine="mps2-an500",
            kernels="dsp",
            **_MPS2,  # type: ignore[arg-type]
        ),
        Board(
            name="mps3-an547",
            what="Arm MPS3, Cortex-M55",
            port="cortex_m",
            compiler="arm-none-eabi-gcc",
            # Without vector floats, which flush denormals to zero and so would give other bits.
            flags="-mcpu=cortex-m55+nomve.fp -mfloat-abi=hard -mthumb",
            stack_bytes=4 * KIB,
            packages=_ARM,
            machine="mps3-an547",
            kernels="mve",
            # Secure aliases: the core starts in the Secure state.
            code=Memory(0x1000_0000, 512 * KIB),
            constants=Memory(0x1100_0000, 2048 * KIB),
            ram=Memory(0x3000_0000, 512 * KIB),
        ),
        Board(
            name="generic",
            what="this machine: a static library and a program that reads a stream from a file",
            port="hosted",
            compiler="cc",
            flags="",
            stack_bytes=0,
            packages=("gcc", "libc6-dev", "make"),
        ),
    )
}


def board(name: str) -> Board:
    """The board of that name.

    Raises
    ------
    DataError
        There is none; lists those there are.

    Examples
    --------
    >>> board("mps2-an500").what
    'Arm MPS2, Cortex-M7'
    >>> board("uno")
    Traceback (most recent call last):
    calibrant.core.errors.DataError: --board: expected one of mps2-an386, mps2-an500, mps3-an547, generic, got 'uno'
    """
    if name not in BOARDS:
        raise DataError(f"--board: expected one of {', '.join(BOARDS)}, got {name!r}")
    return BOARDS[name]
