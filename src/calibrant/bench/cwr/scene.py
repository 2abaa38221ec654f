"""What the protocol shows: samples whose classes come in experiences, in an order of the seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibrant import data
from calibrant.core.errors import DataError
from calibrant.core.rng import generator


@dataclass(frozen=True)
class Kind:
    """A data set as the protocol takes it: its network, the subjects put together, and how many classes come when."""

    network: str
    subjects: tuple[int, ...]
    first: int
    experiences: int


KINDS = {
    "dsa": Kind("cnn", (1,), 7, 3),
    "fsdd": Kind("cnn", (1, 2, 3, 4, 5, 6), 4, 3),
    "cifar10": Kind("small_cnn", (0,), 6, 4),
}


@dataclass(frozen=True)
class Scene:
    """Training samples x float32[N, ...], y int64[N], blocks int64[N] (stretches of recordings, where the data set has
    them), and test samples. Classes are numbered as they come: experience i brings `experience(i)`."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    blocks: NDArray[np.int64] | None
    test_x: NDArray[np.float32]
    test_y: NDArray[np.int64]
    classes: tuple[str, ...]
    sizes: tuple[int, ...]

    def experience(self, i: int) -> range:
        """Classes that the i-th brings."""
        start = sum(self.sizes[:i])
        return range(start, start + self.sizes[i])

    @property
    def home(self) -> NDArray[np.intp]:
        """Training samples of the first experience: all that the backbone may see."""
        return np.flatnonzero(self.y < self.sizes[0])


def sizes(classes: int, first: int, experiences: int) -> tuple[int, ...]:
    """How many classes come with each experience, the first one included; later ones get equal parts of the rest.

    Raises
    ------
    DataError
        That many classes cannot be dealt out so.

    Examples
    --------
    >>> sizes(10, 6, 4), sizes(19, 7, 3), sizes(9, 2, 3)
    ((6, 1, 1, 1, 1), (7, 4, 4, 4), (2, 3, 2, 2))
    """
    if first < 2 or experiences < 1 or first + experiences > classes:
        raise DataError(
            f"experiences: expected two classes first and one each of {classes}, got {first} and {experiences} more"
        )
    rest = classes - first
    return first, *(rest // experiences + (i < rest % experiences) for i in range(experiences))


def load(root: Path, dataset: str, subjects: tuple[int, ...], first: int, experiences: int, seed: int) -> Scene:
    """The data set with classes in an order of `seed`.

    Raises
    ------
    DataError
        Data is missing or damaged, or :func:`sizes` refuses.
    """
    domains = [data.load(dataset, root, n) for n in subjects]
    classes = domains[0].classes
    order = generator(seed, "class order").permutation(len(classes))
    number = np.argsort(order)
    parts = [data.split(domain) for domain in domains]
    x, test_x = (np.concatenate([d.x[p[i]] for d, p in zip(domains, parts, strict=True)]) for i in (0, 1))
    y, test_y = (np.concatenate([d.y[p[i]] for d, p in zip(domains, parts, strict=True)]) for i in (0, 1))
    blocks = None
    if data.DATASETS[dataset].rank == 2:  # of pictures there are no stretches
        stretch = [d.segment[p[0]] + 10**6 * i for i, (d, p) in enumerate(zip(domains, parts, strict=True))]
        blocks = np.concatenate(stretch)
    names = tuple(classes[i] for i in order)
    return Scene(x, number[y], blocks, test_x, number[test_y], names, sizes(len(classes), first, experiences))
