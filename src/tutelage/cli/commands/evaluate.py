"""Evaluate a run's student or a saved network on a test split, or on validation samples (judged_on=val)."""

from __future__ import annotations

from typing import Annotated

import typer

from tutelage.cli.arguments import Arguments
from tutelage.config.schema import parse_pairs

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(metavar="RUN_OR_FILE", help="A run folder, or a .safetensors file in one.")],
    arguments: Arguments = None,
) -> None:
    """Evaluate a run's student, or a saved network, on the test split of its own data or of other data.

    A run that was judged on validation samples is evaluated on these, unless judged_on=test is set.

    Examples:

      tutelage evaluate runs/digits-kd-1

      tutelage evaluate runs/photos/student.safetensors data=folder:more_photos

      tutelage evaluate runs/tuned/trial-3 judged_on=test
    """
    keys = parse_pairs(arguments or [])
    from tutelage import api
    from tutelage.utils.console import format_metric, print_table

    result = api.evaluate(model, **keys)
    print_table("", ("metric", "value"), [(name, format_metric(value)) for name, value in result.values.items()])
