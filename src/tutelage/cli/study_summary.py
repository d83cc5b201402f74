"""The leaderboard of a study and its answers, printed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from tutelage.report.components import NB
from tutelage.study import answers, exports
from tutelage.study.leaderboard import Leaderboard
from tutelage.utils.console import format_duration, print_lines, print_table

SHOWN = 8
"""The columns that a terminal has room for; the files have all."""


def print_leaderboard(board: Leaderboard, folder: Path, seconds: float | None = None) -> None:
    """Print the table, the two answers and the paths of the results."""
    print_lines("")
    _print_rows(board, exports.figures(board).columns[:SHOWN])
    answer = answers.does_it_help(board)
    sentences = [f"{answer.headline}. {answer.sentence}", *answers.which_method(board)]
    print_lines("", *(sentence.replace(NB, " ") for sentence in sentences), *board.notes)
    if board.protocol is not None:
        print_lines("", f"Protocol: {board.protocol.heading}.")
        if not board.protocol.full:
            _print_rows(board, exports.published(board, board.protocol).columns)
    if seconds is not None:
        print_lines("", f"{format_duration(seconds)} in all")
    print_lines("")
    print_paths(folder)


def _print_rows(board: Leaderboard, columns: Sequence[exports.Column]) -> None:
    print_table("", [column.head for column in columns], [[c.cell(row) for c in columns] for row in board.rows])


def print_paths(folder: Path) -> None:
    """Print the paths of a study's page and leaderboard, or how to write them."""
    if not (folder / "study.html").is_file():
        print_lines(f"`tutelage study export {shlex.quote(str(folder))}` writes the page and the leaderboard")
        return
    print_lines(
        f"page         {folder / 'study.html'}", f"leaderboard  {folder / 'leaderboard.md'} (.csv, .tex, .json)"
    )
