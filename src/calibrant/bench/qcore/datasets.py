"""What one cell sees: the source's training and test samples, the target's stream and test samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibrant import data
from calibrant.bench.qcore.jobs import EARLIER, Cell
from calibrant.bench.qcore.network import halves, source_rows

Samples = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class Scene:
    """Samples as (x float32[N, ...] in physical units, y int64[N]); the stream is a list of windows of them."""

    source: data.Domain
    train: Samples
    stream: list[Samples]
    source_test: Samples
    target_test: Samples


def load(root: Path, job: Cell) -> Scene:
    """Read and split the cell's subjects.

    Raises
    ------
    DataError
        If the data is missing or damaged, or too short for the stream.
    """
    about = job.quantization.training
    source = data.load(about.dataset, root, about.source)
    target = source if job.target == about.source else data.load(about.dataset, root, job.target)
    rows, held = source_rows(about, source)
    stream_rows, target_held = data.split(target, about.split, about.seed)
    if about.part == EARLIER:
        _, stream_rows = halves(target, stream_rows, about.split)
    stream = data.windows(
        target.x[stream_rows], target.y[stream_rows], count=job.windows, size=job.window, seed=about.seed
    )
    return Scene(
        source,
        (source.x[rows], source.y[rows]),
        stream,
        (source.x[held], source.y[held]),
        (target.x[target_held], target.y[target_held]),
    )
