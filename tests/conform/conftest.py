"""The calibration of firmware as a library of the host, built once."""

from __future__ import annotations

import ctypes

import pytest
from microcontroller import build, load


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    built = build(tmp_path_factory.mktemp("device"))
    if built is None:
        pytest.skip("no C compiler: gcc or cc")
    return load(built)
