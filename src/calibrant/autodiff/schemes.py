"""What a training step trains: biases of the last layers, some layers' weights or a part of them, the classifier."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from calibrant.core.errors import ModelError

Part = float | tuple[int, ...]  # a share of the input channels, or which


@dataclass(frozen=True)
class Scheme:
    """A sparse update scheme (Lin et al., NeurIPS 2022, section 3.2).

    The backbone is all of a program's layers but the last, the head, counted from 0 at the input.

    Parameters
    ----------
    biases : int or None
        Biases of the last so many layers of the backbone; None for all.
    weights : mapping of int to float or tuple of int
        By layer of the backbone: the share in (0, 1] of its input channels (depthwise: of its channels) whose weights
        are trained, those of the largest norm; or their indices within a group.
    head : bool
        Weight and bias of the head.

    Examples
    --------
    >>> Scheme(biases=20, weights={24: 0.25, 27: 0.5, 30: 0.5}).summary()
    'head, 20 biases, weights of 24 (0.25), 27 (0.5), 30 (0.5)'
    """

    biases: int | None = None
    weights: Mapping[int, Part] = field(default_factory=dict)
    head: bool = True

    def trains_bias(self, layer: int, backbone: int) -> bool:
        """Whether the bias of a layer of a backbone of so many layers is trained."""
        return layer >= backbone - (backbone if self.biases is None else self.biases)

    def summary(self) -> str:
        """One line for reports; equal schemes have equal lines."""
        parts = [] if not self.head else ["head"]
        if self.biases != 0:
            parts.append("all biases" if self.biases is None else f"{self.biases} biases")
        if self.weights:
            parts.append("weights of " + ", ".join(f"{i} ({_part(self.weights[i])})" for i in sorted(self.weights)))
        return ", ".join(parts) or "nothing"


def _part(part: Part) -> str:
    return "channels " + "+".join(map(str, sorted(part))) if isinstance(part, tuple) else f"{part:g}"


def classifier() -> Scheme:
    """The head alone."""
    return Scheme(biases=0)


def bias_only(count: int | None = None) -> Scheme:
    """Biases of the last `count` layers, None for all, and the head."""
    return Scheme(biases=count)


def last(count: int, backbone: int) -> Scheme:
    """Weights and biases of the last `count` of the backbone's `backbone` layers, and the head.

    Examples
    --------
    >>> last(2, backbone=42)
    Scheme(biases=2, weights={40: 1.0, 41: 1.0}, head=True)
    """
    return Scheme(count, dict.fromkeys(range(backbone - count, backbone), 1.0))


def full(backbone: int) -> Scheme:
    """Everything."""
    return Scheme(None, dict.fromkeys(range(backbone), 1.0))


def check(scheme: Scheme, backbone: int) -> None:
    """Refuse a scheme that does not fit a backbone of so many layers.

    Raises
    ------
    ModelError
        If it trains nothing, more biases than there are, a layer that does not exist, or an impossible share.
    """
    if scheme.biases is not None and not 0 <= scheme.biases <= backbone:
        raise ModelError(f"scheme: biases: expected 0 to {backbone}, the layers before the head, got {scheme.biases}")
    for layer, part in scheme.weights.items():
        if not 0 <= layer < backbone:
            raise ModelError(f"scheme: weights: expected layers 0 to {backbone - 1}, got {layer}")
        if not isinstance(part, tuple) and not 0 < part <= 1:
            raise ModelError(f"scheme: weights of layer {layer}: expected a share in (0, 1], got {part}")
    if not scheme.head and not scheme.weights and not (backbone if scheme.biases is None else scheme.biases):
        raise ModelError("scheme: expected something to train, got nothing")


def named(name: str, backbone: int) -> Scheme:
    """The scheme of a name: 'classifier', 'bias', 'bias-K', 'last-K', 'full', or a published NETWORK:BUDGET.

    Raises
    ------
    ModelError
        If the name is none of these.

    Examples
    --------
    >>> named("bias-20", 42).summary(), named("mcunet-5fps:49KB", 42).summary()
    ('head, 20 biases', 'head, 20 biases, weights of 24 (0.25), 27 (0.5), 30 (0.5)')
    """
    from calibrant.autodiff.published import published  # published schemes are schemes

    if ":" in name:
        network, _, budget = name.partition(":")
        scheme = published(network, budget)
    elif match := re.fullmatch(r"(bias|last)-(\d{1,4})", name):
        count = int(match[2])
        scheme = bias_only(count) if match[1] == "bias" or count > backbone else last(count, backbone)
    elif name in ("classifier", "bias", "full"):
        scheme = {"classifier": classifier(), "bias": bias_only(), "full": full(backbone)}[name]
    else:
        raise ModelError(f"scheme: expected classifier, bias, bias-K, last-K, full or NETWORK:BUDGET, got '{name}'")
    check(scheme, backbone)
    return scheme
