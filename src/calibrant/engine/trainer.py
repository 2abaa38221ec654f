"""Drives training in the C engine: encodes a planned Training as flat records, checks batches, keeps the head."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant import _engine
from calibrant.core.errors import DataError, PlanError
from calibrant.core.training import Slice, Step, Training
from calibrant.engine.engine import Engine
from calibrant.engine.native import array, encode, table

_ATTRIBUTES = frozenset({"accumulate", "in_place", "operand", "scratch_offset", "scratch_bytes"})


class Trainer:
    """A training step over an engine's program, in its own arena, on the engine's own weights and biases.

    What it learns, `engine.infer` uses from the next call on. Calls release the interpreter lock, and wait for each
    other and for the engine's.

    Parameters
    ----------
    engine : Engine
    training : Training
        Planned, over `engine.program`.
    carry : bool
        Keep what rounding leaves over in the accumulators for the next batch.
    accumulators : bool
        float32 memory for each trained parameter, in which a batch adds up. Without, every sample moves weights and
        biases at once, each change rounded.
    variant : str, optional
        Kernels of the gradients, see :func:`calibrant.engine.engine.variants`; default the engine's. All give the
        same numbers.

    Raises
    ------
    PlanError
        If the training is not planned, or an id, offset, size, order or dtype in it is invalid.

    References
    ----------
    Lin et al., "On-Device Training Under 256KB Memory", NeurIPS 2022, section 3.

    Examples
    --------
    One layer, two classes; the loss of the same sample falls:

    >>> from calibrant.core.program import Constants, Layer, Op, Program, Tensor
    >>> from calibrant.core.training import Buffer
    >>> attrs = dict(kernel_h=1, kernel_w=1, stride_h=1, stride_w=1, dilation_h=1, dilation_w=1, groups=1,
    ...              clamp_low=-128, clamp_high=127, scratch_offset=64, scratch_bytes=132)
    >>> tensors = (Tensor("x", 1, 1, 2, 0.5, 0), Tensor("y", 1, 1, 2, 0.5, 0, bits=32))
    >>> layer = Layer("y", 8, 2, 1, 1, 2, 1, weight_offset=0, channel_offset=0, pooled_offset=0)
    >>> program = Program(tensors, (Op("conv2d", (0,), 1, attrs, layer=0),), (layer,), 0, 1, (0, 4), 196)
    >>> one = np.ones(2, np.float32)
    >>> constants = Constants(np.zeros(4, np.int8), *[np.ones(2, np.int32)] * 3, one)
    >>> training = Training(
    ...     buffers=(Buffer("x", 1, 1, 2, "int8", 0.5), Buffer("y", 1, 1, 2, "int32"), Buffer("g", 1, 1, 2, "float32")),
    ...     steps=(Step("forward", (0,), 1, op=0, attrs={"scratch_offset": 64, "scratch_bytes": 132}),
    ...            Step("loss", (1,), 2), Step("weight_update", (0, 2), op=0, slice=0)),
    ...     slices=(Slice(0, "weight", 0, 4),), input=0, logits=1, head="int8", effective=one, weight_scaling=one,
    ...     bias_scaling=one, head_scale=one / 8, offsets=(0, 4, 16), arena_bytes=196)
    >>> trainer = Trainer(Engine(program, constants), training)
    >>> x, y = np.array([[[[7, -3]]]], np.int8), np.array([1])
    >>> trainer.step(x, y, rate=4.0), trainer.loss(x, y)
    (array([0.6931472], dtype=float32), array([0.01416345], dtype=float32))
    """

    def __init__(
        self,
        engine: Engine,
        training: Training,
        *,
        carry: bool = True,
        accumulators: bool = True,
        variant: str | None = None,
    ) -> None:
        self.engine = engine
        self.training = training
        self._carry = carry
        self._batched = accumulators
        if len(training.offsets) != len(training.buffers):
            raise PlanError(f"training: expected {len(training.buffers)} offsets, one a buffer, got "
                            f"{len(training.offsets)}; plan it first (calibrant.plan.schedule)")  # fmt: skip
        head_scale = array(training.head_scale, np.float32, (-1,), "head_scale")
        self._classes, self._features = len(head_scale), _features(training)
        slices, channels = _slices(training.slices)
        place = {"input": training.input, "logits": training.logits, "arena_bytes": training.arena_bytes}
        place |= {"head": _named(training.head, _engine.HEADS, "head"), "count": training.accumulator_count}
        source, logits, arena_bytes, head, count = encode(place, tuple(place), "training")
        self._accumulator_count = count if accumulators else 0
        self._native = _engine.Trainer(
            engine._native,
            _buffers(training),
            slices,
            _steps(training.steps),
            channels,
            np.array([step.factor for step in training.steps], np.float32),
            array(training.effective, np.float32, (-1,), "effective"),
            array(training.weight_scaling, np.float32, (-1,), "weight_scaling"),
            array(training.bias_scaling, np.float32, (-1,), "bias_scaling"),
            head_scale,
            source,
            logits,
            head,
            self._classes,
            self._features,
            arena_bytes,
            count,
            accumulators,
            variant,
        )

    @property
    def memory_bytes(self) -> int:
        """Bytes that training adds to the engine: arena, accumulators, float32 head and scales."""
        return self._native.memory_bytes

    @property
    def accumulators(self) -> NDArray[np.float32]:
        """A copy of the accumulators, float32[training.accumulator_count]; empty where there are none. Can be set."""
        return self._read("accumulators", self._accumulator_count)

    @accumulators.setter
    def accumulators(self, values: NDArray[np.float32]) -> None:
        self._write("accumulators", values, (self._accumulator_count,))

    @property
    def head_weight(self) -> NDArray[np.float32]:
        """A copy of the float32 head's weight, float32[classes, features], at first zeros. Can be set.

        Raises
        ------
        PlanError
            If the head is int8: its weights are the engine's.
        """
        self._require_head("head_weight")
        return self._read("head_weight", self._classes * self._features).reshape(self._classes, self._features)

    @head_weight.setter
    def head_weight(self, values: NDArray[np.float32]) -> None:
        self._require_head("head_weight")
        self._write("head_weight", values, (self._classes, self._features))

    @property
    def head_bias(self) -> NDArray[np.float32]:
        """A copy of the float32 head's bias, float32[classes], at first zeros. Can be set."""
        self._require_head("head_bias")
        return self._read("head_bias", self._classes)

    @head_bias.setter
    def head_bias(self, values: NDArray[np.float32]) -> None:
        self._require_head("head_bias")
        self._write("head_bias", values, (self._classes,))

    @property
    def arena(self) -> NDArray[np.uint8]:
        """A copy of the arena as the last sample left it, uint8[training.arena_bytes]; for inspection."""
        values = np.empty(self.training.arena_bytes, np.uint8)
        self._native.read_arena(values)
        return values

    def step(
        self, x: NDArray[np.int8], y: NDArray[np.int64], rate: float, bias_rate: float | None = None
    ) -> NDArray[np.float32]:
        """Train on one batch.

        Parameters
        ----------
        x : int8[N, height, width, channels]
            Input codes.
        y : int64[N]
            Classes.
        rate : float
            Of the batch's mean gradient. Without accumulators every sample is a batch of its own.
        bias_rate : float, optional
            Of biases, the head's too; default `rate`.

        Returns
        -------
        float32[N]
            Losses in nats, before the step; without accumulators, before each sample's own.

        Raises
        ------
        DataError
            If a class is out of range or a rate is not a finite number of 0 or more.
        PlanError
            If `x` has the wrong shape or dtype.
        """
        rows = self._rows(x)
        labels = self._labels(y, len(rows))
        share = np.float32(len(rows) if self._batched and len(rows) else 1)
        weight_share = float(_rate(rate, "rate") / share)
        bias_share = float(_rate(rate if bias_rate is None else bias_rate, "bias_rate") / share)
        losses = np.empty(len(rows), np.float32)
        if len(rows):
            self.engine.trained()
            self._native.train(rows, labels, weight_share, bias_share, self._carry, losses)
        return losses

    def logits(self, x: NDArray[np.int8]) -> NDArray[np.float32]:
        """Scores of the forward pass, float32[N, classes]; `x` as for :meth:`step`."""
        rows = self._rows(x)
        scores = np.empty((len(rows), self._classes), np.float32)
        self._native.evaluate(rows, None, None, scores)
        return scores

    def loss(self, x: NDArray[np.int8], y: NDArray[np.int64]) -> NDArray[np.float32]:
        """Losses in nats, float32[N], without training; `x` and `y` as for :meth:`step`."""
        rows = self._rows(x)
        losses = np.empty(len(rows), np.float32)
        self._native.evaluate(rows, self._labels(y, len(rows)), losses, None)
        return losses

    def _rows(self, x: NDArray[np.int8]) -> NDArray[np.int8]:
        t = self.engine.program.tensors[self.engine.program.input]
        return array(x, np.int8, (-1, t.height, t.width, t.channels), "x").reshape(len(x), t.elements)

    def _labels(self, y: NDArray[np.int64], samples: int) -> NDArray[np.int32]:
        fits = isinstance(y, np.ndarray) and y.ndim == 1 and np.issubdtype(y.dtype, np.integer)
        if not fits or len(y) != samples:
            got = f"{y.dtype}{list(y.shape)}" if isinstance(y, np.ndarray) else type(y).__name__
            raise DataError(f"y: expected int64[{samples}], one class a sample, got {got}")
        wrong = np.flatnonzero((y < 0) | (y >= self._classes))
        if len(wrong):
            raise DataError(f"y[{wrong[0]}]: expected a class of 0 to {self._classes - 1}, got {y[wrong[0]]}")
        return np.ascontiguousarray(y, np.int32)

    def _require_head(self, what: str) -> None:
        if self.training.head != "float32":
            raise PlanError(f"{what}: expected a training with a float32 head, got {self.training.head}")

    def _read(self, what: str, count: int) -> NDArray[np.float32]:
        values = np.empty(count, np.float32)
        self._native.read(what, values)
        return values

    def _write(self, what: str, values: NDArray[np.float32], shape: tuple[int, ...]) -> None:
        self._native.write(what, array(values, np.float32, shape, what).reshape(-1))


def _rate(value: float, name: str) -> np.float32:
    if not 0 <= value <= float(np.finfo(np.float32).max):
        raise DataError(f"{name}: expected a finite number of 0 or more, got {value}")
    return np.float32(value)


def _named(name: str, known: tuple[str, ...], where: str) -> int:
    if name not in known:
        raise PlanError(f"{where}: expected one of {', '.join(known)}, got '{name}'")
    return known.index(name)


def _features(training: Training) -> int:
    """Values that the float32 head reads; 0 where nothing says so, which the engine refuses where it matters."""
    for step in training.steps:
        if step.kind == "dense" and step.inputs and 0 <= step.inputs[0] < len(training.buffers):
            return max(0, min(training.buffers[step.inputs[0]].elements, 2**31 - 1))
    return 0


def _buffers(training: Training) -> NDArray[np.int32]:
    rows = []
    for buffer, offset in zip(training.buffers, training.offsets, strict=True):
        where = f"buffer '{buffer.name}'"
        fields = vars(buffer) | {"offset": offset, "dtype": _named(buffer.dtype, _engine.DTYPES, where)}
        rows.append(encode(fields, _engine.BUFFER_FIELDS, where))
    return table(rows, len(_engine.BUFFER_FIELDS))


def _slices(slices: tuple[Slice, ...]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The records, and the channels of all of them."""
    rows: list[list[int]] = []
    channels: list[int] = []
    for i, part in enumerate(slices):
        where = f"slice {i}"
        fields: dict[str, Any] = vars(part) | {"kind": _named(part.kind, _engine.SLICE_KINDS, where)}
        fields |= {"channel_offset": len(channels), "channel_count": len(part.channels)}
        rows.append(encode(fields, _engine.SLICE_FIELDS, where))
        named = {f"channels[{n}]": channel for n, channel in enumerate(part.channels)}
        channels += encode(named, tuple(named), where)
    return table(rows, len(_engine.SLICE_FIELDS)), np.array(channels, np.int32)


def _steps(steps: tuple[Step, ...]) -> NDArray[np.int32]:
    rows = []
    for i, step in enumerate(steps):
        where = f"step {i} {step.kind}"
        unknown = sorted(set(step.attrs) - _ATTRIBUTES)
        if unknown:
            raise PlanError(f"{where}: unknown attributes {', '.join(unknown)}")
        if len(step.inputs) > _engine.MAX_INPUTS:
            raise PlanError(f"{where}: expected at most {_engine.MAX_INPUTS} inputs, got {len(step.inputs)}")
        fields: dict[str, Any] = dict.fromkeys(_engine.STEP_FIELDS, 0) | dict(step.attrs)
        fields |= {f"input{n}": id_ for n, id_ in enumerate(step.inputs)}
        fields |= {"kind": _named(step.kind, _engine.STEP_KINDS, where), "input_count": len(step.inputs)}
        fields |= {"output": step.output, "op": step.op, "slice": step.slice}
        rows.append(encode(fields, _engine.STEP_FIELDS, where))
    return table(rows, len(_engine.STEP_FIELDS))
