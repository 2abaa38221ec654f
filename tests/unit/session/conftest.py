"""The small deployment of `deployments` as a session has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from calibrant import Session, write
from calibrant.session.wiring import Parts
from deployments import deployment
from sessions import opened


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("session") / "small.cal"
    write(place, deployment(8).prepared.artifact)
    return place


@pytest.fixture
def both(path: Path) -> Iterator[tuple[Session, Parts]]:
    with opened(path) as made:
        yield made
