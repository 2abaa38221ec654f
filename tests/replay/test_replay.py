"""The device's record, part by part: what a refactoring must not change. `make replay` compares the server's too."""

from __future__ import annotations

import pytest

from replay import parts, record


@pytest.fixture(scope="module")
def recorded() -> dict[str, str]:
    return record.read(parts.DEVICE_RECORD)


@pytest.mark.parametrize("part", parts.DEVICE)
def test_part_is_as_recorded(part: str, recorded: dict[str, str]) -> None:
    expected = record.under(recorded, part)
    assert expected, "nothing recorded: make replay-record"
    try:
        got = record.gathered(parts.DEVICE[part]())
    except record.UnavailableError as reason:
        pytest.skip(str(reason))
    assert record.differences(expected, got) == []


def test_every_key_belongs_to_a_part(recorded: dict[str, str]) -> None:
    """A part that is gone would be compared with nothing."""
    assert set(recorded) == {key for part in parts.DEVICE for key in record.under(recorded, part)}
