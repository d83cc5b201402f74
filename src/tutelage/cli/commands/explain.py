"""Explain a finished run: why teaching helped, or why it didn't."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tutelage.cli.arguments import TextCommand
from tutelage.config.parsing import parse_pairs
from tutelage.errors import ConfigError

app = typer.Typer(add_completion=False)


@app.command(cls=TextCommand)
def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[only=[…]] [samples=…] [probe=DATA]", help="The figures, and what they are of."),
    ] = None,
) -> None:
    """Pass a finished run's networks over its data, without training, and write explain.html and explain.json there.

    Each figure has a sentence on what it means, and its source.

    Examples:

      tutelage explain runs/digits-kd-1

      tutelage explain runs/digits-kd-1 only=[agreement,calibration] samples=1000
    """
    keys = _keys(arguments or [])
    from tutelage import api
    from tutelage.explanation.page import page_of
    from tutelage.utils.console import print_lines

    explained = api.explain(run, **keys)
    for name, group in explained["groups"].items():
        readings = [figure["reading"] for figure in group.values() if isinstance(figure, dict) and figure["reading"]]
        print_lines(*(f"{name}: {text}" for text in readings or [group.get("left out", "see the page")]))
    print_lines(str(page_of(run)))


def _keys(arguments: list[str]) -> dict[str, Any]:
    """Parse the key=value arguments.

    Raises: ConfigError that lists every fault.
    """
    from tutelage.explanation.keys import ExplainKeys

    fields = ExplainKeys.model_fields
    values = parse_pairs(arguments, {key: field.annotation for key, field in fields.items()})
    if wrong := [key for key in values if key not in fields]:
        raise ConfigError(f"{', '.join(wrong)}: expected only=, samples= or probe=.")
    return values
