"""Instructions and bytes of firmware on emulated boards, to benchmarks/device.md.

    python benchmarks/device.py [--data FOLDER] [--out FILE]

Every number is measured: bytes from the linked image, instructions by a plugin in the emulator (exact and repeatable;
they rank versions of code on one core and are no times), the stack by painting it.
"""

from __future__ import annotations

import argparse
import os
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from calibrant import zoo
from calibrant.artifact import Artifact
from calibrant.core.rng import generator
from calibrant.core.statistics import Preprocess
from calibrant.export import BOARDS, ExportOptions, ExportReport, export
from calibrant.pipeline import integer_model, torch_model
from calibrant.plan.workload import program_macs

BENCH = Path(__file__).parent
INFER, OBSERVE, LEARN = 1, 3, 4  # commands of c/ports/stream.c
CNN, MCUNET = "activity CNN, 4 bits", "MCUNet-5FPS, 8 bits"
WINDOW = 10


@dataclass(frozen=True)
class Case:
    """One firmware: a network, how it adapts, and options of the export."""

    network: str
    updater: str
    options: dict[str, Any]


CASES = (
    Case(CNN, "none", {}),
    Case(CNN, "flip", {"window": WINDOW}),
    Case(CNN, "flip", {"window": WINDOW, "block": 64}),
    Case(CNN, "affine", {"window": WINDOW}),
    Case(CNN, "sparse", {"scheme": "last-2"}),
    Case(MCUNET, "none", {}),
    Case(MCUNET, "affine", {"window": 4}),
    Case(MCUNET, "sparse", {"scheme": "mcunet-5fps:49KB"}),
    Case(MCUNET, "sparse", {"scheme": "mcunet-5fps:49KB", "ram": "150KB"}),
)


@dataclass(frozen=True)
class Measured:
    """What one firmware takes: bytes, instructions of an inference and of a step, bytes of stack."""

    report: ExportReport
    inference: int
    step: int
    stack: int


def activity_cnn() -> Artifact:
    """The benchmark's network for wearers' movements with weights from a seed: work does not depend on their values."""
    rng = generator(0, "device benchmark")
    x = rng.normal(0, 1, (40, 45, 125)).astype(np.float32)
    y = np.arange(40, dtype=np.int64) % 19
    settings = {"bits": 4, "coreset": 19, "epochs": 0, "form": "pooled", "steps": 3}
    return torch_model.prepare(zoo.build("cnn", 45, (125,), 19, 0).eval(), x, y, **settings).artifact


def mcunet(folder: Path) -> Artifact:
    """The published network with a head of ten classes, on noise."""
    rng = generator(0, "device benchmark")
    half = np.full(3, 0.5, np.float32)
    x, y = rng.uniform(0, 1, (10, 3, 128, 128)).astype(np.float32), np.arange(10, dtype=np.int64)
    graph = zoo.load_tinyml(folder / "tinyml" / "mcunet-5fps", classes=10)
    return integer_model.prepare_integer(graph, x, y, preprocess=Preprocess(half, half), coreset=2)


def plugin(folder: Path) -> Path:
    """The counter, compiled."""
    library = folder / "libinstructions.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", str(BENCH / "instructions.c"), "-o", str(library)], check=True)
    return library


def commands(artifact: Artifact, case: Case) -> bytes:
    """Two inferences, then what the updater does once."""
    rows = artifact.coreset.x[:2]
    stream = struct.pack("<ii", INFER, 2) + rows.tobytes()
    window = case.options.get("window", WINDOW)
    samples = np.resize(artifact.coreset.x, (window, *artifact.coreset.x.shape[1:]))
    labels = [struct.pack("<i", n % len(artifact.classes)) for n in range(window)]
    if case.updater == "affine":
        labels = [b""] * window
    if case.updater == "sparse":
        labels = labels[:1]
    if case.updater != "none":
        stream += struct.pack("<ii", OBSERVE, len(labels))
        stream += b"".join(label + sample.tobytes() for label, sample in zip(labels, samples, strict=False))
    if case.updater in ("flip", "affine"):
        stream += struct.pack("<ii", LEARN, 1)
    return stream


def count(project: Path, machine: str, library: Path) -> list[int]:
    """Run stream.bin; the instructions of each counted call."""
    image, counts = project / "build" / "firmware.elf", project / "counts.txt"
    listed = subprocess.run(["arm-none-eabi-nm", str(image)], capture_output=True, text=True, check=True).stdout
    places = {row[2]: int(row[0], 16) & ~1 for row in map(str.split, listed.splitlines()) if len(row) == 3}
    markers = f"begin={places['stream_count_begin']:#x},end={places['stream_count_end']:#x}"
    host = ["-chardev", "stdio,id=host", "-semihosting-config", "enable=on,target=native,chardev=host"]
    command = ["qemu-system-arm", "-M", machine, "-nographic", "-monitor", "none", "-serial", "none", *host, "-kernel",
               str(image), "-plugin", f"{library},{markers}", "-d", "plugin", "-D", str(counts)]  # fmt: skip
    subprocess.run(command, cwd=project, stdin=subprocess.DEVNULL, check=True)
    return [int(line) for line in counts.read_text().split()]


def measure(artifact: Artifact, case: Case, board: str, library: Path, folder: Path) -> Measured:
    """Export, build, run."""
    asked = dict(case.options)
    ram = asked.pop("ram", 512 * 1024 if board == "mps3-an547" else 1024 * 1024)
    report = export(artifact, board, ram, case.updater, folder, options=ExportOptions(**asked), build=True)
    (folder / "stream.bin").write_bytes(commands(artifact, case))
    counts = count(folder, BOARDS[board].machine, library)
    results = (folder / "results.bin").read_bytes()
    step = counts[2] if case.updater in ("sparse", "affine") else 0
    if case.updater == "flip":  # the fields before losses are nine integers, steps the seventh
        tried = struct.unpack("<9i", results[-4 - 84 : -4 - 48])[6]
        step = counts[-1] // max(tried, 1)
    return Measured(report, counts[0], step, struct.unpack("<i", results[-4:])[0])


def describe(case: Case) -> str:
    """The updater with its options."""
    said = ", ".join(f"{name} {value}" for name, value in case.options.items())
    return f"{case.updater} ({said})" if said else case.updater


def row(case: Case, board: str, macs: int, m: Measured) -> str:
    """One line of the table."""
    ram = m.report
    kinds = [f"{ram.total(kind):,}" for kind in ("arena", "mutable", "samples", "workspace")]
    bytes_ = [*kinds, f"{m.stack:,}", f"{ram.ram_bytes:,}", f"{ram.constant_bytes:,}", f"{ram.code_bytes or 0:,}"]
    work = [f"{m.inference / 1e6:.2f} M", f"{m.inference / macs:.1f}", f"{m.step / 1e6:.1f} M" if m.step else "-"]
    return f"| {case.network} | {describe(case)} | {board} | {BOARDS[board].kernels} | {' | '.join(bytes_ + work)} |\n"


HEAD = """# Firmware on emulated boards

Written by `python benchmarks/device.py` with {compiler} and {emulator}, at `-O2`.

Bytes are those of the linked image, held against the export's own table; *stack* is what a run used of the 4,096 that
are reserved. Instructions are counted exactly by a plugin in the emulator; they are no times, as nothing models caches,
flash or pipelines. *Kernels* names the folder of c/simd with the board's convolutions; the rest of a step is plain C. A
*step* of flips is a window of {window} samples learned beside the coreset, measuring before and
after included, divided by the steps tried; one of affine correction is a whole window, measured and corrected layer by
layer and saved; one of sparse training is one sample forward and back.

"""
COLUMNS = ("network", "updater", "board", "kernels", "arena", "mutable", "samples", "workspace", "stack", "RAM",
           "constants", "code", "inference", "a MAC", "step")  # fmt: skip


def version(command: str) -> str:
    """The first line of what a tool says of itself."""
    return subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("CALIBRANT_DATA"), help="folder that holds tinyml/")
    parser.add_argument("--out", type=Path, default=BENCH / "device.md")
    parser.add_argument("--boards", type=lambda text: text.split(","), default=[b for b in BOARDS if BOARDS[b].machine])
    args = parser.parse_args()
    torch.set_num_threads(1)
    networks = {CNN: activity_cnn()}
    if args.data:
        networks[MCUNET] = mcunet(Path(args.data))
    else:
        print(f"{MCUNET} is left out: it needs --data or CALIBRANT_DATA", file=sys.stderr)
    page = HEAD.format(compiler=version("arm-none-eabi-gcc"), emulator=version("qemu-system-arm"), window=WINDOW)
    page += f"| {' | '.join(COLUMNS)} |\n| {' | '.join(['---'] * 4 + ['---:'] * (len(COLUMNS) - 4))} |\n"
    with tempfile.TemporaryDirectory() as folder:
        library = plugin(Path(folder))
        for n, case in enumerate(case for case in CASES if case.network in networks):
            artifact = networks[case.network]
            for board in args.boards:
                found = measure(artifact, case, board, library, Path(folder) / f"{n}-{board}")
                page += row(case, board, program_macs(artifact.program), found)
                print(f"{case.network}, {describe(case)}, {board}: {found.inference:,} {found.step:,}", file=sys.stderr)
    args.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
