"""The settings of every baseline, as `benchmarks/tune_baselines.py` found them on pairs that tables leave out.

DSA, subject 2 to 1; USC-HAD, subject 7 to 8; network `cnn`, segment split, seeds 0 and 1, 20 steps a window, the first
five of ten windows. The script says how a setting wins, and prints these tables:

    .venv/bin/python benchmarks/tune_baselines.py --data ../shared/data --out OUT/tune

`inception_time` takes minutes a run, so one rate serves all its baselines: that of `bp` on DSA, subject 3 to 4, 4 bits,
seed 0, three windows, out of 3e-4, 1e-3 and 3e-3. Other networks for series take what `cnn` takes, other
data sets what DSA takes.

CIFAR-10: domain 0 to 4, `resnet18-w16`, 4 bits, seed 0. Other widths and other networks for pictures take these rates
as well, methods that are not listed that of `bp`.
"""

from __future__ import annotations

from collections.abc import Mapping

_Rates = Mapping[str, Mapping[int, float]]

# Adam's learning rate by data set, method and weight bits.
RATES: Mapping[str, _Rates] = {
    "dsa": {
        "bp": {2: 1e-3, 4: 1e-3, 8: 1e-3},
        "er": {2: 1e-3, 4: 2e-3, 8: 1e-3},
        "derpp": {2: 2e-3, 4: 1e-3, 8: 1e-3},
        "er-ace": {2: 1e-3, 4: 2e-3, 8: 1e-3},
        "a-gem": {2: 1e-3, 4: 1e-3, 8: 1e-3},
        "camel": {2: 1e-3, 4: 1e-3, 8: 1e-3},
        "bias": {2: 0.2, 4: 0.2, 8: 0.2},
    },
    "usc_had": {
        "bp": {2: 2e-3, 4: 2e-3, 8: 3e-3},
        "er": {2: 3e-3, 4: 1e-3, 8: 1e-3},
        "derpp": {2: 2e-3, 4: 2e-3, 8: 3e-3},
        "er-ace": {2: 3e-3, 4: 3e-3, 8: 5e-3},
        "a-gem": {2: 1e-3, 4: 1e-3, 8: 5e-3},
        "camel": {2: 2e-3, 4: 2e-3, 8: 2e-3},
        "bias": {2: 0.1, 4: 0.1, 8: 0.1},
    },
    "cifar10": {"bp": {4: 1e-4}, "er": {4: 3e-5}, "derpp": {4: 3e-4}},
}
INCEPTION_TIME_RATE = 3e-3
OTHERS: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "dsa": {"bn": {"momentum": 1.0}, "derpp": {"alpha": 0.1, "beta": 0.5}},
    "usc_had": {"bn": {"momentum": 0.25}, "derpp": {"alpha": 0.1, "beta": 0.5}},
    "cifar10": {"bn": {"momentum": 1.0}, "derpp": {"alpha": 0.3, "beta": 0.5}},
}


def tuned(method: str, dataset: str, network: str, bits: int) -> dict[str, float]:
    """Settings by name of parameter.

    Parameters
    ----------
    method : str
        A key of `LEARNERS`, or "bn".
    dataset, network : str
    bits : {2, 4, 8}

    Examples
    --------
    >>> tuned("derpp", "dsa", "cnn", 4)
    {'lr': 0.001, 'alpha': 0.1, 'beta': 0.5}
    """
    like = dataset if dataset in RATES else "dsa"
    others = dict(OTHERS[like].get(method, {}))
    if method == "bn":
        return others
    rates = RATES[like].get(method, RATES[like]["bp"])
    return {"lr": INCEPTION_TIME_RATE if network == "inception_time" else rates.get(bits, rates[4])} | others
