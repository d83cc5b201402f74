"""A run's folder: its name and its creation."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from tutelage.config.methods import term_specs
from tutelage.config.schema import Config
from tutelage.errors import ConfigError, TutelageError
from tutelage.utils import checksums
from tutelage.utils.files import write_text

CHOICE, BEGUN = "choice", "environment.json"
"""The folder, below a run's, of the study that chose its method; and the file of a run that was begun."""


def make_run_folder(path: Path, texts: Mapping[str, str]) -> None:
    """Make a run folder with the files `texts`, by name; it appears with all of them or not at all.

    In a folder that has only the choice of the method, the last file appears when all are there.
    Raises: ConfigError if the path exists already; TutelageError if it can't be made.
    """
    if (path / CHOICE).is_dir() and not (path / BEGUN).exists():
        for name, text in texts.items():  # BEGUN, the last, marks a run that was begun
            checksums.write_recorded(path / name, text)
        return
    refuse_existing(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        for name, text in texts.items():
            write_text(temporary / name, text)
        checksums.record(temporary, texts)
        temporary.rename(path)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise TutelageError(
            f"out={path} can't be made: {error.strerror or error}; choose a folder that you may write."
        ) from error


def refuse_existing(path: Path) -> None:
    """Refuse a path where a new folder can't be made.

    Raises: ConfigError if it exists already.
    """
    if path.exists() and any(path.iterdir() if path.is_dir() else [path]):
        raise ConfigError(
            f"out={path} exists already and isn't empty: choose another folder, or `tutelage resume {path}`."
        )


def next_free_folder(config: Config, method: str = "") -> Path:
    """Return the next free runs/DATA-METHOD-N; method: another name than the configuration's."""
    data = Path(config.data.partition(":")[2] or config.data).stem or "data"
    method = method or config.recipe or "+".join(spec["name"] for spec in term_specs(config.method)) or "train"
    return next(p for p in _numbered(f"runs/{data}-{method}") if not p.exists())


def _numbered(stem: str) -> Iterator[Path]:
    number = 1
    while True:
        yield Path(f"{stem}-{number}")
        number += 1
