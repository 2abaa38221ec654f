"""Which rows there are: update schemes by short names, and the methods that train them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calibrant import autodiff
from calibrant.autodiff import Scheme
from calibrant.core.errors import DataError, ModelError, check_known

SEARCHED = "searched"


@dataclass(frozen=True)
class Method:
    """How a row learns. `real`: in float32; `scaling`: quantization-aware; `accumulate`: rounding errors and whole
    batches are carried in float32 accumulators, otherwise every sample is rounded into the integers at once."""

    what: str
    real: bool = False
    scaling: bool = True
    accumulate: bool = True


METHODS: Mapping[str, Method] = {
    "qas": Method("int8 SGD, quantization-aware scaling"),
    "qas-direct": Method("the same, a batch of one sample, rounded at once", accumulate=False),
    "plain": Method("int8 SGD without scaling", scaling=False),
    "float": Method("float32 SGD", real=True),
}
# What each default scheme is trained with. Where a scheme trains no integers, all methods are one.
DEFAULT: Mapping[str, tuple[str, ...]] = {
    "classifier": ("qas",),
    "bias-20": ("qas",),
    "last-6": ("qas", "plain", "float"),
    "last-12": ("qas",),
    "published": ("qas",),
    "full": ("qas", "float"),
}
COMPARED = "100KB"  # of the published schemes the one that methods are compared on
COMPARED_METHODS = ("qas", "qas-direct", "plain", "float")


def rows(model: str, names: Sequence[str] | None, methods: Sequence[str] | None) -> list[tuple[str, str]]:
    """Schemes with the methods they are trained by, in the order of the table.

    Parameters
    ----------
    model : str
    names : sequence of str, optional
        Of schemes; those of `DEFAULT` without, where "published" is all of the model.
    methods : sequence of str, optional
        Instead of each scheme's own.

    Raises
    ------
    DataError
        If a method is unknown.
    """
    for method in methods or ():
        check_known("method", method, METHODS)
    labels = [budget for network, budget in autodiff.PUBLISHED if network == model]
    found: list[tuple[str, str]] = []
    for name in names or DEFAULT:
        for scheme in labels if name == "published" else [name]:
            own = COMPARED_METHODS if _is_compared(model, scheme) else DEFAULT.get(name, ("qas",))
            found += [(scheme, method) for method in methods or own]
    return list(dict.fromkeys(found))


def resolve(name: str, model: str, backbone: int) -> Scheme:
    """A scheme of a name: as `autodiff.named`, the label of one of the model's published budgets, or `spelled`.

    Raises
    ------
    DataError
        If there is none of that name.
    """
    if name.startswith(SEARCHED):
        return _parsed(name)
    try:
        return autodiff.named(f"{model}:{name}" if name.endswith("KB") and ":" not in name else name, backbone)
    except ModelError as error:
        raise DataError(str(error)) from None


def spelled(scheme: Scheme) -> str:
    """A scheme with its head as a name that says all of it.

    Examples
    --------
    >>> spelled(Scheme(20, {24: 0.25, 27: 1.0}))
    'searched 20:24x0.25+27x1'
    >>> resolve(spelled(Scheme(20, {24: 0.25})), "mcunet-5fps", 42)
    Scheme(biases=20, weights={24: 0.25}, head=True)
    """
    weights = "+".join(f"{layer}x{share:g}" for layer, share in sorted(scheme.weights.items()))
    return f"{SEARCHED} {'all' if scheme.biases is None else scheme.biases}:{weights}"


def _parsed(name: str) -> Scheme:
    match = re.fullmatch(rf"{SEARCHED} (all|\d+):((?:\d+x[\d.]+\+?)*)", name)
    if match is None:
        raise DataError(f"scheme: expected 'searched BIASES:LAYERxSHARE+...', got '{name}'")
    parts = [part.split("x") for part in match[2].split("+") if part]
    return Scheme(None if match[1] == "all" else int(match[1]), {int(layer): float(share) for layer, share in parts})


def _is_compared(model: str, scheme: str) -> bool:
    try:
        return autodiff.published(model, scheme) == autodiff.published(model, COMPARED)
    except ModelError:
        return False
