"""What an op is: attributes, shape rule, references, and the rules of every stage, in one frozen row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import ModelError
from calibrant.core.qparams import QParams

if TYPE_CHECKING:
    from calibrant.ops.kind import OpKind

Shape = tuple[int, ...]
Attrs = Mapping[str, Any]
Params = Mapping[str, NDArray[Any]]
Arrays = tuple[NDArray[Any], ...]

ShapeRule = Callable[[Attrs, Params, tuple[Shape, ...]], Shape]
FloatReference = Callable[[Attrs, Params, Arrays], NDArray[np.float32]]
IntegerReference = Callable[[Attrs, Params, Arrays, tuple[QParams, ...], "QParams | None"], NDArray[Any]]
RealRule = Callable[[Attrs, tuple[Any, ...]], Any]


@dataclass(frozen=True)
class Attr:
    """One attribute: its type, the value `Schema.complete` fills in, and its smallest legal value.

    An attribute without a default must be given. An `optional` one may be absent from a legal node.
    """

    kind: type[int] | type[float]
    default: int | float | None = None
    minimum: float = -math.inf
    optional: bool = False


@dataclass(frozen=True)
class Schema:
    """One row of the vocabulary.

    The references take arrays with the batch first: float32 or int8 [N, C, H, W] for maps, [N, F] for vectors. The
    shape rule sees shapes without batch and raises ModelError with the reason when attributes, params and inputs do
    not fit. `integer_reference` is None for ops that must be gone before quantization. `keeps_qparams` says that the
    output has the input's scale and zero point. `tolerance` is the relative error allowed to the float reference
    against any other float implementation; integers have none.

    `quantization` is what `quantize.FakeQuantNet` does: the name of one of its steps, or, for an op that works position
    by position, the op itself on reals (attributes, inputs), in operators and methods that numpy arrays and torch
    tensors share. None refuses the op there.

    `kind` is what a node of this op becomes in a program, None if it never gets there or leaves nothing behind.
    """

    name: str
    shape: ShapeRule
    float_reference: FloatReference
    integer_reference: IntegerReference | None
    attrs: Mapping[str, Attr] = field(default_factory=dict)
    params: tuple[str, ...] = ()
    inputs_min: int = 1
    inputs_max: int = 1
    keeps_qparams: bool = False
    tolerance: float = 1e-5
    quantization: str | RealRule | None = None
    kind: OpKind | None = None

    @property
    def weighted(self) -> bool:
        """Whether nodes become layers: with weights, a bias and accumulators."""
        return "weight" in self.params

    @property
    def binary(self) -> bool:
        """Whether nodes become layers of signs."""
        return self.quantization == "binary"

    @property
    def clamps(self) -> bool:
        """Whether nodes can carry a clamp on their output."""
        return "clamp_low" in self.attrs

    def complete(self, **attrs: Any) -> dict[str, Any]:
        """Attributes with the defaults filled in, for whoever builds a node.

        Examples
        --------
        >>> from calibrant.ops import SCHEMAS
        >>> SCHEMAS["clamp"].complete(low=0.0)
        {'low': 0.0, 'high': inf}
        """
        defaults = {k: a.default for k, a in self.attrs.items() if a.default is not None and not a.optional}
        return {**defaults, **attrs}


def table(families: Iterable[Iterable[Schema]]) -> dict[str, Schema]:
    """Schemas by name.

    Raises
    ------
    ModelError
        If two rows have one name.
    """
    rows: dict[str, Schema] = {}
    for family in families:
        for row in family:
            if row.name in rows:
                raise ModelError(f"op '{row.name}': registered twice")
            rows[row.name] = row
    return rows


def kinds(rows: Iterable[Schema]) -> dict[str, OpKind]:
    """Kinds of op that the rows become in a program, by name.

    Raises
    ------
    ModelError
        If two rows mean different things by one name.
    """
    found: dict[str, OpKind] = {}
    for row in rows:
        if row.kind is not None and found.setdefault(row.kind.name, row.kind) is not row.kind:
            raise ModelError(f"op '{row.name}': expected the kind '{row.kind.name}' of other rows, got another")
    return found


def matrix_of(shape: Shape) -> tuple[int, int, int]:
    """A feature map's (channels, height, width); anything else is refused."""
    if len(shape) != 3:
        raise ModelError(f"expected a feature map [channels, height, width], got shape {list(shape)}")
    return shape[0], shape[1], shape[2]


def require(qparams: QParams | None) -> QParams:
    """The output's quantization parameters, which every op with 8-bit output needs."""
    if qparams is None:
        raise ModelError("output has no quantization parameters")
    return qparams
