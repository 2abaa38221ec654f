"""An op that runs but that no signal and no gradient can pass: what would need to is refused by the op's name."""

from __future__ import annotations

from pathlib import Path

import negation

from artifacts import make_window
from calibrant import Session
from calibrant.artifact import write
from calibrant.core.errors import CalibrantError
from calibrant.core.settings import FlipSettings
from calibrant.pipeline.parts import training_step


def refusal(attempt) -> str:
    try:
        attempt()
    except CalibrantError as error:
        return f"{type(error).__name__}: {error}"
    return "not refused"


path = Path("default.cal")
artifact = negation.artifact(FlipSettings())
write(path, artifact)
said = refusal(lambda: Session.open(path))
assert said.startswith("DataError: negate 'n': expected an op with a propagation rule, one of conv2d, "), said
said = refusal(lambda: training_step(artifact.program, artifact.constants, "full"))
assert said.startswith("ModelError: negate 'n': expected an op with a gradient rule, one of conv2d, "), said

write(path, negation.artifact(FlipSettings(form="pooled", steps=8)))
with Session.open(path) as session:  # learned feedback needs no way through the op
    session.observe(*make_window(artifact))
