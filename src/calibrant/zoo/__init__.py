"""Reference networks in torch, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from calibrant.core.errors import ModelError
from calibrant.zoo.cnn import CNN
from calibrant.zoo.inception_time import InceptionTime
from calibrant.zoo.small_cnn import SmallCNN

__all__ = ["NETWORKS", "build"]

# name -> (constructor taking channels and classes, rank of the input without batch)
NETWORKS: Mapping[str, tuple[Callable[[int, int], nn.Module], int]] = {
    "cnn": (CNN, 2),
    "inception_time": (InceptionTime, 2),
    "small_cnn": (SmallCNN, 3),
}


def build(name: str, channels: int, shape: int | tuple[int, ...], classes: int, seed: int = 0) -> nn.Module:
    """Build a network with random weights; the global random state of torch is left as it was.

    Parameters
    ----------
    name : {"cnn", "inception_time", "small_cnn"}
    channels : int
    shape : int or tuple of int
        Length of a series, or (height, width) of an image.
    classes : int
    seed : int

    Returns
    -------
    torch.nn.Module
        In evaluation mode; takes float32[N, channels, *shape], gives logits float32[N, classes].

    Raises
    ------
    ModelError
        If the name is unknown, a size is below one, or `shape` has the wrong rank for the network.

    Examples
    --------
    >>> net = build("cnn", 45, 125, 19)
    >>> tuple(net(torch.zeros(2, 45, 125)).shape)
    (2, 19)
    """
    if name not in NETWORKS:
        raise ModelError(f"network: expected one of {', '.join(NETWORKS)}, got '{name}'")
    constructor, rank = NETWORKS[name]
    sides = (shape,) if isinstance(shape, int) else tuple(shape)
    if len(sides) != rank - 1 or min(channels, classes, *sides) < 1:
        raise ModelError(
            f"network '{name}': expected positive channels, classes and {rank - 1} side(s), "
            f"got {channels}, {classes} and {sides}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return constructor(channels, classes).eval()
