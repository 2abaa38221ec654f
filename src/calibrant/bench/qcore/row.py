"""One row of the protocol: a stream through one way of adapting, and what came of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from calibrant.bench import adaptation
from calibrant.bench.harness.workspace import Workspace
from calibrant.bench.qcore import datasets
from calibrant.bench.qcore.jobs import Cell, Training
from calibrant.bench.qcore.labels import Labeler
from calibrant.bench.qcore.network import build
from calibrant.bench.reports import scores
from calibrant.core.statistics import Preprocess
from calibrant.pipeline import float_training


def adapt(workspace: Workspace, root: Path, job: Cell) -> dict[str, Any]:
    """Stream the target through one way of adapting, and keep the row."""
    seen, about = datasets.load(root, job), job.quantization.training
    with adaptation.UPDATERS[job.updater](_deployed(workspace, job, seen)) as subject:
        labeler = Labeler(subject, job.labels, job.choice, job.delay, about.seed)
        before_source, before_target = _predict(subject, seen.source_test), _predict(subject, seen.target_test)
        added = subject.added_bytes(seen.stream[0][0])
        on_target = []
        for x, y in seen.stream:
            labeler.show(x, y)
            on_target.append(scores.accuracy(*_predict(subject, seen.target_test)))
        after_source, after_target = _predict(subject, seen.source_test), _predict(subject, seen.target_test)
    source_before, source_final = scores.accuracy(*before_source), scores.accuracy(*after_source)
    row = {
        **_settings(job),
        "window_samples": len(seen.stream[0][1]),
        "labels_used": labeler.used,
        **_float_accuracies(workspace, job, seen),
        "accuracy_source_before": source_before,
        "accuracy_target_before": scores.accuracy(*before_target),
        "accuracy_target": on_target,
        "accuracy_target_mean": float(np.mean(on_target)),
        "accuracy_target_worst": min(on_target),
        "accuracy_source_final": source_final,
        "backward_transfer": source_final - source_before,
        "macro_f1_target_final": scores.macro_f1(*after_target),
        "macro_f1_source_final": scores.macro_f1(*after_source),
        "windows_untouched": labeler.untouched,
        "decisions": dict(Counter(labeler.decisions)),
        "seconds_per_window": labeler.seconds / len(seen.stream),
        "bytes_added": added,
    }
    workspace.save_row(asdict(job), row)
    return row


def _settings(job: Cell) -> dict[str, Any]:
    about = job.quantization.training
    return {
        "dataset": about.dataset,
        "network": about.network,
        "source": about.source,
        "target": job.target,
        "bits": job.quantization.bits,
        "coreset": job.quantization.coreset,
        "coreset_rule": job.quantization.rule,
        "coreset_bits": job.quantization.coreset_bits,
        "updater": job.updater,
        "seed": about.seed,
        "split": about.split,
        "steps": job.steps,
        "labels": job.labels,
        "label_choice": job.choice,
        "delay": job.delay,
        "capacity": job.capacity,
        "gate": "on" if job.gate else "off",
    }


def _deployed(workspace: Workspace, job: Cell, seen: datasets.Scene) -> adaptation.Deployed:
    settings, about = asdict(job.quantization), job.quantization.training
    return adaptation.Deployed(
        workspace.artifact_path(settings),
        load_net=partial(workspace.load_net, settings),
        load_float=partial(_float_net, workspace, about, seen),
        load_source=lambda: seen.train[0],
        dataset=about.dataset,
        network=about.network,
        bits=job.quantization.bits,
        steps=job.steps,
        seed=about.seed,
        capacity=job.capacity or job.quantization.coreset,
        gate=job.gate,
    )


def _float_net(workspace: Workspace, about: Training, seen: datasets.Scene) -> nn.Module:
    return workspace.load_module(asdict(about), build(about, seen.source))


def _predict(subject: adaptation.Adaptation, samples: datasets.Samples) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Predicted and true classes."""
    return subject.predict(samples[0]), samples[1]


def _float_accuracies(workspace: Workspace, job: Cell, seen: datasets.Scene) -> dict[str, float]:
    """What the network could do before it was quantized."""
    net, preprocess = _float_net(workspace, job.quantization.training, seen), Preprocess.of(seen.train[0])
    tests = {"accuracy_float_source": seen.source_test, "accuracy_float_target": seen.target_test}
    return {name: float_training.accuracy(net, preprocess.apply(x), y) for name, (x, y) in tests.items()}
