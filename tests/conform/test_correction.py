"""Affine correction in C is the Python reference's: every constant and number that is remembered, to the last bit."""

from __future__ import annotations

import ctypes
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from corrector import HOME, MEMORY, NAMES, Corrector, Record, Sums
from emulated import INT, Constants, address
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts import at_home, make_artifact, make_window
from calibrant.artifact import Artifact
from calibrant.core.dtype import BIAS_LIMIT
from calibrant.core.parameters import Parameters
from calibrant.core.program import Constants as Plain
from calibrant.core.program import Layer, Op, Program, Tensor
from calibrant.core.rng import generator
from calibrant.core.statistics import Moments, PreActivations
from calibrant.core.window import encode
from calibrant.engine import Engine
from calibrant.pipeline import torch_model
from calibrant.session.domain import single
from calibrant.updaters.affine_correction import REMEMBERED, REMEMBERED_FROM_HOME, AffineCorrection, AffineMemory
from networks import NETWORKS, network

PAGE, CHANNELS = 64, 7
MEAN_AT = PAGE + 4 * 6 * 4  # in the slot of six channels: behind three constants of each and how many samples


# One channel at a time, with numbers that no network gives.


class Told:
    """An engine that says what it is told."""

    def __init__(self, parameters: Parameters, moments: Moments) -> None:
        self.parameters, self._moments = parameters, moments

    def load(self, parameters: Parameters) -> None:
        self.parameters = parameters

    def moments(self, x: np.ndarray, layers: tuple[int, ...]) -> Moments:
        return self._moments


def two_layers(width: int) -> Program:
    attrs = dict.fromkeys(("kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w", "groups"), 1)
    tensors = (Tensor("x", 1, width, 1, 1.0, 0), Tensor("h", 1, width, CHANNELS, 1.0, 0),
               Tensor("y", 1, width, 1, 1.0, 0, bits=32))  # fmt: skip
    layers = Layer("h", 8, CHANNELS, 1, 1, 1, 1, 0, 0, 0), Layer("y", 8, 1, 1, 1, CHANNELS, 1, CHANNELS, CHANNELS, 1)
    ops = Op("conv2d", (0,), 1, attrs, layer=0), Op("conv2d", (1,), 2, attrs, layer=1)
    return Program(tensors, ops, layers, 0, 2, (0, 0, 0), 0)


def floats(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    """Of all sizes, some of them 0."""
    found = np.exp2(rng.uniform(low, high, CHANNELS + 1)) * (rng.random(CHANNELS + 1) < 0.9)
    return found.astype(np.float32)


@settings(max_examples=400)
@given(
    st.integers(0, 2**40),
    st.sampled_from([1, 7, 8, 9]) | st.integers(1, 900),
    st.integers(1, 5000),
    st.booleans(),
    st.floats(0, 1),
)
def test_every_channel(library: ctypes.CDLL, seed: int, n: int, width: int, from_home: bool, near: float) -> None:
    rng, program, values = generator(seed, "channels"), two_layers(width), n * width
    sign = rng.choice(np.float32([-1, 1]), CHANNELS + 1)
    home = PreActivations(sign * floats(rng, -8, 15), floats(rng, -12, 29), floats(rng, -8, 12), floats(rng, -8, 28))
    shift = rng.integers(1, 63, CHANNELS + 1).astype(np.int32)
    multiplier = rng.integers(0, 2 ** rng.integers(1, 32, CHANNELS + 1)).astype(np.int32)
    bias = rng.integers(-BIAS_LIMIT, BIAS_LIMIT + 1, CHANNELS + 1).astype(np.int32)
    weights = np.zeros(program.weight_count, np.int8)
    constants = Plain(weights, bias, multiplier, shift, np.ones(CHANNELS + 1, np.float32))
    # Somewhere between home's moments and any.
    mean = near * home.mean + (1 - near) * rng.uniform(-(2**15), 2**15, CHANNELS + 1) * 2.0 ** rng.integers(-15, 1)
    total = np.rint(np.clip(mean, -(2**15), 2**15) * values).astype(np.int64)
    any_variance = np.exp2(rng.uniform(-10, 29, CHANNELS + 1))
    variance = np.where(rng.random(CHANNELS + 1) < 0.3, 0.0, near * home.variance + (1 - near) * any_variance)
    square = np.ceil(total.astype(np.float64) ** 2 / values + values * variance)
    first = np.arange(n) == 0  # sample; only sums matter
    sums = (np.outer(first, each.astype(np.int64)) for each in (total, square))
    moments = Moments(*sums, np.full(CHANNELS + 1, width))
    correction = AffineCorrection(program, constants, home)
    memory = single(correction.from_home() if from_home else correction.from_nothing())
    if rng.random() < 0.6:
        seen = rng.uniform(0, memory.limit, CHANNELS + 1), rng.normal(0, 900, CHANNELS + 1)
        memory = single(AffineMemory(*seen, seen[1] ** 2 + rng.gamma(1, 900, CHANNELS + 1), memory.limit))
    x, engine = np.zeros((n, 1, width, 1), np.int8), Told(Parameters.of(constants), moments)
    expected, told = correction.correct(engine, x, memory)
    settled, _ = correction.correct(engine, x[:0], single(told))

    now = {name: getattr(constants, name)[:CHANNELS].copy() for name in NAMES}
    kept = {name: getattr(memory, name)[:CHANNELS].astype(np.float32) for name in MEMORY}
    usual = Constants(*(address(getattr(constants, name)) for name in ("weights", *NAMES)))
    limit = np.int32([memory.limit])
    record = Record(constants=ctypes.addressof(usual), channels=CHANNELS, limit=address(limit))
    for name, array in {**now, **kept}.items():
        setattr(record, name, address(array))
    for name in HOME:
        setattr(record, f"home_{name}", address(getattr(home, name)))
    for o in range(CHANNELS):
        window = Sums(int(total[o]), int(square[o]), values, n)
        library.cal_correct_channel(ctypes.byref(record), INT(o), ctypes.byref(window))
    for name in NAMES:
        assert not (now[name] != expected[name][:CHANNELS]).any(), name
    for name in MEMORY:
        assert kept[name].tobytes() == getattr(single(told), name)[:CHANNELS].astype(np.float32).tobytes(), name
    library.cal_uncorrect(ctypes.byref(record))
    for o in range(CHANNELS):
        library.cal_recall_channel(ctypes.byref(record), INT(o))
    for name in NAMES:
        assert not (now[name] != settled[name][:CHANNELS]).any(), name


# Networks: measured on the device, layer after layer, window after window.


def prepared(name: str, bits: int) -> Artifact:
    model, sample = network(name)
    rng = generator(0, name)
    x = rng.normal(0.5, 1.5, (40, *sample.shape[1:])).astype(np.float32)
    with torch.no_grad():
        classes = model.eval()(sample).shape[1]
    return torch_model.prepare(model, x, np.arange(40) % classes, bits=bits, coreset=6, epochs=0).artifact


def strange(artifact: Artifact, n: int, seed: int) -> np.ndarray:
    """Codes of a domain with other gains and offsets."""
    rng = generator(seed, "strange")
    gain, offset = rng.uniform(0.4, 2.0), rng.uniform(-1.5, 1.5)
    x = (rng.normal(0.5, 1.5, (n, *artifact.input_shape)) * gain + offset).astype(np.float32)
    return encode(x, artifact.program.tensors[artifact.program.input], artifact.preprocess, artifact.input_shape)


def check_windows(library: ctypes.CDLL, artifact: Artifact, sizes: tuple[int, ...], spare: int, from_home: bool) -> int:
    """Windows through a corrector and the reference; how many constants were moved."""
    device, correction = Corrector(library, artifact, max(sizes), spare), AffineCorrection.of(artifact)
    engine = Engine(artifact.program, artifact.constants)
    base, memory = Parameters.of(artifact.constants), correction.from_nothing()
    assert device.start() == "ok"
    assert device.parameters == base
    device.forget(from_home)
    if from_home:
        memory = single(correction.from_home())
    moved = 0
    for version, n in enumerate(sizes, 1):
        x = strange(artifact, n, version // 2)
        memory = single(correction.correct(engine, x, memory)[1])
        expected, _ = correction.correct(engine, x[:0], memory)
        status, report = device.correct(x)
        assert (status, report.version, report.samples) == ("ok", version, n)
        assert device.parameters == expected
        for name in MEMORY:
            assert not (device.memory[name] != getattr(memory, name)[: device.channels]).any(), name
        assert device.limit[0] == memory.limit
        changed = sum((expected[name] != base[name]).astype(int) for name in NAMES) > 0
        assert report.corrected == np.count_nonzero(changed)
        moved += report.corrected
        engine.load(base)
    return moved


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("bits", "spare", "from_home"), [(4, 0, False), (8, 1500, True)])
def test_networks(library: ctypes.CDLL, name: str, bits: int, spare: int, from_home: bool) -> None:
    assert check_windows(library, prepared(name, bits), (90, 3, 17, 1, 90), spare, from_home) > 0


@given(st.integers(0, 99), st.integers(1, 30), st.integers(0, 700), st.booleans())
@settings(max_examples=25)
def test_any_room(library: ctypes.CDLL, seed: int, n: int, spare: int, from_home: bool) -> None:
    """Accumulators in pieces of any size give the same sums."""
    rng = generator(seed, "room")
    artifact = make_artifact(bits=8, channels=int(rng.integers(1, 6)), length=int(rng.integers(3, 40)),
                             hidden=int(rng.integers(1, 20)), seed=seed)  # fmt: skip
    check_windows(library, at_home(artifact), (n, 7), spare, from_home)


# Slots.


@pytest.fixture
def artifact() -> Artifact:
    return at_home(make_artifact(), n=400)


def domain(artifact: Artifact, seed: int, gain: float) -> np.ndarray:
    x = (make_window(artifact, 40, seed)[0] * gain).astype(np.float32)
    return encode(x, artifact.program.tensors[0], artifact.preprocess, artifact.input_shape)


def state(device: Corrector) -> tuple[bytes, ...]:
    return (*(device.now[name].tobytes() for name in NAMES), *(device.memory[name].tobytes() for name in MEMORY),
            device.limit.tobytes())  # fmt: skip


def committed(library: ctypes.CDLL, artifact: Artifact, gains: tuple[float, ...]) -> tuple[Corrector, list[tuple]]:
    """A device after windows, each a version, and its state after each."""
    device = Corrector(library, artifact)
    device.start()
    seen = [state(device)]
    for seed, gain in enumerate(gains):
        assert device.correct(domain(artifact, seed, gain))[1].corrected > 0
        seen.append(state(device))
    return device, seen


def test_versions_survive_and_go_back(library: ctypes.CDLL, artifact: Artifact) -> None:
    device, seen = committed(library, artifact, (1.4, 1.9))
    for array in (*device.now.values(), *device.memory.values(), device.limit):
        array[:] = 0
    assert device.start() == "ok"
    assert state(device) == seen[2]
    assert device.rollback() == "ok"
    assert device.rollback() == "oldest"
    assert device.start() == "ok"
    assert state(device) == seen[1]
    status, report = device.correct(domain(artifact, 0, 1.0)[:0])
    assert (status, report.version, report.samples) == ("ok", 3, 0)
    assert state(device) == seen[1]


def test_power_may_fail_at_any_page(library: ctypes.CDLL, artifact: Artifact) -> None:
    device, seen = committed(library, artifact, (1.4, 1.9))
    before, x = device.slots.copy(), domain(artifact, 5, 0.6)
    for cut in range(0, device.slot_bytes + PAGE, PAGE // 2):
        device.slots[:], device.writable = before, 2**62
        device.start()
        device.writable = cut
        status, report = device.correct(x)
        assert (status, report.version) == (("ok", 3) if cut >= device.slot_bytes else ("storage", 2))
        running = state(device)
        assert (running == seen[2]) is (status == "storage")
        device.start()
        assert state(device) == running


def spoiled(device: Corrector, slot: int, at: int, word: bytes) -> None:
    """A word of a slot changed by somebody who knows how to sum."""
    page = device.slots[slot]
    page[at : at + 4] = np.frombuffer(word, np.uint8)
    page[-4:] = np.frombuffer(struct.pack("<I", zlib.crc32(page[:-4].tobytes())), np.uint8)


@pytest.mark.parametrize(("at", "word"), [
    (PAGE, struct.pack("<i", BIAS_LIMIT + 1)), (PAGE, struct.pack("<i", -BIAS_LIMIT - 1)),
    (PAGE + 24, struct.pack("<i", -1)), (PAGE + 48, struct.pack("<i", 0)), (PAGE + 48, struct.pack("<i", 63)),
    (PAGE + 72, struct.pack("<f", REMEMBERED_FROM_HOME + 1)), (MEAN_AT, struct.pack("<f", float("nan"))),
    (MEAN_AT, struct.pack("<f", float("-inf"))), (MEAN_AT, struct.pack("<f", -(2.0**41))),
    (MEAN_AT + 24, struct.pack("<f", 2.0**41)), (MEAN_AT + 48, struct.pack("<i", REMEMBERED - 1)),
    (MEAN_AT + 48, struct.pack("<i", 2**31 - 1)),
])  # fmt: skip
def test_what_is_out_of_bounds_is_not_loaded(library: ctypes.CDLL, artifact: Artifact, at: int, word: bytes) -> None:
    """With a right checksum, too: the other slot is in force, or flash."""
    device, seen = committed(library, artifact, (1.4, 1.9))
    newest = int(device.record.versions.slot)
    for slot, expected in ((newest, seen[1]), (1 - newest, seen[0])):
        spoiled(device, slot, at, word)
        assert device.start() == "ok"
        assert state(device) == expected


def test_bounds_themselves_are_loaded(library: ctypes.CDLL, artifact: Artifact) -> None:
    device, _ = committed(library, artifact, (1.4,))
    words = {PAGE: -BIAS_LIMIT, PAGE + 24: 2**31 - 1, PAGE + 28: 0, PAGE + 48: 62, PAGE + 52: 1}
    for at, value in words.items():
        spoiled(device, int(device.record.versions.slot), at, struct.pack("<i", value))
    spoiled(device, int(device.record.versions.slot), MEAN_AT, struct.pack("<f", -(2.0**40)))
    device.start()
    assert device.record.versions.version == 1
    assert (device.now["bias"][0], device.memory["mean"][0]) == (-BIAS_LIMIT, -(2.0**40))


@pytest.mark.parametrize("spoil", [
    lambda record: setattr(record, "channels", record.channels - 1),
    lambda record: setattr(record, "window_capacity", 0), lambda record: setattr(record, "window_capacity", 2**10),
    lambda record: setattr(record, "arena_bytes", 4 * 6 - 1),
])  # fmt: skip
def test_what_cannot_work_does_not_start(
    library: ctypes.CDLL, artifact: Artifact, spoil: Callable[[ctypes.Structure], None]
) -> None:
    device = Corrector(library, artifact)
    spoil(device.record)
    assert device.start() == "invalid"


def test_a_full_window_keeps_what_it_has(library: ctypes.CDLL, artifact: Artifact) -> None:
    device = Corrector(library, artifact, capacity=2)
    device.start()
    sample = np.zeros(artifact.program.tensors[0].elements, np.int8)
    given = [library.cal_corrector_observe(ctypes.byref(device.record), ctypes.c_void_p(address(sample)))
             for _ in range(3)]  # fmt: skip
    assert given == [0, 0, 2]
