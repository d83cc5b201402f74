"""What goes wrong becomes a message on standard error and an exit code: 2 misuse, 1 failed, 130 interrupted."""

from __future__ import annotations

import errno
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from tutelage.errors import TutelageError, plain

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def guarded(debug: bool = False) -> Iterator[None]:
    """Inside, errors end the program with a message, each fault on its own line; the traceback only for `debug`."""
    try:
        yield
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except KeyboardInterrupt as error:
        _say(["interrupted; what was saved before is still there."], error, debug)
        raise typer.Exit(130) from error
    except TutelageError as error:
        _say(str(error).splitlines(), error, debug)
        raise typer.Exit(error.exit_code) from error
    except MemoryError as error:
        _say([_memory(error)], error, debug)
        raise typer.Exit(1) from error
    except Exception as error:  # the last resort: nobody shall see a traceback unasked
        if hasattr(error, "exit_code"):  # typer's own, of usage
            raise
        if isinstance(error, OSError) and error.errno in FULL:
            lines = [f"the disk is full ({error}): free some space, then go on with `tutelage resume`."]
        elif isinstance(error, RuntimeError) and ("out of memory" in str(error) or "can't allocate" in str(error)):
            lines = [_memory(error)]
        else:
            what = str(error).strip().partition("\n")[0]
            lines = [f"unexpected {type(error).__name__}: {what}. The full traceback is in {_kept(error)}."]
        _say(lines, error, debug)
        raise typer.Exit(1) from error


def _memory(error: BaseException) -> str:
    what = str(error).partition("\n")[0]
    return f"out of memory ({what}): use a smaller batch_size or size; `tutelage check` tells the cost."


def _kept(error: BaseException) -> str:
    """The file that the traceback was written to."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="tutelage-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write("".join(traceback.format_exception(error)))
            return file.name
    except OSError:
        return "no file, for none could be written: use --debug"


def _say(lines: list[str], error: BaseException, debug: bool) -> None:
    from rich.text import Text

    from tutelage.utils.console import console, rank

    err = console(stderr=True)
    head = f"error in process {rank()}" if rank() else "error"
    if debug:
        err.print("\n".join(map(plain, "".join(traceback.format_exception(error)).splitlines())), soft_wrap=True)
    for line in lines:
        err.print(Text.assemble((f"{head}: ", "bold red"), (plain(line), "red")), soft_wrap=True)
