"""Tuning: trials chosen on validation; then the choice, trained with new seeds, against the untuned on test.

runs/x/  tune.yaml  trials.json  teacher/  trials/000/ …  each a run that can't read test
         choice.json (and config.yaml), written before anything can read test; then tuned/  untuned/  tuning.json
         tuning.html
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from tutelage.config import parsing
from tutelage.config.schema import Config, check
from tutelage.errors import CheckpointError, ConfigError, Interrupted, TutelageError
from tutelage.report import tuning_page
from tutelage.runs.dry_run import dry_run
from tutelage.runs.folder import make_run_folder, next_free_folder
from tutelage.runs.inputs import Provided, RunInputs
from tutelage.runs.label_free import without_task_loss
from tutelage.runs.plan import RunPlan
from tutelage.study import choice_folder, engines
from tutelage.study.engines.base import Engine, Job, Jobs, ListedJobs
from tutelage.study.engines.in_process import InProcess
from tutelage.study.optuna_search import OptunaSearch, TuningTrial, import_optuna
from tutelage.study.same_data import recorded, refuse_other_data
from tutelage.study.search_space import SearchSpace, describe
from tutelage.study.stopping import MedianRule
from tutelage.study.tune_settings import TuneSettings
from tutelage.study.tuning_trials import TuningTrials
from tutelage.utils import checksums
from tutelage.utils.intervals import confidence_interval, paired_differences, verdict

SEALED: dict[str, Any] = {"judged_on": "val", "baseline": False}
"""The keys of all trainings before the choice: nothing of them can read the test split."""

CHANGEABLE = ("engine", "trials")
"""The keys of a search that may change before the choice."""

Notify = Callable[[str], object]
"""A function that is called with a line about each step."""


@dataclass(frozen=True)
class Tuning:
    """One search: its configuration and settings, the objects passed for names, its space and its folder."""

    config: Config
    settings: TuneSettings
    provided: Provided
    space: SearchSpace
    folder: Path
    notify: Notify = bool

    @classmethod
    def begin(cls, config: Config, settings: TuneSettings, provided: Provided, notify: Notify = bool) -> Tuning:
        """Check the configuration and the space, and make the folder; or open the folder of a search that was begun.

        Raises: ConfigError that lists all faults; the TutelageErrors of the untuned configuration.
        """
        import_optuna()
        refuse_objects(provided, settings)
        if config.devices > 1:
            raise ConfigError(f"devices={config.devices}: trials train on one device: leave it out.")
        if config.judged_on == "val":
            raise ConfigError("judged_on=val: a search chooses on validation, then judges on test: leave it out.")
        space = SearchSpace.parse(settings.search, config)
        folder = Path(config.out) if config.out else next_free_folder(config)
        folder = choice_folder.as_begun(folder / "tune.yaml", folder)
        tuning = cls(config, settings, replace(provided, loaded={}), space, folder, notify)
        if (folder / "tune.yaml").exists():
            return tuning
        tuning._try(config)
        if faults := list(space.faults(space.corners(), tuning._try)):
            raise ConfigError("\n".join(dict.fromkeys(faults)))
        objects = {choice_folder.OBJECTS: choice_folder.describe_objects(provided)}
        make_run_folder(folder, {"tune.yaml": parsing.dump(tuning.request), **objects})
        return tuning

    @property
    def request(self) -> dict[str, Any]:
        """The keys in tune.yaml."""
        return self.config.model_dump() | {"out": str(self.folder)} | self.settings.model_dump()

    def _try(self, config: Config) -> None:
        """Wire a configuration's networks and terms on a few samples; refuse what can't work."""
        inputs = RunInputs.load(check(config.model_dump() | SEALED), replace(self.provided, callbacks=()))
        dry_run(inputs, RunPlan(inputs))

    def _take_request(self) -> None:
        """Write the keys, of which trials may change until the choice; refuse others than those of the begin."""
        is_made = choice_folder.was_written(self.folder / "choice.json")
        free, why = (("engine",), " The choice is made, and test has been read.") if is_made else (CHANGEABLE, "")
        choice_folder.refuse_changes(self.folder / "tune.yaml", self.folder, self.request, free, why)
        choice_folder.refuse_other_objects(self.folder, self.provided, "search")
        checksums.write_recorded(self.folder / "tune.yaml", parsing.dump(self.request))

    def _refuse_lost_choice(self) -> None:
        """Refuse to choose again once test was read: the choice would know its figures, or have those of another."""
        after = [name for name in ("tuned", "untuned", "tuning.json") if (self.folder / name).exists()]
        if after and not (self.folder / "choice.json").exists():
            raise CheckpointError(
                f"{self.folder / 'choice.json'} is missing, and {after[0]}, which came after it, has read test: "
                "restore it from a copy, or begin a new search (out=…)."
            )

    def run(self) -> Path:
        """Search, write the choice, judge it on test, write the page, and return the folder; go on where it stopped."""
        with choice_folder.locked(self.folder, "searching"):
            self._refuse_lost_choice()
            self._take_request()  # in the lock: a search that runs keeps its own
            self._refuse_changed_data()
            try:
                if not (self.folder / "choice.json").exists():
                    self.search()
                    self.choose()
                self.judge()
            except Interrupted as error:
                again = shlex.quote(str(self.folder / "tune.yaml"))
                raise Interrupted(f"the search was stopped; `tutelage tune {again}` goes on.") from error
        tuning_page.write(self.folder / "tuning.html", self.read("tuning.json"))
        return self.folder

    def read(self, name: str) -> Any:
        """Return the content of a JSON file in the folder.

        Raises: CheckpointError if it is torn or was altered.
        """
        return choice_folder.read(self.folder / name, "search")

    def write(self, name: str, content: Any) -> None:
        """Write a JSON file into the folder."""
        choice_folder.write(self.folder / name, content)

    # the search

    @cached_property
    def inputs(self) -> RunInputs:
        """The inputs of the untuned configuration, without the test split."""
        return RunInputs.load(check(self.config.model_dump() | SEALED), replace(self.provided, callbacks=()))

    @cached_property
    def optuna(self) -> OptunaSearch:
        """The proposals, each a function of the trials before."""
        return OptunaSearch(self.space, self.config.seed, self.inputs.task.higher_is_better)

    def trials(self) -> list[TuningTrial]:
        """Return the trials that are finished, by number."""
        if not (self.folder / "trials.json").exists():
            return []
        return [TuningTrial(**trial) for trial in self.read("trials.json")]

    def search(self) -> None:
        """Train the trials that are missing."""
        task, settings = self.inputs.task, self.settings
        trials = {trial.number: trial for trial in self.trials()}
        self._refuse_other_data(f"trials/{number:03}" for number in trials)

        def record(trial: TuningTrial) -> None:
            self._refuse_other_data([f"trials/{trial.number:03}"])
            trials[trial.number] = trial
            self.write("trials.json", [asdict(trials[number]) for number in sorted(trials)])
            self.notify(describe_trial(trial, task.metric))

        if len(trials) < settings.trials:
            job = self._job("trials", {**self.teacher_keys, **SEALED})
            rule = MedianRule(task.metric, task.higher_is_better, self.config.epochs)
            varies = any("epochs" in path or path.startswith("stages") for path in self.space.parameters)
            prune = settings.prune and not varies  # trials of other lengths can't be compared before their ends
            wanted, at_once = settings.trials, settings.processes
            jobs = TuningTrials(self.optuna, wanted, at_once, job, rule, prune, trials.values(), record)
            self._run(jobs, self.provided)

    @cached_property
    def teacher_keys(self) -> dict[str, Any]:
        """The keys that name the teacher, which is trained once if each trial would train it by the same keys."""
        plan = RunPlan(self.inputs)
        if any(path.startswith("teacher") for path in self.space.parameters) or not isinstance(
            self.config.teacher, str
        ):
            return {}
        phase = next((phase for phase in plan.phases() if phase.role == "teacher"), None)
        if phase is None or self.provided.teacher is not None:
            return {}
        own = {"seeds": 1, "students": [], "snapshots": [], **SEALED}
        job = self._job("teacher", {**plan.config_for(phase).model_dump(), **own})
        if not (Path(job.folder) / "result.json").exists():
            self.notify(f"teacher {self.config.teacher}: trained once for all trials")
        self._train([job], replace(self.provided, student=None))
        untrained = dict.fromkeys(("teacher_epochs", "teacher_lr", "teacher_scheme", "teacher_weights"))
        return {"teacher": job.folder, **untrained}

    # trainings

    @cached_property
    def _data(self) -> dict[str, str]:
        """The fingerprints of the data of the trainings that have ended."""
        return {}

    def _refuse_other_data(self, runs: Iterable[str]) -> None:
        """Refuse runs on other data than the teacher and those before.

        Raises: ConfigError.
        """
        for name in ("teacher", *runs):
            refuse_other_data(self.folder / name, self._data.setdefault)

    def _refuse_changed_data(self) -> None:
        """Refuse data that have changed since a run of a search that isn't finished began, before more is trained.

        Raises: ConfigError.
        """
        if (self.folder / "tuning.json").exists():
            return
        begun = [file.parent for folder in ("*", "trials/*") for file in self.folder.glob(f"{folder}/environment.json")]
        for run in {recorded(run): run for run in sorted(begun, reverse=True)}.values():  # the first on each data
            record = choice_folder.read(run / "environment.json", "search")
            config = check(record["config"])
            if record["data"] != RunInputs.load(config, replace(self.provided, callbacks=())).data.fingerprint:
                raise ConfigError(
                    f"{run} was begun on other data: {config.data} has changed since, and trials must be comparable: "
                    "put it back, delete that run if it alone had others, or begin in another folder (out=…)."
                )

    def _job(self, name: str, keys: Mapping[str, Any]) -> Job:
        """Return the job of a run in a folder of this name."""
        return Job(name, keys, str(self.folder / name), self.threads)

    def _train(self, jobs: Sequence[Job], provided: Provided) -> None:
        """Train the runs that aren't finished."""
        missing = [job for job in jobs if not (Path(job.folder) / "result.json").exists()]
        if missing:
            self._run(ListedJobs(missing), provided)

    def _run(self, jobs: Jobs, provided: Provided) -> None:
        with closing(self._engine(provided)) as engine:
            engine.run(jobs)

    def _refuse_other_run(self, job: Job) -> None:
        """Refuse a run that was begun with other keys than the job's.

        Raises: CheckpointError.
        """
        if not (Path(job.folder) / "environment.json").exists():
            return
        begun = self.read(f"{job.trial}/environment.json")["config"]
        has_teacher = self.provided.teacher is not None
        config = without_task_loss(check({**job.keys, "out": job.folder}), self.inputs.task, has_teacher)
        now = json.loads(json.dumps(config.model_dump()))
        if changed := [key for key, value in now.items() if begun.get(key) != value]:
            key = changed[0]
            raise CheckpointError(
                f"{job.folder} was begun with {key}={begun.get(key)}, and by the choice it is {now[key]}: restore "
                "choice.json from a copy, or begin a new search (out=…)."
            )

    def _engine(self, provided: Provided) -> Engine:
        settings = self.settings
        if settings.is_in_process:
            return InProcess(provided)
        return engines.find(settings.engine).load()(settings.processes, self.threads, self.folder / "logs")

    @property
    def threads(self) -> int:
        """The threads of each trial."""
        return self.settings.threads or max(1, torch.get_num_threads() // self.settings.processes)

    # the choice

    def choose(self) -> None:
        """Write the choice, with the validation figures of all trials.

        Raises: TutelageError if no trial has a figure.
        """
        trials, task = self.trials(), self.inputs.task
        done = [trial for trial in trials if trial.state == "done"]
        if not done:
            first = trials[0]
            raise TutelageError(
                f"all {len(trials)} trials failed; the first, at {describe(first.point)}: {first.reason} "
                "Change search, and begin in another folder."
            )
        best = (max if task.higher_is_better else min)(done, key=lambda trial: trial.value or 0.0)
        keys = {**self.space.keys(best.point), **self.teacher_keys, "out": None, "judged_on": "test"}
        choice = {
            "metric": task.metric,
            "higher_is_better": task.higher_is_better,
            "judged_on": "val",
            "trial": best.number,
            "value": best.value,
            "point": best.point,
            "config": keys,
            "trials": [asdict(trial) for trial in trials],
        }
        self.write("choice.json", choice)
        self.notify(
            f"chosen: trial {best.number}, {describe(best.point)}; {task.metric} {best.value:.4f} on validation"
        )

    def judge(self) -> None:
        """Train the choice and the untuned configuration with new seeds, and compare them on test.

        Raises: CheckpointError if the choice isn't written down.
        """
        choice = self.read("choice.json")
        checksums.write_recorded(self.folder / "config.yaml", parsing.dump(choice["config"]))
        first = self.config.seed + self.config.seeds
        arms = {"tuned": choice["config"], "untuned": {**self.space.base, **self.teacher_keys, "baseline": False}}
        new = {"judged_on": "test", "seed": first}
        jobs = [self._job(name, {**keys, **new}) for name, keys in arms.items()]
        for job in jobs:
            self._refuse_other_run(job)
        self._train(jobs, self.provided)
        self._refuse_other_data(arms)
        values = {name: self.read(f"{name}/result.json")["student"]["values"] for name in arms}
        for name in arms:
            self.notify(f"{name}: {choice['metric']} {sum(values[name]) / len(values[name]):.4f} on test")
        gains = paired_differences(*values.values())
        result = {key: choice[key] for key in ("metric", "higher_is_better", "trial", "value", "point", "trials")}
        result |= {name: {"values": x, "interval": confidence_interval(x)} for name, x in values.items()}
        result["gain"] = {
            "values": gains,
            "interval": confidence_interval(gains),
            "verdict": verdict(gains, choice["higher_is_better"]),
        }
        result["space"] = {path: str(parameter) for path, parameter in self.space.parameters.items()}
        result["importance"] = self.optuna.importances(self.trials())
        result["data"], result["seeds"] = self.inputs.data.name, [*range(first, first + self.config.seeds)]
        result["command"] = f"tutelage distill {shlex.quote(str(self.folder / 'config.yaml'))}"
        self.write("tuning.json", result)


def refuse_objects(provided: Provided, settings: TuneSettings) -> None:
    """Refuse objects if trials are processes of their own.

    Raises: ConfigError.
    """
    given = [name for name, x in vars(provided).items() if x is not None and x not in ({}, ())]
    if given and not settings.is_in_process:
        raise ConfigError(
            f"{given[0]} is an object, and with engine={settings.engine} processes={settings.processes} a trial is a "
            "process of its own, which reads everything by name: give a name, such as python:MODULE:CALLABLE, or leave "
            "engine and processes out."
        )


def describe_trial(trial: TuningTrial, metric: str) -> str:
    """Return a line about a trial."""
    came = (
        f"{metric} {trial.value:.4f}" if trial.value is not None else f"{trial.state}: {trial.reason.splitlines()[0]}"
    )
    return f"trial {trial.number}: {describe(trial.point)}: {came}"
