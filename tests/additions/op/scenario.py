"""An op with all rules: exact in every variant, adapted by the default form and by sparse training, and undone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import negation
import numpy as np
import torch

from artifacts import make_window
from calibrant import Session
from calibrant.artifact import write
from calibrant.autodiff.reference import Reference
from calibrant.core.rng import generator
from calibrant.core.settings import FlipSettings
from calibrant.engine import Engine, variants
from calibrant.engine.trainer import Trainer
from calibrant.graph import interp
from calibrant.pipeline.parts import training_step
from calibrant.plan import lower
from calibrant.quantize import FakeQuantNet, to_integer

annotated = negation.annotated()
integer = to_integer(annotated)
program, constants = lower(integer)
assert [op.kind for op in program.ops] == ["conv2d", "negate", "mean", "conv2d"]
rng = generator(1, "negation")
codes = rng.integers(-128, 128, (64, 3, 1, 8)).astype(np.int8)
expected = interp.run(integer, codes)
for variant in variants():
    got = Engine(program, constants, variant=variant).infer(np.ascontiguousarray(codes.transpose(0, 2, 3, 1)))
    assert np.array_equal(got, expected), variant
x = rng.normal(0, 1, (64, 3, 1, 8)).astype(np.float32)
source = annotated.values["x"].qparams
assert source is not None
own = annotated.values["y"].qparams
assert own is not None
real = interp.run(integer, source.quantize(x)) * (own.scale * constants.scale[-3:])
with torch.no_grad():
    assert np.abs(FakeQuantNet(annotated)(torch.from_numpy(x)).numpy() - real).max() < 0.05


def adapt(path: Path, artifact) -> None:
    """Committed, reported, and rolled back bit for bit."""
    write(path, artifact)
    windows = [make_window(artifact, n=80, seed=seed) for seed in range(3)]
    unseen, labels = make_window(artifact, n=200, seed=9)
    with Session.open(path, gate=False) as session:
        before, at_first = session.version, session.predict(unseen)
        reports = [session.observe(*window) for window in windows]
        assert "committed" in {report.decision for report in reports}, reports
        adapted = session.predict(unseen)
        assert (adapted == labels).mean() > (at_first == labels).mean() + 0.1, (adapted == labels).mean()
        assert session.version.weights_sha256 != before.weights_sha256
        back = session.rollback(before.number)
        assert back.weights_sha256 == before.weights_sha256
        assert np.array_equal(session.predict(unseen), at_first)


adapt(Path("default.cal"), negation.artifact(FlipSettings()))
step = training_step(program, constants, "full")
sparse = replace(negation.artifact(FlipSettings(form="sparse", steps=10, rate=0.05)), training=step)
adapt(Path("sparse.cal"), sparse)

engine = Engine(program, constants)
trainer, reference = Trainer(engine, step), Reference(step, program, constants)
for number, sample in enumerate(codes.transpose(0, 2, 3, 1)[:8]):
    trainer.step(np.ascontiguousarray(sample[None]), np.array([number % 3]), rate=2.0)
    reference.step(sample, number % 3, rate=2.0)
    reference.commit(carry=True)
assert np.array_equal(engine.parameters.weights, reference.weights)
assert not np.array_equal(engine.parameters.weights, constants.weights)
