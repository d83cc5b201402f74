"""Turn errors into a message on standard error and an exit code: 2 misuse, 1 failure, 130 interrupted."""

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
def report_errors(debug: bool = False) -> Iterator[None]:
    """Inside the context, an error ends the program with a message, one fault per line; `debug` adds the traceback."""
    try:
        yield
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except KeyboardInterrupt as error:
        _print_error(["interrupted; everything saved before is still there."], error, debug)
        raise typer.Exit(130) from error
    except TutelageError as error:
        _print_error(str(error).splitlines(), error, debug)
        raise typer.Exit(error.exit_code) from error
    except MemoryError as error:
        _print_error([_memory_message(error)], error, debug)
        raise typer.Exit(1) from error
    except Exception as error:  # the last resort: users see a traceback only with --debug
        if hasattr(error, "exit_code"):  # a usage error of typer
            raise
        if isinstance(error, OSError) and error.errno in FULL:
            lines = [f"the disk is full ({error}): free some space, then continue with `tutelage resume`."]
        elif isinstance(error, RuntimeError) and ("out of memory" in str(error) or "can't allocate" in str(error)):
            lines = [_memory_message(error)]
        else:
            message = str(error).strip().partition("\n")[0]
            lines = [
                f"unexpected {type(error).__name__}: {message}. The full traceback is in {_save_traceback(error)}."
            ]
        _print_error(lines, error, debug)
        raise typer.Exit(1) from error


def _memory_message(error: BaseException) -> str:
    message = str(error).partition("\n")[0]
    return f"out of memory ({message}): use a smaller batch_size or size; `tutelage check` estimates the memory."


def _save_traceback(error: BaseException) -> str:
    """Write the traceback to a temporary file and return its name."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="tutelage-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write("".join(traceback.format_exception(error)))
            return file.name
    except OSError:
        return "no file, since none could be written: use --debug"


def _print_error(lines: list[str], error: BaseException, debug: bool) -> None:
    from rich.text import Text

    from tutelage.utils.console import console, process_rank

    err = console(stderr=True)
    head = f"error in process {process_rank()}" if process_rank() else "error"
    if debug:
        err.print("\n".join(map(plain, "".join(traceback.format_exception(error)).splitlines())), soft_wrap=True)
    for line in lines:
        err.print(Text.assemble((f"{head}: ", "bold red"), (plain(line), "red")), soft_wrap=True)
