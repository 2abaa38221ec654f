"""What a server makes: artifacts from scratch, the demo's table, rows of the protocols."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from replay import fingerprint, preparation
from replay.commands import calibrant
from replay.preparation import INTEGERS, RECIPES
from replay.record import Row, UnavailableError

__all__ = ["NETWORKS", "PROTOCOLS", "RECIPES", "adopted_rows", "bench_rows", "demo_rows", "integers_rows"]

NETWORKS = ("mcunet-5fps", "mbv2-w0.35")  # published, in the data folder
PICTURES, SIDE = 40, 128
TIMES = ("seconds", "milliseconds", "seconds_per_window")  # of no two runs alike
QCORE = (
    *("--dataset", "dsa", "--network", "cnn", "--source", 1, "--target", 2, "--training-steps", 60),
    "--window",
    20,
)
PROTOCOLS: dict[str, tuple[object, ...]] = {  # a command and the columns that tell its rows apart
    "qcore-paper": ("qcore", *QCORE, "--bits", "2,4,8", "--windows", 2, "--steps", 2, "--updaters", "qcore-paper"),
    "qcore": ("qcore", *QCORE, "--bits", 4, "--windows", 4, "--steps", 5, "--updaters", "flip,flip-taps,bp"),
    "sparse": (
        *("sparse", "--model", "mbv2-w0.35", "--schemes", "classifier,bias-2,last-2", "--seeds", 0),
        *("--train", 40, "--test", 40, "--epochs", 1),
    ),
}
NAMES = ("scheme", "method", "bits", "updater")  # columns that tell a protocol's rows apart


def data() -> Path:
    """The folder of data sets: of the environment, else the one beside the repository."""
    named = os.environ.get("CALIBRANT_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    if not folder.is_dir():
        raise UnavailableError("needs data sets: set CALIBRANT_DATA to their folder")
    return folder


def prepared_rows(recipe: preparation.Recipe) -> Iterator[Row]:
    """The bytes of an artifact that is trained, quantized and written from scratch."""
    with tempfile.TemporaryDirectory() as folder:
        path = preparation.prepare(recipe, Path(folder), {})
        yield f"prepare/{recipe.name}/bytes", fingerprint.of_bytes(path.read_bytes())


def integers_rows() -> Iterator[Row]:
    """The same of the small network that comes as integers."""
    with tempfile.TemporaryDirectory() as folder:
        path = preparation.adopt_integers(Path(folder))
        yield f"prepare/{INTEGERS.name}/bytes", fingerprint.of_bytes(path.read_bytes())


def adopted_rows(network: str) -> Iterator[Row]:
    """A published network, adopted for some photographs."""
    folder = data()
    with np.load(_existing(folder / "cifar10" / "train.npz")) as held, tempfile.TemporaryDirectory() as made:
        differences, y = held["dx"][:PICTURES], held["y"][:PICTURES].astype(np.int64)
        pixels = np.cumsum(differences, axis=-1, dtype=np.uint8)
        larger = SIDE // pixels.shape[-1]
        x = pixels.repeat(larger, axis=2).repeat(larger, axis=3).astype(np.float32) / np.float32(255)
        target = Path(made) / "adopted.cal"
        preparation.adopt(_existing(folder / "tinyml" / f"{network}.npz"), x, y, target, "--coreset", 10)
        yield f"adopt/{network}/bytes", fingerprint.of_bytes(target.read_bytes())


def demo_rows() -> Iterator[Row]:
    """The demo's report, number by number, and its artifact."""
    with tempfile.TemporaryDirectory() as folder:
        calibrant("demo", "--out", folder)
        yield "demo/artifact/bytes", fingerprint.of_bytes((Path(folder) / "digits.cal").read_bytes())
        report = json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))
    for window in report.pop("windows"):
        yield f"demo/window {window['window']:02}", _told(window)
    for name, value in _timeless(report).items():
        yield f"demo/{name}", fingerprint.number(value)


def bench_rows(protocol: str) -> Iterator[Row]:
    """Rows of a protocol at its quickest, field by field."""
    folder = data()
    for needed in ("tinyml", "cifar10") if protocol == "sparse" else ("dsa",):
        _existing(folder / needed)
    with tempfile.TemporaryDirectory() as out:
        calibrant("bench", *PROTOCOLS[protocol], "--data", folder, "--jobs", 1, "--out", out)
        rows = json.loads((Path(out) / "rows.json").read_text(encoding="utf-8"))["rows"]
    for row in rows:
        name = " ".join(str(row[column]) for column in NAMES if column in row)
        for field, value in _timeless(row).items():
            yield f"bench/{protocol}/{name}/{field}", json.dumps(value, sort_keys=True)


def _existing(path: Path) -> Path:
    if not path.exists():
        raise UnavailableError(f"no {'/'.join(path.parts[-2:])} in the data folder")
    return path


def _timeless(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in TIMES}


def _told(values: dict[str, Any]) -> str:
    return " ".join(f"{name}={json.dumps(value, sort_keys=True)}" for name, value in _timeless(values).items())
