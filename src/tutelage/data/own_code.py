"""The user's own functions: import by name, and calls whose errors are reported."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from tutelage.errors import ConfigError, DataError, TutelageError, plain


def import_function(key: str, spec: str) -> Callable[..., Any]:
    """Import the function that "MODULE:FUNCTION" names; key: the configuration key that names it, such as data.

    Raises: ConfigError if there is no such module or function; DataError if the module fails to import.
    """
    label = f"{key} 'python:{plain(spec)}'"
    module, _, name = spec.partition(":")
    expected = "Expected python:MODULE:FUNCTION, MODULE importable from the working folder or PYTHONPATH."
    if not name or not all(part.isidentifier() for part in module.split(".")):
        raise ConfigError(f"{label}: {'no function is named' if module else 'no module is named'}. {expected}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        imported = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # a module may do anything as it is imported
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise ConfigError(f"{label}: {error}. {expected}") from error
        raise DataError(f"{label}: {module} can't be imported: {_describe(error)}; fix the module.") from error
    if not hasattr(imported, name):
        raise ConfigError(f"{label}: module {module!r} has no attribute {name!r}. {expected}")
    function = getattr(imported, name)
    if not callable(function):
        raise ConfigError(f"{label}: {name} is a {type(function).__name__}, not a function. {expected}")
    return function


def call_user_code(label: str, function: Callable[..., Any], *args: Any) -> Any:
    """Call the function and return its result; label: its name in messages.

    Raises: DataError, with the line, for any exception that it raises.
    """
    try:
        return function(*args)
    except TutelageError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise DataError(f"{label}() raised {_describe(error)}.") from error


def _describe(error: BaseException) -> str:
    """Describe the error, and the line of the user's code that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    file, line = (error.filename, error.lineno) if isinstance(error, SyntaxError) else (last.filename, last.lineno)
    place = "" if file == __file__ else f" ({plain(file)}, line {line})"
    return f"{type(error).__name__}: {plain(error)}{place}"
