"""Versions in slots: what they hold, which one is in force, and that no loss of power costs the last good one."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from microcontroller import DECISIONS, PAGE, Device, learn, small

from artifacts import make_window
from calibrant.artifact import Artifact
from calibrant.core.rng import generator

CAPACITY = 91
WRAP = 2**32


def test_rollback_gives_back_the_version_before(library):
    artifact = small()
    device = Device(library, artifact, artifact.settings, CAPACITY)
    device.start()
    assert device.rollback() == "oldest"
    windows = [make_window(artifact, 45, seed) for seed in range(3)]
    seen = [(device.weights.copy(), device.bias.copy())]
    for window in windows[:2]:
        learn(device, window)
        seen.append((device.weights.copy(), device.bias.copy()))
    assert device.calibrator.versions.version == 2
    assert device.rollback() == "ok"
    for state in ("now", "after a restart"):
        assert (device.weights.tobytes(), device.bias.tobytes()) == tuple(a.tobytes() for a in seen[1]), state
        assert device.calibrator.versions.version == 3
        assert device.rollback() == "oldest"
        assert device.start() == "ok"
    assert learn(device, windows[2])[1].version == 4
    assert device.rollback() == "ok"
    assert device.weights.tobytes() == seen[1][0].tobytes()


def test_rollback_of_the_first_version_gives_back_flash(library):
    artifact = small()
    device = Device(library, artifact, artifact.settings, CAPACITY)
    device.start()
    assert learn(device, make_window(artifact, 45))[1].version == 1
    assert device.weights.tobytes() != artifact.constants.weights.tobytes()
    assert device.rollback() == "ok"
    assert device.start() == "ok"
    assert device.weights.tobytes() == artifact.constants.weights.tobytes()
    assert device.bias.tobytes() == artifact.constants.bias.tobytes()


def committed(library, artifact: Artifact, count: int) -> tuple[Device, list[bytes]]:
    """A device after `count` windows too small to hold back from, each committed, and the weights of each version."""
    device = Device(library, artifact, artifact.settings, CAPACITY)
    device.start()
    seen = [device.weights.tobytes()]
    for seed in range(count):
        assert DECISIONS[learn(device, make_window(artifact, 30, seed))[1].decision] == "committed"
        seen.append(device.weights.tobytes())
    return device, seen


def test_power_may_fail_at_any_page_of_a_write(library):
    artifact = small()
    device, seen = committed(library, artifact, 2)
    before = device.slots.copy()
    window = make_window(artifact, 30, seed=2)
    for cut in range(0, device.slot_bytes + PAGE, PAGE // 2):
        device.slots[:] = before
        device.firmware.writable = 2**62
        device.start()
        assert device.weights.tobytes() == seen[2]
        device.firmware.writable = cut
        status, report = learn(device, window)
        written = cut >= device.slot_bytes
        assert (status, report.version) == (("ok", 3) if written else ("storage", 2))
        last = device.weights.tobytes()
        assert (last == seen[2]) is not written
        device.start()
        assert (device.weights.tobytes(), device.calibrator.versions.version) == (last, report.version)


def test_power_may_fail_while_a_version_is_refined(library):
    """What was verified first is a version of its own until the refined one replaces it."""
    artifact = small()
    window = make_window(artifact, 60, seed=5)
    versions = set()
    device = Device(library, artifact, artifact.settings, CAPACITY)
    for cut in range(0, 3 * device.slot_bytes, PAGE):
        device.slots[:] = 0xFF
        device.firmware.writable = cut
        device.start()
        status, report = learn(device, window)
        running = device.weights.tobytes()
        device.start()
        assert device.weights.tobytes() == running
        assert device.calibrator.versions.version == report.version
        versions.add((status, report.version))
    assert versions == {("storage", 0), ("storage", 1), ("ok", 1)}


def test_damaged_slots_fall_back(library):
    artifact = small()
    device, seen = committed(library, artifact, 3)
    good, size = device.slots.copy(), device.slot_bytes
    newest = int(device.calibrator.versions.slot)
    rng = generator(0, "damage")
    for place in rng.integers(0, size, 60):
        device.slots[:] = good
        device.slots[newest * size + place] ^= int(rng.integers(1, 256))
        assert device.start() == "ok"
        assert (device.weights.tobytes(), device.calibrator.versions.version) == (seen[2], 2)
        device.slots[(1 - newest) * size + place] ^= 1
        assert device.start() == "ok"
        assert (device.weights.tobytes(), device.calibrator.versions.version) == (seen[0], 0)
    device.slots[:] = good
    device.slots[(1 - newest) * size] ^= 1
    device.start()
    assert device.rollback() == "oldest"  # what it would go back to is damaged
    assert device.weights.tobytes() == seen[3]


def test_slots_of_another_model_are_not_loaded(library):
    artifact = small()
    device, seen = committed(library, artifact, 1)
    device.kept[-1][5] ^= 1  # its name
    assert device.start() == "ok"
    assert (device.weights.tobytes(), device.calibrator.versions.version) == (seen[0], 0)


@pytest.mark.parametrize("start", [WRAP - 4, WRAP - 3, WRAP - 2, WRAP // 2 - 2])
def test_sequence_numbers_wrap_around(library, start):
    """The newest slot is in force on either side of the wrap, whichever slot it is."""
    artifact = small()
    device, seen = committed(library, artifact, 2)
    for slot, sequence in ((0, start), (1, start + 1)):  # versions 1 and 2
        page = device.slots[slot * device.slot_bytes :][: device.slot_bytes]
        page[4:8] = np.frombuffer(struct.pack("<I", sequence % WRAP), np.uint8)
        page[-4:] = np.frombuffer(struct.pack("<I", zlib.crc32(page[:-4].tobytes())), np.uint8)
    for seed in range(2, 6):
        assert device.start() == "ok"
        assert (device.weights.tobytes(), device.calibrator.versions.version) == (seen[-1], seed)
        assert learn(device, make_window(artifact, 30, seed))[1].version == seed + 1
        seen.append(device.weights.tobytes())
        assert device.calibrator.versions.sequence == (start + seed) % WRAP


def test_power_may_fail_at_any_page_of_a_rollback(library):
    """What is in force afterwards is either version, whole: the one that was given up or the one gone back to."""
    artifact = small()
    device, seen = committed(library, artifact, 2)
    before = device.slots.copy()
    found = set()
    for cut in range(0, device.slot_bytes + PAGE, PAGE // 2):
        device.slots[:] = before
        device.firmware.writable = 2**62
        device.start()
        device.firmware.writable = cut
        status = device.rollback()
        assert status == ("ok" if cut >= device.slot_bytes else "storage")
        running = device.weights.tobytes(), device.calibrator.versions.version
        device.start()
        assert (device.weights.tobytes(), device.calibrator.versions.version) == running
        found.add((running[0] == seen[1], running[1]))
    assert found == {(False, 2), (True, 1), (True, 3)}


def test_the_version_in_force_is_never_written_over(library):
    artifact = small()
    device, _ = committed(library, artifact, 1)
    for seed in range(1, 5):
        slot, size = device.calibrator.versions.slot, device.slot_bytes
        held = device.slots[slot * size :][:size].copy()
        assert learn(device, make_window(artifact, 60, seed))[0] == "ok"
        assert np.array_equal(device.slots[slot * size :][:size], held)


def test_any_part_is_kept(library):
    """A kind of parameter that nobody knows yet is one part more: restored and rolled back like the others."""
    artifact = small()
    flash = np.array([7, -(2**31), 2**31 - 1, 0, -1], np.int32)
    ram = np.zeros_like(flash)
    device = Device(library, artifact, artifact.settings, CAPACITY, further=[(flash, ram)])
    assert device.slot_bytes >= Device(library, artifact, artifact.settings, CAPACITY).slot_bytes
    device.start()
    assert np.array_equal(ram, flash)
    ram[:] = moved = np.array([1, -2, 3, 2**31 - 1, -(2**31)], np.int32)
    assert learn(device, make_window(artifact, 30))[1].version == 1
    for _ in range(2):
        assert np.array_equal(ram, moved)
        ram[:] = 0
        assert device.start() == "ok"
    ram[0] = 9
    assert learn(device, make_window(artifact, 30))[1].flips >= 0
    assert device.rollback() == "ok"
    assert np.array_equal(ram, moved)
    assert device.rollback() == "oldest"
