"""The affine correction of firmware on the host, driven through its header by ctypes; slots are Python's."""

from __future__ import annotations

import ctypes

import numpy as np
from emulated import INT, LONG, POINTER, Constants, address, struct
from microcontroller import BOOL, GUARD, STATUSES, WORD, Part, Slots, Versions, aligned, guarded, program_of, tables_of

from calibrant.artifact import Artifact
from calibrant.core.dtype import BIAS_LIMIT
from calibrant.core.parameters import Parameters
from calibrant.export.affine import LARGEST, arena_bytes
from calibrant.updaters.affine_correction import REMEMBERED, REMEMBERED_FROM_HOME

NAMES = ("bias", "multiplier", "shift")
MEMORY = ("samples", "mean", "square")
HOME = ("mean", "variance", "mean_spread", "square_spread")
PROTOTYPE = ctypes.CFUNCTYPE(BOOL, POINTER, INT, WORD, POINTER, WORD)
Record = struct(
    program=POINTER, constants=POINTER, channels=INT, **{f"home_{name}": POINTER for name in HOME}, slots=POINTER,
    **dict.fromkeys((*NAMES, *MEMORY, "limit", "window_x"), POINTER), window_capacity=INT, sums=POINTER, arena=POINTER,
    arena_bytes=LONG, context=POINTER, infer=POINTER, versions=Versions, window_count=INT, measured=INT,
)  # fmt: skip
Correction = struct(version=WORD, samples=INT, corrected=INT)
Sums = struct(total=LONG, square=LONG, values=LONG, samples=INT)


def bits(value: float) -> int:
    return int(np.float32(value).view(np.int32))


class Corrector:
    """A microcontroller's affine correction of an artifact; `spare` bytes of arena more than it needs."""

    def __init__(self, lib: ctypes.CDLL, artifact: Artifact, capacity: int = 64, spare: int = 0) -> None:
        assert lib.corrector_bytes() == ctypes.sizeof(Record)
        assert lib.correction_bytes() == ctypes.sizeof(Correction)
        lib.cal_slot_bytes.restype = LONG
        self.lib, self.artifact, self.writable = lib, artifact, 2**62
        program, constants, home = artifact.program, artifact.constants, artifact.home
        assert home is not None
        own = self.channels = program.layers[-1].channel_offset
        self.now = {name: np.zeros(own, np.int32) for name in NAMES}
        self.memory = {name: np.zeros(own, np.float32) for name in MEMORY}
        self.limit, self.usual = np.zeros(1, np.int32), np.array([REMEMBERED], np.int32)
        bounds = {"bias": (-BIAS_LIMIT, BIAS_LIMIT), "multiplier": (0, 2**31 - 1), "shift": (1, 62)}
        largest = {"samples": REMEMBERED_FROM_HOME, "mean": LARGEST, "square": LARGEST}
        rows = [(getattr(constants, name), self.now[name], *bounds[name], False) for name in NAMES]
        rows += [(None, self.memory[name], 0, bits(largest[name]), True) for name in MEMORY]
        rows += [(self.usual, self.limit, REMEMBERED, REMEMBERED_FROM_HOME, False)]
        self.parts = (Part * len(rows))(*(Part(address(flash), address(ram), len(ram), 32, *rest)
                                          for flash, ram, *rest in rows))  # fmt: skip
        self.model, self.calls = np.arange(32, dtype=np.uint8), (PROTOTYPE(self._read), PROTOTYPE(self._write))
        self.store = Slots(ctypes.addressof(self.parts), len(rows), address(self.model))
        self.store.read, self.store.write = (ctypes.cast(call, POINTER) for call in self.calls)
        self.slot_bytes = lib.cal_slot_bytes(ctypes.byref(self.store))
        self.slots = np.full((2, self.slot_bytes), 0xFF, np.uint8)
        source = program.tensors[program.input]
        self.tables, self.home = tables_of(program), [getattr(home, name) for name in HOME]
        self.program = program_of(program, self.tables)
        self.constants = Constants(*(address(getattr(constants, name)) for name in ("weights", *NAMES)))
        nbytes = arena_bytes(program) + spare
        self.arena, self.window = guarded(nbytes), np.zeros((capacity, source.elements), np.int8)
        self.sums = aligned(16 * max(layer.c_out for layer in program.layers[:-1]))
        self.record = Record(
            ctypes.addressof(self.program), ctypes.addressof(self.constants), own, *(address(a) for a in self.home),
            ctypes.addressof(self.store), *(address(a) for a in (*self.now.values(), *self.memory.values())),
            address(self.limit), address(self.window), capacity, address(self.sums), address(self.arena), nbytes,
        )  # fmt: skip
        lib.corrector_connect(ctypes.byref(self.record))

    def _read(self, _context: int, slot: int, offset: int, to: int, count: int) -> bool:
        ctypes.memmove(to, self.slots[slot, offset : offset + count].tobytes(), count)
        return True

    def _write(self, _context: int, slot: int, offset: int, start: int, count: int) -> bool:
        fits = min(self.writable, count)
        self.slots[slot, offset : offset + fits] = np.frombuffer(ctypes.string_at(start, fits), np.uint8)
        self.writable -= fits
        return fits == count

    def start(self) -> str:
        return STATUSES[self.lib.cal_corrector_start(ctypes.byref(self.record))]

    def correct(self, x: np.ndarray) -> tuple[str, ctypes.Structure]:
        """Status and report of a window's codes."""
        for sample in np.ascontiguousarray(x):
            assert self.lib.cal_corrector_observe(ctypes.byref(self.record), POINTER(address(sample))) == 0
        report = Correction()
        status = self.lib.cal_corrector_correct(ctypes.byref(self.record), ctypes.byref(report))
        assert (self.arena[-GUARD:] == 0xA5).all()
        return STATUSES[status], report

    def forget(self, from_home: bool) -> None:
        self.lib.cal_corrector_forget(ctypes.byref(self.record), INT(from_home))

    def rollback(self) -> str:
        return STATUSES[self.lib.cal_corrector_rollback(ctypes.byref(self.record))]

    @property
    def parameters(self) -> Parameters:
        """In force."""
        base = Parameters.of(self.artifact.constants)
        whole = {name: np.concatenate([self.now[name], base[name][self.channels :]]) for name in NAMES}
        return base.replaced(**whole)
