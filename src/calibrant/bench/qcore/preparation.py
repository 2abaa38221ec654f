"""The protocol's artifacts: the source's network quantized, with its coreset."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from calibrant import coreset, data
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.qcore.jobs import Counting, Quantization
from calibrant.bench.qcore.network import build, source_rows
from calibrant.bench.recipes import recipe
from calibrant.pipeline import torch_model


def prepare(workspace: Workspace, root: Path, job: Quantization) -> None:
    """Quantize the source's network and put the artifact into the workspace."""
    about = job.training
    domain = data.load(about.dataset, root, about.source)
    rows, held = source_rows(about, domain)
    prepared = torch_model.prepare(
        workspace.load_module(asdict(about), build(about, domain)),
        domain.x[rows],
        domain.y[rows],
        bits=job.bits,
        coreset=job.coreset,
        coreset_rule=job.rule,
        coreset_bits=job.coreset_bits,
        misses=workspace.load_misses(asdict(Counting(about))) if needs_misses(job.rule) else None,
        classes=domain.classes,
        epochs=recipe(about.dataset).finetune.get(job.bits),
        seed=about.seed,
        validation=(domain.x[held], domain.y[held]),
    )
    workspace.save_prepared(asdict(job), prepared.artifact, prepared.net)


def needs_misses(rule: str) -> bool:
    """Whether a coreset rule chooses by quantization misses."""
    return coreset.RULES[rule].needs == "misses"
