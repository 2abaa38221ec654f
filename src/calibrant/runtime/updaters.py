"""The updaters by name of their form."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from calibrant.artifact import Artifact
from calibrant.core.errors import DataError
from calibrant.core.records import FlipSettings
from calibrant.runtime.accumulation import AccumulatingUpdater
from calibrant.runtime.evaluation import Updater
from calibrant.runtime.flip import FlipUpdater


def _guarded(artifact: Artifact, settings: FlipSettings) -> Updater:
    return FlipUpdater(artifact.program, artifact.constants, artifact.feedback, settings)


def _accumulating(artifact: Artifact, settings: FlipSettings) -> Updater:
    return AccumulatingUpdater(artifact.program, artifact.constants, artifact.coreset, settings)


UPDATERS: Mapping[str, Callable[[Artifact, FlipSettings], Updater]] = {
    "accumulated": _accumulating,
    "pooled": _guarded,
    "taps": _guarded,
}


def build(artifact: Artifact, settings: FlipSettings) -> Updater:
    """The updater of `settings.form`.

    Raises
    ------
    DataError
        If there is no such form.
    """
    if settings.form not in UPDATERS:
        raise DataError(f"flip form: expected one of {', '.join(UPDATERS)}, got {settings.form!r}")
    return UPDATERS[settings.form](artifact, settings)
