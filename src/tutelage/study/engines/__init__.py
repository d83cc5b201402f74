"""Engines, which run the trials of a study; one file per engine."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from tutelage.errors import ConfigError, unknown

if TYPE_CHECKING:
    from tutelage.study.engines.base import Engine


@dataclass(frozen=True)
class EngineEntry:
    """An engine by name, which is imported when it is used."""

    name: str
    class_name: str

    def load(self) -> type[Engine]:
        """Import its class."""
        engine: type[Engine] = getattr(import_module(f"{__name__}.{self.name}"), self.class_name)
        return engine


ENGINES = {entry.name: entry for entry in (EngineEntry("processes", "Processes"), EngineEntry("ray", "RayActors"))}


def find(name: str) -> EngineEntry:
    """Return an engine.

    Raises: ConfigError if there is none of that name.
    """
    if name not in ENGINES:
        raise ConfigError(unknown("engine", name, ENGINES))
    return ENGINES[name]
