"""Every baseline has settings for whatever the protocol offers, and they fit its parameters."""

import inspect

import pytest

from calibrant import data
from calibrant.bench.baselines import LEARNERS, BatchNormStatistics, tuned
from calibrant.bench.baselines.tuned import INCEPTION_TIME_RATE
from calibrant.core.dtype import WEIGHT_BITS


@pytest.mark.parametrize("dataset", [*data.DATASETS, "another"])
@pytest.mark.parametrize("method", [*LEARNERS, "bn"])
def test_every_method_is_tuned_for_every_width(method, dataset):
    expected = {"bn": {"momentum"}, "derpp": {"lr", "alpha", "beta"}}.get(method, {"lr"})
    for network in ("cnn", "inception_time", "another"):
        for bits in WEIGHT_BITS:
            settings = tuned(method, dataset, network, bits)
            assert set(settings) == expected
            assert all(value > 0 for value in settings.values())


def test_settings_are_by_data_set_network_and_width():
    assert tuned("er", "dsa", "cnn", 4) != tuned("er", "dsa", "cnn", 8)
    assert tuned("bp", "dsa", "cnn", 4) != tuned("bp", "usc_had", "cnn", 4)
    assert tuned("bp", "dsa", "inception_time", 2) == {"lr": INCEPTION_TIME_RATE}
    assert tuned("bp", "another", "resnet18", 8) == tuned("bp", "dsa", "cnn", 8)
    assert tuned("camel", "cifar10", "vgg16", 2) == tuned("bp", "cifar10", "resnet18-w16", 4)


def test_settings_are_parameters_of_the_method():
    assert "momentum" in inspect.signature(BatchNormStatistics).parameters
    assert {"alpha", "beta"} <= set(inspect.signature(LEARNERS["derpp"]).parameters)
