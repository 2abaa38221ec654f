"""What a firmware is made of, as its updater designs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from calibrant.core.records import Program
from calibrant.export import model
from calibrant.plan import compact
from calibrant.plan.stripes import choose, split


@dataclass(frozen=True)
class Design:
    """Parts of a firmware before they become files.

    `forward` is the C text that runs the network; `kernels`, `device` and `parts` name the sources of c/ref, c/device
    and c/ports/firmware; `headers` the further ones under c/include; `sizes` go to model.h. `window` is 0 where nothing
    is learned.
    """

    program: Program
    text: model.Text
    forward: str
    kernels: tuple[str, ...]
    parts: tuple[str, ...] = ("inference",)
    device: tuple[str, ...] = ()
    device_headers: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    window: int = 0


def planned(program: Program, room: int | None = None) -> Program:
    """The program planned for kernels without scratch; its first stage in stripes where that is what makes it fit.

    Parameters
    ----------
    program : Program
    room : int, optional
        Bytes that the arena may take; without, there are no stripes.
    """
    plain = compact(program)
    if room is None or plain.arena_bytes <= room:
        return plain
    found = choose(program, limit=room)
    striped = split(program, found.ops, found.count) if found.ops else plain
    return striped if striped.arena_bytes < plain.arena_bytes else plain
