"""CIFAR-10 as domains of growing corruption: disjoint, balanced, repeatable; wrong files are named."""

import os
from pathlib import Path

import numpy as np
import pytest

from calibrant import data
from calibrant.core.errors import DataError
from pictures import write_pictures

FOLDER = Path(os.environ.get("CALIBRANT_DATA", Path(__file__).parents[4] / "shared" / "data"))
real = pytest.mark.skipif(not (FOLDER / "cifar10").is_dir(), reason=f"no cifar10 in {FOLDER}; set CALIBRANT_DATA")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cifar10").mkdir()
    write_pictures(tmp_path / "cifar10" / "train.npz", 43)
    write_pictures(tmp_path / "cifar10" / "test.npz", 13)
    return tmp_path


def test_subjects_are_severities(folder):
    assert data.subjects("cifar10", folder) == [0, 1, 2, 3, 4, 5]
    assert data.DATASETS["cifar10"].rank == 3


def test_pictures_are_read_exactly(folder):
    pixels = write_pictures(folder / "cifar10" / "train.npz", 43)
    domain = data.load("cifar10", folder, 0)
    rows, _ = data.split(domain)
    assert domain.x.dtype == np.float32
    assert (np.rint(domain.x[rows] * 255) == pixels[domain.segment[rows]]).all()
    assert (domain.y[rows] == domain.segment[rows] % 10).all()
    assert (domain.name, domain.classes[3]) == ("cifar10/subject0", "cat")


def test_domains_are_disjoint_and_balanced(folder):
    seen = [set(), set()]
    for severity in range(6):
        domain = data.load("cifar10", folder, severity)
        for own, part, per_class in zip(seen, data.split(domain), (20 if severity == 0 else 4, 2), strict=True):
            rows = set(domain.segment[part].tolist())
            assert len(rows) == len(part) == 10 * per_class
            assert not rows & own
            own |= rows
            assert np.bincount(domain.y[part]).tolist() == [per_class] * 10


def test_every_load_gives_the_same_bytes(folder):
    first, again, other = (data.load("cifar10", folder, severity).x.tobytes() for severity in (3, 3, 4))
    assert first == again != other


def test_the_digest_covers_both_files(folder):
    before = data.digest("cifar10", folder, 3)
    assert before == data.digest("cifar10", folder, 0)
    for name in ("train.npz", "test.npz"):
        path = folder / "cifar10" / name
        blob = path.read_bytes()
        path.write_bytes(blob[:-1] + bytes([blob[-1] ^ 1]))
        assert data.digest("cifar10", folder, 3) != before
        path.write_bytes(blob)
    assert data.digest("cifar10", folder, 3) == before


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("train", {"dx": np.zeros((430, 3, 32, 31), np.uint8)}, r"train.npz: expected dx uint8 \[N, 3, 32, 32\] and"),
        ("train", {"dx": np.zeros((430, 3, 32, 32), np.int16)}, r"and integers y \[N\], got int16 \[430, 3, 32, 32\]"),
        ("test", {"y": np.zeros(129, np.uint8)}, r"test.npz: .* got uint8 \[130, 3, 32, 32\] and uint8 \[129\]"),
        ("test", {"y": np.zeros(130)}, r"test.npz: .* and float64 \[130\]"),
        ("train", {"y": np.full(430, 10)}, "train.npz: expected classes 0 to 9, got 10 to 10"),
        ("train", {"y": np.arange(430) % 10 - 1}, "train.npz: expected classes 0 to 9, got -1 to 8"),
        ("test", {"y": np.arange(130) % 9}, "test.npz: expected at least 6 images of every class, got 0 of one"),
        ("test", {"y": np.array([{}] * 130)}, "test.npz: .*expected .*plain"),
    ],
)
def test_bad_files_are_named(folder, file, changes, message):
    write_pictures(folder / "cifar10" / f"{file}.npz", {"train": 43, "test": 13}[file], **changes)
    with pytest.raises(DataError, match=message) as caught:
        data.load("cifar10", folder, 2)
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_files_are_named(folder):
    with pytest.raises(DataError, match="expected one of subjects 0, 1, 2, 3, 4, 5, got 6"):
        data.load("cifar10", folder, 6)
    path = folder / "cifar10" / "test.npz"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"test\.npz: expected an npz file"):
        data.load("cifar10", folder, 0)
    path.unlink()
    for ask in (data.load, data.digest):
        with pytest.raises(DataError, match=r"cifar10: expected files train\.npz, test\.npz, got none or not all"):
            ask("cifar10", folder, 0)
    np.savez(path, dx=np.zeros((2, 3, 32, 32), np.uint8))
    with pytest.raises(DataError, match=r"test\.npz: expected an array 'y', got dx"):
        data.load("cifar10", folder, 0)


@real
def test_the_real_files():
    domain = data.load("cifar10", FOLDER, 1)
    train, test = data.split(domain)
    assert (len(train), len(test)) == (1500, 500)
    assert np.bincount(domain.y[train]).tolist() == [150] * 10
    assert 0.3 < domain.x.mean() < 0.7
