"""The exception classes: one family of errors, one wording.

TutelageError            its message gives the value, the expectation and the mend
├── ConfigError          the request itself is wrong (exit code 2)
├── DataError            the data can't be read or used
├── ModelError           a model can't be made, loaded or captured
├── CheckpointError      a checkpoint or run folder is torn, altered or of another run
├── CacheError           a teacher's cache is torn, altered, or of another teacher, data or transform
├── NotFinite            a loss, a teacher or a weight became NaN or infinite
└── Interrupted          a signal stopped the run; all is saved (exit code 130)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TutelageError(Exception):
    """Base class of all errors; the message gives the value, the expectation and the mend."""

    exit_code = 1


class ConfigError(TutelageError, ValueError):
    """The request is wrong: an unknown name, an option out of range, a contradiction."""

    exit_code = 2


class DataError(TutelageError):
    """The data can't be read, or doesn't fit the configuration."""


class ModelError(TutelageError):
    """A model can't be made or loaded, or its features can't be captured."""


class CheckpointError(TutelageError):
    """A checkpoint or run folder is torn, altered, or belongs to another run."""


class CacheError(TutelageError):
    """A teacher's cache is torn, altered, or of another teacher, other data or another transform."""


class NotFinite(TutelageError):
    """A teacher, a loss or a weight became NaN or infinite."""


class Interrupted(TutelageError):
    """A signal stopped the run; everything was saved."""

    exit_code = 130


LONGEST = 100
"""The largest number of characters of a value in a message."""


def shown(text: object) -> str:
    """Return a text for a message, shortened to `LONGEST` characters."""
    text = str(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


FEW = 12
"""The largest number of names that a message lists; of more, only near names."""


def unknown(kind: str, name: str, known: Iterable[str], listed: str = "") -> str:
    """Return the message for an unknown name: near names, and all if they are few; listed: the command that lists all.

    >>> unknown("loss", "dkdd", ["kd", "dkd"])
    "unknown loss 'dkdd': did you mean 'dkd' or 'kd'? Known: dkd, kd."
    >>> unknown("method", "ones", ["one", "one"])
    "unknown method 'ones': did you mean 'one'? Known: one."
    >>> unknown("loss", "zzz", (f"kd{k}" for k in range(50)), "tutelage list losses")
    "unknown loss 'zzz'. Known: 50, which `tutelage list losses` lists."
    """
    names = sorted({*known})
    if not names:
        return f"unknown {kind} {shown(name)!r}: there are none."
    near = difflib.get_close_matches(shown(name), names, n=3, cutoff=0.6)
    hint = f": did you mean {' or '.join(map(repr, near))}?" if near else ":" if len(names) <= FEW else "."
    listing = (
        ", ".join(names) if len(names) <= FEW else f"{len(names)}, which `{listed}` lists" if listed else _some(names)
    )
    return f"unknown {kind} {shown(name)!r}{hint} Known: {listing}."


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:FEW])} and {len(names) - FEW} more"


def plain(name: object) -> str:
    r"""Return a text on one line and safe to print: characters that aren't printable are escaped, no-break spaces kept.

    >>> plain("a\x1b[31m\nb\udce9")
    'a\\x1b[31m\\nb\\udce9'
    """
    return "".join(c if c.isprintable() or c == "\xa0" else c.encode("unicode_escape").decode() for c in str(name))
