"""Learning rates by kind of row, as `benchmarks/tune_sparse.py` found them on samples that no table judges on.

MCUNet-5FPS on CIFAR-10, seed 0: 1,000 training samples and 4 epochs, half of what a row has, judged on 2,000 training
samples beside them. The script tries factors of 2 up and down until the best lies inside, and prints this table:

    .venv/bin/python benchmarks/tune_sparse.py --data ../shared/data --out OUT/tune-sparse --train 1000 --epochs 4

Other networks and tasks take the same. A scheme that is not here takes its method's rate for the 100KB scheme.
"""

from __future__ import annotations

from collections.abc import Mapping

LIKE = "99KB"  # the scheme whose rate others take

# By method and scheme: of a batch of 16 samples; of qas-direct of one sample.
RATES: Mapping[str, Mapping[str, float]] = {
    "qas": {"99KB": 0.01, "classifier": 0.04, "bias-20": 0.04, "last-6": 0.02, "full": 0.005},
    "qas-direct": {"99KB": 0.00125},
    "plain": {"99KB": 0.04, "last-6": 0.04},
    "float": {"99KB": 0.01, "last-6": 0.02, "full": 0.005},
}


def tuned(method: str, scheme: str) -> float:
    """The learning rate of a row.

    Examples
    --------
    >>> tuned("qas", "no such scheme") == RATES["qas"][LIKE]
    True
    """
    return RATES[method].get(scheme, RATES[method][LIKE])
