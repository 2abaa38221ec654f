"""Reference networks in torch, by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from calibrant.core.errors import ModelError
from calibrant.zoo.binary_cnn import BinaryCNN
from calibrant.zoo.cnn import CNN
from calibrant.zoo.inception_time import InceptionTime
from calibrant.zoo.mlp import MLP
from calibrant.zoo.omniscale_cnn import OmniScaleCNN
from calibrant.zoo.resnet18 import ResNet18
from calibrant.zoo.small_cnn import SmallCNN
from calibrant.zoo.tinyml import load_tinyml
from calibrant.zoo.vgg16 import VGG16

__all__ = ["NETWORKS", "Network", "build", "load_tinyml", "rank"]

PUBLISHED_WIDTH = 64


@dataclass(frozen=True)
class Network:
    """A row of `NETWORKS`.

    `make` takes channels and classes and, by keyword, what `needs` names: "length" of the series or "width", the
    channels of the first stage. `rank` is that of one sample: 2 for series, 3 for images.
    """

    make: Callable[..., nn.Module]
    rank: int
    needs: tuple[str, ...] = ()


NETWORKS: Mapping[str, Network] = {
    "cnn": Network(CNN, 2),
    "binary_cnn": Network(BinaryCNN, 2),
    "mlp": Network(MLP, 2),
    "inception_time": Network(InceptionTime, 2),
    "omniscale_cnn": Network(OmniScaleCNN, 2, ("length",)),
    "small_cnn": Network(SmallCNN, 3),
    "resnet18": Network(ResNet18, 3, ("width",)),
    "vgg16": Network(VGG16, 3, ("width",)),
}


def build(name: str, channels: int, shape: int | tuple[int, ...], classes: int, seed: int = 0) -> nn.Module:
    """Build a network with random weights; the global random state of torch is left as it was.

    Parameters
    ----------
    name : str
        One of `NETWORKS`. "resnet18" and "vgg16" have the published width of 64 channels in the first stage; a suffix
        "-wN" makes it N: "resnet18-w16" has a sixteenth of the weights.
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
    network, width = _parse(name)
    sides = (shape,) if isinstance(shape, int) else tuple(shape)
    if len(sides) != network.rank - 1 or min(channels, classes, *sides) < 1:
        raise ModelError(
            f"network '{name}': expected positive channels, classes and {network.rank - 1} side(s), "
            f"got {channels}, {classes} and {sides}"
        )
    sizes = {"length": sides[-1], "width": width}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network.make(channels, classes, **{key: sizes[key] for key in network.needs}).eval()


def rank(name: str) -> int:
    """Rank of one sample of a network: 2 for series [channels, time], 3 for images [channels, height, width].

    Raises
    ------
    ModelError
        If :func:`build` does not know the name.

    Examples
    --------
    >>> rank("cnn"), rank("resnet18-w16")
    (2, 3)
    """
    return _parse(name)[0].rank


def _parse(name: str) -> tuple[Network, int]:
    """The row of a name and the width it carries."""
    match = re.fullmatch(r"(.+)-w([1-9]\d{0,3})", name)
    base, width = (match[1], int(match[2])) if match else (name, PUBLISHED_WIDTH)
    if base not in NETWORKS or (match and "width" not in NETWORKS[base].needs):
        wide = ", ".join(key for key, row in NETWORKS.items() if "width" in row.needs)
        raise ModelError(f"network: expected one of {', '.join(NETWORKS)} ({wide} also with -wN), got '{name}'")
    return NETWORKS[base], width
