"""A network that comes as integers becomes an artifact: no fine-tuning, no feedback, a training step instead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibrant import coreset as coresets
from calibrant import plan
from calibrant.artifact import Artifact
from calibrant.core.errors import DataError
from calibrant.core.statistics import Feedback, Preprocess
from calibrant.engine import Engine
from calibrant.graph.graph import Graph
from calibrant.pipeline import parts
from calibrant.pipeline.parts import Samples


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
    blocks: NDArray[np.int64] | None = None,
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
    blocks : int64[N], optional
        Which stretch of time each sample is of, see `calibrant.prepare`.
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
    samples = Samples.of(x, y, names, blocks)
    coresets.check(coreset_rule, samples.y, coreset, None)
    nothing = Feedback(np.zeros((len(names), program.channel_count), np.int8), np.ones(len(program.layers), np.float32))
    extras = parts.Extras(
        feedback=nothing,
        settings=parts.usual_settings("sparse", steps, program.layers[0].bits),
        training=parts.training_step(program, constants, scheme),
    )
    chosen = parts.choose(coreset_rule, samples, preprocess, coreset, seed)
    artifact = parts.compose(Engine(program, constants), constants, samples, chosen, preprocess, extras)
    report = {"scheme": scheme, "coreset_rule": coreset_rule, "seed": seed, "training_sha256": samples.sha256}
    return replace(artifact, report=report)
