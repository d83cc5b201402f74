"""The leaderboard of a study in each format, its page and its model cards, from its store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tutelage.study import exports, leaderboard, model_card, page, published
from tutelage.study.leaderboard import Leaderboard
from tutelage.study.settings import FILE
from tutelage.study.store import Store, StoredTrial

OVER_BUDGET = (
    "budget={budget} was too short: alone, kd and the best methods are trained to their ends all the same, and the "
    "others are stopped as early as a study stops any."
)
PUBLIC_STATES = {"running": "waiting", "paused": "waiting"}
"""The states that a leaderboard shows otherwise than the store."""


def leaderboard_of(store: Store) -> Leaderboard:
    """Return the leaderboard of a study, of what is finished."""
    trials = [_for_leaderboard(trial) for trial in store.trials().values()]
    board = leaderboard.build(
        trials,
        study=store.folder.name,
        command=f"tutelage compare {FILE}",  # in its folder: tables of one study in two folders are the same
        versions=store.get("versions"),
        root=store.folder,
    )
    if store.get("budget_suffices") is False:
        board = replace(board, notes=[*board.notes, OVER_BUDGET.format(budget=store.get("budget"))])
    return board if (name := store.get("protocol")) is None else _under(board, name, store.get("keys"))


def _under(board: Leaderboard, protocol: str, keys: Mapping[str, Any]) -> Leaderboard:
    """Return a leaderboard with the published figures of the study's protocol."""
    followed = published.follow(protocol, keys, board.data)
    return replace(board, protocol=followed, rows=published.with_figures(board.rows, protocol))


def write(store: Store) -> Leaderboard:
    """Write the leaderboard, the page and each student's model card into the study's folder; return the leaderboard.

    Raises: TutelageError if they can't be written.
    """
    board = leaderboard_of(store)
    exports.write(board, store.folder)
    page.write(board, store.folder)
    for student in board.students:
        if board.choice(student) is not None:
            model_card.write(board, store.folder, student)
    return board


def _for_leaderboard(stored: StoredTrial) -> dict[str, Any]:
    trial = stored.trial
    state = PUBLIC_STATES.get(stored.state, stored.state)
    names = {"role": trial.role, "student": trial.student, "teacher": trial.teacher, "method": trial.method}
    return {
        **names,
        "seed": trial.seed,
        "state": state,
        "reason": stored.reason,
        "folder": stored.folder,
        "result": stored.result,
    }
