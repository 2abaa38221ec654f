"""A well-sealed artifact whose program lies: refused by name, or harmless to run. Never a crash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from artifacts import make_artifact, make_window
from calibrant.artifact import Artifact
from calibrant.artifact.read import KEY, parse
from calibrant.artifact.write import to_bytes
from calibrant.core.errors import CalibrantError
from calibrant.core.logits import logits
from calibrant.core.settings import FlipSettings
from calibrant.engine import Engine, variants
from calibrant.updaters.guarded_flips import GuardedFlips
from tampering import taken_apart, with_manifest
from updating import update

VALUES = (-(2**31), -129, -1, 0, 1, 64, 255, 2**16, 2**31 - 1)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all integers in a JSON value."""
    if isinstance(value, dict | list):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in entries:
            yield from places(entry, (*path, key))
    elif isinstance(value, int):
        yield path


def put(value: Any, path: tuple[Any, ...], number: int) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = number


def exercise(artifact: Artifact, variant: str) -> None:
    engine = Engine(artifact.program, artifact.constants, variant)
    tensor = artifact.program.tensors[artifact.program.input]
    x = np.full((2, tensor.height, tensor.width, tensor.channels), 5, np.int8)
    scores = logits(engine.infer(x), artifact.program, artifact.constants)
    assert scores.shape == (2, len(artifact.classes))
    updater = GuardedFlips(artifact.meaning, artifact.feedback, artifact.settings)
    update(updater, engine, x, np.zeros(2, np.int64), 2)


def test_every_integer_of_a_program_may_lie():
    raw = to_bytes(make_artifact(settings=FlipSettings(steps=2)))
    program = json.loads(taken_apart(raw)[0]["__metadata__"][KEY])["program"]
    refused = tried = 0
    for path in places(program):
        for number in VALUES[: -2 if path == ("arena_bytes",) else None]:  # a large arena is legal, and allocated
            changed = with_manifest(raw, lambda m, p=path, n=number: put(m["program"], p, n))
            tried += 1
            try:
                exercise(parse(changed, "har.cal", None), variants()[tried % len(variants())])
            except CalibrantError as error:
                refused += 1
                assert "\n" not in str(error), path  # noqa: PT017
    assert tried > 700
    assert refused > tried // 2


def test_the_honest_program_runs():
    artifact = parse(to_bytes(make_artifact()), "har.cal", None)
    for variant in variants():
        exercise(artifact, variant)
    assert make_window(artifact)[0].shape[1:] == artifact.input_shape
