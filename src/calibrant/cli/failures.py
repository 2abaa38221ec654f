"""What a failure looks like: one line on stderr and an exit status; a traceback only with --debug."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from calibrant.cli.console import visible
from calibrant.core.errors import CalibrantError

USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, what a shell reports


class Commands(TyperGroup):
    """The command group; every command's failure passes through `invoke`."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command, turning what its user can mend into one line."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _say("interrupted (what was committed is kept)")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader (head, less) has left. Point stdout elsewhere, or the interpreter's last flush fails again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except (CalibrantError, OSError, ModuleNotFoundError) as error:
            if ctx.params.get("debug") or _ours(error):
                raise
            _say(_line(error))
            raise typer.Exit(USER_ERROR) from None


def _ours(error: Exception) -> bool:
    """A missing module of Calibrant itself is a broken installation, not something a command's user left out."""
    return isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == "calibrant"


def _line(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed; this command needs it: pip install 'calibrant[server]'"
    if isinstance(error, OSError) and error.strerror is not None:
        where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    return str(error)


def _say(line: str) -> None:
    print(f"calibrant: {visible(' '.join(line.split()), sys.stderr.encoding)}", file=sys.stderr)
