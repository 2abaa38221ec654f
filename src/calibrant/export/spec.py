"""What a firmware is made of, as its updater designs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from calibrant.artifact import Artifact
from calibrant.core.errors import DataError
from calibrant.core.program import Program
from calibrant.core.training import Training
from calibrant.export import model
from calibrant.export.sources import REFERENCE, Kernel
from calibrant.plan import compact
from calibrant.plan.stripes import choose, split

SHARED_FILES = {"weight_commit": "weight_update", "bias_commit": "bias_update"}  # kernels that share another's file


@dataclass(frozen=True)
class ExportOptions:
    """What the caller may ask of an updater; it refuses what it has no use for.

    Parameters
    ----------
    window : int, optional
        Labeled samples that flips learn from at once; as many as fit, up to 40, without.
    block : int, optional
        Pairs of output and input channels whose weights a flip step moves, see `updaters.block_flips`; all layers
        without, which takes more memory.
    scheme : str, optional
        What sparse training trains, see `calibrant.autodiff.named`; what the artifact says without.
    batch : int, optional
        Samples that sparse training sums the gradients of; 1 without, which takes no memory for sums.
    """

    window: int | None = None
    block: int | None = None
    scheme: str | None = None
    batch: int | None = None


@dataclass(frozen=True)
class FirmwareSpec:
    """Parts of a firmware before they become files.

    `functions` is the C text that runs the network. `kernels` and `training_kernels` name what it calls. `parts` of
    c/firmware are the caller's to include, `private` ones and `private_headers` are not; `sources` names those of
    c/session and c/updaters. `headers` are further ones under c/include. `sizes` go to model.h; `macros`, `includes`
    and `prototypes` to tables.h. `window` is 0 where none is kept; `adapts` says whether there are slots; `training` is
    the planned step of one that trains."""

    program: Program
    text: model.Text
    functions: str
    kernels: tuple[Kernel, ...]
    training_kernels: tuple[str, ...] = ()
    parts: tuple[str, ...] = ("inference",)
    private: tuple[str, ...] = ()
    private_headers: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    source_headers: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    macros: Mapping[str, str] = field(default_factory=dict)
    includes: tuple[str, ...] = ()
    prototypes: tuple[str, ...] = ()
    window: int = 0
    adapts: bool = False
    training: Training | None = None

    @property
    def kernel_files(self) -> Mapping[str, str]:
        """Place in the project -> name under the root of the C sources. Depthwise kernels fall back on conv2d."""
        shared = (Kernel(SHARED_FILES.get(name, name), REFERENCE) for name in self.training_kernels)
        behind = (Kernel("conv2d", each.variant) for each in self.kernels if each.name == "depthwise")
        return {each.place: each.source for each in (*self.kernels, *behind, *shared)}


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


def require_coreset(artifact: Artifact, updater: str) -> None:
    """Refuse to adapt where nothing could be verified.

    Raises
    ------
    DataError
        The artifact has no coreset.
    """
    if len(artifact.coreset.y) == 0:
        raise DataError(f"--updater {updater}: expected a coreset to verify on, the artifact has none")
