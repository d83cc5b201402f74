"""method=auto: a short study on the user's own networks and data chooses the method, which a usual run then trains.

runs/x/  choice/  auto.yaml  teacher/  plan.json  study/  choice.json, written before anything can read test
         then the files of the run of the chosen method
"""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from tutelage.config import parsing, schema
from tutelage.config.methods import AUTO
from tutelage.config.named_parts import OFFLINE
from tutelage.config.schema import Config
from tutelage.errors import ConfigError, Interrupted
from tutelage.runs import folder as folders
from tutelage.runs.inputs import Provided, RunInputs
from tutelage.runs.plan import needs_training, teacher_overrides
from tutelage.runs.resuming import begin_or_resume
from tutelage.study import candidates, choice_folder, chosen
from tutelage.study.candidates import ChoicePlan
from tutelage.study.engines.in_process import InProcess
from tutelage.study.methods import KD
from tutelage.study.plan import OF_TRAINING
from tutelage.study.settings import OF_STUDY, SINGULAR, StudySettings
from tutelage.study.store import FILE, Store, StoredTrial
from tutelage.study.study import Study
from tutelage.study.tuning import SEALED
from tutelage.utils.console import format_duration, format_metric
from tutelage.utils.key_types import FROZEN_ONLY

Notify = Callable[[str], object]
"""A function that is called with a line about each step."""


@dataclass(frozen=True)
class Choice:
    """The choice of a run's method.

    Args:
        config: the run's configuration, with kd in the method's place.
        provided: the objects passed for names; callbacks are those of the run, not of the choice's trainings.
        run_folder: the run's folder.
        notify: called with a line about each step.
    """

    config: Config
    provided: Provided
    run_folder: Path
    notify: Notify = bool

    @classmethod
    def begin(cls, keys: Mapping[str, Any], provided: Provided | None = None, notify: Notify = bool) -> Choice:
        """Check the keys of a run with method=auto and make the choice's folder, or open that of one that was begun.

        Raises: ConfigError that lists all faults, and the TutelageErrors of a run.
        """
        config, provided = read(keys, replace(provided or Provided(), loaded={}))
        path = Path(config.out) if config.out else folders.next_free_folder(config, AUTO)
        path = choice_folder.as_begun(path / folders.CHOICE / "auto.yaml", path)
        choice = cls(config, provided, path, notify)
        request = config.model_dump() | {"method": AUTO, "out": str(path)}
        if (choice.folder / "auto.yaml").exists():
            choice_folder.refuse_changes(choice.folder / "auto.yaml", path, request)
            choice_folder.refuse_other_objects(choice.folder, choice.provided, "run")
            return choice
        folders.refuse_existing(path)
        _ = choice.preview  # which refuses what can't be chosen
        objects = {choice_folder.OBJECTS: choice_folder.describe_objects(choice.provided)}
        folders.make_run_folder(choice.folder, {"auto.yaml": parsing.dump(request), **objects})
        return choice

    @property
    def folder(self) -> Path:
        """The choice's own folder."""
        return self.run_folder / folders.CHOICE

    @cached_property
    def preview(self) -> ChoicePlan:
        """The plan with each loss's own layers: the teacher may not be trained yet."""
        return candidates.plan(self.inputs)

    @cached_property
    def inputs(self) -> RunInputs:
        """The run's inputs, without the test split."""
        return RunInputs.load(sealed(self.config), replace(self.provided, callbacks=()))

    def run(self) -> tuple[Config, Provided]:
        """Make the choice, unless it is made; return the configuration of the run, and the objects that it needs.

        Raises: Interrupted after Ctrl-C; the same call goes on.
        """
        with choice_folder.locked(self.folder, "choosing"):
            if not (self.folder / "choice.json").exists():
                try:
                    self._choose()
                except Interrupted as error:
                    again = shlex.quote(str(self.folder / "auto.yaml"))
                    raise Interrupted(f"the choice was stopped; `tutelage distill {again}` goes on.") from error
            config = schema.check(self.read("choice.json")["config"])
        return config, self.provided if config.teacher is not None else replace(self.provided, teacher=None)

    def read(self, name: str) -> Any:
        """Return the content of a JSON file in the choice's folder.

        Raises: CheckpointError if it is torn or was altered.
        """
        return choice_folder.read(self.folder / name, "run")

    # the choice

    def _choose(self) -> None:
        """Train the teacher if it isn't, then the candidates, and write the choice."""
        teacher = self._teacher()
        keys = self.config.model_dump() | teacher
        plan = self._plan(keys)
        self.notify(f"{len(plan.candidates)} losses and the student alone, {plan.epochs} epochs, {plan.seeds} seeds")
        study = self._study(keys, plan)
        with closing(study.store):
            trials = study.run(self._watch, InProcess(self.provided))
        task = self.inputs.task
        choice = chosen.conclude(plan, trials, task.metric, task.higher_is_better, self.config.epochs)
        method = choice["method"]
        own = {"method": method, "out": str(self.run_folder), "chosen_by": str(self.folder / "choice.json")}
        final = keys | own if method is not None else keys | own | _without_teacher()
        content = choice | {"config": json.loads(json.dumps(final))}
        choice_folder.write(self.folder / "choice.json", content)
        for sentence in choice["reasons"]:
            self.notify(sentence)

    def _teacher(self) -> dict[str, Any]:
        """Return the keys that name the teacher, which is trained here if it isn't trained yet."""
        if self.provided.teacher is not None or not needs_training(self.config):
            return {}
        folder = self.folder / "teacher"
        if not (folder / "result.json").exists():
            self.notify(f"teacher {self.config.teacher}: trained once, for the choice and the run")
        own = {"out": str(folder), "seeds": 1, "students": [], "snapshots": [], **SEALED}
        config = self.config.with_overrides(teacher_overrides(self.config), "teacher").model_copy(update=own)
        begin_or_resume(config, replace(self.provided, student=None, callbacks=()))
        return {"teacher": str(folder), **dict.fromkeys(OF_TRAINING)}

    def _plan(self, keys: Mapping[str, Any]) -> ChoicePlan:
        """Return the plan with the layers that the quality measure chooses; it is kept."""
        if not (self.folder / "plan.json").exists():
            config = sealed(schema.check(keys))
            first = self.preview.candidates[0].method
            pair = candidates.measured_pair(config.model_copy(update={"method": first}), self.provided)
            plan = candidates.plan(replace(self.inputs, config=config), pair)
            choice_folder.write(self.folder / "plan.json", plan.to_json())
        return ChoicePlan.read(self.read("plan.json"))

    def _study(self, keys: Mapping[str, Any], plan: ChoicePlan) -> Study:
        """Return the study of the candidates: sealed, with other seeds than the run's, by shorter schedules."""
        config = self.config
        taught = {key: keys[key] for key in config.changed() if key in _of_teaching()}
        settings = StudySettings(
            students=[str(config.student)],
            teachers=[keys["teacher"]],
            methods=[{**taught, "name": each.name, "method": each.method} for each in plan.candidates],
            seeds=plan.seeds,
            out=str(self.folder / "study"),
            threads=_threads_of(self.folder / "study"),
        )
        own = {*OF_STUDY, *SINGULAR, *_of_teaching(), "epochs"}
        shorter = {
            "epochs": plan.epochs,
            "lr_warmup": None if config.lr_warmup is None else config.lr_warmup * plan.epochs / config.epochs,
            "seed": config.seed + config.seeds,
            "split_seed": config.data_seed,
            "teacher_epochs": 0,
            "patience": None,
            "snapshots": [],
            "log": [],
            "judged_on": SEALED["judged_on"],
        }
        of_runs = {key: value for key, value in keys.items() if key not in own} | shorter
        study = Study(settings, of_runs, plain_kd=False)
        study.store.set_default("rungs", list(plan.rungs))
        return study

    def _watch(self, stored: StoredTrial, ended: int, count: int) -> None:
        """Tell how a short training ended."""
        trial, metric = stored.trial, self.inputs.task.metric
        came = f"{stored.state}: {stored.reason.rstrip('.')}"
        if stored.result is not None:
            came = f"{metric} {format_metric(stored.result['student'][metric])} on validation"
        name = f"{trial.method}, seed {trial.seed}"
        self.notify(f"{ended}/{count}  {name}: {came}, {format_duration(stored.seconds)}")


def preview(keys: Mapping[str, Any]) -> ChoicePlan:
    """Return what method=auto would try, with each loss's own layers; nothing is trained or written.

    Raises: ConfigError that lists all faults.
    """
    return Choice(read(keys, Provided())[0], Provided(), Path()).preview


def _threads_of(study: Path) -> int:
    """Return the threads of a study that was begun, since other numbers round otherwise; else those of this process."""
    if not (study / FILE).is_file():
        return torch.get_num_threads()
    with closing(Store(study)) as store:
        return int(store.get("threads") or torch.get_num_threads())


def is_requested(keys: Mapping[str, Any]) -> bool:
    """Return whether the keys of a run ask for a choice of the method."""
    return bool(keys.get("method") == AUTO)


def sealed(config: Config) -> Config:
    """Return the configuration of a run that can't read the test split."""
    return schema.check(config.model_dump() | SEALED)


def read(keys: Mapping[str, Any], provided: Provided) -> tuple[Config, Provided]:
    """Return the configuration of a run with method=auto, with kd in the method's place, and its objects.

    Raises: ConfigError that lists all faults.
    """
    if faults := list(_faults(schema.check({**keys, "method": None}), provided)):
        raise ConfigError("\n".join(f"method=auto: {fault}." for fault in faults))
    return schema.check({**keys, "method": KD}), provided


def _faults(config: Config, provided: Provided) -> Iterator[str]:
    """Yield what a choice can't be made for."""
    if config.teacher is None and provided.teacher is None:
        yield "there is no teacher: name one (teacher=…)"
    if config.catalogue_teacher is not None:
        yield f"teacher={config.teacher} isn't a frozen network, whose methods it compares: name one, or a method"
    if config.scheme_name != OFFLINE:
        yield f"scheme={config.scheme_name}: it chooses among losses with scheme={OFFLINE}: leave scheme out"
    for key in ("stages", "students", "recipe", "term_weights", "chosen_by"):
        if value := getattr(config, key):
            yield f"{key}={value} belongs to a method: leave {key} out, or name the method"
    if config.judged_on == "val":
        yield "it chooses on validation, and judged_on=val would judge the choice there too: leave it out"
    if config.devices > 1:
        yield f"devices={config.devices}: its trainings take one device: leave it out, and train RUN/config.yaml later"
    if provided.teacher is not None and config.teacher_epochs:
        yield f"teacher_epochs={config.teacher_epochs}: an object teaches as it is: train it first, then pass it"
    if isinstance(config.teacher, list) and any(map(needs_training, config.each_teacher())):
        yield "several teachers have to be trained already: give their run folders"
    if threading.current_thread() is not threading.main_thread():
        yield "its trainings pause by signals, which only the main thread gets: call it there"


def _of_teaching() -> set[str]:
    """Return the keys that a training without a teacher can't have."""
    of_teachers = {key for key in Config.model_fields if key.startswith("teacher_")}
    return {*of_teachers, *schema.keys_with_mark(FROZEN_ONLY), "ensemble", "dot"}


def _without_teacher() -> dict[str, Any]:
    """Return the keys of a run in which nothing teaches, at their defaults."""
    return {key: Config.model_fields[key].default for key in ("teacher", *_of_teaching())}
