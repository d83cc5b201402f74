"""List, show, export and merge studies, and try their failures again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The folder of a study.")]
Root = Annotated[Path, typer.Argument(help="The folder below which studies are looked for.")]


@app.callback()
def study() -> None:
    """List, show, export and merge studies, and try their failures again.

    Example: tutelage study show runs/study
    """


@app.command(name="list")
def list_studies(root: Root = Path("runs")) -> None:
    """List the studies below a folder, with the states of their trials.

    Example: tutelage study list
    """
    from tutelage.study.store import FILE
    from tutelage.utils.console import print_lines

    lines = [f"{file.parent}: {_states(file.parent)}" for file in sorted(root.rglob(FILE))]
    print_lines(*(lines or [f"{root}: no studies"]))


def _states(folder: Path) -> str:
    """Return the states of a study's trials, or why they can't be read."""
    from collections import Counter

    from tutelage.errors import TutelageError
    from tutelage.study.store import Store

    try:
        states = Counter(trial.state for trial in Store.open(folder).trials().values())
    except TutelageError as error:
        return str(error)
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


@app.command()
def show(folder: Folder) -> None:
    """Print the leaderboard of a study, of what is finished, and its answers.

    Example: tutelage study show runs/study
    """
    from tutelage.cli.study_summary import print_leaderboard
    from tutelage.study.conclusion import leaderboard_of
    from tutelage.study.store import Store

    print_leaderboard(leaderboard_of(Store.open(folder)), folder)


@app.command()
def export(folder: Folder) -> None:
    """Write the leaderboard (Markdown, LaTeX, CSV, JSON), the page and the model cards of what is finished.

    Example: tutelage study export runs/study
    """
    from tutelage.cli.study_summary import print_paths
    from tutelage.study import conclusion
    from tutelage.study.store import Store

    conclusion.write(Store.open(folder))
    print_paths(folder)


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(help="Studies with the same keys.")],
    out: Annotated[Path, typer.Option(help="The folder of the merged study.")],
) -> None:
    """Copy the trials of several studies with the same keys, such as of several machines, into one.

    Example: tutelage study merge runs/a runs/b --out runs/both
    """
    from tutelage.study import conclusion
    from tutelage.study.merging import merge as merge_studies
    from tutelage.utils.console import print_lines

    store = merge_studies(folders, out)
    conclusion.write(store)
    print_lines(f"{out} has {len(store.trials())} trials")


@app.command()
def retry(folder: Folder) -> None:
    """Let the trials that failed run again when the study goes on.

    Example: tutelage study retry runs/study
    """
    import shlex

    from tutelage.study.store import Store
    from tutelage.utils.console import print_lines

    store = Store.open(folder)
    failed = [name for name, trial in store.trials().items() if trial.state == "failed"]
    store.retry(failed)
    print_lines(f"{len(failed)} trials wait again: `tutelage compare out={shlex.quote(str(folder))}`")
