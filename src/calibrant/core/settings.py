"""What a user may set: how a device adapts, and within which limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from calibrant.core.limits import LIMITS
from calibrant.core.size import parse_size


@dataclass(frozen=True)
class FlipSettings:
    """How the updater works; see docs/flow.md.

    `form` is 'accumulated'; or, guarded step by step, 'pooled' or 'taps', with hardly any memory of its own, or
    'blocks', with none to speak of; or 'sparse', which runs the artifact's training step. At most `steps` steps a
    window (sparse: passes over the samples), fewer once the mean loss is at `loss_goal` nats; `bias` moves biases too.
    Accumulated: a step moves a weight by about `rate`, in reals, and by `decay` of its way back to the artifact's.
    Sparse: `rate` times the gradient, in reals. Guarded: the first moves `fraction` of each layer's weights, none more
    than `fraction_max`; blocks start from `fraction_max`, of one block.
    """

    form: str = "accumulated"
    steps: int = 40
    rate: float = 1e-3
    decay: float = 0.003
    fraction: float = 0.002
    fraction_max: float = 0.1
    loss_goal: float = 0.005
    bias: bool = True


# What every form asks of its settings, least and most; a form may use only some of them.
RANGES: Mapping[str, tuple[float, float]] = {
    "steps": (0, LIMITS["steps"].most),
    "rate": (1e-12, 1e6),
    "decay": (0, 1),
    "fraction": (1e-12, 1),
    "fraction_max": (1e-12, 1),
    "loss_goal": (0, 1e6),
}


@dataclass(frozen=True, init=False)
class Budget:
    """Limits in bytes, None for unlimited: `ram` for arena, weights, coreset and window; `storage` for the state.

    Examples
    --------
    >>> Budget(ram="2MB")
    Budget(ram=2000000, storage=None)
    """

    ram: int | None
    storage: int | None

    def __init__(self, ram: int | str | None = None, storage: int | str | None = None) -> None:
        object.__setattr__(self, "ram", None if ram is None else parse_size(ram))
        object.__setattr__(self, "storage", None if storage is None else parse_size(storage))
