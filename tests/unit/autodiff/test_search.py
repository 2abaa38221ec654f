"""The search finds the known optimum, beats random draws, keeps the budget, and does the same again."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from calibrant.autodiff import Contributions, extra_memory, random_search, search
from calibrant.core.errors import BudgetError, ModelError
from calibrant.core.program import Layer, Op, Program, Tensor
from calibrant.core.rng import generator
from calibrant.plan import lower
from calibrant.zoo import load_tinyml

FOLDER = Path(os.environ.get("CALIBRANT_DATA", Path(__file__).parents[4] / "shared" / "data"))
real = pytest.mark.skipif(not (FOLDER / "tinyml").is_dir(), reason=f"no tinyml in {FOLDER}; set CALIBRANT_DATA")
SHARES = (0.125, 0.25, 0.5, 1.0)


def chain(layers):
    """A program of 1x1 convolutions on an 8x8 map, a mean and a head; only its shapes matter."""
    sizes = [8 + 8 * (i % 5) for i in range(layers + 1)]
    tensors = [Tensor(f"t{i}", 8, 8, n, 0.1, 0) for i, n in enumerate(sizes)]
    tensors += [Tensor("mean", 1, 1, sizes[-1], 0.1, 0), Tensor("logits", 1, 1, 4, 0.1, 0, 32)]
    rows = [Layer(f"c{i}", 8, sizes[i + 1], 1, 1, sizes[i], 1, 0, 0, 0) for i in range(layers)]
    rows.append(Layer("head", 8, 4, 1, 1, sizes[-1], 1, 0, 0, 0))
    ops = [Op("conv2d", (i,), i + 1, {}, i) for i in range(layers)]
    ops += [Op("mean", (layers,), layers + 1, {}), Op("conv2d", (layers + 1,), layers + 2, {}, layers)]
    return Program(tuple(tensors), tuple(ops), tuple(rows), 0, layers + 2, (), 0)


def table(backbone, layers, seed=0):
    """Later layers and larger shares bring more; the first biases bring most."""
    rng = generator(seed, "contributions")
    biases = {n: 5 * (1 - 0.8**n) for n in range(1, backbone + 1)}
    weights = {}
    for layer in layers:
        best = rng.uniform(0.5, 3) * (1 + layer / backbone)
        weights |= {(layer, share): best * share ** rng.uniform(0.3, 0.8) for share in SHARES}
    return Contributions(50.0, biases, weights)


def test_the_known_optimum_is_found():
    program, layers = chain(8), [2, 3, 5, 6, 7]
    contributions, budget = table(8, layers), 12_000
    best = 0.0
    for shares in itertools.product((0, *SHARES), repeat=len(layers)):
        weights = {layer: share for layer, share in zip(layers, shares, strict=True) if share}
        # costs and gains are sums, so the exhaustive search needs one measurement a layer
        cost = sum(PART[program.layers[i].name, share] for i, share in weights.items())
        for biases in range(8 - min(weights, default=8), 9):
            total = cost + BIAS[biases]
            if total <= budget:
                gain = contributions.bias_gain(biases) + sum(contributions.weights[item] for item in weights.items())
                best = max(best, gain)
    found = search(program, contributions, budget, evaluations=3000, seed=1)
    assert found.gain == pytest.approx(best)
    assert found.cost == extra_memory(program, found.scheme).total <= budget
    assert found.evaluations <= 3000


def _measured():
    """Bytes of each share of each layer of `chain(8)`, and of each number of biases, from the shapes by hand."""
    sizes = [8 + 8 * (i % 5) for i in range(9)]
    part, bias = {}, {0: sizes[8]}
    for i, share in itertools.product(range(8), SHARES):
        channels = int(share * sizes[i])
        part[f"c{i}", share] = channels * sizes[i + 1] + 64 * channels
    for count in range(1, 9):
        c_out = sizes[9 - count]
        bias[count] = bias[count - 1] + 8 * c_out + 4 * c_out
    return part, bias


PART, BIAS = _measured()


@pytest.mark.parametrize("seed", range(3))
def test_it_beats_random_draws(seed):
    program = chain(30)
    contributions = table(30, range(6, 30), seed)
    evolved = search(program, contributions, 60_000, evaluations=2000, seed=seed)
    drawn = random_search(program, contributions, 60_000, evaluations=2000, seed=seed)
    assert drawn.evaluations == 2000
    assert evolved.evaluations <= 2000
    assert evolved.gain > drawn.gain * 1.05
    assert max(evolved.cost, drawn.cost) <= 60_000
    assert all(evolved.scheme.biases >= 30 - layer for layer in evolved.scheme.weights)


def test_the_same_seed_finds_the_same_scheme():
    program, contributions = chain(12), table(12, range(4, 12))
    first, again = (search(program, contributions, 20_000, evaluations=600, seed=3) for _ in range(2))
    assert first == again


def test_the_cost_is_the_callers():
    program, contributions, asked = chain(8), table(8, [5, 6, 7]), []

    def cost(scheme):
        asked.append(scheme.summary())
        return 100 * len(scheme.weights) + scheme.biases

    found = search(program, contributions, 205, cost=cost, evaluations=500)
    assert len(asked) == len(set(asked)) == found.evaluations
    assert len(found.scheme.weights) == 2
    assert found.cost <= 205


def test_what_cannot_be_searched_is_refused():
    program, contributions = chain(8), table(8, [5])
    with pytest.raises(BudgetError, match=r"expected at most 10 bytes, the least found is \d+ \(head\)"):
        search(program, contributions, 10, evaluations=100)
    with pytest.raises(ModelError, match="expected 4 <= population <= evaluations"):
        search(program, contributions, 10, evaluations=10)
    with pytest.raises(ModelError, match="expected layers below 5"):
        search(chain(5), contributions, 10_000)


@real
def test_a_scheme_for_a_published_network():
    program, _ = lower(load_tinyml(FOLDER / "tinyml" / "mcunet-5fps", 10))
    contributions = table(42, range(18, 42, 3))
    found = search(program, contributions, 100_000, evaluations=1500)
    assert found.cost == extra_memory(program, found.scheme).total <= 100_000
    assert found.gain > contributions.bias_gain(found.scheme.biases)
    assert np.isfinite(found.gain)
