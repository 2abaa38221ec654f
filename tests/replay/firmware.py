"""Exported projects: the numbers in their tables, the memory they report, and what they give on a stream."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from replay import fingerprint, fixtures, wire
from replay.commands import calibrant_here
from replay.record import Row, UnavailableError

HOST, EMULATED = "generic", "mps2-an386"
BOARDS = (HOST, EMULATED, "mps3-an547")
TOOLS = {HOST: ("cc", "make"), EMULATED: ("arm-none-eabi-gcc", "qemu-system-arm", "make")}
MARK = "Written by calibrant"  # what the export writes itself, and does not copy
RAM, BLOCK, WINDOW, SECONDS = "128KB", 16, 40, 300
LEVEL = "-O1"  # half the time of -O2, the same bits
MEMORY = ("arena_bytes", "mutable_bytes", "samples_bytes", "workspace_bytes", "constants_bytes", "ram_bytes", "window")
SHOWN = (2, 3, 7, 8)  # windows of the stream: drift, wrong labels in the first domain, more drift
RATES = np.array([0.01, 0.01], "<f4")

TABLE = re.compile(r"^[^\n]*?\bconst [^\n=;(]*?\b(\w+)\[[^\]\n]*\] = \{(.*?)^\};", re.MULTILINE | re.DOTALL)
LITERAL = re.compile(r"(?<![\w.])-?(?:0[xX][0-9a-fA-F.]+(?:p[+-]?\d+)?|\d+\.?\d*(?:e[+-]?\d+)?)(?=[fuUlL]*\b)")


@dataclass(frozen=True)
class Variant:
    """A project: how it adapts, the artifact it is made of, more options, and the boards it is run on."""

    updater: str
    artifact: str
    more: tuple[object, ...] = ()
    run_on: tuple[str, ...] = (HOST, EMULATED)

    @property
    def name(self) -> str:
        """As keys have it."""
        return f"{self.updater}/{self.artifact}"


LEARNING = ("--window", WINDOW)
VARIANTS = (
    Variant("flip", "chain/accumulated/2", LEARNING, (HOST,)),
    *(
        Variant("flip", name, LEARNING)
        for name in ("chain/accumulated/4", "chain/accumulated/8", "branches/accumulated/4")
    ),
    Variant("block", "chain/blocks/4", (*LEARNING, "--block", BLOCK)),
    *(Variant("sparse", f"{network}/sparse/8") for network in ("chain", "branches", "integers")),
    Variant("none", "chain/accumulated/2", run_on=(HOST,)),
    Variant("none", "branches/accumulated/4"),
)


def export_rows(variant: Variant, board: str) -> Iterator[Row]:
    """The numbers of every table, by its name; and memory, which may change on purpose, in keys of its own."""
    prefix = f"export/{variant.name}/{board}"
    with tempfile.TemporaryDirectory() as folder:
        facts = _export(variant, board, Path(folder) / "project")
        for name, numbers in sorted(tables(Path(folder) / "project").items()):
            yield f"{prefix}/table/{name}", f"{len(numbers)} numbers {fingerprint.of_bytes(' '.join(numbers).encode())}"
    for name in MEMORY:
        if name in facts:
            yield f"{prefix}/memory/{name}", str(facts[name])


def firmware_rows(variant: Variant, board: str) -> Iterator[Row]:
    """What the project gives when it is built and run, on this machine or in the emulator."""
    missing = [tool for tool in TOOLS[board] if shutil.which(tool) is None]
    if missing:
        raise UnavailableError(f"{' and '.join(missing)} not found")
    prefix = f"firmware/{variant.name}/{board}"
    windows = [(x[:WINDOW], y[:WINDOW]) for x, y in (fixtures.windows(variant.artifact)[i] for i in SHOWN)]
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        _export(variant, board, project)
        samples = np.concatenate([x for x, _ in windows])
        last = np.ascontiguousarray(np.moveaxis(samples, 1, -1))
        raw = _run(project, [wire.command(wire.ENCODE, len(last), last.astype("<f4"))])
        yield f"{prefix}/codes", fingerprint.of_bytes(raw)
        codes = np.frombuffer(raw, np.int8).reshape(len(windows), WINDOW, -1)
        stream, expected = _stream(variant, codes, [y for _, y in windows])
        for key, value in wire.rows(_run(project, stream), expected):
            yield f"{prefix}/{key}", value


def tables(project: Path) -> dict[str, list[str]]:
    """The numbers in order of every constant array that the export wrote, wherever it wrote it."""
    found: dict[str, list[str]] = {}
    for path in sorted(project.rglob("*.[ch]")):
        text = path.read_text(encoding="utf-8")
        if MARK in text[:200]:
            found |= {name: LITERAL.findall(body) for name, body in TABLE.findall(text)}
    return found


def _export(variant: Variant, board: str, project: Path) -> dict[str, object]:
    updater = "flip" if variant.updater == "block" else variant.updater
    where = ("--board", board, "--ram", RAM, "--out", project, "--updater", updater)
    facts: dict[str, object] = json.loads(
        calibrant_here("export", fixtures.ARTIFACTS[variant.artifact], *where, *variant.more, "--json")
    )
    return facts


def _stream(variant: Variant, codes: np.ndarray, labels: list[np.ndarray]) -> tuple[list[bytes], list[wire.Expected]]:
    """Windows to predict and learn from; then back to an older version, and a loss of power."""
    commands: list[bytes] = []
    expected: list[wire.Expected] = []

    def add(key: str, command: int, count: int, result: wire.Result, *data: np.ndarray) -> None:
        commands.append(wire.command(command, count, *data))
        expected.append(wire.Expected(key, count, result))

    outputs = wire.outputs(len(np.unique(np.concatenate(labels))))
    observed, calibrated = wire.LEARNING.get(variant.updater, wire.LEARNING["flip"])
    if variant.updater == "sparse":
        add("rate", wire.RATE, 1, wire.NOTHING, RATES)
    for number, x, y in zip(SHOWN, codes, labels, strict=True):
        add(f"window {number + 1}/outputs", wire.INFER, len(x), outputs, x)
        if variant.updater == "none":
            continue
        rows = [part for label, sample in zip(y, x, strict=True) for part in (np.array([label], "<i4"), sample)]
        add(f"window {number + 1}/observed", wire.OBSERVE, len(x), observed, *rows)
        add(f"window {number + 1}/calibration", wire.CALIBRATE, 1, calibrated)
        add(f"window {number + 1}/parameters", wire.PARAMETERS, 1, wire.REST)
    if variant.updater != "none":
        add("rollback", wire.ROLLBACK, 1, wire.ROLLED_BACK)
        add("rollback/parameters", wire.PARAMETERS, 1, wire.REST)
        add("power loss", wire.START, 1, wire.STATUS)
        add("power loss/parameters", wire.PARAMETERS, 1, wire.REST)
        add("power loss/outputs", wire.INFER, len(codes[0]), outputs, codes[0])
    return commands, expected


def _run(project: Path, commands: list[bytes]) -> bytes:
    """What the program writes, but for the last number: the stack it used is the compiler's affair."""
    (project / "stream.bin").write_bytes(b"".join(commands))
    command = ["make", "-s", "-C", str(project), "run", f"OPT={LEVEL}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    if done.returncode != 0:
        raise RuntimeError(f"{project}: the program failed\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
    return (project / "results.bin").read_bytes()[: -struct.calcsize("<i")]
