"""Builds exported projects and runs streams through them, on emulated boards or on this machine."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

EMULATED = ("mps2-an386", "mps2-an500", "mps3-an547")
TOOLS = {"arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi", "qemu-system-arm": "qemu-system-arm"}
SECONDS = 120
INFER, ENCODE = 1, 2


def need_tools() -> None:
    """Skip where there is no compiler or emulator for the boards."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        packages = " ".join(TOOLS[tool] for tool in missing)
        pytest.skip(f"{' and '.join(missing)} not found: apt-get install --no-install-recommends {packages}")


def make(folder: Path, *arguments: str, seconds: int = SECONDS) -> subprocess.CompletedProcess[str]:
    """Run make in a project."""
    command = ["make", "-s", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)


@dataclass
class Stream:
    """Commands for the program around a model."""

    commands: list[bytes] = field(default_factory=list)

    def add(self, command: int, count: int, *data: NDArray[np.generic]) -> Stream:
        """One command and its data."""
        self.commands.append(struct.pack("<ii", command, count) + b"".join(part.tobytes() for part in data))
        return self


@dataclass
class Results:
    """What a program wrote, read from the front."""

    raw: bytes
    at: int = 0

    def take(self, dtype: str, *shape: int) -> NDArray[np.generic]:
        """The next values."""
        count = int(np.prod(shape))
        values = np.frombuffer(self.raw, dtype, count, self.at).reshape(shape)
        self.at += values.nbytes
        return values

    @property
    def rest(self) -> int:
        """Bytes not taken yet."""
        return len(self.raw) - self.at


def run(folder: Path, stream: Stream, *arguments: str, seconds: int = SECONDS) -> Results:
    """Carry out a stream; what it writes, but for the last number: that is the stack it used."""
    (folder / "stream.bin").write_bytes(b"".join(stream.commands))
    done = make(folder, "-j2", "run", "MORE=-Werror", *arguments, seconds=seconds)
    assert done.returncode == 0, done.stdout + done.stderr
    results = (folder / "results.bin").read_bytes()
    return Results(results[:-4])
