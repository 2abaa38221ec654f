"""What is written goes where it was asked to go, and who may read it is said.

Attacks before: the artifact's temporary file had a name that can be guessed (``.m.cal.PID.tmp``) and was written
through a link that lay there; `predict --out` and `--report` wrote through links; a state could be read by everybody.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from artifacts import make_artifact, make_window
from calibrant import Session
from calibrant.artifact import write
from calibrant.cli import app
from calibrant.core.errors import StateError
from calibrant.core.files import replacing, write_text


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o002, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


def test_a_guessed_temporary_name_is_not_written_through(tmp_path: Path, victim: Path) -> None:
    (tmp_path / f".m.cal.{os.getpid()}.tmp").symlink_to(victim)
    write(tmp_path / "m.cal", make_artifact())
    assert victim.read_text() == "precious"


def test_links_are_replaced_not_followed(tmp_path: Path, victim: Path) -> None:
    held = make_artifact()
    write(tmp_path / "m.cal", held)
    np.savez(tmp_path / "x.npz", x=make_window(held, 4)[0])
    for name in ("o.npz", "r.json", "n.cal"):
        (tmp_path / name).symlink_to(victim)
    arguments = ("predict", tmp_path / "m.cal", "-i", tmp_path / "x.npz", "-o", tmp_path / "o.npz")
    assert CliRunner().invoke(app, [str(a) for a in arguments]).exit_code == 0
    write_text(tmp_path / "r.json", "{}")
    write(tmp_path / "n.cal", held)
    assert victim.read_text() == "precious"
    assert not any((tmp_path / name).is_symlink() for name in ("o.npz", "r.json", "n.cal"))


def test_devices_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")
    for path in (Path("/dev/null"), tmp_path / "link", tmp_path):
        with pytest.raises(OSError, match="folder or a device"), replacing(path):
            pass


def test_a_failure_leaves_the_old_file_alone(tmp_path: Path, victim: Path) -> None:
    with pytest.raises(TypeError), replacing(victim) as file:
        file.writelines([b"half", "no bytes"])
    assert victim.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]


def test_a_state_is_its_owners(tmp_path: Path, umask: int) -> None:
    held = make_artifact()
    write(tmp_path / "m.cal", held)
    assert mode(tmp_path / "m.cal") == 0o666 & ~umask
    with Session.open(tmp_path / "m.cal", state=tmp_path / "s.db") as session:
        session.observe(*make_window(held, 8))
        assert {mode(path) for path in tmp_path.glob("s.db*")} == {0o600 & ~umask}


def test_no_private_follows_the_umask_alone(tmp_path: Path, umask: int) -> None:
    held = make_artifact()
    write(tmp_path / "m.cal", held)
    x, y = make_window(held, 8)
    np.savez(tmp_path / "w.npz", x=x, y=y)
    line = ("run", tmp_path / "m.cal", "--state", tmp_path / "s.db", "--stream", tmp_path / "w.npz", "--no-private")
    assert CliRunner().invoke(app, [str(a) for a in line]).exit_code == 0
    assert mode(tmp_path / "s.db") == 0o666 & ~umask


def test_a_state_is_not_made_through_a_link(tmp_path: Path) -> None:
    write(tmp_path / "m.cal", make_artifact())
    (tmp_path / "s.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="link to nothing"):
        Session.open(tmp_path / "m.cal", state=tmp_path / "s.db")
    assert not (tmp_path / "elsewhere").exists()
