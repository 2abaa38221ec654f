"""The updaters by name of their form."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from calibrant.artifact import Artifact
from calibrant.core.errors import DataError
from calibrant.core.settings import FlipSettings
from calibrant.updaters.accumulated_flips import AccumulatedFlips
from calibrant.updaters.base import Updater
from calibrant.updaters.block_flips import BlockFlips
from calibrant.updaters.channel_gradients import require_rules
from calibrant.updaters.guarded_flips import GuardedFlips
from calibrant.updaters.sparse_backprop import SparseBackprop


def _guarded(artifact: Artifact, settings: FlipSettings) -> Updater:
    return GuardedFlips(artifact.program, artifact.constants, artifact.feedback, settings)


def _block(artifact: Artifact, settings: FlipSettings) -> Updater:
    return BlockFlips(artifact.program, artifact.constants, artifact.feedback, settings)


def _accumulating(artifact: Artifact, settings: FlipSettings) -> Updater:
    require_rules(artifact.program)
    return AccumulatedFlips(artifact.program, artifact.constants, artifact.coreset, settings)


def _sparse(artifact: Artifact, settings: FlipSettings) -> Updater:
    if artifact.training is None:
        raise DataError("updater sparse: the artifact has no training step; prepare it with --form sparse")
    return SparseBackprop(artifact.program, artifact.constants, artifact.training, settings)


UPDATERS: Mapping[str, Callable[[Artifact, FlipSettings], Updater]] = {
    "accumulated": _accumulating,
    "pooled": _guarded,
    "taps": _guarded,
    "blocks": _block,
    "sparse": _sparse,
}


def build(artifact: Artifact, settings: FlipSettings) -> Updater:
    """The updater of `settings.form`.

    Raises
    ------
    DataError
        If there is no such form, the artifact was not prepared for it, or an op has no rule that the form needs.
    """
    if settings.form not in UPDATERS:
        raise DataError(f"updater form: expected one of {', '.join(UPDATERS)}, got {settings.form!r}")
    return UPDATERS[settings.form](artifact, settings)
