"""Learning rates of every row, as `benchmarks/tune_sparse.py` found them on samples that no table judges on.

MCUNet-5FPS on CIFAR-10, seed 0: trained as the table's rows of that seed, judged on 2,000 training samples that are in
no such row's training set. The script tries factors of 2 up and down until the best lies inside, and prints this table:

    .venv/bin/python benchmarks/tune_sparse.py --data ../shared/data --out OUT/tune-sparse

Other networks and tasks take the same. A scheme that is not here takes its method's rate for the 100KB scheme.
"""

from __future__ import annotations

from collections.abc import Mapping

LIKE = "99KB"  # the scheme whose rate others take

# By method and scheme: of a batch of 16 samples; of qas-direct of one sample.
RATES: Mapping[str, Mapping[str, float]] = {
    "qas": {"99KB": 0.01},
    "qas-direct": {"99KB": 0.001},
    "plain": {"99KB": 0.01},
    "float": {"99KB": 0.01},
}


def tuned(method: str, scheme: str) -> float:
    """The learning rate of a row.

    Examples
    --------
    >>> tuned("qas", "no such scheme") == RATES["qas"][LIKE]
    True
    """
    return RATES[method].get(scheme, RATES[method][LIKE])
