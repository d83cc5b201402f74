"""Go on with a run that was stopped or killed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder, such as runs/digits-kd-1.")],
) -> None:
    """Go on with a run that was stopped or killed; a finished one only gets its result and report again.

    Example: tutelage resume runs/digits-kd-1
    """
    from tutelage import api
    from tutelage.cli.outcome import tell

    tell(api.resume(run, progress=True))
