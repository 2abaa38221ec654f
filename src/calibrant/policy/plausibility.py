"""How plausible parameters are for samples without labels: sure, of many classes, and at one with their neighbors.

No single sign can be trusted: a collapsed network is sure, a lost one sees many classes. Together they order candidates
that start from the same artifact. In nats, for a mean over samples::

    - H(p) + H(mean p) / 4 + 2 own + near

with H the entropy of a prediction's probabilities p, `own` the share of predictions that the nearest prototype of the
window's own classes repeats (`policy.pseudo_labels`), `near` the share that the label of the nearest coreset sample
repeats. Whole numbers, the same on every machine.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from calibrant.core import fmath
from calibrant.core.fmath import ERROR_ONE, LOSS_ONE

_DIVERSITY = 4  # a fourth of the entropy of mean predictions counts
_OWN, _NEAR = 2, 1
DOUBT, CHANCE = 0.03, 0.3


def plausibility(
    mass: NDArray[np.int64], predicted: NDArray[np.int64], own: NDArray[np.int64], near: NDArray[np.int64]
) -> float:
    """Of candidate parameters, for N samples; more is better.

    Parameters
    ----------
    mass : int64[N, K]
        Probabilities of the classes, Q15.
    predicted : int64[N]
    own : int64[N]
        Classes of the nearest prototypes.
    near : int64[N]
        Labels of the nearest coreset samples.

    Returns
    -------
    float
        In nats, a multiple of 1/65536.

    Examples
    --------
    >>> sure, unsure = np.array([[32768, 0], [0, 32768]]), np.array([[20000, 12768], [12768, 20000]])
    >>> classes = np.array([0, 1])
    >>> plausibility(sure, classes, classes, classes) > plausibility(unsure, classes, classes, classes)
    True
    """
    count = len(predicted)
    unsure = int(entropy(mass).sum()) / count
    varied = int(entropy(mass.sum(axis=0, keepdims=True) // count)[0])
    repeated = _OWN * int(np.count_nonzero(own == predicted)) + _NEAR * int(np.count_nonzero(near == predicted))
    score = -unsure + varied / _DIVERSITY + repeated / count * LOSS_ONE
    return round(score) / LOSS_ONE


def benefit_of_doubt(samples: int) -> float:
    """What the artifact as it is gets on top, judged by so many samples: others must be better by more than chance.

    Examples
    --------
    >>> round(benefit_of_doubt(100), 3)
    0.06
    """
    return DOUBT + CHANCE / math.sqrt(samples)


def entropy(mass: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each row of probabilities int64[N, K] (Q15), int64[N] in Q16 nats.

    Examples
    --------
    >>> (entropy(np.array([[16384, 16384], [32768, 0]])) / 65536).round(3).tolist()
    [0.693, 0.0]
    """
    share = np.maximum(mass, 1).astype(np.float32) / np.float32(ERROR_ONE)
    nats = np.rint(-share * fmath.log(share) * np.float32(LOSS_ONE)).astype(np.int64)
    summed: NDArray[np.int64] = np.where(mass > 0, nats, 0).sum(axis=-1)
    return summed


def agreement(predictions: list[NDArray[np.int64]]) -> float | None:
    """Mean share of samples that two of several candidates predict alike: about how many are predicted right.

    None where there is only one candidate. Errors that candidates share are not seen.

    Examples
    --------
    >>> agreement([np.array([0, 1, 2]), np.array([0, 1, 1]), np.array([0, 2, 1])])
    0.5555555555555556
    """
    pairs = [(a, b) for i, a in enumerate(predictions) for b in predictions[i + 1 :]]
    if not pairs:
        return None
    alike = sum(int(np.count_nonzero(a == b)) for a, b in pairs)
    return alike / (len(pairs) * len(predictions[0]))
