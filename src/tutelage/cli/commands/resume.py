"""Go on with a run that was stopped or killed, or with more epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tutelage.cli.arguments import TextCommand
from tutelage.config.schema import later, pairs

app = typer.Typer(add_completion=False)

HELP = f"""Go on with a run that was stopped or killed; a finished one gets more epochs, or its result and report again.

These keys may change, take effect from there on, and are recorded: {", ".join(later())}. With more epochs, the student
alone and the student taught go on, both for as many; a teacher that is trained stays as it is.

Examples:

  tutelage resume runs/digits-kd-1

  tutelage resume runs/digits-kd-1 epochs=40 lr=0.02
"""


@app.command(cls=TextCommand, help=HELP)
def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder, such as runs/digits-kd-1.")],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys that change from here on.")
    ] = None,
) -> None:
    """Train what is left, then tell the outcome."""
    changes = pairs(words or [])
    from tutelage.api import finished
    from tutelage.cli.summary import tell
    from tutelage.runs import resuming
    from tutelage.runs.inputs import Provided
    from tutelage.runs.progress import ProgressDisplay

    with ProgressDisplay() as progress:
        folder = resuming.resume(run, Provided(callbacks=(progress,)), changes)
    tell(finished(folder))
