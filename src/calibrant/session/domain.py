"""What is known of one context: how its channels differ from home, what its windows taught, which candidate leads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.core.parameters import FLIPPED, Parameters
from calibrant.memory.delta import apply, difference, pack, unpack
from calibrant.policy.contest import Contest
from calibrant.policy.kept import data_of, fields_of, nonsense, text_of, whole
from calibrant.updaters.affine_correction import REMEMBERED, REMEMBERED_FROM_HOME, AffineMemory

AS_IT_IS, LABELED, AFFINE, FLIPS = "as it is", "labeled", "affine", "affine and flips"
CANDIDATES = (AS_IT_IS, LABELED, AFFINE, FLIPS)  # the simpler ones first
_MOST = 2**50  # versions and labels, more than there will be
_LARGEST = 2.0**40  # of a mean square of 16 bits, and then some
_STORED = np.dtype("<f4")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Domain:
    """A context's part of the state; `Parameters` follow from it and the artifact's.

    Attributes
    ----------
    affine : AffineMemory
        Single precision in every number, so that a state opened again goes on alike.
    weights : int8[weight_count], optional
        That the context's own labels moved, on top of the affine; None: the artifact's.
    contest : Contest
        Of `CANDIDATES`.
    chosen : str
        The candidate in force when this context is.
    labels, version : int
        Labels that were given in this context, and the last version that they taught; -1 without.
    """

    affine: AffineMemory
    weights: NDArray[np.int8] | None = None
    contest: Contest = field(default_factory=Contest)
    chosen: str = AS_IT_IS
    labels: int = 0
    version: int = -1

    def memory(self, base: Parameters) -> dict[str, Any]:
        """JSON for :meth:`of`; `base` are the artifact's parameters."""
        moved = (
            "" if self.weights is None else text_of(pack(difference(base, base.replaced(**{FLIPPED: self.weights}))))
        )
        affine = {name: _numbers(getattr(self.affine, name)) for name in ("samples", "mean", "square")}
        return {
            **affine,
            "limit": self.affine.limit,
            "weights": moved,
            "contest": self.contest.memory(),
            "chosen": self.chosen,
            "labels": self.labels,
            "version": self.version,
        }

    @classmethod
    def of(cls, kept: Any, base: Parameters, where: str) -> Self:
        """What :meth:`memory` gave.

        Raises
        ------
        StateError
            It could not have; names `where`.
        """
        names = ("samples", "mean", "square", "limit", "weights", "contest", "chosen", "labels", "version")
        fields = fields_of(kept, names, where)
        channels = len(base.bias)
        samples, mean, square = (_array(fields[name], channels, f"{where} field {name!r}") for name in names[:3])
        limit, moved, chosen = fields["limit"], fields["weights"], fields["chosen"]
        known = type(limit) is int and limit in (REMEMBERED, REMEMBERED_FROM_HOME)
        if not known or (samples < 0).any() or (square < 0).any():
            raise nonsense(where, "sums of pre-activations", limit)
        contest = Contest.of(fields["contest"])
        if chosen not in CANDIDATES or (chosen != AS_IT_IS and chosen not in contest.standings):
            raise nonsense(f"{where} field 'chosen'", "one of the contest", chosen)
        weights = None
        if moved != "":
            weights = apply(unpack(data_of(moved, where), where), base)[FLIPPED]
        return cls(
            AffineMemory(samples, mean, square, limit),
            weights,
            contest,
            chosen,
            whole(fields["labels"], 0, _MOST, f"{where} field 'labels'"),
            whole(fields["version"], -1, _MOST, f"{where} field 'version'"),
        )


def single(memory: AffineMemory) -> AffineMemory:
    """With every number of single precision, as it is kept."""
    samples, mean, square = (
        each.astype(np.float32).astype(np.float64) for each in (memory.samples, memory.mean, memory.square)
    )
    return AffineMemory(samples, mean, square, memory.limit)


def _numbers(values: Array) -> str:
    return text_of(values.astype(_STORED).tobytes())


def _array(value: Any, count: int, where: str) -> Array:
    data = data_of(value, where)
    if len(data) != count * _STORED.itemsize:
        raise nonsense(where, f"{count} numbers", value)
    found = np.frombuffer(data, _STORED).astype(np.float64)
    if not (np.abs(found) <= _LARGEST).all():  # NaN is not
        raise nonsense(where, "finite numbers", value)
    return found
