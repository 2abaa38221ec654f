"""Artifacts from scratch, by public doors only: of two small networks, and of one that comes as integers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tinyml
from replay.commands import calibrant

CHANNELS, SIDE, CLASSES = 3, 8, 4
SAMPLES, COUNT, STEPS = 48, 240, 300
STEP = 1 / 16  # of the windows, which are kept as bytes


@dataclass(frozen=True)
class Recipe:
    """One artifact: its network, how it adapts, and in how many bits."""

    network: str
    form: str
    bits: int

    @property
    def name(self) -> str:
        """As keys have it."""
        return f"{self.network}/{self.form}/{self.bits}"

    @property
    def file(self) -> str:
        """Its name as a file."""
        return self.name.replace("/", "-") + ".cal"


RECIPES = (
    *(Recipe("chain", "accumulated", bits) for bits in (2, 4, 8)),
    *(Recipe("chain", form, 4) for form in ("pooled", "taps", "blocks")),
    Recipe("chain", "sparse", 8),
    Recipe("branches", "accumulated", 4),
    Recipe("branches", "sparse", 8),
)
INTEGERS = Recipe("integers", "sparse", 8)


def samples(seed: int, count: int, shift: float = 0.0, noise: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of stripes whose direction and frequency is the class; `shift` turns gains and offsets of channels."""
    rng = np.random.default_rng(seed)
    y = np.arange(count, dtype=np.int64) % CLASSES
    rows, columns = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    along = np.where((y % 2 == 0)[:, None, None], rows, columns) * (0.7 + 0.7 * (y // 2))[:, None, None]
    wave = np.sin(along + rng.uniform(0, 6, (count, 1, 1)))
    gain = np.array([1.0, 0.7, 1.3]) * (1 - shift * np.array([0.9, -0.6, 0.5]))
    offset = np.array([0.2, -0.3, 0.0]) + shift * np.array([1.2, 0.8, -1.0])
    x = (
        wave[:, None] * gain[:, None, None]
        + offset[:, None, None]
        + rng.normal(0, noise, (count, CHANNELS, SIDE, SIDE))
    )
    return (np.clip(np.rint(x / STEP), -127, 127) * STEP).astype(np.float32), y


def pixels(x: np.ndarray) -> np.ndarray:
    """The same as a network wants it that takes pixels of 0 to 1."""
    return np.clip(np.float32(0.5) + x / np.float32(8), 0, 1).astype(np.float32)


def prepare_all(folder: Path) -> None:
    """Write every recipe's artifact to `folder`."""
    nets: dict[str, Any] = {}
    for recipe in RECIPES:
        prepare(recipe, folder, nets)
    adopt_integers(folder)


def prepare(recipe: Recipe, folder: Path, nets: dict[str, Any]) -> Path:
    """Write one artifact; float networks are trained once and held in `nets`."""
    import torch

    import calibrant as package

    torch.set_num_threads(1)
    x, y = samples(1, COUNT)
    if recipe.network not in nets:
        nets[recipe.network] = _trained(recipe.network, x, y)
    made = package.prepare(
        nets[recipe.network], x, y, bits=recipe.bits, form=recipe.form, coreset=12, standardize=False, epochs=2
    )
    package.write(folder / recipe.file, made.artifact)
    return folder / recipe.file


def adopt(network: Path, x: np.ndarray, y: np.ndarray, target: Path, *more: object) -> None:
    """Prepare a network that comes as integers, by the command line."""
    data = target.with_suffix(".samples.npz")
    np.savez(data, x=x, y=y)
    calibrant("prepare", network, "--data", data, "-o", target, *more)


def adopt_integers(folder: Path) -> Path:
    """Write the artifact of a network that comes as integers, and that network itself."""
    tinyml.write_network(folder, "integers", CHANNELS, SIDE, stride=1, width=16)
    x, y = samples(1, COUNT)
    adopt(folder / "integers.npz", pixels(x), y, folder / INTEGERS.file, "--coreset", 10)
    return folder / INTEGERS.file


def _trained(name: str, x: np.ndarray, y: np.ndarray) -> Any:
    import torch
    from torch.nn import functional

    from replay.torch_networks import build

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build(name, CHANNELS, CLASSES)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
        net.train()
        for _ in range(STEPS):
            rows = torch.randperm(len(y))[:SAMPLES]
            optimizer.zero_grad()
            functional.cross_entropy(net(inputs[rows]), labels[rows]).backward()
            optimizer.step()
    return net.eval()
