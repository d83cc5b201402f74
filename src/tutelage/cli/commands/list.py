"""List losses, policies, teachers, schemes, tasks, recipes, models, data or protocols."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from tutelage.errors import ConfigError, unknown

app = typer.Typer(add_completion=False)
Rows = tuple[Sequence[str], list[tuple[str, ...]]]


def _parts(package: str) -> Rows:
    from tutelage.config.methods import method_support
    from tutelage.utils.registry import catalogue

    entries = catalogue(package).values()
    if package == "losses":
        columns = "name", "kind", "summary", "paper", "verified against", "method=NAME"
        return columns, [(e.name, e.group, e.summary, e.paper, e.backing or "–", method_support(e)) for e in entries]
    if package == "policies":
        return ("name", "kind", "summary", "paper"), [(e.name, e.group, e.summary, e.paper) for e in entries]
    return ("name", "summary"), [(e.name, e.summary) for e in entries]


def _recipes() -> Rows:
    from tutelage import recipes

    return ("name", "summary"), list(recipes.names().items())


def _models() -> Rows:
    from tutelage import models

    return ("name", "summary"), list(models.available().items())


def _data() -> Rows:
    from tutelage import data

    return ("name", "summary"), list(data.available().items())


def _protocols() -> Rows:
    from tutelage.study import protocols

    return ("name", "pairs", "published figures", "summary"), list(protocols.rows())


KINDS: dict[str, Callable[[], Rows]] = {
    "losses": lambda: _parts("losses"),
    "policies": lambda: _parts("policies"),
    "teachers": lambda: _parts("teachers"),
    "schemes": lambda: _parts("schemes"),
    "tasks": lambda: _parts("tasks"),
    "recipes": _recipes,
    "models": _models,
    "data": _data,
    "protocols": _protocols,
}


@app.command(name="list")
def list_parts(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="|".join(KINDS), help="The kind to list; without it, the names of all kinds."),
    ] = None,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[WORD]...", help="List only rows that contain all these words.")
    ] = None,
) -> None:
    """List the parts of a kind, with a line about each; `tutelage show NAME` shows one in full.

    Examples:

      tutelage list losses

      tutelage list losses attention CVPR
    """
    from tutelage.utils.console import print_table

    if kind is None:
        by_kind = {name: [row[0] for row in rows()[1]] for name, rows in KINDS.items()}
        print_table("", ("kind", "count", "names"), [(n, len(names), ", ".join(names)) for n, names in by_kind.items()])
        return
    if kind not in KINDS:
        raise ConfigError(unknown("kind", kind, KINDS))
    columns, rows = KINDS[kind]()
    patterns = [word.lower() for word in words or []]
    matches = [row for row in rows if all(pattern in " ".join(row).lower() for pattern in patterns)]
    if not matches:
        raise ConfigError(
            f"none of {len(rows)} {kind} contains {' and '.join(map(repr, patterns))}; `tutelage list {kind}` lists "
            "them all."
        )
    print_table("", columns, matches)
