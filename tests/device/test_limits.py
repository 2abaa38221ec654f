"""The RAM that was granted is all there is: the linker refuses more, the protection unit faults beyond."""

from __future__ import annotations

from pathlib import Path

import pytest
from emulator import EMULATED, INFER, Stream, make, need_tools, run

from artifacts import make_artifact
from calibrant.export import export

FAULTED = 99
PROGRAM = """
#include "port.h"
extern volatile char board_ram[], board_ram_end[], board_stack_high[];
extern const int8_t calibrant_weights[];
static int32_t deep(int32_t n) {{
    volatile char frame[256];
    frame[0] = (char)n;
    return n ? deep(n - 1) + frame[0] : 0;
}}
int main(void) {{
    board_ram_end[-1] = 1; /* the last byte is ours */
    port_say("begun\\n");
    {fault}
    return deep(0);
}}
"""
FAULTS = {
    "past RAM": "board_ram_end[0] = 1;",
    "below RAM": "board_ram[-1] = 1;",
    "deep stack": "deep(64);",
    "null": "*(volatile int *)0 = 1;",
    "constants": "*(volatile int8_t *)calibrant_weights = 1;",
    "code": "*(volatile char *)(uintptr_t)((uint32_t)main & ~1u) = 1;",
    "division": "volatile int32_t zero = 0; board_stack_high[0] = (char)(1000 / zero);",
    "jump into RAM": "((void (*)(void))((uintptr_t)board_stack_high | 1u))();",
}


# Lengths that take several regions on Armv7-M: 2^15 + 2^14 + 2^8 + 2^5, and one of nine binary digits.
LENGTHS = {"mps2-an386": 49_440, "mps2-an500": 3_000_320, "mps3-an547": 49_440}


@pytest.fixture(scope="module", params=EMULATED)
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_tools()
    folder: Path = tmp_path_factory.mktemp("limits") / "firmware"
    report = export(make_artifact(), request.param, LENGTHS[request.param], "none", folder)
    assert report.ram_limit == LENGTHS[request.param]
    return folder


@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_faults(project: Path, fault: str | None) -> None:
    (project / "fault.c").write_text(PROGRAM.format(fault=FAULTS[fault] if fault else ""))
    done = make(project, "run", "MAIN=fault.c", "BUILD=build-fault", "OPT=-O1")
    assert "begun" in done.stdout, done.stderr
    if fault is None:
        assert done.returncode == 0
    else:
        assert f"Error {FAULTED}" in done.stderr
        assert "fault: status" in done.stdout


def test_linker_refuses_one_byte_less(tmp_path: Path) -> None:
    need_tools()
    folder = tmp_path / "firmware"
    report = export(make_artifact(), "mps2-an386", "64KB", "none", folder)
    assert make(folder, f"RAM={report.ram_bytes}").returncode == 0
    refused = make(folder, f"RAM={report.ram_bytes - 1}", "BUILD=build-less")
    assert refused.returncode != 0
    assert "region `RAM' overflowed by 1 byte" in refused.stderr


def test_smallest_ram_runs(tmp_path: Path) -> None:
    """With exactly the bytes of the report, to the end of a stream."""
    need_tools()
    artifact = make_artifact()
    needed = export(artifact, "mps2-an500", "64KB", "none", tmp_path / "probe").ram_bytes
    report = export(artifact, "mps2-an500", needed, "none", tmp_path / "firmware", build=True)
    assert report.ram_limit == needed
    results = run(tmp_path / "firmware", Stream().add(INFER, 1, artifact.coreset.x[:1]))
    assert results.rest == 4 * (1 + len(artifact.classes))


def test_storage_is_the_makers(tmp_path: Path) -> None:
    """Whoever builds a firmware that adapts without saying how it keeps versions gets an error, not a default."""
    need_tools()
    export(make_artifact(), "mps2-an386", "64KB", "flip", tmp_path / "firmware")
    refused = make(tmp_path / "firmware", "ADAPT=port/stream_flip.c", "OPT=-O1")
    assert refused.returncode != 0
    for name in ("calibrant_read_slot", "calibrant_write_slot"):
        assert f"undefined reference to `{name}'" in refused.stderr
