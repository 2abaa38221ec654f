"""Training in integers: the network's own codes, by the engine's compiled training step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibrant import plan
from calibrant.autodiff import Scheme, differentiate
from calibrant.bench.sparse.fit import Codes, Labels
from calibrant.core.program import Constants, Program
from calibrant.engine import Engine, Trainer
from calibrant.plan.cut import split


class IntegerLearner:
    """What the scheme trains learns, with a classifier of reals; see `fit.Learner`.

    Parameters
    ----------
    program, constants
        The last layer is the classifier.
    scheme : Scheme
    scaling : bool
        Quantization-aware scaling.
    accumulate : bool
        Rounding errors and whole batches are carried in accumulators; otherwise every sample is rounded at once.
    """

    def __init__(
        self, program: Program, constants: Constants, scheme: Scheme, *, scaling: bool = True, accumulate: bool = True
    ) -> None:
        parts = split(program, constants, scheme)
        own, held = parts.own
        self._frozen = None if parts.frozen is None else Engine(*parts.frozen)
        self._input = own.tensors[own.input]
        self.engine = Engine(own, held)
        training = differentiate(own, held, parts.scheme, scaling=scaling, head="float32")
        self.trainer = Trainer(self.engine, plan.schedule(training, own, search=False), accumulators=accumulate)

    def features(self, codes: Codes) -> Codes:
        """Codes int8[N, height, width, channels] where the part that learns begins."""
        if self._frozen is None:
            return codes
        shape = (len(codes), self._input.height, self._input.width, self._input.channels)
        return self._frozen.infer(codes).astype(np.int8).reshape(shape)

    def step(self, features: Codes, y: Labels, rate: float) -> float:
        """One step of SGD on the mean loss."""
        return float(self.trainer.step(features, y, rate).sum(dtype=np.float64))

    def scores(self, features: Codes) -> NDArray[np.float32]:
        """Logits float32[N, classes]."""
        return self.trainer.logits(features)
