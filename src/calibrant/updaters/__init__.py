"""What can adapt a network, one row a form: the only list there is. A new updater is its file and its row here.

Artifacts, settings and the command line call a form by its key; `about` is what help and documents say of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from calibrant.artifact import Artifact
from calibrant.core.errors import check_known
from calibrant.core.settings import FlipSettings
from calibrant.updaters.accumulated_flips import AccumulatedFlips
from calibrant.updaters.base import Updater
from calibrant.updaters.block_flips import BlockFlips
from calibrant.updaters.guarded_flips import GuardedFlips
from calibrant.updaters.sparse_backprop import SparseBackprop


@dataclass(frozen=True)
class Form:
    """One row.

    `updater` is the class, `defaults` are the settings that differ from those of `FlipSettings`. `bench` is its name in
    tables of protocols, `firmware` that of what an exported project adapts with, where there is such.
    """

    updater: type[Updater]
    about: str
    bench: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    firmware: str | None = None
    needs_training: bool = False


FORMS: Mapping[str, Form] = {
    "accumulated": Form(AccumulatedFlips, "small moves add up and flip weights: the most accurate", "flip"),
    "pooled": Form(GuardedFlips, "guarded flips, hardly any memory", "flip-pooled", firmware="flip"),
    "taps": Form(GuardedFlips, "guarded flips, resolved by kernel tap", "flip-taps"),
    "blocks": Form(  # a block is small: more steps, and more of it at once
        BlockFlips,
        "guarded flips of one small block a step, no memory to speak of",
        "flip-blocks",
        {"steps": 80, "fraction_max": 0.3},
        firmware="flip",
    ),
    "sparse": Form(  # 0.06 was ahead of 0.02 on 2 to 1, 4 to 3 and 6 to 5 of DSA and USC-HAD
        SparseBackprop,
        "back-propagation into few layers, planned on the server",
        "sparse",
        {"rate": 0.05, "steps": 10},
        firmware="sparse",
        needs_training=True,
    ),
}


def form(name: str) -> Form:
    """The row of a form.

    Raises
    ------
    DataError
        There is none; lists those there are.

    Examples
    --------
    >>> form("pooled").firmware
    'flip'
    >>> form("pruned")
    Traceback (most recent call last):
    calibrant.core.errors.DataError: updater form: expected one of accumulated, ..., got 'pruned'
    """
    check_known("updater form", name, FORMS)
    return FORMS[name]


def build(artifact: Artifact, settings: FlipSettings) -> Updater:
    """The updater of `settings.form`.

    Raises
    ------
    DataError
        If there is no such form, the artifact was not prepared for it, or an op has no rule that the form needs.
    """
    return form(settings.form).updater.of(artifact, settings)


def defaults(name: str, rate: float, steps: int | None = None) -> FlipSettings:
    """Settings of a form: its own where it has any, else `rate` and those of `FlipSettings`; `steps` above all."""
    chosen = replace(FlipSettings(form=name, rate=rate), **form(name).defaults)
    return chosen if steps is None else replace(chosen, steps=steps)
