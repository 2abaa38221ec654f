"""Training and counting over several processes with the results of one, to the last bit.

Sums of floats depend on their order, and with it on how work is divided. So the division is fixed first: a batch is cut
into shards, processes take shards, and what the shards gave is added in the shards' order. One process with two shards
and two processes with two shards then compute the same weights. Start processes with torchrun; on CPUs, with gloo.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn


@contextmanager
def group() -> Iterator[int]:
    """Join the processes that torchrun started, if it did, and leave them at the end; gives this process's rank.

    Examples
    --------
    >>> with group() as rank:
    ...     print(rank, world())
    0 1
    """
    joined = "TORCHELASTIC_RUN_ID" in os.environ and not distributed.is_initialized()
    if joined:
        distributed.init_process_group("gloo")
    try:
        yield rank()
        if joined:
            distributed.barrier()  # a process that leaves while another still talks to it takes that one down
    finally:
        if joined:
            distributed.destroy_process_group()


def rank() -> int:
    """Number of this process among those that work together."""
    return distributed.get_rank() if _together() else 0


def world() -> int:
    """How many processes work together; 1 where nobody initialized torch.distributed."""
    return distributed.get_world_size() if _together() else 1


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Run torch with `count` threads, then restore; None leaves the number alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def union(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Element-wise "or" over all processes; every process must call it."""
    if not _together():
        return flags
    shared = torch.from_numpy(flags.astype(np.uint8))
    distributed.all_reduce(shared, distributed.ReduceOp.MAX)
    return shared.numpy().astype(bool)


def backward(model: nn.Module, loss: Callable[..., Tensor], *batch: Tensor, shards: int = 1) -> None:
    """Leave the gradient of a batch's mean loss in the parameters, the same in every process.

    Every shard starts from the same buffers, and what it makes of them is averaged: batch norm normalizes within a
    shard. Shards and processes compute with one torch thread, as the number of threads orders sums too; only a single
    shard in a single process takes the caller's. Processes beyond the shards idle. All processes must hold the same
    model, batch and torch random state.

    Parameters
    ----------
    model : torch.nn.Module
        Its own parameters and buffers, not wrapped in DistributedDataParallel.
    loss : callable
        Mean loss (scalar) of a part of the batch, given as the parts of its tensors.
    batch : Tensor[n, ...], at least one
        Cut along the first axis.
    shards : int
        Parts of nearly equal size the batch is cut into. 1 is plain back-propagation.

    Examples
    --------
    >>> net = nn.Linear(1, 1)
    >>> x, y = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[2.0], [4.0], [6.0]])
    >>> def loss(x, y):
    ...     return nn.functional.mse_loss(net(x), y)
    >>> backward(net, loss, x, y, shards=2)
    >>> cut, net.weight.grad = net.weight.grad, None
    >>> loss(x, y).backward()
    >>> bool(torch.allclose(cut, net.weight.grad))
    True
    """
    samples = len(batch[0])
    seed = int(torch.randint(2**31, ()))  # dropout must not depend on which process takes a shard
    if shards == 1 and not _together():
        model.zero_grad()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            torch.autograd.backward(loss(*batch))
        return
    edges = [samples * i // shards for i in range(shards + 1)]
    parts = [slice(low, high) for low, high in pairwise(edges) if low < high]
    learned = [p for p in model.parameters() if p.requires_grad]
    buffers = list(model.buffers())
    before = [b.clone() for b in buffers]
    averaged = [b for b in buffers if b.is_floating_point()]
    sizes = [t.numel() for t in (*learned, *averaged)]
    results = torch.zeros(len(parts), sum(sizes), dtype=learned[0].dtype)
    for index in range(rank(), len(parts), world()):
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
        model.zero_grad()
        with torch.random.fork_rng(devices=[]), threads(1):
            torch.manual_seed(seed + index)
            torch.autograd.backward(loss(*(tensor[parts[index]] for tensor in batch)))
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in learned]
        # Added to zero, so that no sign of zero tells which process computed a row.
        results[index] += torch.cat([t.detach().reshape(-1).cpu() for t in (*gradients, *averaged)])
    if _together():
        distributed.all_reduce(results)  # a row is zero in all processes but one: exact
    mean = sum(row * ((part.stop - part.start) / samples) for row, part in zip(results, parts, strict=True))
    assert isinstance(mean, Tensor)
    pieces = torch.split(mean, sizes)
    for parameter, piece in zip(learned, pieces, strict=False):
        parameter.grad = piece.reshape(parameter.shape).to(parameter)
    with torch.no_grad():
        for buffer, piece in zip(averaged, pieces[len(learned) :], strict=True):
            buffer.copy_(piece.reshape(buffer.shape))
    if world() > len(parts):  # idle processes learn how many batches there were
        for buffer in buffers:
            if not buffer.is_floating_point():
                distributed.broadcast(buffer, 0)


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
