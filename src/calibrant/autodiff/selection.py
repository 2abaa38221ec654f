"""Which input channels of a layer are trained when a scheme asks for a share of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant.autodiff.schemes import Part
from calibrant.core.errors import ModelError
from calibrant.core.program import Layer


def depthwise(layer: Layer) -> bool:
    """Whether each output channel reads the input channel of the same number alone."""
    return layer.groups == layer.c_in == layer.c_out


def selectable(layer: Layer) -> int:
    """How many channels there are to choose from: input channels within a group, of a depthwise layer its channels."""
    return layer.c_in if depthwise(layer) else layer.c_in // layer.groups


def selected_count(layer: Layer, part: Part) -> int:
    """How many a part is: int(share * channels), as published.

    Raises
    ------
    ModelError
        If that is none, or an index is out of range or given twice.
    """
    channels = selectable(layer)
    if isinstance(part, tuple):
        if not part or len(set(part)) != len(part) or not all(0 <= c < channels for c in part):
            raise ModelError(f"scheme: layer '{layer.name}': expected distinct channels below {channels}, got {part}")
        return len(part)
    count = int(part * channels)
    if count == 0:
        raise ModelError(f"scheme: layer '{layer.name}': a share of {part:g} is none of its {channels} channels")
    return count


def select(layer: Layer, weights: NDArray[np.int8], part: Part) -> tuple[int, ...]:
    """Trained channels in ascending order, empty for all.

    A share takes those whose integer weights have the largest L2 norm over everything else, ties the lowest index
    (Lin et al., NeurIPS 2022, "magnitude+").

    Parameters
    ----------
    layer : Layer
    weights : int8[weight_count of the layer]
    part : float or tuple of int

    Examples
    --------
    >>> layer = Layer("c", 8, 2, 1, 1, 4, 1, 0, 0, 0)
    >>> select(layer, np.array([1, 9, 0, 5, 0, 9, 0, 5], np.int8), 0.5)
    (1, 3)
    """
    count = selected_count(layer, part)
    if count == selectable(layer):
        return ()
    if isinstance(part, tuple):
        return tuple(sorted(part))
    shaped = weights.reshape(layer.weight_shape).astype(np.int64)
    power = (shaped**2).sum(axis=(1, 2, 3) if depthwise(layer) else (0, 1, 2))
    return tuple(sorted(np.argsort(-power, kind="stable")[:count].tolist()))
