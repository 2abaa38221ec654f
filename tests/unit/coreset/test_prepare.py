"""`prepare` chooses by any rule; where misses are needed and not given it counts them, once for all widths."""

import numpy as np
import pytest
import torch
from torch import nn

from calibrant.core.errors import DataError
from calibrant.core.rng import generator
from calibrant.coreset import RULES, parallel, select
from calibrant.pipeline import torch_model


@pytest.fixture(autouse=True)
def one_thread():
    with parallel.threads(1):
        yield


@pytest.fixture(scope="module")
def problem():
    """A network half-trained on a problem with noisy inputs: some samples hang on few bits."""
    rng = generator(0, "test")
    y = np.arange(90) % 3
    x = rng.normal(0, 4.0, size=(90, 3, 16)).astype(np.float32)
    x[np.arange(90), y] += 1
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(3, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()
    return net.eval(), x, y


def prepared(problem, rule, **options):
    return torch_model.prepare(*problem, coreset=9, coreset_rule=rule, epochs=0, standardize=False, **options).artifact


def rows(artifact, problem):
    """Which training samples a coreset holds: its codes are next to one sample's."""
    entry = artifact.program.tensors[artifact.program.input]
    reals = (artifact.coreset.x.astype(np.float32) - entry.zero_point) * entry.scale
    flat = reals.reshape(9, 16, 3).transpose(0, 2, 1)[:, None]
    return np.abs(flat - problem[1]).mean(axis=(2, 3)).argmin(axis=1).tolist()


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_can_be_asked_for(problem, rule):
    artifact = prepared(problem, rule)
    chosen = rows(artifact, problem)
    assert len(set(chosen)) == 9
    assert problem[2][chosen].tolist() == artifact.coreset.y.tolist()


def test_misses_are_counted_once_for_all_widths(problem):
    stages = []
    four = prepared(problem, "misses", progress=lambda stage, done, total: stages.append(stage))
    assert "misses" in stages
    assert rows(four, problem) == rows(prepared(problem, "misses", bits=2), problem)
    assert rows(four, problem) != rows(prepared(problem, "misses", seed=1), problem)


def test_given_misses_are_used_and_not_counted_again(problem):
    misses, stages = np.where(np.arange(90) < 9, 1, 0), []
    artifact = prepared(problem, "misses", misses=misses, progress=lambda stage, done, total: stages.append(stage))
    assert rows(artifact, problem) == list(range(9)) == select("misses", problem[2], 9, 0, misses).tolist()
    assert "misses" not in stages


def test_what_select_would_refuse_is_refused_before_the_work(problem):
    stages = []
    for rule, misses, message in (
        ("best", None, "coreset rule"),
        ("misses", np.zeros(89, np.int64), r"integers of shape \(90,\)"),
    ):
        with pytest.raises(DataError, match=message):
            prepared(problem, rule, misses=misses, progress=lambda stage, done, total: stages.append(stage))
    assert stages == []
