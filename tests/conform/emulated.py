"""The C library with AVX-512 emulated, driven through its public header by ctypes like the native module."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from calibrant import _engine  # private: its tables, to give a library the same face
from calibrant.export.records import record_bytes

GUARD = 256  # bytes behind the arena that no kernel may write
POINTER, INT, LONG = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64


def struct(**fields):
    return type("Record", (ctypes.Structure,), {"_fields_": list(fields.items())})


Program = struct(
    tensors=POINTER, layers=POINTER, ops=POINTER, tensor_count=INT, layer_count=INT, op_count=INT, input=INT,
    output=INT, arena_bytes=LONG, weight_count=LONG, channel_count=LONG, pooled_count=LONG,
)  # fmt: skip
Constants = struct(weights=POINTER, bias=POINTER, multiplier=POINTER, shift=POINTER)
EngineRecord = struct(
    program=POINTER, constants=POINTER, kernels=POINTER, packed=POINTER, arena=POINTER, calls=POINTER
)  # fmt: skip
CALL_BYTES = ctypes.sizeof(POINTER) + record_bytes("cal_args", ctypes.sizeof(POINTER))
Stats = struct(active=POINTER, pooled=POINTER, signal=POINTER, taps=POINTER)
Moments = struct(layers=POINTER, sums=POINTER, total=POINTER, square=POINTER)


def address(array):
    return None if array is None else array.ctypes.data


def aligned(size):
    """Zeroed bytes at a multiple of 64."""
    whole = np.zeros(size + 64, np.uint8)
    start = -whole.ctypes.data % 64
    return whole[start : start + size]


class Native:
    """Stands in for `calibrant._engine`: names from the real module, an engine on the emulating library."""

    def __init__(self, library: Path) -> None:
        lib = self.lib = ctypes.CDLL(str(library))
        lib.cal_variant.restype = POINTER
        lib.cal_packed_bytes.restype = lib.cal_moments_bytes.restype = LONG
        for name in ("OP_FIELDS", "TENSOR_FIELDS", "LAYER_FIELDS", "KINDS", "MAX_INPUTS"):
            setattr(self, name, getattr(_engine, name))

    def kernels(self, variant):
        index = 0
        while found := self.lib.cal_variant(index):
            if ctypes.cast(found, ctypes.POINTER(ctypes.c_char_p))[0].decode() == variant:
                return found
            index += 1
        raise LookupError(variant)

    def Engine(self, *arguments):  # noqa: N802  # the native module's name
        return EmulatedEngine(self, *arguments)


class EmulatedEngine:
    def __init__(
        self, native, tensors, layers, ops, source, output, arena_bytes, pooled_count, weights, bias, multiplier,
        shift, variant,
    ):  # fmt: skip
        self.native, self.variant = native, variant
        self.arrays = (tensors, layers, ops, weights, bias, multiplier, shift)
        self.program = Program(
            *(address(a) for a in (tensors, layers, ops)), len(tensors), len(layers), len(ops), source, output,
            arena_bytes, len(weights), len(bias), pooled_count,
        )  # fmt: skip
        self.constants = Constants(*(address(a) for a in (weights, bias, multiplier, shift)))
        kernels, index, lib = POINTER(native.kernels(variant)), INT(), native.lib
        program, constants = ctypes.byref(self.program), ctypes.byref(self.constants)
        assert lib.cal_check(program, ctypes.byref(index)) == 0
        assert lib.cal_check_constants(program, constants, ctypes.byref(index)) == 0
        self.packed, self.arena = aligned(lib.cal_packed_bytes(program, kernels)), aligned(arena_bytes + GUARD)
        self.guard = self.arena[arena_bytes:]
        self.guard[:] = 0xA5
        lib.cal_pack(program, constants, kernels, POINTER(address(self.packed)))
        records = ctypes.addressof(self.program), ctypes.addressof(self.constants)
        self.calls = np.zeros(len(ops) * CALL_BYTES, np.uint8)
        places = (address(a) for a in (self.packed, self.arena, self.calls))
        self.engine = EngineRecord(*records, kernels, *places)
        lib.cal_bind(ctypes.byref(self.engine), POINTER(address(self.calls)))

    def run(self, x, outputs, active, pooled, signal, taps):
        stats = Stats(*(address(a) for a in (active, pooled, signal, taps)))
        to = POINTER(address(outputs))
        self.native.lib.cal_run(ctypes.byref(self.engine), POINTER(address(x)), LONG(len(x)), to, ctypes.byref(stats))
        assert (self.guard == 0xA5).all()

    def moments(self, x, layers, total, square):
        lib, engine = self.native.lib, ctypes.byref(self.engine)
        sums = aligned(lib.cal_moments_bytes(ctypes.byref(self.program), POINTER(address(layers))))
        moments = Moments(*(address(a) for a in (layers, sums, total, square)))
        lib.cal_measure_moments(engine, POINTER(address(x)), LONG(len(x)), ctypes.byref(moments))
        assert (self.guard == 0xA5).all()
