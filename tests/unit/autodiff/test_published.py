"""Published schemes and baselines need the published extra memory; the head has the published multipliers."""

import os
from pathlib import Path

import numpy as np
import pytest

from calibrant.autodiff import PUBLISHED, bias_only, extra_memory, full, last, named, published
from calibrant.core.errors import ModelError
from calibrant.core.scaling import quantization_aware_scaling
from calibrant.plan import lower
from calibrant.zoo import load_tinyml

FOLDER = Path(os.environ.get("CALIBRANT_DATA", Path(__file__).parents[4] / "shared" / "data"))
real = pytest.mark.skipif(not (FOLDER / "tinyml").is_dir(), reason=f"no tinyml in {FOLDER}; set CALIBRANT_DATA")

TOTALS = {  # KB of 1024 bytes: copies of parameters, saved activations, both
    ("mbv2-w0.35", "49KB"): (34.1, 15.7, 49.8),
    ("mbv2-w0.35", "73KB"): (52.6, 21.3, 73.9),
    ("mbv2-w0.35", "99KB"): (70.9, 28.5, 99.4),
    ("mbv2-w0.35", "123KB"): (89.4, 34.2, 123.6),
    ("mbv2-w0.35", "138KB"): (99.4, 38.8, 138.2),
    ("mcunet-5fps", "49KB"): (29.8, 20.0, 49.8),
    ("mcunet-5fps", "74KB"): (47.3, 27.5, 74.8),
    ("mcunet-5fps", "99KB"): (70.0, 29.9, 99.8),
    ("mcunet-5fps", "124KB"): (93.5, 31.4, 125.0),
    ("mcunet-5fps", "148KB"): (115.6, 32.8, 148.4),
    ("proxyless-w0.3", "49KB"): (33.9, 15.8, 49.7),
    ("proxyless-w0.3", "74KB"): (51.3, 23.6, 74.9),
    ("proxyless-w0.3", "98KB"): (76.1, 22.4, 98.5),
    ("proxyless-w0.3", "120KB"): (91.8, 28.5, 120.2),
    ("proxyless-w0.3", "148KB"): (106.4, 41.8, 148.2),
}
BASELINES = {  # KB: last 3, 6 and 12 layers, everything, all biases
    "mbv2-w0.35": (74, 130, 224, 1306, 134),
    "mcunet-5fps": (176, 276, 448, 1400, 121),
    "proxyless-w0.3": (97, 139, 266, 1211, 113),
}


@pytest.fixture(scope="module")
def programs():
    return {name: lower(load_tinyml(FOLDER / "tinyml" / name, 10)) for name in BASELINES}


def test_all_are_listed():
    assert set(PUBLISHED) == set(TOTALS)


@real
@pytest.mark.parametrize(("network", "budget"), PUBLISHED)
def test_extra_memory_of_published_schemes(programs, network, budget):
    memory = extra_memory(programs[network][0], published(network, budget))
    for found, expected in zip((memory.copies, memory.saved, memory.total), TOTALS[network, budget], strict=True):
        assert abs(found / 1024 - expected) <= 0.1


@real
@pytest.mark.parametrize("network", BASELINES)
def test_extra_memory_of_baselines(programs, network):
    program, _ = programs[network]
    backbone = len(program.layers) - 1
    found = [extra_memory(program, s).total / 1024 for s in (*(last(k, backbone) for k in (3, 6, 12)),
                                                             full(backbone), bias_only())]  # fmt: skip
    assert [round(kb) for kb in found] == [pytest.approx(kb, abs=1) for kb in BASELINES[network]]
    assert all(abs(a - b) <= 0.6 for a, b in zip(found, BASELINES[network], strict=True))
    if network == "mcunet-5fps":
        assert abs(found[2] - 448.0) <= 0.1
        assert abs(found[1] - 276.3) <= 0.1


@real
def test_multipliers_of_the_published_head():
    program, constants = lower(load_tinyml(FOLDER / "tinyml" / "mcunet-5fps"))
    weight, bias = quantization_aware_scaling(program, constants)
    first = program.layers[-1].channel_slice.start
    assert abs(float(weight[first]) - 156465.2) < 0.1
    assert abs(float(bias[first]) - 7226669) < 1
    stem = constants.scale[program.layers[0].channel_slice].astype(np.float64)
    assert (weight[: len(stem)] == (1 / stem**2).astype(np.float32)).all()
    assert np.isfinite(weight).all()
    assert np.isfinite(bias).all()


def test_names():
    assert published("mcunet-5fps", "100KB") == published("mcunet-5fps", "99KB") == named("mcunet-5fps:100KB", 42)
    assert named("last-3", 42) == last(3, 42)
    for network, budget, message in (
        ("mcunet", "49KB", "expected a network of mbv2-w0.35, mcunet-5fps, proxyless-w0.3, got 'mcunet'"),
        ("mcunet-5fps", "50KB", "expected a budget of 49KB, 74KB, 99KB, 124KB, 148KB, got '50KB'"),
    ):
        with pytest.raises(ModelError, match=message):
            published(network, budget)
