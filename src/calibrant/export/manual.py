"""README.md of an exported project."""

from __future__ import annotations

from calibrant.artifact import Artifact
from calibrant.core.version import VERSION
from calibrant.export.boards import Board
from calibrant.export.report import ExportReport

_RUN = """## Build and run

    make            # {compiler}; Debian: {packages}
    make run        # carries out stream.bin, writes results.bin; port/stream.c says what they hold

{note}
"""
_EMULATED = (
    "`make run` starts QEMU's {machine}. For a device of your own keep everything but `port/`. `make RAM=BYTES` asks\n"
    "the linker for another limit. The memory protection unit opens that much RAM and no more: what leaves it faults\n"
    "and exits with status 99."
)
_HOSTED = "`build/libmodel.a` is the model; `port/` is only the program around it."

_INFERENCE = """## Use it

```c
#include "model.h"

for (int32_t i = 0; i < CALIBRANT_INPUT_BYTES; i++)
    calibrant_input()[i] = calibrant_encode(value[i], i % CALIBRANT_INPUT_CHANNELS);
int32_t class = calibrant_infer(calibrant_input());
```

All channels of a position lie together. `firmware/inference.h` says the rest. No function allocates memory or keeps
anything but what the table below lists.
"""


def manual(artifact: Artifact, board: Board, report: ExportReport) -> str:
    """The text: what it is, how to use, build and run it, where every byte goes."""
    names = ", ".join(f"{i} {name}" for i, name in enumerate(artifact.classes))
    note = _EMULATED.format(machine=board.machine) if board.machine else _HOSTED
    rows = "".join(f"| {what} | {memory} | {nbytes:,} |\n" for what, memory, nbytes in report.rows())
    return (
        f"# Firmware for {board.name}\n\nWritten by calibrant {VERSION} for {board.what}. "
        f"Updater: {report.updater}. Input: {' x '.join(map(str, artifact.input_shape))}. Classes: {names}.\n\n"
        f"{_INFERENCE}\n{_RUN.format(compiler=board.compiler, packages=' '.join(board.packages), note=note)}\n"
        f"## Where every byte goes\n\nGranted RAM: {report.ram_limit:,} bytes.\n\n"
        f"| what | where | bytes |\n| --- | --- | ---: |\n{rows}"
    )
