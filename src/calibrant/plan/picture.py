"""The arena over time, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from calibrant.core.program import Program
from calibrant.core.training import Training
from calibrant.plan import accesses
from calibrant.plan.order import live
from calibrant.plan.report import KINDS, Occupant, loss_step, occupants

COLORS = dict(zip(KINDS, ("#7eb0d5", "#ffb55a", "#b2a1d9", "#8bc48a", "#c9c9c9"), strict=True))
KIB = 1024
LABEL_HEIGHT = 0.028  # share of the arena below which a rectangle has no room for a name
SIZE, DPI = (13.0, 6.5), 150


def picture(training: Training, program: Program, path: Path | str, title: str = "") -> None:
    """Draw the arena of a planned training over its steps and save it.

    A rectangle is a buffer: across, the steps during which it is in use; upwards, the bytes that it takes. The line is
    the sum of what is in use, its peak the least that an arena of this order can have.

    Parameters
    ----------
    training : Training
        Planned.
    program : Program
    path : Path or str
        The suffix chooses the format: .png, .svg, .pdf.
    title : str

    Raises
    ------
    PlanError
        If the training has no plan.
    """
    from matplotlib.figure import Figure

    pieces = occupants(training, program)
    work = accesses.training(training, program)
    used = live(work, range(len(work.tasks)))
    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for piece in sorted(pieces, key=lambda piece: -piece.nbytes):
        _rectangle(axes, piece, training.arena_bytes, len(training.steps))
    edges = [at - 0.5 for at in range(len(used) + 1)]
    axes.stairs([n / KIB for n in used], edges, color="black", linewidth=1.2, label="bytes in use")
    _marks(axes, used, loss_step(training), training.arena_bytes)
    axes.set_xlim(-0.5, len(used) - 0.5)
    axes.set_ylim(0, training.arena_bytes / KIB * 1.1)
    axes.set_xlabel("step")
    axes.set_ylabel("KiB: place of buffers, sum in use")
    axes.set_title(title, loc="left", fontsize=12)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    _legend(axes, {piece.kind for piece in pieces})
    figure.savefig(path)


def _rectangle(axes: Any, piece: Occupant, arena_bytes: int, steps: int) -> None:
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    width, height = piece.last - piece.first + 1, piece.nbytes / KIB
    corner = piece.first - 0.5, piece.offset / KIB
    axes.add_patch(Rectangle(corner, width, height, facecolor=COLORS[piece.kind], edgecolor="white", linewidth=0.5))
    if piece.nbytes < LABEL_HEIGHT * arena_bytes:
        return
    text, room = f"{piece.name}  {height:.1f}", SIZE[0] * 0.82 * 72 * width / steps  # points across
    tall = SIZE[1] * 0.72 * 72 * piece.nbytes / arena_bytes
    center = corner[0] + width / 2, corner[1] + height / 2
    upright = room <= 4.0 * len(text)
    if upright and (tall <= 4.0 * len(text) or room <= 6.5):
        return
    halo = [withStroke(linewidth=1.8, foreground=COLORS[piece.kind])]  # the line of bytes in use passes behind names
    axes.text(*center, text, ha="center", va="center", fontsize=6.8, rotation=90 if upright else 0, clip_on=True,
              zorder=4, path_effects=halo)  # fmt: skip


def _marks(axes: Any, used: list[int], loss: int, arena_bytes: int) -> None:
    """The end of the forward pass, both peaks, the arena."""
    top = arena_bytes / KIB
    axes.axhline(top, color="black", linewidth=0.8, linestyle=":")
    axes.text(len(used) - 1, top * 1.01, f"arena {arena_bytes:,} B", ha="right", va="bottom", fontsize=9)
    axes.axvline(loss, color="black", linewidth=0.8, linestyle="--")
    for name, at, side in (
        ("forward", max(range(loss + 1), key=lambda at: used[at]), "right"),
        ("backward", max(range(loss, len(used)), key=lambda at: used[at]), "left"),
    ):
        axes.plot(at, used[at] / KIB, marker="v", color="black", markersize=6, clip_on=False)
        axes.text(loss + (-1 if side == "right" else 1), top * 1.06, f"{name}: peak {used[at]:,} B at step {at}",
                  ha=side, va="center", fontsize=9)  # fmt: skip


def _legend(axes: Any, kinds: set[str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(facecolor=COLORS[kind], label=kind) for kind in KINDS if kind in kinds]
    handles.append(Line2D([], [], color="black", linewidth=1.2, label="in use"))
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=len(handles), frameon=False)
