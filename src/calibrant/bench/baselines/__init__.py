"""What people would run instead of flips, one baseline a file; `LEARNERS` lists those that back-propagate."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from calibrant.bench.baselines.a_gem import GradientMemory
from calibrant.bench.baselines.bn import BatchNormStatistics, normalized_layers
from calibrant.bench.baselines.bp import BackPropagation, BiasOnly
from calibrant.bench.baselines.bp_replay import GenerousReplay
from calibrant.bench.baselines.camel import StreamCoreset
from calibrant.bench.baselines.codes import decode
from calibrant.bench.baselines.derpp import DarkReplay
from calibrant.bench.baselines.er import ExperienceReplay
from calibrant.bench.baselines.er_ace import AsymmetricReplay
from calibrant.bench.baselines.flip_random import RandomFlips
from calibrant.bench.baselines.flip_true import TrueFlips
from calibrant.bench.baselines.learner import STEPS, Learner
from calibrant.bench.baselines.rehearsal import Rehearsal
from calibrant.bench.baselines.tuned import tuned

LEARNERS: Mapping[str, Callable[..., Learner]] = {
    "bp": BackPropagation,
    "bp-replay": GenerousReplay,
    "er": ExperienceReplay,
    "derpp": DarkReplay,
    "er-ace": AsymmetricReplay,
    "a-gem": GradientMemory,
    "camel": StreamCoreset,
    "bias": BiasOnly,
}

__all__ = [
    "LEARNERS",
    "STEPS",
    "BackPropagation",
    "BatchNormStatistics",
    "Learner",
    "RandomFlips",
    "Rehearsal",
    "TrueFlips",
    "decode",
    "normalized_layers",
    "tuned",
]
