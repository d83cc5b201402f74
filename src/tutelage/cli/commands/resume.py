"""Resume a run that was stopped or killed, or continue a finished run with more epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tutelage.cli.arguments import TextCommand
from tutelage.config.schema import parse_pairs, resumable_keys

app = typer.Typer(add_completion=False)

HELP = f"""Resume a stopped or killed run; continue a finished run with more epochs, or rewrite its result and report.

These keys may change; a change takes effect from the resumed step on and is recorded: {", ".join(resumable_keys())}.
With more epochs, the student alone and the student taught are both trained further, for the same number of epochs; a
trained teacher stays unchanged.

Examples:

  tutelage resume runs/digits-kd-1

  tutelage resume runs/digits-kd-1 epochs=40 lr=0.02
"""


@app.command(cls=TextCommand, help=HELP)
def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder, such as runs/digits-kd-1.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys that change from the resumed step on.")
    ] = None,
) -> None:
    """Finish the run with a progress display, then print the summary."""
    changes = parse_pairs(arguments or [])
    from tutelage.cli.summary import print_summary
    from tutelage.runs import resuming
    from tutelage.runs.finished_run import open_run
    from tutelage.runs.inputs import Provided
    from tutelage.runs.progress import ProgressDisplay

    with ProgressDisplay() as progress:
        folder = resuming.resume(run, Provided(callbacks=(progress,)), changes)
    print_summary(open_run(folder))
