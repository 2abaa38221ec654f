"""Two processes compute what one does, to the last bit; shards add up to the batch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from parallel_worker import SHARDS, chosen
from torch import nn

from calibrant.coreset import parallel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes, started by torchrun, leave behind."""
    folder = tmp_path_factory.mktemp("processes")
    launch = (
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--local-addr",
        "127.0.0.1",
        "--nproc-per-node",
        "2",
    )
    command = [*launch, str(Path(__file__).with_name("parallel_worker.py")), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("shards", SHARDS)
def test_two_processes_choose_the_coreset_of_one(folder: Path, shards: int):
    expected = chosen(shards)
    assert len(np.unique(expected["misses"])) > 2
    for rank in (0, 1):
        with np.load(folder / f"{rank}-{shards}.npz") as found:
            assert set(found.files) == set(expected)
            for name, value in expected.items():
                assert np.array_equal(found[name], value), name


def test_shards_matter_to_batch_norm():
    assert not np.array_equal(chosen(1)["1.running_var"], chosen(2)["1.running_var"])


def loss_and_network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2))
    return net, lambda x, y: nn.functional.cross_entropy(net(x), y)


def test_shards_of_unequal_size_add_up_to_the_gradient_of_the_mean():
    net, loss = loss_and_network()
    net.eval()
    x, y = torch.randn(11, 4), torch.arange(11) % 2
    parallel.backward(net, loss, x, y)
    whole = [p.grad.clone() for p in net.parameters()]
    parallel.backward(net, loss, x, y, shards=4)  # replaces, does not add
    for parameter, expected in zip(net.parameters(), whole, strict=True):
        assert torch.allclose(parameter.grad, expected, atol=1e-6)


def test_running_statistics_are_the_mean_of_what_each_shard_makes_of_them():
    net, loss = loss_and_network()
    x, y = torch.randn(10, 4), torch.arange(10) % 2
    with torch.no_grad():
        hidden = net[0](x)
    net[1].running_mean.fill_(1.0)
    parallel.backward(net.train(), loss, x, y, shards=2)
    expected = 0.9 * 1.0 + 0.1 * (hidden[:5].mean(0) + hidden[5:].mean(0)) / 2
    assert torch.allclose(net[1].running_mean, expected, atol=1e-6)
    assert int(net[1].num_batches_tracked) == 1


def test_parameters_without_a_gradient_get_none_or_zero():
    net, loss = loss_and_network()
    net[0].bias.requires_grad_(False)
    net[1].unused = nn.Parameter(torch.ones(3))
    parallel.backward(net, loss, torch.randn(6, 4), torch.arange(6) % 2, shards=2)
    assert net[1].unused.grad.tolist() == [0, 0, 0]
    assert net[0].bias.grad is None
    assert net[0].weight.grad.abs().sum() > 0


def test_alone_there_is_one_process_and_nothing_to_unite():
    with parallel.group() as rank:
        assert (rank, parallel.rank(), parallel.world()) == (0, 0, 1)
    flags = np.array([True, False])
    assert parallel.union(flags).tolist() == [True, False]
