"""The calibration of firmware on the host: compiled with the reference kernels, driven through its header by ctypes."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from emulated import INT, LONG, POINTER, Constants, Program, address, aligned, struct

from artifacts import make_artifact
from calibrant import _engine  # private: its tables say how a program is encoded for C
from calibrant.artifact import THRESHOLDS, Artifact
from calibrant.core import program as core
from calibrant.core.dtype import BIAS_LIMIT
from calibrant.core.settings import FlipSettings
from calibrant.core.window import encode
from calibrant.engine import native
from calibrant.engine.engine import _op_fields  # private: C is given ops as the engine gives them
from calibrant.memory.replay import ReplayBuffer

ROOT = Path(__file__).parents[2]
OPTIONS = ("-std=c11", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-Ic/include", "-fPIC", "-shared")
PAGE, GUARD = 64, 64
STATUSES = ("ok", "invalid", "full", "storage", "oldest")
DECISIONS = ("skipped", "rejected", "committed")
REASONS = ("no labels", "learned", "no step", "coreset fell", "held rose", "storage", "verified")

DOUBLE, FLOAT, WORD, BOOL = ctypes.c_double, ctypes.c_float, ctypes.c_uint32, ctypes.c_bool
Settings = struct(
    fraction=DOUBLE,
    fraction_max=DOUBLE,
    loss_goal=DOUBLE,
    coreset_drop=DOUBLE,
    holdout=DOUBLE,
    steps=INT,
    bias=BOOL,
    block=ctypes.c_uint16,
)
Measure = struct(loss=LONG, held_loss=LONG, right=INT, coreset_right=INT)
Report = struct(
    decision=INT, reason=INT, version=WORD, samples=INT, held=INT, steps=INT, accepted=INT, flips=INT, before=Measure,
    after=Measure,
)  # fmt: skip
Part = struct(flash=POINTER, ram=POINTER, count=WORD, bits=WORD, low=INT, high=INT, real=BOOL)
Slots = struct(parts=POINTER, part_count=INT, model=POINTER, context=POINTER, read=POINTER, write=POINTER)
Versions = struct(version=WORD, parent=WORD, sequence=WORD, slot=INT)
Calibrator = struct(
    program=POINTER, constants=POINTER, scale=POINTER, output_scale=FLOAT, feedback=POINTER, classes=INT, slots=POINTER,
    weights=POINTER, bias=POINTER, coreset_x=POINTER, coreset_y=POINTER, coreset_count=INT, window_x=POINTER,
    window_y=POINTER, window_capacity=INT, settings=Settings, memory=POINTER, statistics_bytes=LONG, workspace=POINTER,
    context=POINTER, infer=POINTER, versions=Versions, window_count=INT, record=POINTER, sensed_first=INT,
    sensed_end=INT,
)  # fmt: skip
Firmware = struct(calibrator=Calibrator, store=Slots, arena=POINTER, slots=POINTER, writable=LONG, runs=LONG)


def build(folder: Path, *options: str) -> Path | None:
    """A shared library of it, the reference kernels and the C of this folder; None where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "microcontroller.so"
    kernels = [f"c/ref/{name}.c" for name in ("table", *_engine.KERNELS)]
    engine = [f"c/engine/{name}.c" for name in ("binding", "program", "run")]
    rooms = (ROOT / "c" / room for room in ("session", "updaters"))
    device = sorted(str(path.relative_to(ROOT)) for room in rooms for path in room.glob("*.c"))
    command = [
        compiler,
        *OPTIONS,
        *(options or ("-O2",)),
        *kernels,
        *engine,
        *device,
        "tests/conform/microcontroller.c",
        "tests/conform/corrector.c",
        "-o",
        library,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return library


def load(library: Path) -> ctypes.CDLL:
    """The library with its types told."""
    lib = ctypes.CDLL(str(library))
    for name in ("cal_statistics_bytes", "cal_memory_bytes", "cal_workspace_bytes", "cal_slot_bytes", "firmware_bytes"):
        getattr(lib, name).restype = LONG
    lib.report_bytes.restype = LONG
    assert lib.firmware_bytes() == ctypes.sizeof(Firmware)
    assert lib.report_bytes() == ctypes.sizeof(Report)
    return lib


def small(bits: int = 4, **changes: object) -> Artifact:
    settings = replace(FlipSettings("pooled", 24, fraction=0.02, loss_goal=0.2), **changes)
    return make_artifact(bits, channels=4, length=20, hidden=12, classes=4, coreset=15, settings=settings)


def codes_of(artifact: Artifact, x: np.ndarray) -> np.ndarray:
    return encode(x, artifact.program.tensors[artifact.program.input], artifact.preprocess, artifact.input_shape)


def learn(device: Device, window: tuple[np.ndarray, np.ndarray]) -> tuple[str, object]:
    """Status and report of one window."""
    assert set(device.observe(codes_of(device.artifact, window[0]), window[1])) == {"ok"}
    return device.calibrate()


def guarded(size: int) -> np.ndarray:
    """Bytes at a multiple of 64 with a guard behind them."""
    whole = aligned(size + GUARD)
    whole[:] = 0xA5
    return whole


def tables_of(program: core.Program) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tensors, layers and ops, as C has them."""
    tensors = [native.encode(vars(t) | {"offset": at}, _engine.TENSOR_FIELDS, "")
               for t, at in zip(program.tensors, program.offsets, strict=True)]  # fmt: skip
    layers = [native.encode(vars(layer), _engine.LAYER_FIELDS, "") for layer in program.layers]
    ops = [native.encode(_op_fields(op, i), _engine.OP_FIELDS, "") for i, op in enumerate(program.ops)]
    fields = _engine.TENSOR_FIELDS, _engine.LAYER_FIELDS, _engine.OP_FIELDS
    rows = (native.table(part, len(names)) for part, names in zip((tensors, layers, ops), fields, strict=True))
    return tuple(rows)


def program_of(program: core.Program, tables: tuple[np.ndarray, np.ndarray, np.ndarray]) -> ctypes.Structure:
    """The record over its tables, which must stay."""
    return Program(
        *(address(a) for a in tables), *(len(a) for a in tables), program.input, program.output, program.arena_bytes,
        program.weight_count, program.channel_count, program.pooled_count,
    )  # fmt: skip


class Device:
    """A microcontroller's calibration of an artifact, with blocks of `block` entries, or without and `statistics` from
    the least room, 0, to the most, 1. `further` are words that versions hold too, in flash and in RAM."""

    def __init__(
        self,
        lib: ctypes.CDLL,
        artifact: Artifact,
        settings: FlipSettings,
        capacity: int,
        statistics: float = 1.0,
        block: int = 0,
        further: Sequence[tuple[np.ndarray, np.ndarray]] = (),
    ) -> None:
        self.lib, self.artifact = lib, artifact
        program, constants = artifact.program, artifact.constants
        pool = ReplayBuffer.of(artifact.coreset)
        limits = {**THRESHOLDS, **artifact.thresholds}
        self.elements = program.tensors[program.input].elements
        tensors, layers, ops = tables_of(program)
        self.weights, self.bias = np.zeros_like(constants.weights), np.zeros_like(constants.bias)
        self.kept = (
            tensors, layers, ops, constants, pool.x.copy(), pool.y.astype(np.uint16), artifact.feedback.matrix.copy(),
            np.zeros((capacity, self.elements), np.int8), np.zeros(capacity, np.uint16), np.arange(32, dtype=np.uint8),
        )  # fmt: skip
        _, _, _, _, coreset_x, coreset_y, feedback, window_x, window_y, model = self.kept
        self.program = program_of(program, (tensors, layers, ops))
        self.constants = Constants(
            *(address(a) for a in (constants.weights, constants.bias, constants.multiplier, constants.shift))
        )
        parts = self.parts = (Part * (len(program.layers) + 1 + len(further)))()
        for part, layer in zip(parts, program.layers, strict=False):  # biases follow
            at = layer.weight_slice
            part.flash, part.ram = address(constants.weights[at]), address(self.weights[at])
            part.count, part.bits = layer.weight_count, layer.bits
        words = [(constants.bias, self.bias), *further]
        for part, (flash, ram) in zip(parts[len(program.layers) :], words, strict=True):
            part.flash, part.ram, part.count, part.bits = address(flash), address(ram), len(ram), 32
            part.low, part.high = (-BIAS_LIMIT, BIAS_LIMIT) if ram is self.bias else (-(2**31), 2**31 - 1)
        out = program.tensors[program.output]
        last = next(op for op in program.ops if op.output == program.output)
        scale = program.tensors[last.inputs[0]].scale if out.bits == 32 else out.scale
        own = self.firmware = Firmware(calibrator=Calibrator(
            program=ctypes.addressof(self.program), constants=ctypes.addressof(self.constants),
            scale=address(constants.scale), output_scale=np.float32(scale), feedback=address(feedback),
            classes=len(artifact.classes), weights=address(self.weights), bias=address(self.bias),
            coreset_x=address(coreset_x), coreset_y=address(coreset_y), coreset_count=len(pool),
            window_x=address(window_x), window_y=address(window_y), window_capacity=capacity,
            settings=Settings(settings.fraction, settings.fraction_max, settings.loss_goal, limits["coreset_drop"],
                              limits["holdout"], settings.steps, settings.bias, block),
        ), store=Slots(ctypes.addressof(parts), len(parts), address(model)), writable=2**62)  # fmt: skip
        cal = self.calibrator = own.calibrator
        least, most = (lib.cal_statistics_bytes(ctypes.byref(cal), BOOL(every)) for every in (False, True))
        cal.statistics_bytes = 0 if block else round(least + statistics * (most - least))
        self.memory = guarded(lib.cal_memory_bytes(ctypes.byref(cal)))
        self.workspace = guarded(lib.cal_workspace_bytes(ctypes.byref(cal)))
        self.arena = guarded(program.arena_bytes)
        self.slot_bytes = lib.cal_slot_bytes(ctypes.byref(own.store))
        self.slots = np.full(2 * self.slot_bytes, 0xFF, np.uint8)  # as erased flash is
        cal.memory, cal.workspace = address(self.memory), address(self.workspace)
        own.arena, own.slots = address(self.arena), address(self.slots)
        lib.firmware_connect(ctypes.byref(own))

    def start(self) -> str:
        """As after power came."""
        return STATUSES[self.lib.cal_start(ctypes.byref(self.calibrator))]

    def observe(self, codes: np.ndarray, labels: Sequence[int]) -> list[str]:
        """The samples one by one."""
        return [
            STATUSES[self.lib.cal_observe(ctypes.byref(self.calibrator), POINTER(address(sample)), INT(int(label)))]
            for sample, label in zip(np.ascontiguousarray(codes), labels, strict=True)
        ]

    def calibrate(self) -> tuple[str, ctypes.Structure]:
        """Status and report."""
        report = Report()
        status = self.lib.cal_calibrate(ctypes.byref(self.calibrator), ctypes.byref(report))
        for name in ("memory", "workspace", "arena"):
            assert (getattr(self, name)[-GUARD:] == 0xA5).all(), name
        return STATUSES[status], report

    def rollback(self) -> str:
        return STATUSES[self.lib.cal_rollback(ctypes.byref(self.calibrator))]
