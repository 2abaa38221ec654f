"""The published sparse update schemes of three networks, one a memory budget.

References
----------
J. Lin et al., "On-Device Training Under 256KB Memory", NeurIPS 2022; the schemes of github mit-han-lab/tiny-training.
"""

from __future__ import annotations

from collections.abc import Mapping

from calibrant.autodiff.schemes import Scheme
from calibrant.core.errors import ModelError

# network -> label of the budget -> layers whose biases are trained, share of the input channels by layer
_TABLE: Mapping[str, Mapping[str, tuple[int, Mapping[int, float]]]] = {
    "mbv2-w0.35": {
        "49KB": (16, {36: 1, 39: 1, 41: 1 / 4, 42: 1 / 8, 45: 1 / 8, 48: 1 / 8, 49: 1 / 8}),
        "73KB": (20, {32: 1 / 8, 33: 1 / 2, 36: 1 / 2, 39: 1, 41: 1 / 4, 42: 1 / 8, 45: 1 / 8, 48: 1}),
        "99KB": (25, {27: 1, 30: 1, 33: 1, 36: 1, 39: 1, 42: 1 / 8, 45: 1 / 2, 48: 1}),
        "123KB": (31, {27: 1, 30: 1, 33: 1, 36: 1, 39: 1, 42: 1 / 2, 45: 1, 48: 1}),
        "138KB": (34, {27: 1, 30: 1, 33: 1, 36: 1, 39: 1, 42: 1, 45: 1, 48: 1}),
    },
    "mcunet-5fps": {
        "49KB": (20, {24: 1 / 4, 27: 1 / 2, 30: 1 / 2}),
        "74KB": (21, {21: 1, 24: 1, 27: 1 / 2, 30: 1}),
        "99KB": (22, {21: 1, 24: 1, 27: 1, 30: 1, 36: 1 / 8, 39: 1 / 4}),
        "124KB": (24, {21: 1 / 4, 24: 1, 27: 1, 30: 1, 33: 1 / 2, 39: 1 / 2}),
        "148KB": (23, {21: 1, 24: 1, 27: 1, 30: 1, 36: 1, 39: 1 / 2}),
    },
    "proxyless-w0.3": {
        "49KB": (21, {39: 1 / 4, 42: 1, 45: 1, 51: 1 / 8, 54: 1 / 4, 57: 1 / 4}),
        "74KB": (28, {33: 1 / 2, 36: 1 / 4, 39: 1, 42: 1, 45: 1, 51: 1 / 2, 54: 1 / 4, 57: 1 / 2}),
        "98KB": (25, {36: 1, 39: 1 / 2, 42: 1, 45: 1, 48: 1 / 4, 51: 1 / 2, 54: 1, 57: 1}),
        "120KB": (32, {36: 1, 39: 1, 42: 1, 45: 1, 48: 1 / 2, 51: 1, 54: 1, 57: 1}),
        "148KB": (45, {36: 1, 39: 1, 42: 1, 45: 1, 48: 1, 51: 1, 54: 1, 57: 1}),
    },
}
ALIASES = {"100KB": "99KB"}  # the paper's name of MCUNet's and MobileNetV2's third scheme

PUBLISHED = tuple((network, budget) for network, budgets in _TABLE.items() for budget in budgets)


def published(network: str, budget: str) -> Scheme:
    """A published scheme by the name of its network and the label of its budget.

    Raises
    ------
    ModelError
        If there is none of that name.

    Examples
    --------
    >>> published("mcunet-5fps", "49KB")
    Scheme(biases=20, weights={24: 0.25, 27: 0.5, 30: 0.5}, head=True)
    """
    budgets = _TABLE.get(network)
    if budgets is None:
        raise ModelError(f"published scheme: expected a network of {', '.join(_TABLE)}, got '{network}'")
    label = budget if budget in budgets else ALIASES.get(budget, budget)
    if label not in budgets:
        raise ModelError(f"published scheme of {network}: expected a budget of {', '.join(budgets)}, got '{budget}'")
    biases, weights = budgets[label]
    return Scheme(biases, {layer: float(share) for layer, share in weights.items()})
