"""From an artifact and what a user asks for to the parts of a session, each made once and told what it needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from calibrant.artifact import THRESHOLDS, Artifact, content_hash, read
from calibrant.core.errors import DataError
from calibrant.core.parameters import Parameters
from calibrant.core.settings import Budget, FlipSettings
from calibrant.engine import Engine
from calibrant.memory.store import Store
from calibrant.policy.contexts import MOST
from calibrant.session import footprint
from calibrant.session.deployment import Deployment, Keeping
from calibrant.session.drift_monitor import DriftMonitor
from calibrant.session.footprint import Footprint
from calibrant.session.label_screen import LabelScreen
from calibrant.session.loop import Loop
from calibrant.session.supervised import Adapter
from calibrant.session.unsupervised import TestTimeAdapter
from calibrant.updaters import build
from calibrant.updaters.base import Updater

REPLAY = 200  # samples to keep at least where there is no budget and no capacity: a part home's, the rest the stream's


@dataclass(frozen=True)
class Options:
    """The keywords of `Session.open`, as they are there."""

    state: Path | str | None = None
    budget: Budget | None = None
    variant: str | None = None
    settings: FlipSettings | None = None
    verify: Path | str | None = None
    updater: Updater | None = None
    capacity: int | None = None
    upkeep: bool = True
    unlabeled: bool = True
    gate: bool = True


@dataclass(frozen=True)
class Parts:
    """What a session consists of."""

    artifact: Artifact
    engine: Engine
    store: Store
    updater: Updater
    deployed: Deployment
    unsupervised: TestTimeAdapter | None
    monitor: DriftMonitor | None
    loop: Loop
    footprint: Footprint
    budget: Budget


def assemble(path: Path | str, options: Options) -> Parts:
    """Open an artifact and its state, and connect the parts; raises as `Session.open`."""
    artifact, budget = read(path, verify=options.verify), options.budget or Budget()
    capacity = options.capacity
    if capacity is None:  # a budget is for those who count bytes
        capacity = max(len(artifact.coreset.y), 1 if options.budget else REPLAY)
    if options.capacity is not None and capacity < 1:
        raise DataError(f"coreset capacity: expected at least 1 sample, got {capacity}")
    footprint.check(budget.ram, artifact.program.arena_bytes, "the arena alone")  # before anything is allocated
    engine = Engine(artifact.program, artifact.constants, options.variant)
    updater = options.updater or build(artifact, options.settings or artifact.settings)
    guesses = options.unlabeled and artifact.meaning.task.guesses
    sizes = Footprint(
        artifact, updater, engine.memory_bytes, capacity, options.gate, guesses and artifact.home is not None
    )
    sizes.check(budget.ram, 0)
    if options.gate:
        sizes = sizes.placed(budget.ram, MOST)
    store = Store.open(
        options.state,
        artifact=content_hash(artifact),
        base_sha256=Parameters.of(artifact.constants).sha256,
        create=True,
        storage=budget.storage,
    )
    try:
        limits = {**THRESHOLDS, **artifact.thresholds}
        keeping = Keeping(capacity, limits["source_share"], options.upkeep, updater.distills)
        deployed = Deployment(artifact, engine, store, keeping)
        drop = limits["coreset_drop"]
        adapter = Adapter(engine, updater, drop, limits["holdout"])
        unsupervised = (
            TestTimeAdapter(artifact, engine, deployed, drop, sizes.places, sizes.watched) if guesses else None
        )
        monitor = DriftMonitor(artifact, engine, deployed) if options.gate else None
        screen = (
            LabelScreen(artifact, engine, deployed, updater) if options.gate and artifact.meaning.task.guesses else None
        )
        loop = Loop(artifact, deployed, adapter, unsupervised, monitor, screen)
    except BaseException:
        store.close()
        raise
    return Parts(artifact, engine, store, updater, deployed, unsupervised, monitor, loop, sizes, budget)
