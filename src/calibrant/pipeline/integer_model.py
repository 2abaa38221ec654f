"""A network that comes as integers becomes an artifact: no fine-tuning, no feedback, a training step instead."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibrant import coreset as coresets
from calibrant import plan
from calibrant.artifact import Artifact
from calibrant.core.errors import DataError
from calibrant.core.logits import logits
from calibrant.core.statistics import Coreset, Feedback, Preprocess
from calibrant.core.task import check_labels
from calibrant.core.window import check_window, encode
from calibrant.engine import Engine
from calibrant.graph.graph import Graph
from calibrant.pipeline import torch_model


def prepare_integer(
    graph: Graph,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    *,
    preprocess: Preprocess,
    scheme: str = "last-2",
    coreset: int = 20,
    coreset_rule: str = "balanced",
    classes: tuple[str, ...] | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> Artifact:
    """Prepare a network that is quantized already for sparse training on a device.

    Parameters
    ----------
    graph : Graph
        Of stage ``integer``, say from `zoo.load_tinyml`.
    x, y : float32[N, ...], int64[N]
        Samples of its task, as the device will see them, and their classes.
    preprocess : Preprocess
        From those samples to the reals that the network's input codes stand for.
    scheme : str
        What is trained, see `calibrant.autodiff.named`.
    coreset : int
        Samples that travel with the model.
    coreset_rule : str
        One of `calibrant.coreset.RULES` that needs no misses.
    classes : tuple of str, optional
        Names; default "0", "1", ...
    steps : int, optional
        Passes a window, see `FlipSettings`.
    seed : int

    Returns
    -------
    Artifact
        With the form 'sparse'. Its feedback is zero: flips would move the last layer only.

    Raises
    ------
    ModelError
        The scheme does not fit, or the graph cannot be lowered.
    DataError
        Samples or labels that do not fit.
    """
    program, constants = plan.lower(graph)
    outputs = program.tensors[program.output].elements
    names = classes or tuple(str(label) for label in range(outputs))
    if len(names) != outputs:
        raise DataError(f"classes: expected {outputs} names, one an output, got {len(names)}")
    x = check_window(x, np.shape(x)[1:])
    y = check_labels(y, len(x), len(names))
    if (y < 0).any():
        raise DataError(f"training labels: expected a class for every sample, got {int((y < 0).sum())} unlabeled")
    coresets.check(coreset_rule, y, coreset, None)
    input_shape = tuple(int(n) for n in x.shape[1:])
    codes = encode(x, program.tensors[program.input], preprocess, input_shape)
    points = coresets.features(preprocess.apply(x)) if coresets.RULES[coreset_rule].needs == "features" else None
    chosen = coresets.select(coreset_rule, y, coreset, seed, None, points)
    engine = Engine(program, constants)
    reference, seen, pooled = torch_model.training_statistics(engine, codes)
    artifact = Artifact(
        program=program,
        constants=constants,
        preprocess=preprocess,
        feedback=Feedback(
            np.zeros((len(names), program.channel_count), np.int8), np.ones(len(program.layers), np.float32)
        ),
        coreset=Coreset(codes[chosen], y[chosen]),
        reference=reference,
        classes=names,
        input_shape=input_shape,
        training=torch_model.training_step(program, constants, scheme),
        settings=torch_model.settings("sparse", steps, program.layers[0].bits),
    )
    wrong = logits(seen, program, constants).argmax(axis=1) != y
    return replace(
        artifact,
        usual=torch_model.usual(artifact, engine, wrong, np.delete(pooled, chosen, axis=0)),
        report={
            "scheme": scheme,
            "coreset_rule": coreset_rule,
            "seed": seed,
            "training_sha256": hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest(),
        },
    )
