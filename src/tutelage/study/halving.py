"""Successive halving: methods that are behind in validation stop early, so that a study keeps its budget.

Paper: Jamieson, Talwalkar. AISTATS 2016. arXiv:1502.07943. Here every seed of a method goes to each rung, and the
student alone and kd always go to the end, since all verdicts compare with them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from tutelage.report.run_record import read_validation
from tutelage.study.methods import ALONE, KD
from tutelage.study.store import Store, StoredTrial

SHARES = (16, 8, 4, 2)
"""The parts of the training after which methods may be stopped, the earliest first."""


def rungs_for(budget: float, epochs: int, methods: int, trials: int) -> list[int]:
    """Return the epochs after which the worse half of the methods stops, so that their trainings keep a budget.

    Args:
        budget: the epochs that all trials of the methods may have.
        epochs: those of a whole training.
        methods: the number of methods that may be stopped.
        trials: the number of trials of each.

    Returns: as few rungs as the budget allows; all if it allows none.
    """
    shares = [] if methods < 2 else [part for part in SHARES if epochs // part >= 1]
    rungs = sorted({epochs // part for part in shares})
    for count in range(len(rungs) + 1):
        chosen = rungs[len(rungs) - count :]
        if cost(chosen, epochs, methods) * trials <= budget:
            return chosen
    return rungs


def cost(rungs: Sequence[int], epochs: int, methods: int) -> int:
    """Return the epochs of one trial of each method, of which half stop at each rung."""
    total, before = 0, 0
    for rung in rungs:
        total += methods * (rung - before)
        methods, before = survivors(methods), rung
    return total + methods * (epochs - before)


def survivors(methods: int) -> int:
    """Return how many methods go on after a rung."""
    return -(-methods // 2)


def may_stop(trial: StoredTrial) -> bool:
    """Return whether a trial may be stopped early: it is of a method, and not of kd, with which verdicts compare."""
    return trial.trial.role == "method" and trial.trial.method != KD


def next_pause(trial: StoredTrial, rungs: Sequence[int]) -> int:
    """Return the epoch after which a trial pauses next; 0: it goes to its end."""
    return next((rung for rung in rungs if rung > trial.epoch), 0) if may_stop(trial) else 0


def decide(store: Store, epochs: int, metric: str, higher_is_better: bool) -> None:
    """Stop the worse half of the methods if their trials have all paused at a rung, and let the others go on."""
    trials = store.trials()
    of_method: dict[str, dict[str, StoredTrial]] = defaultdict(dict)
    for name, trial in trials.items():
        if may_stop(trial) and trial.state not in ("failed", "stopped", "done"):
            of_method[trial.trial.method][name] = trial
    going = [trial for group in of_method.values() for trial in group.values()]
    if not going or any(trial.state != "paused" for trial in going):
        return
    rung = min(trial.epoch for trial in going)
    at_rung = {method: group for method, group in of_method.items() if rung in {t.epoch for t in group.values()}}
    alone = {
        (t.trial.student, t.trial.seed): store.folder / t.folder for t in trials.values() if t.trial.method == ALONE
    }
    gains = {
        method: fmean(
            validation(store.folder / t.folder, metric, rung)
            - validation(alone[t.trial.student, t.trial.seed], metric, rung)
            for t in group.values()
        )
        for method, group in at_rung.items()
    }
    worth = {method: gain if higher_is_better else -gain for method, gain in gains.items()}
    order = sorted(gains, key=lambda method: (math.isnan(worth[method]), -worth[method], method))
    kept = order[: survivors(len(order))]
    for place, method in enumerate(order[len(kept) :], len(kept) + 1):
        against = f"validation {metric} {gains[method]:+.4g} against the student alone"
        for name in of_method[method]:
            reason = f"stopped after epoch {rung} of {epochs}: place {place} of {len(order)} methods, {against}"
            store.end(name, "stopped", reason)
    store.go_on(name for method in kept for name, trial in of_method[method].items() if trial.epoch == rung)


def stop_like_the_others(store: Store) -> None:
    """Stop the trials that a method has got since it was stopped, as those of further seeds."""
    trials = store.trials()
    reasons = {trial.trial.method: trial.reason for trial in trials.values() if trial.state == "stopped"}
    for name, trial in trials.items():
        if trial.state == "waiting" and trial.trial.method in reasons:
            store.end(name, "stopped", reasons[trial.trial.method])


def validation(folder: Path, metric: str, epoch: int) -> float:
    """Return a run's last validation figure of its student until an epoch; NaN, which is last, if there is none.

    A run with `patience` may have ended before that epoch.
    """
    known = {at: value for at, value in read_validation(folder / "student-0", metric) if at <= epoch}
    return known[max(known)] if known else math.nan
