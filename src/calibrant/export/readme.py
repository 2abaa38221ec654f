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

_ENCODE = """#include "model.h"
{begin}
for (int32_t i = 0; i < CALIBRANT_INPUT_BYTES; i++)
    {sample}[i] = calibrant_encode(value[i], i % CALIBRANT_INPUT_CHANNELS);
int32_t class = calibrant_infer({sample});
{use}"""
_BEGIN = """
static int8_t sample[CALIBRANT_INPUT_BYTES]; /* inference overwrites calibrant_input() */
calibrant_start(); /* first of all: the newest version in storage, else the one in flash */
"""
_USES = {
    "none": "",
    "flip": """
calibrant_observe(sample, true_class);  /* where the class is known; keeps the sample */
cal_report report;
calibrant_calibrate(&report);           /* now and then: learns from the window, verifies, commits or restores */
calibrant_rollback();                   /* the version before */
""",
    "affine": """
calibrant_observe(sample);              /* whatever its class; keeps the sample */
cal_correction report;
calibrant_correct(&report);             /* now and then: leads channels back to home, commits; empties the window */
calibrant_rollback();                   /* the version before */
calibrant_forget(CAL_FROM_NOTHING);     /* in another domain; CAL_FROM_HOME where classes come in runs */
""",
    "sparse": """
float loss;
calibrant_observe(sample, true_class, &loss); /* where the class is known; learns from the sample at once */
calibrant_lesson attempt;
calibrant_calibrate(&attempt);                 /* now and then: verifies on the coreset, commits or restores */
calibrant_rollback();                         /* the version before */
""",
}
_STORAGE = """
You supply two functions that keep two slots of `CALIBRANT_SLOT_BYTES` through a loss of power: `calibrant_read_slot`
and `calibrant_write_slot`; without them the project does not link. A version goes to the slot that is not in force,
with a checksum at its end, so a torn write leaves the version before. `port/stream_slots.c` keeps them in files.
"""
_SAME = {
    "none": "a session's predictions",
    "flip": "a session of the form 'pooled', or 'blocks' if the export asked for them, with the same settings,\n"
    "without gate, upkeep of the coreset or learning without labels",
    "affine": "`calibrant.updaters.affine_correction.AffineCorrection` with a memory of single precision, as sessions\n"
    "keep it; whether a correction is worth having is for you to decide",
    "sparse": "`calibrant.engine.trainer.Trainer` fed the same samples in the same batches",
}
_HEADERS = {"none": "inference.h", "flip": "calibration.h", "affine": "correction.h", "sparse": "training.h"}


def readme(artifact: Artifact, board: Board, report: ExportReport) -> str:
    """The text: what it is, how to use, build and run it, where every byte goes."""
    names = ", ".join(f"{i} {name}" for i, name in enumerate(artifact.classes))
    note = _EMULATED.format(machine=board.machine) if board.machine else _HOSTED
    rows = "".join(f"| {what} | {memory} | {nbytes:,} |\n" for what, memory, nbytes in report.rows())
    return (
        f"# Firmware for {board.name}\n\nWritten by calibrant {VERSION} for {board.what}. "
        f"Updater: {report.updater}. Input: {' x '.join(map(str, artifact.input_shape))}. Classes: {names}.\n\n"
        f"{_usage(report)}\n{_RUN.format(compiler=board.compiler, packages=' '.join(board.packages), note=note)}\n"
        f"## Where every byte goes\n\nGranted RAM: {report.ram_limit:,} bytes.\n\n"
        f"| what | where | bytes |\n| --- | --- | ---: |\n{rows}"
    )


def _usage(report: ExportReport) -> str:
    adapts = report.updater != "none"
    begin, sample = (_BEGIN, "sample") if adapts else ("", "calibrant_input()")
    code = _ENCODE.format(begin=begin, sample=sample, use=_USES[report.updater])
    return (
        f"## Use it\n\n```c\n{code}```\n\nAll channels of a position lie together. "
        f"`firmware/{_HEADERS[report.updater]}` says the rest. There is one arena, so one call at\na time. Keep the "
        "Makefile's compiler options on a device, or floats round otherwise than on the host.\n"
        f"{_STORAGE if adapts else ''}\nBit for bit it gives what this gives on Linux: {_SAME[report.updater]}.\n"
    )
