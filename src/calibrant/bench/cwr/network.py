"""The protocol's backbones: trained on the first classes, prepared with a user's defaults; then they stand still."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibrant import heads, zoo
from calibrant.artifact import Artifact
from calibrant.bench.cwr import scene
from calibrant.bench.cwr.jobs import Preparation
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.qcore.network import BATCH
from calibrant.bench.recipes import recipe
from calibrant.core.statistics import Preprocess
from calibrant.core.window import encode
from calibrant.engine import Engine
from calibrant.pipeline import float_training, torch_model

_CHUNK = 256  # samples at a time, which bounds memory and changes no number


def prepare(workspace: Workspace, root: Path, job: Preparation) -> None:
    """Train and quantize the backbone on the first classes alone, then keep the features of all samples."""
    seen = load(root, job)
    x, y = seen.x[seen.home], seen.y[seen.home]
    how = recipe(job.dataset)
    settings = float_training.TrainingSettings(
        epochs=-(-how.steps // max(1, len(y) // BATCH)),
        batch=BATCH,
        rate=how.rate,
        shift=how.shift,
        mirror=how.mirror,
    )
    start = zoo.build(job.network, x.shape[1], tuple(x.shape[2:]), job.first, job.seed)
    net = float_training.train(start, Preprocess.of(x).apply(x), y, settings, seed=job.seed)
    prepared = torch_model.prepare(
        net,
        x,
        y,
        bits=job.bits,
        classes=seen.classes[: job.first],
        epochs=how.finetune.get(job.bits),
        seed=job.seed,
        blocks=None if seen.blocks is None else seen.blocks[seen.home],
    )
    workspace.save_prepared(asdict(job), prepared.artifact, prepared.net)
    engine, coreset = Engine(prepared.artifact.program, prepared.artifact.constants), prepared.artifact.coreset
    arrays = {
        "train": features(engine, prepared.artifact, seen.x),
        "test": features(engine, prepared.artifact, seen.test_x),
        "coreset": heads.features(engine.program, engine.observe(coreset.x)),
        "coreset_y": coreset.y.astype(np.int32),
    }
    workspace.save_features(asdict(job), arrays)


def load(root: Path, job: Preparation) -> scene.Scene:
    """What the job's rows are shown."""
    return scene.load(root, job.dataset, job.subjects, job.first, job.experiences, job.seed)


def features(engine: Engine, artifact: Artifact, x: NDArray[np.float32]) -> NDArray[np.int32]:
    """What the head sees of samples float32[N, ...], int32[N, D]."""
    program, found = artifact.program, list[NDArray[np.int32]]()
    tensor = program.tensors[program.input]
    for at in range(0, len(x), _CHUNK):
        codes = encode(x[at : at + _CHUNK], tensor, artifact.preprocess, artifact.input_shape)
        found.append(heads.features(program, engine.observe(codes)))
    return np.concatenate(found)
