"""Where the C sources are, in a checkout or in an installed wheel, and which of them a program needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from calibrant import _engine
from calibrant.core.errors import DataError
from calibrant.core.program import Op, Program

HEADERS = tuple(f"calibrant/{name}" for name in ("calibrant.h", "kernel.h", "binary.h", "bindings.def", "ops.def"))
REFERENCE = "ref"
KERNELS = dict(zip(_engine.KINDS, _engine.OP_KERNELS, strict=True))  # the kernel that runs each kind of op


def root() -> Path:
    """The folder that holds include/, ref/ and ports/.

    Raises
    ------
    DataError
        The installation came without it.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parents[1] / "c", package / "c", *_installed()):
        if (folder / "include" / HEADERS[0]).is_file():
            return folder
    raise DataError(f"export: expected the C sources in {package / 'c'}, got none; install Calibrant again")


def _installed() -> tuple[Path, ...]:
    """Beside the compiled engine, where an editable install keeps what CMake installed."""
    return (Path(_engine.__file__).resolve().parent / "c",) if _engine.__file__ else ()


@dataclass(frozen=True)
class Kernel:
    """A kernel in one of its variants.

    Examples
    --------
    >>> Kernel("conv2d", "dsp").symbol, Kernel("conv2d", "dsp").place, Kernel("add", "ref").source
    ('cal_conv2d_s8__dsp', 'kernels/dsp/conv2d.c', 'ref/add.c')
    """

    name: str
    variant: str

    @property
    def symbol(self) -> str:
        """Its function."""
        return f"cal_{self.name}_s8__{self.variant}"

    @property
    def source(self) -> str:
        """Its file under the root of the C sources."""
        return f"ref/{self.name}.c" if self.variant == REFERENCE else f"simd/{self.variant}/{self.name}.c"

    @property
    def place(self) -> str:
        """Its file in an exported project."""
        return f"kernels/{'' if self.variant == REFERENCE else self.variant + '/'}{self.name}.c"


def kernel(program: Program, op: Op, variant: str) -> Kernel:
    """What runs an op on a processor: the variant's kernel where there is one, else the reference."""
    name = KERNELS[op.kind]
    if op.layer >= 0 and 1 < op.attrs["groups"] == program.layers[op.layer].c_in == program.layers[op.layer].c_out:
        special = Kernel("depthwise", variant)
        if (root() / special.source).is_file():
            return special
    written = Kernel(name, variant)
    return written if (root() / written.source).is_file() else Kernel(name, REFERENCE)


def headers(variant: str) -> tuple[str, ...]:
    """Those that a variant's kernels include, under the root of the C sources.

    Raises
    ------
    DataError
        The installation came without the variant.
    """
    if variant == REFERENCE:
        return ()
    own = sorted((root() / "simd" / variant).glob("*.h"))
    if not own:  # or `kernel` would quietly take the reference for all of them
        raise DataError(f"export: expected kernels in {root() / 'simd' / variant}, got none; install Calibrant again")
    return ("simd/finish.h", "simd/patch.h", *(f"simd/{variant}/{path.name}" for path in own))
