"""The leaderboard of a study and its answers, printed."""

from __future__ import annotations

from pathlib import Path

from tutelage.report.components import NB
from tutelage.study import answers, exports
from tutelage.study.leaderboard import Leaderboard
from tutelage.utils.console import format_duration, print_lines, print_table

SHOWN = 8
"""The columns that a terminal has room for; the files have all."""


def print_leaderboard(board: Leaderboard, folder: Path, seconds: float | None = None) -> None:
    """Print the table, the two answers and the paths of the results."""
    columns = exports.figures(board).columns[:SHOWN]
    print_lines("")
    print_table("", [column.head for column in columns], [[c.cell(row) for c in columns] for row in board.rows])
    answer = answers.does_it_help(board)
    sentences = [f"{answer.headline}. {answer.sentence}", *answers.which_method(board)]
    print_lines("", *(sentence.replace(NB, " ") for sentence in sentences))
    if seconds is not None:
        print_lines("", f"{format_duration(seconds)} in all")
    print_lines("")
    print_paths(folder)


def print_paths(folder: Path) -> None:
    """Print the paths of a study's page and leaderboard."""
    print_lines(
        f"page         {folder / 'study.html'}", f"leaderboard  {folder / 'leaderboard.md'} (.csv, .tex, .json)"
    )
