"""Rewrite the report of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def report(run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")]) -> None:
    """Rewrite the report of a finished run, and print its path.

    Example: tutelage report runs/digits-kd-1
    """
    from tutelage.runs.reporting import write_report
    from tutelage.utils.console import print_lines

    print_lines(str(write_report(run)))
