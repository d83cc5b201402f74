"""What goes wrong and how to mend it: one family of errors, one wording.

TutelageError            says what was given, what was expected and the mend
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
    """What was given, what was expected, and the mend."""

    exit_code = 1


class ConfigError(TutelageError, ValueError):
    """The request is wrong: an unknown name, an option out of range, a contradiction."""

    exit_code = 2


class DataError(TutelageError):
    """The data can't be read, or doesn't fit what was asked of it."""


class ModelError(TutelageError):
    """A model can't be made, loaded or looked into."""


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
"""Characters of a value in a message."""


def shown(text: object) -> str:
    """A text in a message: not longer than a line."""
    text = str(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


FEW = 12
"""So many names are listed; of more, those that come near."""


def unknown(kind: str, name: str, known: Iterable[str], listed: str = "") -> str:
    """The sentence for a name that isn't known: near names, and the rest if they are few; listed: what lists them all.

    >>> unknown("loss", "dkdd", ["kd", "dkd"])
    "unknown loss 'dkdd': did you mean 'dkd' or 'kd'? Known: dkd, kd."
    >>> unknown("loss", "zzz", (f"kd{k}" for k in range(50)), "tutelage list losses")
    "unknown loss 'zzz'. Known: 50, which `tutelage list losses` lists."
    """
    names = sorted(known)
    near = difflib.get_close_matches(shown(name), names, n=3, cutoff=0.6)
    hint = f": did you mean {' or '.join(map(repr, near))}?" if near else ":" if len(names) <= FEW else "."
    few = ", ".join(names) if len(names) <= FEW else f"{len(names)}, which `{listed}` lists" if listed else _some(names)
    return f"unknown {kind} {shown(name)!r}{hint} Known: {few}."


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:FEW])} and {len(names) - FEW} more"


def plain(name: object) -> str:
    r"""A name from outside, on one line and safe to print: what isn't printable is escaped.

    >>> plain("a\x1b[31m\nb\udce9")
    'a\\x1b[31m\\nb\\udce9'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))
