"""Your own model on your own data: prepare, deploy, adapt, roll back. Run: python examples/own_model.py"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

import calibrant

CLASSES = ("idle", "running", "unbalanced")


def vibration(n: int, seed: int, ageing: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Two accelerometer axes of a motor, float32 [n, 2, 64]; an ageing sensor loses gain on one axis and tilts."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, len(CLASSES), n)
    t = np.arange(64) / 64 + rng.uniform(0, 1, (n, 1))
    turning = np.sin(2 * np.pi * 6 * t) * (y > 0)[:, None]
    wobble = np.sin(2 * np.pi * 3 * t) * (y == 2)[:, None]
    x = np.stack([turning, 0.6 * turning + wobble], axis=1) + 0.4 * rng.standard_normal((n, 2, 64))
    x[:, 1] = x[:, 1] * (1 - 0.8 * ageing) + 1.2 * ageing * x[:, 0] + ageing
    return x.astype(np.float32), y.astype(np.int64)


def trained(x: np.ndarray, y: np.ndarray) -> nn.Module:
    """An ordinary torch model, trained in the ordinary way."""
    torch.manual_seed(0)
    layers = (nn.Conv1d(2, 16, 7, padding=3), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2))
    layers += (nn.Conv1d(16, 24, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(24, 3))
    net = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()
    return net.eval()


def main(folder: Path) -> None:
    """Prepare on the server, then adapt on the device."""
    x, y = vibration(600, seed=1)
    model = trained(x, y)
    prepared = calibrant.prepare(model, x, y, bits=4, coreset=20, classes=CLASSES, standardize=False)
    calibrant.write(folder / "motor.cal", prepared.artifact)

    with calibrant.Session.open(folder / "motor.cal", state=folder / "motor.db") as session:
        for month in range(1, 7):
            window_x, window_y = vibration(80, seed=100 + month, ageing=month / 6)
            print(f"month {month}:", session.observe(window_x, window_y).summary())
        print(f"back to version {session.rollback(to=0).parent}: the model as it was shipped")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch))
