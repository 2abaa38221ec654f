"""Tasks to fine-tune on: resizing as torch does it, balanced subsets, and files that are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrant.core.errors import DataError
from calibrant.data import load_task, task_digest
from calibrant.data.resize import bilinear
from calibrant.data.task import codes, subset


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_enlarging_is_torchs_bilinear(height: int, width: int, seed: int):
    x = np.random.default_rng(seed).integers(0, 256, (2, 3, height, width), dtype=np.uint8)
    theirs = torch.nn.functional.interpolate(torch.from_numpy(x).float(), size=(12, 12), mode="bilinear")
    assert np.abs(bilinear(x, 12) - theirs.numpy()).max() < 1e-3


def test_codes_are_channels_last_and_span_the_range():
    x = np.zeros((1, 3, 2, 2), np.uint8)
    x[0, 2] = 255
    made = codes(x, 8)
    assert made.shape == (1, 8, 8, 3)
    assert (made[..., :2] == -128).all()
    assert (made[..., 2] == 127).all()


@given(st.integers(0, 40), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_subsets_are_even_and_repeatable(count: int, seed: int):
    y = np.arange(40) % 4
    rows = subset(y, count, seed, "training")
    assert len(set(rows.tolist())) == count
    assert np.ptp(np.bincount(y[rows], minlength=4)) <= 1
    assert np.array_equal(rows, subset(y, count, seed, "training"))


def test_more_than_there_is():
    with pytest.raises(DataError, match="training samples: expected at most 2 of class 1, got 3"):
        subset(np.array([0, 0, 0, 1, 1]), 6, 0, "training")


def _write_cifar10(folder: Path, rows: int) -> None:
    (folder / "cifar10").mkdir()
    rng = np.random.default_rng(0)
    for name in ("train.npz", "test.npz"):
        dx = rng.integers(0, 256, (rows, 3, 32, 32), dtype=np.uint8)
        np.savez(folder / "cifar10" / name, dx=dx, y=np.arange(rows, dtype=np.uint8) % 10)


def test_cifar10_as_a_task(tmp_path: Path):
    _write_cifar10(tmp_path, 20)
    task = load_task("cifar10", tmp_path)
    assert task.x.shape == task.test_x.shape == (20, 3, 32, 32)
    stored = np.load(tmp_path / "cifar10" / "train.npz")["dx"]
    assert np.array_equal(np.diff(task.x, axis=-1), stored[..., 1:])
    assert len(task_digest("cifar10", tmp_path)) == 64


def test_fashion_holds_twenty_of_a_class(tmp_path: Path):
    (tmp_path / "fashion_mnist_sprite").mkdir()
    x = np.random.default_rng(0).integers(0, 256, (300, 1, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "fashion_mnist_sprite" / "sprite.npz", x=x, y=np.repeat(np.arange(10), 30))
    task = load_task("fashion", tmp_path)
    assert np.bincount(task.test_y).tolist() == [20] * 10
    assert task.x.shape == (100, 3, 28, 28)


def test_what_is_wrong_is_named(tmp_path: Path):
    with pytest.raises(DataError, match="task: expected one of cifar10, fashion, got 'cars'"):
        load_task("cars", tmp_path)
    with pytest.raises(DataError, match="expected an npz file"):
        task_digest("fashion", tmp_path)
    (tmp_path / "fashion_mnist_sprite").mkdir()
    np.savez(tmp_path / "fashion_mnist_sprite" / "sprite.npz", x=np.zeros((3, 28, 28)), y=np.zeros(3))
    with pytest.raises(DataError, match=r"expected x uint8 \[N, 1, 28, 28\]"):
        load_task("fashion", tmp_path)
