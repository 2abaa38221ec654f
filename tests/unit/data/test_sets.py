"""DSA and USC-HAD readers: on the real files where they are, and on files that are wrong."""

import os
from pathlib import Path

import numpy as np
import pytest

from calibrant import data
from calibrant.core.errors import DataError

FOLDER = Path(os.environ.get("CALIBRANT_DATA", Path(__file__).parents[4] / "shared" / "data"))
real = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no data folder at {FOLDER}; set CALIBRANT_DATA")


@real
def test_dsa_subject():
    subject = data.load("dsa", FOLDER, 1)
    assert subject.x.shape == (1140, 45, 125)
    assert subject.x.dtype == np.float32
    assert len(subject.classes) == 19
    train, test = data.split(subject)
    assert (len(train), len(test)) == (912, 228)
    assert subject.segment[train].max() == 48
    assert subject.segment[test].min() == 49
    gravity = np.linalg.norm(subject.x[subject.y == 1][:, :3].mean(axis=(0, 2)))  # standing, torso accelerometer
    assert gravity == pytest.approx(9.8, abs=0.5)
    train, test = data.split(subject, "random", seed=0)
    assert (len(train), len(test)) == (912, 228)


@real
def test_usc_had_subject():
    subject = data.load("usc_had", FOLDER, 1)
    assert subject.x.shape == (373, 6, 500)
    train, test = data.split(subject)
    assert not set(subject.segment[train]) & set(subject.segment[test])
    assert set(subject.y[test]) == set(range(12))
    assert 0.15 < len(test) / 373 < 0.25


@real
def test_subjects_in_numeric_order():
    assert data.subjects("usc_had", FOLDER)[-1] == 10
    assert data.subjects("dsa", FOLDER) == sorted(data.subjects("dsa", FOLDER))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dsa").mkdir()
    good = {
        "x": np.ones((4, 2, 3), np.int16),
        "scale": np.full(2, 0.5, np.float32),
        "y": np.arange(4, dtype=np.uint8),
        "segment": np.array([1, 48, 49, 60], np.uint8),
        "classes": np.array(["a", "b", "c", "d"]),
    }
    np.savez(tmp_path / "dsa" / "subject2.npz", **good)
    np.savez(tmp_path / "dsa" / "subject10.npz", **good)
    np.savez(tmp_path / "dsa" / "subject3.npz", **{k: v for k, v in good.items() if k != "scale"})
    np.savez(tmp_path / "dsa" / "subject4.npz", **{**good, "y": np.arange(3, dtype=np.uint8)})
    np.savez(tmp_path / "dsa" / "subject5.npz", **{**good, "y": np.array([{}] * 4)})
    blob = (tmp_path / "dsa" / "subject2.npz").read_bytes()
    (tmp_path / "dsa" / "subject6.npz").write_bytes(blob[: len(blob) // 2])
    at = blob.index(b"\x93NUMPY") + 140  # inside the first array's values: the checksum no longer fits
    (tmp_path / "dsa" / "subject7.npz").write_bytes(blob[:at] + bytes([blob[at] ^ 255]) + blob[at + 1 :])
    (tmp_path / "dsa" / "subject8.npz").write_bytes(b"")
    np.save(tmp_path / "dsa" / "single.npy", np.zeros(3))
    (tmp_path / "dsa" / "single.npy").rename(tmp_path / "dsa" / "subject9.npz")
    return tmp_path


def test_values_are_scaled_and_split(folder):
    subject = data.load("dsa", folder, 2)
    assert (subject.x == 0.5).all()
    assert [part.tolist() for part in data.split(subject)] == [[0, 1], [2, 3]]
    assert subject.name == "dsa/subject2"


def test_only_present_subjects_are_listed(folder):
    (folder / "dsa" / "subjectX.npz").touch()
    assert data.subjects("dsa", folder) == [2, 3, 4, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (1, r"subject1.npz: expected one of subjects 2, 3, .*, 10, got 1"),
        (3, r"subject3.npz: expected an array 'scale', got"),
        (4, r"subject4.npz: expected x \[N, C, T\], scale \[C\], y \[N\], got \(4, 2, 3\)"),
        (5, r"subject5.npz: .*expected .*plain"),
        (6, r"subject6.npz: .*expected .*plain"),
        (7, r"subject7.npz: .*expected .*plain"),
        (8, r"subject8.npz: .*expected .*plain"),
        (9, r"subject9.npz: expected an npz file of plain arrays, got a single array"),
    ],
)
def test_bad_files_are_named(folder, subject, message):
    with pytest.raises(DataError, match=message) as caught:
        data.load("dsa", folder, subject)
    assert "\n" not in str(caught.value)


def test_missing_folders_are_named(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"data set: expected one of dsa, usc_had, cifar10, .*, got 'mnist'"):
        data.load("mnist", tmp_path, 1)
    with pytest.raises(DataError, match="data set dsa: expected a folder at"):
        data.subjects("dsa", tmp_path)
    (tmp_path / "dsa").mkdir()
    with pytest.raises(DataError, match=r"expected files subjectN\.npz, got none"):
        data.subjects("dsa", tmp_path)
    monkeypatch.delenv("CALIBRANT_DATA", raising=False)
    with pytest.raises(DataError, match="CALIBRANT_DATA, got neither"):
        data.folder()
    monkeypatch.setenv("CALIBRANT_DATA", str(tmp_path))
    assert data.folder() == tmp_path
    assert data.folder(tmp_path / "dsa") == tmp_path / "dsa"
    with pytest.raises(DataError, match="expected an existing folder"):
        data.folder(tmp_path / "nowhere")
