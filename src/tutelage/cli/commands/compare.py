"""Compare methods, students and teachers under one protocol, with verdicts over seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tutelage.cli.arguments import Arguments, split_file

if TYPE_CHECKING:
    from tutelage.study.store import StoredTrial

app = typer.Typer(add_completion=False)


@app.command()
def compare(arguments: Arguments = None) -> None:
    """Run a study."""
    from tutelage.study.settings import read
    from tutelage.study.study import Study
    from tutelage.utils.console import print_lines

    file, words = split_file(arguments or [])
    study = Study(*read(file, words))

    def watch(trial: StoredTrial, ended: int, count: int) -> None:
        print_lines(f"{ended} of {count}: {trial.folder} {trial.state} {trial.reason}")

    study.run(watch)
