"""Writing files so that nobody else's path is written through, and a reader sees the old file or the new one."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

SECRET = 0o600
PUBLIC = 0o666  # less what the umask takes


@contextmanager
def replacing(target: Path) -> Iterator[IO[Any]]:
    """A binary file that takes `target`'s place at the end, whole and on the disk, or is removed if anything fails.

    It is made exclusively under a name that nobody can guess. A link at `target` is replaced, never followed.

    Raises
    ------
    OSError
        `target` is a folder or a device, or cannot be written.
    """
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        raise FileExistsError(17, "expected a file to write, got a folder or a device", str(target))
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), PUBLIC & ~_umask())
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself survives a power loss
    finally:
        os.close(folder)


def write_text(target: Path, text: str) -> None:
    """Replace a text file, see :func:`replacing`."""
    with replacing(target) as file:
        file.write(text.encode())


def create(path: Path, mode: int) -> None:
    """Make an empty file of this mode or, where the umask is stricter, a stricter one; FileExistsError for anything
    that is there, links that lead nowhere too.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode))


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
