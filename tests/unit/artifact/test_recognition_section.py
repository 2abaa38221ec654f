"""What an artifact knows home by: written as it is, refused where it cannot be."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from artifacts import at_home, make_artifact, recognizing
from calibrant.artifact import Artifact
from calibrant.artifact.read import parse
from calibrant.artifact.recognition import dimensions
from calibrant.artifact.write import to_bytes
from calibrant.core.errors import ManifestError
from calibrant.core.recognition import KEPT, Recognition
from calibrant.policy.signature import kinds
from tampering import with_manifest, with_tensor


def recognition_of(artifact: Artifact) -> Recognition:
    found = recognizing(artifact).recognition
    assert found is not None
    return found


def with_recognition(artifact: Artifact, **changes: Any) -> Artifact:
    return dataclasses.replace(artifact, recognition=dataclasses.replace(recognition_of(artifact), **changes))


@pytest.fixture(scope="module")
def raw() -> bytes:
    return to_bytes(with_recognition(make_artifact()))


@pytest.mark.parametrize("length", [8, 1])
def test_it_is_read_as_it_was_written(length: int):
    artifact = with_recognition(make_artifact(length=length))
    assert artifact.recognition is not None
    again = parse(to_bytes(artifact), "har.cal", None).recognition
    assert again is not None
    for field in dataclasses.fields(Recognition):
        assert np.array_equal(getattr(again, field.name), getattr(artifact.recognition, field.name))
    assert dimensions(artifact.program) == kinds(artifact.program)[-1].stop == len(again.mean)


def test_it_goes_with_home_and_without(artifact: Artifact):
    for given in (artifact, at_home(artifact)):
        raw = to_bytes(recognizing(given))
        again = parse(raw, "har.cal", None)
        assert again.format_version == 4
        assert (again.home is None) == (given.home is None)
        assert to_bytes(again) == raw


def test_an_artifact_without_has_none(artifact: Artifact):
    raw = to_bytes(artifact)
    assert parse(raw, "har.cal", None).recognition is None
    assert b'"recognition' not in raw


def test_whether_to_listen_to_it_is_said_by_its_number():
    known = recognition_of(make_artifact())
    assert dataclasses.replace(known, kept=KEPT).recognizes
    assert not dataclasses.replace(known, kept=KEPT - 0.01).recognizes


@pytest.mark.parametrize("value", [1 / 3, np.nan, 1e6])
def test_a_matrix_of_more_precision_is_not_silently_cut(value: float):
    for place in ((1, 0), (0, 1)):
        matrix = recognition_of(make_artifact()).matrix.copy()
        matrix[place] = value
        changed = with_recognition(make_artifact(), matrix=matrix)
        with pytest.raises(ManifestError, match=r"'recognition/matrix'.*lower triangle of half precision"):
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
    with pytest.raises(ManifestError, match=rf"^har.cal: section 'recognition' field '{name}'"):
        parse(with_manifest(raw, lambda m: m["recognition"].update({name: value})), "har.cal", None)


def test_a_section_that_is_none(raw: bytes):
    for edit in (
        lambda m: m.update(recognition=[]),
        lambda m: m["recognition"].pop("kept"),
        lambda m: m["recognition"].update(more=1),
    ):
        with pytest.raises(ManifestError, match="section 'recognition'"):
            parse(with_manifest(raw, edit), "har.cal", None)
    with pytest.raises(ManifestError, match="'recognition/matrix' has no place"):
        parse(with_manifest(raw, lambda m: m.pop("recognition")), "har.cal", None)
    plain = to_bytes(make_artifact())
    section = {"variance": 1, "wander": 0, "usual": 1, "deviation": 1, "kept": 1}
    with pytest.raises(ManifestError, match="'recognition/matrix' is missing"):
        parse(with_manifest(plain, lambda m: m.update(recognition=section)), "har.cal", None)


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
    with pytest.raises(ManifestError, match=f"'recognition/{name}'"):
        parse(with_tensor(raw, f"recognition/{name}", lambda a: a.__setitem__(2, value)), "har.cal", None)
