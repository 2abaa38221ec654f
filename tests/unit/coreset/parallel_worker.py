"""What one of several processes does in test_parallel: train, count, choose, and leave the result in a file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from calibrant.core.rng import generator
from calibrant.coreset import MissCounter, parallel, select
from calibrant.pipeline import float_training

SHARDS = (1, 2, 3)


def chosen(shards: int) -> dict[str, np.ndarray]:
    """Weights, statistics, misses and coreset of a small network with batch norm and dropout."""
    rng = generator(0, "test")
    y = np.arange(117) % 3
    x = rng.normal(0, 1.2, size=(117, 3, 24)).astype(np.float32)
    x[np.arange(117), y] += 1
    torch.manual_seed(3)
    layers = (nn.Conv1d(3, 8, 5), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    counter = MissCounter(x, y, batch=50)
    with parallel.threads(1):  # one shard in one process takes the caller's number
        net = float_training.train(
            nn.Sequential(*layers, nn.Linear(8, 3)),
            x,
            y,
            float_training.TrainingSettings(epochs=6, batch=30, rate=2e-2, shift=1, shards=shards),
            seed=1,
            after_epoch=counter.after_epoch,
        )
    state = {name: value.numpy() for name, value in net.state_dict().items()}
    misses = counter.misses()
    return state | {"misses": misses, "coreset": select("misses", y, 12, 0, misses)}


def main(folder: Path) -> None:
    with parallel.group() as rank:
        for shards in SHARDS:
            np.savez(folder / f"{rank}-{shards}.npz", **chosen(shards))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
