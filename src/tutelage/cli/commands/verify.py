"""Check the catalogue's losses against reference vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def verify(folder: Annotated[Path, typer.Argument(help="A folder of reference vectors, or one file.")]) -> None:
    """Compute reference vectors with the catalogue's losses, and compare losses and gradients.

    A vector is a JSON file with a method's hyper-parameters, inputs, loss and gradients as a published implementation
    gave them. Prints each failure with its figures, and last how many passed and failed; exit code 1 if any failed.

    Example: tutelage verify tests/vectors
    """
    from tutelage.utils.console import say
    from tutelage.verify import verify as outcomes

    passed = failed = 0
    for outcome in outcomes(folder):
        passed += not outcome.faults
        failed += bool(outcome.faults)
        for fault in outcome.faults:
            say(f"{outcome.name}: {fault}")
    typer.echo(f"{passed} passed, {failed} failed")
    raise typer.Exit(1 if failed else 0)
