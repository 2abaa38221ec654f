"""Drives the C engine: encodes a Program as flat records, checks buffers, allocates results."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant import _engine
from calibrant.core.errors import PlanError
from calibrant.core.parameters import KINDS, Parameters
from calibrant.core.program import Constants, Op, Program
from calibrant.core.statistics import Moments, Observation
from calibrant.engine.native import array, encode, table

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
        tensors = [encode(vars(t) | {"offset": at}, _engine.TENSOR_FIELDS, f"tensor '{t.name}'")
                   for t, at in zip(program.tensors, program.offsets, strict=True)]  # fmt: skip
        layers = [encode(vars(n), _engine.LAYER_FIELDS, f"layer '{n.name}'") for n in program.layers]
        ops = [encode(_op_fields(op, i), _engine.OP_FIELDS, f"op {i} {op.kind}") for i, op in enumerate(program.ops)]
        source, output, arena_bytes = encode(vars(program), ("input", "output", "arena_bytes"), "program")
        self._native = _engine.Engine(
            table(tensors, len(_engine.TENSOR_FIELDS)),
            table(layers, len(_engine.LAYER_FIELDS)),
            table(ops, len(_engine.OP_FIELDS)),
            source,
            output,
            arena_bytes,
            sum(layer.c_in for layer in program.layers),
            array(constants.weights, np.int8, (-1,), "weights"),
            array(constants.bias, np.int32, (-1,), "bias"),
            array(constants.multiplier, np.int32, (-1,), "multiplier"),
            array(constants.shift, np.int32, (-1,), "shift"),
            variant,
        )
        # lengths come last: only a checked program has layers that can be counted
        array(constants.weights, np.int8, (program.weight_count,), "weights")
        array(constants.bias, np.int32, (program.channel_count,), "bias")
        self._outputs = program.tensors[program.output].elements
        self._parameters: Parameters | None = None  # None: they must be read

    @property
    def variant(self) -> str:
        """Name of the kernels in use."""
        return self._native.variant

    @property
    def memory_bytes(self) -> int:
        """Bytes the engine holds: arena, weights, packed weights, and per-channel constants."""
        return self._native.memory_bytes

    @property
    def parameters(self) -> Parameters:
        """What it runs with: those last loaded, or what training has made of them."""
        if self._parameters is None:
            arrays = {kind.name: np.empty(kind.count(self.program), kind.dtype) for kind in KINDS}
            self._native.read(**arrays)
            self._parameters = Parameters(**arrays)
        return self._parameters

    def load(self, parameters: Parameters) -> None:
        """Replace all parameters; nothing changes if they are refused.

        Raises
        ------
        PlanError
            On a wrong length, or what is refused of constants, such as a weight outside its layer's width.
        """
        if parameters is self._parameters:
            return
        for kind in KINDS:
            array(parameters[kind.name], kind.dtype, (kind.count(self.program),), kind.name)
        self._native.load(**parameters)
        self._parameters = parameters

    def trained(self) -> None:
        """Take note that a trainer has changed the parameters in place."""
        self._parameters = None

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
        scaled = array(signal, np.int32, (len(rows), self.program.channel_count), "signal")
        outputs = np.empty((len(rows), self._outputs), np.int32)
        taps = np.zeros(self.program.weight_count, np.int64)
        self._native.run(rows, outputs, None, None, scaled, taps)
        return taps

    def moments(self, x: NDArray[np.int8], layers: Collection[int] | None = None) -> Moments:
        """Moments of pre-activations, per sample and output channel of some layers; no layer after them is run.

        Parameters
        ----------
        x : int8[N, height, width, channels]
        layers : collection of int, optional
            Numbers of weighted layers; without, all but the last and binary ones.

        Raises
        ------
        PlanError
            There is no such layer, or its output is not of 8 bits: accumulators or signs, which nothing requantizes.
        """
        rows, program = self._rows(x), self.program
        wanted = np.zeros(len(program.layers), np.uint8)
        usual = set(program.adaptable) - {len(program.layers) - 1}
        for layer in usual if layers is None else layers:
            if not 0 <= layer < len(program.layers):
                raise PlanError(f"moments: expected a layer of 0 to {len(program.layers) - 1}, got {layer}")
            wanted[layer] = 1
        total, square = np.zeros((2, len(rows), program.channel_count), np.int64)
        self._native.moments(rows, wanted, total, square)
        positions = np.zeros(program.channel_count, np.int64)
        for op in program.ops:
            if op.layer >= 0 and wanted[op.layer]:
                output = program.tensors[op.output]
                positions[program.layers[op.layer].channel_slice] = output.height * output.width
        return Moments(total, square, positions)

    def _rows(self, x: NDArray[np.int8]) -> NDArray[np.int8]:
        t = self.program.tensors[self.program.input]
        return array(x, np.int8, (-1, t.height, t.width, t.channels), "x").reshape(len(x), t.elements)


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
