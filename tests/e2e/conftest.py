"""A small project as a user would have it: model file, training data, a drifting stream, a prepared artifact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shell import MODEL, calibrant, preparation, series


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "model.py").write_text(MODEL)
    x, y = series(240, seed=1)
    np.savez(folder / "train.npz", x=x, y=y, classes=np.array(["slow", "medium", "fast"]))
    windows = [series(40, seed=10 + i, drift=(i + 1) / 4) for i in range(4)]
    np.savez(
        folder / "stream.npz", x=np.concatenate([w[0] for w in windows]), y=np.concatenate([w[1] for w in windows])
    )
    prepared = calibrant(*preparation(folder, folder / "model.cal"))
    assert prepared.status == 0, prepared.err
    return folder
