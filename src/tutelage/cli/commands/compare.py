"""Compare methods, students and teachers under one protocol, over several seeds, with verdicts that hold."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import typer

from tutelage.cli.arguments import Arguments, TextCommand, key_row, split_file

if TYPE_CHECKING:
    from tutelage.study.store import StoredTrial

app = typer.Typer(add_completion=False)

EXAMPLES = """Compare methods × students × teachers × seeds with one budget, beside the student alone and kd.

A study that is killed goes on when it is called again; with further methods, students, teachers or seeds it trains only
what is new. Keys of runs (tutelage distill --help) are those of all its runs.

Examples:

  tutelage compare methods=[dkd,at,dml]

  tutelage compare data=folder:photos teacher=runs/big students=[resnet8,resnet14] methods=[dkd,dml] out=runs/photos

  tutelage compare out=runs/photos methods=[dist] seeds=5

  tutelage compare study.yaml budget=30m
"""


class StudyCommand(TextCommand):
    """A command whose help lists the keys of a study."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the usual help, then the keys."""
        from tutelage.study.settings import StudySettings
        from tutelage.utils.console import print_table

        super().format_help(ctx, formatter)
        rows = [key_row(key, field) for key, field in StudySettings.model_fields.items()]
        print_table("Keys of a study", ("key", "default", "range", "meaning"), rows)


@app.command(cls=StudyCommand, help=EXAMPLES)
def compare(arguments: Arguments = None) -> None:
    """Run the study with a line for each trial, then print its leaderboard and its answers."""
    from tutelage.study import conclusion
    from tutelage.study.preflight import refuse_doomed
    from tutelage.study.settings import read
    from tutelage.study.study import Study
    from tutelage.utils.console import print_lines

    file, words = split_file(arguments or [])
    study = Study(*read(file, words), refuse_doomed)
    began = time.monotonic()
    study.run(lambda trial, ended, count: print_lines(_line(trial, ended, count)))
    board = conclusion.write(study.store)
    from tutelage.cli.study_summary import print_leaderboard

    print_leaderboard(board, study.folder, time.monotonic() - began)
    if not any(row.values for row in board.rows if row.role != "teacher"):
        raise typer.Exit(1)


def _line(stored: StoredTrial, ended: int, count: int) -> str:
    """Return a line on a trial that has ended."""
    from tutelage.utils.console import format_duration, format_metric

    trial = stored.trial
    names = [trial.method or trial.role, trial.student, trial.teacher and f"by {trial.teacher}", f"seed {trial.seed}"]
    took = format_duration(stored.seconds)
    if stored.result is None:
        return f"{ended}/{count}  {' '.join(filter(None, names))}: {stored.state} after {took}: {stored.reason}"
    metric = stored.result["metric"]
    value = stored.result["student"][metric]
    return f"{ended}/{count}  {' '.join(filter(None, names))}: {metric} {format_metric(value)} in {took}"
