"""`calibrant predict`: classes of windows, nothing learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from calibrant.artifact import read
from calibrant.cli import windows
from calibrant.cli.console import emit, out, table
from calibrant.cli.options import ArtifactPath, Json, Verify
from calibrant.core.errors import StateError
from calibrant.core.files import replacing
from calibrant.core.task import check_labels


def predict(
    artifact: ArtifactPath,
    source: Annotated[Path, typer.Option("--input", "-i", metavar="NPZ", help="Samples: an npz with x [N, ...].")],
    state: Annotated[
        Path | None, typer.Option("--state", metavar="STATE", help="Use the weights this state has learned.")
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="NPZ", help="Write y int64[N] and scores float32[N, K].")
    ] = None,
    verify: Verify = None,
    json: Json = False,
) -> None:
    """Predict the class of each sample; the state, if given, is only read.

    Example: calibrant predict har.cal --input windows.npz --state har.db --out predicted.npz
    """
    from calibrant.session import Session

    samples, held = windows.read(source), read(artifact, verify=verify)
    if state is not None and not state.is_file():
        raise StateError(f"{state}: expected a state that `calibrant run` keeps, got no such file")
    with Session.open(artifact, state=state, verify=verify) as session:
        scores = session.scores(samples.x)
    task = held.meaning.task
    y = check_labels(samples.y, len(scores), held.meaning.labels) if samples.y is not None else np.full(len(scores), -1)
    known = y >= 0
    predicted = task.decode(scores)
    if target is not None:
        with replacing(target) as file:
            np.savez(file, y=predicted, scores=scores)
    if json:
        emit(
            {"y": predicted, "classes": [task.words(label, held.classes) for label in predicted.tolist()]}, indent=None
        )
        return
    rows = table("class", "samples", "share")
    for label, count in zip(*(each.tolist() for each in np.unique(predicted, return_counts=True)), strict=True):
        rows.add_row(task.words(label, held.classes), str(count), f"{count / len(predicted):.1%}")
    out.print(rows)
    if known.any():
        out.print(f"accuracy {task.right(scores, y)[known].mean():.3f} on {int(known.sum())} labeled samples")
