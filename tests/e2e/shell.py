"""Runs commands as a user types them, and makes the small model and data they work on."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from calibrant.cli import app

MODEL = """
from torch import nn

def build():
    return nn.Sequential(
        nn.Conv1d(2, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(8, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, 3),
    )

def not_a_model():
    return 3

def broken():
    raise RuntimeError("out of coffee")
"""


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str


def series(n: int, seed: int, drift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Two channels, 32 steps; the class is a frequency; drift moves the channels' zero."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    t = np.arange(32) / 32 + rng.uniform(0, 1, (n, 1))
    wave = np.sin(2 * np.pi * (2 + 2 * y[:, None]) * t)
    x = np.stack([wave, (y[:, None] - 1) * np.ones_like(wave)], axis=1) + 0.3 * rng.standard_normal((n, 2, 32))
    x += np.array([[0.5], [0.8]]) * drift
    return x.astype(np.float32), y.astype(np.int64)


def calibrant(*arguments: object) -> Outcome:
    """Run a command in this process."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    return Outcome(result.exit_code, result.stdout, result.stderr)


def spawn(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """Start a command in a process of its own, with pipes."""
    command = [sys.executable, "-m", "calibrant", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]


def preparation(folder: Path, target: Path, *more: object) -> tuple[object, ...]:
    """Arguments of `prepare` on the project's model and data."""
    model, data = f"{folder / 'model.py'}:build", folder / "train.npz"
    return ("prepare", model, "--data", data, "-o", target, "--train", 60, "--epochs", 2, "--coreset", 9, *more)
