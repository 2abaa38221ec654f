"""What the device record starts from: artifacts and windows kept in `fixtures/`, and how they were made.

`python -m replay.fixtures` in the folder above makes them anew. Do that only where the artifact's format changes or a
stream should show something else: a record made from other fixtures says nothing about a change of the code.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np

from replay import preparation
from replay.preparation import INTEGERS, RECIPES, SAMPLES, STEP

FOLDER = Path(__file__).with_name("fixtures")
WINDOWS = FOLDER / "windows.npz"
SHIFTS = (0.0, 0.0, 0.9, 0.9, -1.0, -1.0, -2.0, 0.0, 1.4)
MISLABELED = 7  # the window whose labels are all wrong: learning from it must be refused
FIRST = {recipe.name: FOLDER / recipe.file for recipe in (*RECIPES, INTEGERS)}
# One that says what home looks like, which the first ones do not; made by the recipe of chain/accumulated/4.
CONTEXTS = "chain/contexts/4"
ARTIFACTS = FIRST | {CONTEXTS: FOLDER / "chain-contexts-4.cal"}


def windows(artifact: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """The stream for one of `ARTIFACTS`: float32[N, channels, height, width], exact in any arithmetic, and classes."""
    with np.load(WINDOWS) as held:
        x, y = held["x"].astype(np.float32) * np.float32(STEP), held["y"].astype(np.int64)
    if artifact == INTEGERS.name:
        x = preparation.pixels(x)
    return list(zip(x, y, strict=True))


def make() -> None:
    """Write artifacts and windows."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        preparation.prepare_all(Path(folder))
        for path in FIRST.values():
            shutil.copy(Path(folder) / path.name, path)
        shutil.copy(FIRST["chain/accumulated/4"], ARTIFACTS[CONTEXTS])
    drawn = [preparation.samples(10 + i, SAMPLES, shift) for i, shift in enumerate(SHIFTS)]
    x, y = (np.stack(part) for part in zip(*drawn, strict=True))
    y[MISLABELED] = (y[MISLABELED] + 1) % preparation.CLASSES
    np.savez_compressed(WINDOWS, x=np.rint(x / STEP).astype(np.int8), y=y.astype(np.int8))


if __name__ == "__main__":
    make()
