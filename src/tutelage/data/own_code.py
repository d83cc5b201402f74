"""A function of the user's own, by name."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from tutelage.errors import ConfigError, DataError, TutelageError, plain


def function_of(key: str, where: str) -> Callable[..., Any]:
    """What "MODULE:FUNCTION" names; key: what it was said of, such as data.

    Raises: ConfigError if there is no such module or function; DataError if the module fails as it is imported.
    """
    said = f"{key} 'python:{plain(where)}'"
    module, _, name = where.partition(":")
    expected = "Expected python:MODULE:FUNCTION, MODULE importable from the working folder or PYTHONPATH."
    if not name or not all(part.isidentifier() for part in module.split(".")):
        raise ConfigError(f"{said}: {'no function is named' if module else 'no module is named'}. {expected}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        imported = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # a module may do anything as it is imported
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise ConfigError(f"{said}: {error}. {expected}") from error
        raise DataError(f"{said}: {module} can't be imported: {_told(error)}; mend the module.") from error
    if not hasattr(imported, name):
        raise ConfigError(f"{said}: module {module!r} has no attribute {name!r}. {expected}")
    function = getattr(imported, name)
    if not callable(function):
        raise ConfigError(f"{said}: {name} is {type(function).__name__}, no function. {expected}")
    return function


def called(said: str, function: Callable[..., Any], *args: Any) -> Any:
    """What it returns; DataError, with the line, for whatever it raises."""
    try:
        return function(*args)
    except TutelageError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise DataError(f"{said}() raised {_told(error)}.") from error


def _told(error: BaseException) -> str:
    """The error, and the line of the user's that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    place = (error.filename, error.lineno) if isinstance(error, SyntaxError) else (last.filename, last.lineno)
    line = "" if place[0] == __file__ else f" ({plain(place[0])}, line {place[1]})"
    return f"{type(error).__name__}: {plain(error)}{line}"
