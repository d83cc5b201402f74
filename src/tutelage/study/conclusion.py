"""The leaderboard of a study in each format, its page and its model cards, from its store."""

from __future__ import annotations

from typing import Any

from tutelage.study import exports, leaderboard, model_card, page
from tutelage.study.leaderboard import Leaderboard
from tutelage.study.settings import FILE
from tutelage.study.store import Store, StoredTrial

PUBLIC_STATES = {"running": "waiting", "paused": "waiting"}
"""The states that a leaderboard shows otherwise than the store."""


def leaderboard_of(store: Store) -> Leaderboard:
    """Return the leaderboard of a study, of what is finished."""
    trials = [_for_leaderboard(trial) for trial in store.trials().values()]
    return leaderboard.build(
        trials,
        study=store.folder.name,
        command=f"tutelage compare {FILE}",
        versions=store.get("versions"),
        root=store.folder,
    )


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
