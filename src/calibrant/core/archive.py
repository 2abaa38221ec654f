"""Arrays of an npz file, read without believing it: nothing is unpickled, nothing larger than it says is unpacked."""

from __future__ import annotations

import math
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from calibrant.core.errors import DataError

_MAX_HEADER = 10_000  # characters; numpy's own limit


def read(
    path: Path, names: tuple[str, ...], optional: tuple[str, ...] = (), limit: int | None = None
) -> dict[str, NDArray[Any]]:
    """The named arrays of one npz file, and those of `optional` that are there.

    Parameters
    ----------
    path : Path
    names, optional : tuple of str
    limit : int, optional
        Bytes that the arrays may have together; default is this machine's memory.

    Raises
    ------
    DataError
        The file cannot be read, is no npz or a damaged one, holds pickled objects, lacks an array, or would unpack to
        more than `limit`.
    """
    most = _memory() if limit is None else limit
    try:
        with warnings.catch_warnings(), zipfile.ZipFile(path) as archive:
            warnings.simplefilter("ignore")  # numpy's, of headers by Python 2
            held = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            missing = [name for name in names if name not in held]
            if missing:
                found = ", ".join(sorted(held)) or "nothing"
                raise DataError(f"{path}: expected an array '{missing[0]}', got {found:.200}")
            wanted = [name for name in (*names, *optional) if name in held]
            total = sum(held[name].file_size for name in wanted)
            if total > most:
                raise DataError(f"{path}: expected arrays of at most {most:,} bytes, got {total:,}")
            return {name: _array(archive, held[name], f"{path}: array '{name}'") for name in wanted}
    except DataError:
        raise
    except OSError as error:
        if error.errno is None:
            raise DataError(f"{path}: expected an npz file of plain arrays, got a damaged one ({error})") from error
        raise DataError(f"{path}: file cannot be read ({error.strerror})") from error
    except zipfile.BadZipFile as error:
        raise DataError(f"{path}: expected an npz file of plain arrays, got {_kind(path)}") from error
    except Exception as error:  # damaged files make zipfile, zlib and numpy raise nearly everything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise DataError(f"{path}: expected an npz file of plain arrays, got a damaged one ({reason})") from error


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> NDArray[Any]:
    with archive.open(info) as member:
        version = npy.read_magic(member)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = header(member, max_header_size=_MAX_HEADER)
        if dtype.hasobject:
            raise DataError(f"{where}: expected plain numbers or names, got another format or pickled objects")
        size = math.prod(shape) * dtype.itemsize  # Python integers, which do not overflow
        if min(shape, default=0) < 0 or size > info.file_size:
            raise DataError(f"{where}: expected {size:,} bytes as its shape says, got {info.file_size:,}")
    with archive.open(info) as member:
        return np.asarray(npy.read_array(member, allow_pickle=False, max_header_size=_MAX_HEADER))


def _kind(path: Path) -> str:
    """What a file is that is no zip archive."""
    with open(path, "rb") as file:
        start = file.read(8)
    if start.startswith(b"\x93NUMPY"):
        return "a single array (numpy.save): numpy.savez writes named ones"
    return "a damaged one" if start.startswith(b"PK") else "another format or pickled objects"


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
