"""A dry run of each network that a study trains without a teacher: faults of all its trainings, before the first."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import replace

from tutelage.config import schema
from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError, TutelageError
from tutelage.runs.dry_run import dry_run
from tutelage.runs.inputs import Provided, RunInputs
from tutelage.runs.plan import RunPlan
from tutelage.study.trial import StudyTrial


def try_networks(trials: Sequence[StudyTrial], loaded: MutableMapping[str, DataModule]) -> None:
    """Wire the students alone and the teachers that are trained on a few samples of the data, each once.

    A method that can't be wired is a row with the reason; without its student or its teacher there is nothing to
    compare. loaded: data that are loaded.

    Raises: ConfigError that lists all faults of the networks; the TutelageErrors of loading the data.
    """
    once = {(trial.role, trial.student): trial for trial in trials if trial.role != "method" and not trial.fault}
    inputs: RunInputs | None = None
    faults = []
    for trial in once.values():
        config = schema.check({**trial.keys, "devices": 1})
        inputs = RunInputs.load(config, Provided(loaded=loaded)) if inputs is None else replace(inputs, config=config)
        try:
            dry_run(inputs, RunPlan(inputs))
        except TutelageError as error:
            faults += [f"{trial.student}: {line}" for line in str(error).splitlines()]
    if faults:
        raise ConfigError("\n".join(dict.fromkeys(faults)))
