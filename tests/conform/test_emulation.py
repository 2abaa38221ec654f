"""The AVX-512 kernels' arithmetic on a processor that may not have them, through SIMDe."""

from __future__ import annotations

import platform
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import signs
from convolution import CASES, check_conv, check_largest_sums, random_conv, rng_of
from emulated import Native

from programs import Conv

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def emulation(tmp_path_factory):
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("AVX-512 is compiled for x86-64 only")
    if not any((Path(folder) / "simde/x86/avx512.h").exists() for folder in ("/usr/include", "/usr/local/include")):
        pytest.skip("SIMDe's headers are not installed (package libsimde-dev)")
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is not installed")
    build = tmp_path_factory.mktemp("simde")
    for command in (["-S", str(ROOT), "-B", str(build), "-DCALIBRANT_SIMDE=ON"], ["--build", str(build)]):
        done = subprocess.run([cmake, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return Native(build / "libcalibrant.so")


@pytest.fixture
def emulated(emulation, monkeypatch):
    # private: the engine has no choice of binary, and should have none
    monkeypatch.setattr("calibrant.engine.engine._engine", emulation)


@pytest.mark.usefixtures("emulated")
def test_avx512vnni_equals_numpy():
    for conv in CASES:
        for bits in (2, 8):
            check_conv(replace(conv, bits=bits), "avx512vnni", extreme=bits == 8)


@pytest.mark.usefixtures("emulated")
def test_avx512vnni_equals_numpy_at_random():
    for seed in range(100, 150):
        check_conv(random_conv(seed), "avx512vnni", extreme=seed % 3 == 0)


@pytest.mark.usefixtures("emulated")
def test_avx512vnni_equals_numpy_at_the_largest_sums():
    for sign in (1, -1):
        check_largest_sums(Conv((48, 48), (1, 40), (1, 11)), "avx512vnni", sign)


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("bits", [1, 8, 32])
def test_avx512vpopcntdq_equals_numpy(bits):
    for i, conv in enumerate(signs.CASES):
        signs.check(replace(conv, output_bits=bits), "avx512vpopcntdq", extreme=i % 2 == 0)
    for seed in range(60):
        signs.check(signs.random_conv(rng_of("binary", seed), bits), "avx512vpopcntdq", extreme=seed % 3 == 0)
