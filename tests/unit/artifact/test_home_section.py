"""What an artifact says of home: written as it is, refused where it cannot be."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from artifacts import make_artifact, make_window
from calibrant.artifact import Artifact
from calibrant.artifact.home import dimensions
from calibrant.artifact.read import parse
from calibrant.artifact.write import to_bytes
from calibrant.core.errors import ManifestError
from calibrant.core.home import KEPT, Home
from calibrant.core.window import encode
from calibrant.engine import Engine
from calibrant.pipeline import home as homes
from calibrant.policy.signature import kinds
from tampering import with_manifest, with_tensor


def home_of(artifact: Artifact) -> Home:
    x, y = make_window(artifact, 200)
    codes = encode(x, artifact.program.tensors[0], artifact.preprocess, artifact.input_shape)
    last = (
        Engine(artifact.program, artifact.constants).observe(codes).pooled[:, artifact.program.layers[-1].pooled_slice]
    )
    found = homes.of(artifact.program, codes, last, y)
    assert found is not None
    return found


def with_home(artifact: Artifact, **changes: Any) -> Artifact:
    return dataclasses.replace(artifact, home=dataclasses.replace(home_of(artifact), **changes))


@pytest.fixture(scope="module")
def raw() -> bytes:
    return to_bytes(with_home(make_artifact()))


@pytest.mark.parametrize("length", [8, 1])
def test_it_is_read_as_it_was_written(length: int):
    artifact = with_home(make_artifact(length=length))
    assert artifact.home is not None
    again = parse(to_bytes(artifact), "har.cal", None).home
    assert again is not None
    for field in dataclasses.fields(Home):
        assert np.array_equal(getattr(again, field.name), getattr(artifact.home, field.name))
    assert dimensions(artifact.program) == kinds(artifact.program)[-1].stop == len(again.mean)


def test_an_artifact_without_has_none(artifact: Artifact):
    raw = to_bytes(artifact)
    assert parse(raw, "har.cal", None).home is None
    assert b'"home' not in raw


def test_whether_to_listen_to_it_is_said_by_its_number():
    home = home_of(make_artifact())
    assert dataclasses.replace(home, kept=KEPT).recognizes
    assert not dataclasses.replace(home, kept=KEPT - 0.01).recognizes


@pytest.mark.parametrize("value", [1 / 3, np.nan, 1e6])
def test_a_matrix_of_more_precision_is_not_silently_cut(value: float):
    for place in ((1, 0), (0, 1)):
        matrix = home_of(make_artifact()).matrix.copy()
        matrix[place] = value
        changed = with_home(make_artifact(), matrix=matrix)
        with pytest.raises(ManifestError, match=r"'home/matrix'.*lower triangle of half precision"):
            to_bytes(changed)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("variance", 0.0),
        ("wander", -0.1),
        ("wander", 1e300),
        ("usual", "1"),
        ("deviation", 0),
        ("kept", 1.1),
        ("kept", None),
        ("kept", True),
    ],
)
def test_a_number_that_cannot_be(raw: bytes, name: str, value: Any):
    with pytest.raises(ManifestError, match=rf"^har.cal: section 'home' field '{name}'"):
        parse(with_manifest(raw, lambda m: m["home"].update({name: value})), "har.cal", None)


def test_a_section_that_is_none(raw: bytes):
    for edit in (lambda m: m.update(home=[]), lambda m: m["home"].pop("kept"), lambda m: m["home"].update(more=1)):
        with pytest.raises(ManifestError, match="section 'home'"):
            parse(with_manifest(raw, edit), "har.cal", None)
    with pytest.raises(ManifestError, match="'home/matrix' has no place"):
        parse(with_manifest(raw, lambda m: m.pop("home")), "har.cal", None)
    plain = to_bytes(make_artifact())
    section = {"variance": 1, "wander": 0, "usual": 1, "deviation": 1, "kept": 1}
    with pytest.raises(ManifestError, match="'home/matrix' is missing"):
        parse(with_manifest(plain, lambda m: m.update(home=section)), "har.cal", None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mean", np.nan),
        ("spread", 0.0),
        ("spread", np.inf),
        ("matrix", np.nan),
        ("matrix", 1000.0),
        ("matrix", -np.inf),
    ],
)
def test_a_tensor_with_impossible_values(raw: bytes, name: str, value: float):
    with pytest.raises(ManifestError, match=f"'home/{name}'"):
        parse(with_tensor(raw, f"home/{name}", lambda a: a.__setitem__(2, value)), "har.cal", None)
