"""Drives the C engine: encodes a Program as flat records, checks buffers, allocates results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant import _engine
from calibrant.core.errors import PlanError
from calibrant.core.program import Constants, Op, Program
from calibrant.core.statistics import Observation

_ATTRIBUTES = frozenset(_engine.OP_FIELDS) - {"kind", "input_count", "output", "layer"}
_ATTRIBUTES -= {f"input{i}" for i in range(_engine.MAX_INPUTS)}


def variants() -> tuple[str, ...]:
    """Kernel variants that this processor can run, slowest first.

    Examples
    --------
    >>> variants()[0]
    'ref'
    """
    return _engine.variants()


class Engine:
    """A program with its constants, checked and ready to run, one sample at a time in one arena.

    Calls release the interpreter lock; one engine runs one call at a time.

    Parameters
    ----------
    program : Program
    constants : Constants
        Copied; the arrays stay the caller's.
    variant : str, optional
        One of :func:`variants`; default is the fastest. All give the same numbers.

    Raises
    ------
    PlanError
        If an id, offset, size or range in the program or constants is invalid, or the variant cannot run here.

    Examples
    --------
    >>> from calibrant.core.program import Layer, Tensor
    >>> attrs = dict(kernel_h=1, kernel_w=1, stride_h=1, stride_w=1, dilation_h=1, dilation_w=1, groups=1,
    ...              clamp_low=-128, clamp_high=127, scratch_offset=64, scratch_bytes=132)
    >>> program = Program(
    ...     tensors=(Tensor("x", 1, 1, 2, 0.5, 0), Tensor("y", 1, 1, 1, 0.5, 0, bits=32)),
    ...     ops=(Op("conv2d", (0,), 1, attrs, layer=0),),
    ...     layers=(Layer("y", 8, 1, 1, 1, 2, 1, weight_offset=0, channel_offset=0, pooled_offset=0),),
    ...     input=0, output=1, offsets=(0, 4), arena_bytes=196)
    >>> one = np.ones(1, np.int32)
    >>> constants = Constants(np.array([3, -2], np.int8), 10 * one, one, one, np.ones(1, np.float32))
    >>> Engine(program, constants).infer(np.array([[[[5, 1]]]], np.int8))
    array([[23]], dtype=int32)
    """

    def __init__(self, program: Program, constants: Constants, variant: str | None = None) -> None:
        self.program = program
        if len(program.offsets) != len(program.tensors):
            raise PlanError(f"offsets: expected {len(program.tensors)}, one a tensor, got {len(program.offsets)}")
        for t in program.tensors:
            if t.parent >= 0:
                raise PlanError(f"tensor '{t.name}': expected memory of its own, got rows of tensor {t.parent}")
        tensors = [_encode(vars(t) | {"offset": at}, _engine.TENSOR_FIELDS, f"tensor '{t.name}'")
                   for t, at in zip(program.tensors, program.offsets, strict=True)]  # fmt: skip
        layers = [_encode(vars(n), _engine.LAYER_FIELDS, f"layer '{n.name}'") for n in program.layers]
        ops = [_encode(_op_fields(op, i), _engine.OP_FIELDS, f"op {i} {op.kind}") for i, op in enumerate(program.ops)]
        source, output, arena_bytes = _encode(vars(program), ("input", "output", "arena_bytes"), "program")
        self._native = _engine.Engine(
            _table(tensors, len(_engine.TENSOR_FIELDS)),
            _table(layers, len(_engine.LAYER_FIELDS)),
            _table(ops, len(_engine.OP_FIELDS)),
            source,
            output,
            arena_bytes,
            sum(layer.c_in for layer in program.layers),
            _array(constants.weights, np.int8, (-1,), "weights"),
            _array(constants.bias, np.int32, (-1,), "bias"),
            _array(constants.multiplier, np.int32, (-1,), "multiplier"),
            _array(constants.shift, np.int32, (-1,), "shift"),
            variant,
        )
        # lengths come last: only a checked program has layers that can be counted
        _array(constants.weights, np.int8, (program.weight_count,), "weights")
        _array(constants.bias, np.int32, (program.channel_count,), "bias")
        self._outputs = program.tensors[program.output].elements

    @property
    def variant(self) -> str:
        """Name of the kernels in use."""
        return self._native.variant

    @property
    def memory_bytes(self) -> int:
        """Bytes the engine holds: arena, weights, packed weights, and per-channel constants."""
        return self._native.memory_bytes

    @property
    def weights(self) -> NDArray[np.int8]:
        """A copy of all weights, int8[weight_count]."""
        return self._read()[0]

    @property
    def bias(self) -> NDArray[np.int32]:
        """A copy of all biases, int32[channel_count]."""
        return self._read()[1]

    def load(self, weights: NDArray[np.int8], bias: NDArray[np.int32]) -> None:
        """Replace weights and biases; nothing changes if one is refused.

        Parameters
        ----------
        weights : int8[weight_count]
        bias : int32[channel_count]

        Raises
        ------
        PlanError
            On a wrong shape or dtype, or a weight outside its layer's width.
        """
        self._native.load(
            _array(weights, np.int8, (self.program.weight_count,), "weights"),
            _array(bias, np.int32, (self.program.channel_count,), "bias"),
        )

    def infer(self, x: NDArray[np.int8]) -> NDArray[np.int32]:
        """Forward pass.

        Parameters
        ----------
        x : int8[N, height, width, channels]
            Input codes.

        Returns
        -------
        int32[N, elements of the output tensor]
            Raw accumulators of a 32-bit output, else codes.
        """
        rows = self._rows(x)
        outputs = np.empty((len(rows), self._outputs), np.int32)
        self._native.run(rows, outputs, None, None, None, None)
        return outputs

    def observe(self, x: NDArray[np.int8]) -> Observation:
        """Forward pass plus the pooled statistics that bit-flipping needs; `x` as for :meth:`infer`."""
        rows = self._rows(x)
        outputs = np.empty((len(rows), self._outputs), np.int32)
        active = np.zeros((len(rows), self.program.active_count), np.int32)
        pooled = np.zeros((len(rows), self.program.pooled_count), np.int32)
        self._native.run(rows, outputs, active, pooled, None, None)
        return Observation(outputs, active, pooled)

    def taps(self, x: NDArray[np.int8], signal: NDArray[np.int32]) -> NDArray[np.int64]:
        """Sum over samples of signal times input at each tap, over active output positions, for every weight.

        Parameters
        ----------
        x : int8[N, height, width, channels]
        signal : int32[N, channel_count]
            Error signal of each output channel; channels with signal 0 cost nothing.

        Returns
        -------
        int64[weight_count]
        """
        rows = self._rows(x)
        scaled = _array(signal, np.int32, (len(rows), self.program.channel_count), "signal")
        outputs = np.empty((len(rows), self._outputs), np.int32)
        taps = np.zeros(self.program.weight_count, np.int64)
        self._native.run(rows, outputs, None, None, scaled, taps)
        return taps

    def _rows(self, x: NDArray[np.int8]) -> NDArray[np.int8]:
        t = self.program.tensors[self.program.input]
        return _array(x, np.int8, (-1, t.height, t.width, t.channels), "x").reshape(len(x), t.elements)

    def _read(self) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
        weights = np.empty(self.program.weight_count, np.int8)
        bias = np.empty(self.program.channel_count, np.int32)
        self._native.read(weights, bias)
        return weights, bias


def _op_fields(op: Op, index: int) -> dict[str, Any]:
    """A Program's op by the C struct's field names; attributes that an op does not mention are 0."""
    where = f"op {index} {op.kind}"
    if op.kind not in _engine.KINDS:
        raise PlanError(f"{where}: expected a kind of {', '.join(_engine.KINDS)}")
    unknown = sorted(set(op.attrs) - _ATTRIBUTES)
    if unknown:
        raise PlanError(f"{where}: unknown attributes {', '.join(unknown)}")
    if len(op.inputs) > _engine.MAX_INPUTS:
        raise PlanError(f"{where}: expected at most {_engine.MAX_INPUTS} inputs, got {len(op.inputs)}")
    fields: dict[str, Any] = dict.fromkeys(_engine.OP_FIELDS, 0)
    fields |= dict(op.attrs) | {f"input{i}": id_ for i, id_ in enumerate(op.inputs)}
    return fields | {
        "kind": _engine.KINDS.index(op.kind),
        "input_count": len(op.inputs),
        "output": op.output,
        "layer": op.layer,
    }


def _encode(values: Mapping[str, Any], names: Sequence[str], where: str) -> list[int]:
    for name in names:
        value = values[name]
        if not isinstance(value, int | np.integer) or not -(2**31) <= value < 2**31:
            raise PlanError(f"{where}: {name} must be a 32-bit integer, got {value!r}")
    return [int(values[name]) for name in names]


def _table(rows: list[list[int]], width: int) -> NDArray[np.int32]:
    return np.array(rows, np.int32).reshape(len(rows), width)


def _array(value: NDArray[Any], dtype: type[np.generic], shape: tuple[int, ...], what: str) -> NDArray[Any]:
    """A contiguous array of that dtype and shape, of any length where the shape says -1, or PlanError."""
    fits = isinstance(value, np.ndarray) and value.dtype == dtype and value.ndim == len(shape)
    if not fits or any(want not in (-1, got) for got, want in zip(value.shape, shape, strict=True)):
        sides = ", ".join("n" if side < 0 else str(side) for side in shape)
        raise PlanError(f"{what}: expected {np.dtype(dtype).name}[{sides}], got {_described(value)}")
    return np.ascontiguousarray(value)


def _described(value: Any) -> str:
    return f"{value.dtype.name}{list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
