"""What there is: losses, policies, teachers, schemes, tasks, recipes, models or data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from tutelage.errors import ConfigError, unknown

app = typer.Typer(add_completion=False)
Rows = tuple[Sequence[str], list[tuple[str, ...]]]


def _parts(package: str) -> Rows:
    from tutelage.config.methods import way
    from tutelage.utils.registry import catalogue

    entries = catalogue(package).values()
    if package == "losses":
        columns = "name", "kind", "what it does", "paper", "held to", "method=NAME"
        return columns, [(e.name, e.group, e.summary, e.paper, e.backing or "–", way(e)) for e in entries]
    if package == "policies":
        return ("name", "of", "what it does", "paper"), [(e.name, e.group, e.summary, e.paper) for e in entries]
    return ("name", "what it is"), [(e.name, e.summary) for e in entries]


def _recipes() -> Rows:
    from tutelage import recipes

    return ("name", "what it is"), list(recipes.names().items())


def _models() -> Rows:
    from tutelage import models

    return ("name", "what it is"), list(models.available().items())


def _data() -> Rows:
    from tutelage import data

    return ("name", "what it is"), list(data.available().items())


KINDS: dict[str, Callable[[], Rows]] = {
    "losses": lambda: _parts("losses"),
    "policies": lambda: _parts("policies"),
    "teachers": lambda: _parts("teachers"),
    "schemes": lambda: _parts("schemes"),
    "tasks": lambda: _parts("tasks"),
    "recipes": _recipes,
    "models": _models,
    "data": _data,
}


@app.command(name="list")
def list_parts(
    kind: Annotated[
        str | None, typer.Argument(metavar="|".join(KINDS), help="What to list; all names if unsaid.")
    ] = None,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[WORD]...", help="Only those of which a row says all of these.")
    ] = None,
) -> None:
    """What there is, with a line about each. `tutelage show NAME` says more of one.

    Examples:

      tutelage list losses

      tutelage list losses attention CVPR
    """
    from tutelage.utils.console import table

    if kind is None:
        found = {name: [row[0] for row in rows()[1]] for name, rows in KINDS.items()}
        table("", ("what", "how many", "names"), [(n, len(names), ", ".join(names)) for n, names in found.items()])
        return
    if kind not in KINDS:
        raise ConfigError(unknown("kind", kind, KINDS))
    columns, rows = KINDS[kind]()
    asked = [word.lower() for word in words or []]
    chosen = [row for row in rows if all(word in " ".join(row).lower() for word in asked)]
    if not chosen:
        raise ConfigError(f"of {len(rows)} {kind} none says {' and '.join(map(repr, asked))}; `tutelage list {kind}`.")
    table("", columns, chosen)
