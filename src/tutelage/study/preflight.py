"""Faults that all trainings of a study would have, found before the first: networks, and data that have changed."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path

from tutelage.config import schema
from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError, TutelageError
from tutelage.runs.dry_run import dry_run
from tutelage.runs.inputs import Provided, RunInputs
from tutelage.runs.plan import RunPlan
from tutelage.study import same_data
from tutelage.study.store import StoredTrial
from tutelage.study.trial import ENDED, StudyTrial


def refuse_doomed(
    folder: Path, new: Sequence[StudyTrial], known: Sequence[StoredTrial], loaded: MutableMapping[str, DataModule]
) -> None:
    """Refuse networks that can't be wired, and data that have changed since some of the trials ended.

    folder: the study's. loaded: data that are loaded.
    Raises: ConfigError that lists all faults of the networks; the TutelageErrors of loading the data.
    """
    if new or any(stored.state not in ENDED for stored in known):
        _refuse_changed_data(folder, known, loaded)
    try_networks(new, loaded)


def _refuse_changed_data(folder: Path, known: Sequence[StoredTrial], loaded: MutableMapping[str, DataModule]) -> None:
    done = next((stored for stored in known if stored.trial.role == "alone" and stored.state == "done"), None)
    found = None if done is None else same_data.recorded(folder / done.folder)
    if done is None or found is None:
        return
    config = schema.check({**done.trial.keys, "devices": 1})
    if found[1] != RunInputs.load(config, Provided(loaded=loaded)).data.fingerprint:
        raise ConfigError(
            f"{folder} was begun on other data: {config.data} has changed since, and rows must be comparable: put it "
            "back, or choose another folder (out=…)."
        )


def try_networks(trials: Sequence[StudyTrial], loaded: MutableMapping[str, DataModule]) -> None:
    """Wire the students alone and the teachers that are trained on a few samples of the data, each once.

    A method that can't be wired is a row with the reason; without its student or its teacher there is nothing to
    compare. loaded: data that are loaded.

    Raises: ConfigError that lists all faults of the networks; the TutelageErrors of loading the data.
    """
    once = {(trial.role, trial.student): trial for trial in trials if trial.role != "method"}
    inputs: RunInputs | None = None
    faults = [f"{trial.student}: {trial.fault}" for trial in once.values() if trial.fault]
    for trial in once.values() if not faults else ():
        config = schema.check({**trial.keys, "devices": 1})
        inputs = RunInputs.load(config, Provided(loaded=loaded)) if inputs is None else replace(inputs, config=config)
        try:
            dry_run(inputs, RunPlan(inputs))
        except TutelageError as error:
            faults += [f"{trial.student}: {line}" for line in str(error).splitlines()]
    if faults:
        raise ConfigError("\n".join(dict.fromkeys(faults)))
