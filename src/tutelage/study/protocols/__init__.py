"""Published protocols by name, one file each, with the figures that were published under them.

Each file gives a protocol NAME and, by its entry `small`, its small version NAME_small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tutelage import recipes
from tutelage.config.parsing import Loader
from tutelage.errors import ConfigError, unknown
from tutelage.study.protocols.protocol import PAPER_WEIGHTS, FigureSource, Pair, PublishedFigure, StudyProtocol, scaled

FOLDER = Path(__file__).parent
SMALL = "_small"


def names() -> list[str]:
    """Return the names of all protocols."""
    return [f"{path.stem}{suffix}" for path in sorted(FOLDER.glob("*.yaml")) for suffix in ("", SMALL)]


def has(name: str) -> bool:
    """Return whether there is a protocol of that name."""
    return name in names()


def find(name: str | None) -> StudyProtocol:
    """Return the protocol of that name; that without keys and figures for None.

    Raises: ConfigError if there is no such protocol.
    """
    if name is None:
        return StudyProtocol()
    if not has(name):
        raise ConfigError(unknown("protocol", name, names(), "tutelage list protocols"))
    full, small = _read(name.removesuffix(SMALL))
    return small if name.endswith(SMALL) else full


@cache
def _read(stem: str) -> tuple[StudyProtocol, StudyProtocol]:
    """Return a file's protocol and its small version."""
    content = yaml.load((FOLDER / f"{stem}.yaml").read_text(encoding="utf-8"), Loader)
    recipe = recipes.load(content["recipe"]) if "recipe" in content else {}
    full = StudyProtocol(
        name=stem,
        summary=content["summary"],
        paper=content["paper"],
        data=content["data"],
        keys={key: value for key, value in recipe.items() if key != "method"} | content["keys"] | PAPER_WEIGHTS,
        networks=content.get("networks", {}),
        methods=content.get("methods", {}),
        of_pairs={read_pair(pair): methods for pair, methods in content.get("of_pairs", {}).items()},
        differences=content.get("differences", []),
        figures=_figures(content),
    )
    return full, _small(full, content["small"])


def _small(full: StudyProtocol, own: Mapping[str, Any]) -> StudyProtocol:
    """Return a protocol's small version: the same phases in fewer epochs, without data, differences and figures."""
    share = own["keys"]["epochs"] / full.keys["epochs"]
    return replace(
        full,
        name=full.name + SMALL,
        full=full.name,
        summary=own["summary"],
        data={},
        keys=full.of_length(own["keys"]["epochs"]) | own["keys"],
        methods=scaled(full.methods, share),
        of_pairs=scaled(full.of_pairs, share),
        differences=[],
        figures={},
    )


def _figures(content: Mapping[str, Any]) -> dict[Pair, dict[str, PublishedFigure]]:
    """Return a file's figures, as fractions, by pair and method."""
    sources = {name: FigureSource(**source) for name, source in content["sources"].items()}
    notes = content.get("notes", {})
    found: dict[Pair, dict[str, PublishedFigure]] = {}
    for table in content["figures"]:
        for method, cells in table["methods"].items():
            for pair, cell in zip(table["pairs"], cells, strict=True):
                if cell is not None:
                    value, spread = _numbers(cell)
                    figure = PublishedFigure(value, spread, sources[table["source"]], notes.get(method, ""))
                    found.setdefault(read_pair(pair), {})[method] = figure
    return found


def _numbers(cell: float | str) -> tuple[float, float | None]:
    """Return a cell's figure and its spread, written in percent: 74.43, or "74.43 ± 0.24"."""
    value, _, spread = str(cell).partition("±")
    return float(value) / 100, float(spread) / 100 if spread else None


def read_pair(text: str) -> Pair:
    """Return the teacher, empty if there is none, and the student of "TEACHER:STUDENT" or "STUDENT"."""
    teacher, _, student = text.rpartition(":")
    return teacher, student


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield the name, the numbers of pairs and figures, and the summary of each protocol."""
    for name in names():
        protocol = find(name)
        count = sum(len(figures) for figures in protocol.figures.values())
        yield name, str(len(protocol.pairs)), str(count), protocol.summary
