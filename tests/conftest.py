"""Fixtures that every test may use: a small real artifact, its file, and windows it can learn from."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from artifacts import make_artifact, make_window
from calibrant.artifact import Artifact, write

# A shell ignores Ctrl-C on behalf of what it starts in the background, and processes that tests start inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Same examples on every run, and a busy machine is no failure.
settings.register_profile(
    "calibrant", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("calibrant")

# Scenarios of additions run on a patched copy of the tree, where what they are about exists.
# Files of fixtures hold no doctests, and two of one name cannot be imported side by side to look.
collect_ignore_glob = ["additions/*/scenario.py", "*conftest.py"]


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Networks that a test makes begin with the same weights, whatever ran before; torch is not loaded for it."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture
def artifact() -> Artifact:
    return make_artifact()


@pytest.fixture
def build_artifact() -> Callable[..., Artifact]:
    return make_artifact


@pytest.fixture
def window(artifact: Artifact) -> tuple[np.ndarray, np.ndarray]:
    return make_window(artifact)


@pytest.fixture
def build_window() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    return make_window


@pytest.fixture
def artifact_path(artifact: Artifact, tmp_path: Path) -> Path:
    path = tmp_path / "small.cal"
    write(path, artifact)
    return path
