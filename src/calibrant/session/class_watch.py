"""Watches the stream for classes that nobody has taught: shows windows to `policy.novelty`, and says so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.evaluation import Evaluation
from calibrant.core.reports import Alert
from calibrant.memory.policies import Memory
from calibrant.policy.novelty import Finding, Novelty
from calibrant.policy.signature import Signatures

_ROW = re.compile(r"novelty ([0-9]{1,2})")  # of the state, one for each place: most windows change one


class ClassWatch:
    """Sees every window that shows its classes as the stream does. It only ever says something.

    Parameters
    ----------
    artifact : Artifact
    most : int
        Places to know; 0: nothing is watched. Nor is it where the artifact's own training samples are not known again
        when some stretch of them is left out: then samples are unlike those before them all the time.
    """

    def __init__(self, artifact: Artifact, most: int) -> None:
        self._task, self._classes, self._most = artifact.meaning.task, len(artifact.classes), most
        home = artifact.recognition
        watches = home is not None and home.recognizes and most > 0
        self._signatures = Signatures.of(artifact.program, home) if home is not None and watches else None
        self._dimensions = 0 if home is None else len(home.mean)
        self._novelty = Novelty(most)

    def memory(self) -> dict[str, Any]:
        """What to go on from, by policy."""
        return {f"novelty {number}": row for number, row in enumerate(self._novelty.memory())}

    def resume(self, memories: Mapping[str, Memory]) -> None:
        """Go on from what :meth:`memory` said; StateError if it did not."""
        rows = {int(named[1]): memories[name].value for name in memories if (named := _ROW.fullmatch(name))}
        kept = [rows[number] for number in sorted(rows)] if self._signatures is not None else []
        self._novelty = Novelty.of(kept, self._dimensions, self._classes, self._most)

    def look(self, x: NDArray[np.int8], seen: Evaluation) -> Alert | None:
        """Whether a window int8[N, height, width, channels] without labels shows a class that nobody has taught.

        `seen` is of its samples, by the artifact's own parameters.
        """
        if self._signatures is None:
            return None
        signatures = self._signatures(x, seen.observation)
        self._novelty, finding = self._novelty.after(signatures, self._task.decode(seen.scores))
        return None if finding is None or not finding.unknown else _alert(finding)

    def learned(self, x: NDArray[np.int8], seen: Evaluation) -> None:
        """Take note of a window that labels have taught: what it shows is known."""
        if self._signatures is not None:
            signatures = self._signatures(x, seen.observation)
            self._novelty = self._novelty.knowing(signatures, self._task.decode(seen.scores))


def _alert(finding: Finding) -> Alert:
    text = (
        f"{finding.size} samples are alike and unlike all that was seen here: a class unknown, or changed; label some"
    )
    return Alert("unknown-classes", finding.size, finding.limit, text)
