"""Verify the losses of the catalogue against reference vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def verify(folder: Annotated[Path, typer.Argument(help="A folder of reference vectors, or one file.")]) -> None:
    """Evaluate the losses of the catalogue on reference vectors, and compare losses and gradients.

    A vector is a JSON file with a method's hyper-parameters, inputs, loss and gradients, computed by a published
    implementation. Prints each failure with its numbers, then the counts of passed and failed vectors; exit code 1 if
    any failed.

    Example: tutelage verify tests/vectors
    """
    from tutelage.utils.console import print_lines
    from tutelage.verify import verify as verify_folder

    passed = failed = 0
    for outcome in verify_folder(folder):
        passed += not outcome.faults
        failed += bool(outcome.faults)
        for fault in outcome.faults:
            print_lines(f"{outcome.name}: {fault}")
    typer.echo(f"{passed} passed, {failed} failed")
    raise typer.Exit(1 if failed else 0)
