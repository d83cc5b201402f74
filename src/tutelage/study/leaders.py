"""Leaders: the methods that are ahead in validation get further seeds, since three decide little."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from statistics import fmean
from typing import Any

from tutelage.study.halving import may_stop, validation
from tutelage.study.methods import ALONE, name_of_method
from tutelage.study.plan import Planner
from tutelage.study.settings import StudySettings
from tutelage.study.store import Store, StoredTrial
from tutelage.study.trial import StudyTrial


def find(trials: Collection[StoredTrial], store: Store, count: int, epochs: int) -> list[str]:
    """Return the methods whose gain over the student alone in validation, the mean of all trials, is the largest.

    Methods with a trial that failed or was stopped aren't among them.
    """
    done = {(t.trial.role, t.trial.method, t.trial.student, t.trial.seed): t for t in trials if t.state == "done"}
    gains: dict[str, list[float]] = defaultdict(list)
    for trial in filter(may_stop, trials):
        alone = done.get(("alone", ALONE, trial.trial.student, trial.trial.seed))
        gains[trial.trial.method].append(_gain(trial, alone, store, epochs))
    whole = {method: fmean(values) for method, values in gains.items() if all(x == x for x in values)}
    return sorted(whole, key=lambda method: (-whole[method], method))[:count]


def _gain(trial: StoredTrial, alone: StoredTrial | None, store: Store, epochs: int) -> float:
    """Return a trial's gain in validation over the student alone; NaN if one of them isn't done."""
    if alone is None or alone.result is None or trial.state != "done":
        return float("nan")
    metric = alone.result["metric"]
    both = (validation(store.folder / each.folder, metric, epochs) for each in (trial, alone))
    gain = next(both) - next(both)
    return gain if alone.result["higher_is_better"] else -gain


def trials_of(leaders: Collection[str], settings: StudySettings, keys: Mapping[str, Any]) -> list[StudyTrial]:
    """Return all trials that the leaders, kd and the students alone have with `leader_seeds` seeds."""
    methods = [entry for entry in settings.methods if name_of_method(entry) in leaders]
    return Planner(settings.model_copy(update={"methods": methods, "seeds": settings.leader_seeds}), keys).trials()
