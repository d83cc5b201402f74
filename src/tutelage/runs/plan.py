"""The plan of a run: the trainings in their order, each with its configuration and settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tutelage.config import stages
from tutelage.config.kinds import Spec
from tutelage.config.named_parts import name_of, scheme_alone
from tutelage.config.schema import Config, baseline_overrides
from tutelage.data.data_module import DataModule
from tutelage.data.preparation import select_classes
from tutelage.errors import ConfigError
from tutelage.models import serialization
from tutelage.models.estimators import kinds
from tutelage.models.estimators.adapted import ESTIMATOR
from tutelage.runs.inputs import RunInputs
from tutelage.runs.label_free import refuse_supervision
from tutelage.runs.phase import Phase
from tutelage.settings import TrainerSettings


class RunPlan:
    """The phases of a run, and each one's configuration and settings, from the run's inputs."""

    def __init__(self, inputs: RunInputs) -> None:
        self.inputs, self.config, self.data = inputs, inputs.config, inputs.data
        self._of_stages: dict[str, RunInputs] = {}

    def phases(self) -> list[Phase]:
        """Return the trainings of the run, in order."""
        config = self.config
        result = self._teachers()
        for k in range(config.seeds):
            seed = config.seed + k
            is_distilled = (
                self.has_teacher()
                or config.method
                or name_of(scheme_alone(config.scheme)) != config.scheme_name
                or config.stages
            )
            if config.baseline and is_distilled:
                result.append(Phase(f"baseline-{k}", "baseline", seed, k, self._baseline_overrides()))
            result += [
                Phase(f"{name}-{k}", "stage", seed, k, overrides)
                for name, overrides in config.stage_overrides().items()
            ]
            result.append(Phase(f"student-{k}", "student", seed, k, config.student_overrides()))
        return [replace(phase, overrides={**phase.overrides, "snapshots": self._snapshots(phase)}) for phase in result]

    def _baseline_overrides(self) -> Spec:
        """Return the baseline's overrides: the student's settings and total epochs, without a teacher."""
        config, last = self.config, self.config.student_overrides()
        epochs = stages.epochs_of_weights(config.stage_overrides(), last, config.epochs)
        alone = {"epochs": epochs, "scheme": scheme_alone(last.get("scheme", config.scheme))}
        return {key: x for key, x in last.items() if key != "student_weights"} | baseline_overrides() | alone

    def _snapshots(self, phase: Phase) -> list[int]:
        """Return the epochs in `snapshots`, and those that later trainings refer to."""
        overrides = phase.overrides.get("snapshots", self.config.snapshots)
        references = [
            stages.parse_stage_ref(name) for stage in self.config.stages for _, name in stages.stage_refs(stage)
        ]
        stage_name = phase.name.rpartition("-")[0] or phase.name
        return sorted({*overrides, *(epoch for name, epoch in references if name == stage_name and epoch is not None)})

    def _teachers(self) -> list[Phase]:
        """Return the trainings of teachers that the run has to train; of several teachers they have the role member."""
        config, teachers = self.config, self.config.each_teacher()
        several = isinstance(config.teacher, list)
        trained = [needs_training(teacher) for teacher in teachers] if several else [self.teacher_is_trained()]
        if config.teacher_scheme and not any(trained):
            raise ConfigError(
                f"teacher_scheme={config.teacher_scheme} is for a teacher that is trained in this run, and none is: "
                "name a model as teacher, with teacher_epochs above 0, or remove it."
            )
        for teacher, is_trained in zip(teachers, trained, strict=False):
            _refuse_teacher_keys(teacher, config, is_trained)
        if not several:
            overrides = teacher_overrides(config)
            return [Phase("teacher", "teacher", config.seed, 0, overrides)] if trained[0] else []
        columns = column_of_each_teacher(config.teacher_names, self.data)
        return [
            Phase(
                f"teacher{i}",
                "member",
                config.seed + i,
                0,
                teacher_overrides(teacher) | {"column": columns[i], "classes": self.member_classes(i)},
            )
            for i, teacher in enumerate(teachers)
            if trained[i]
        ]

    def member_classes(self, i: int) -> list[str] | None:
        """Return the classes that one of several teachers is trained on in this run; None: all."""
        config, names = self.config, list(self.data.classes)
        if config.teacher_classes is None:
            return None
        teachers = config.each_teacher()
        if config.teacher_classes == "parts":
            chosen = names[i * len(names) // len(teachers) : (i + 1) * len(names) // len(teachers)]
            return list(select_classes(self.data, chosen).classes)
        if len(config.teacher_classes) != len(teachers) or not all(map(needs_training, teachers)):
            raise ConfigError(
                f"teacher_classes={config.teacher_classes}: expected a list of classes for each of {len(teachers)} "
                "teachers that are trained in this run; a run folder knows its own."
            )
        return list(select_classes(self.data, config.teacher_classes[i]).classes)

    def inputs_for(self, phase: Phase) -> RunInputs:
        """Return the inputs of a phase: the run's, or those of a stage that changes its data or task.

        Raises: ConfigError or DataError, as for a run's data.
        """
        if phase.role != "stage":
            return self.inputs
        name = phase.name.rpartition("-")[0]
        if name not in self._of_stages:
            self._of_stages[name] = self.inputs.for_stage(self.config.with_overrides(phase.overrides, phase.name))
        return self._of_stages[name]

    def inputs_of_stage(self, name: str) -> RunInputs:
        """Return the inputs of the phases that train a stage, by its name; the run's for any other name."""
        overrides = self.config.stage_overrides().get(name)
        return self.inputs if overrides is None else self.inputs_for(Phase(f"{name}-0", "stage", 0, 0, overrides))

    def stages_data(self) -> dict[str, str]:
        """Return the fingerprint of the data of each stage that has other data than the run's, by its name."""
        of_stages = {name: self.inputs_of_stage(name) for name in self.config.stage_overrides()}
        return {name: inputs.data.fingerprint for name, inputs in of_stages.items() if inputs is not self.inputs}

    def config_for(self, phase: Phase) -> Config:
        """Return the configuration of a phase; a stage without a task loss has the task's method, unless it names one.

        Raises: ConfigError if the phase's keys and the run's contradict each other.
        """
        config, task = self._config_for(phase), self.inputs_for(phase).task
        if phase.role != "stage" or task.task_loss() is not None:
            return config
        refuse_supervision(config, self.inputs.provided.teacher is not None)
        names_method = "method" in phase.overrides or self.inputs.task.task_loss() is None
        return config if names_method else config.model_copy(update={"method": task.default_method})

    def _config_for(self, phase: Phase) -> Config:
        if self.inputs.provided.method is None or "method" in phase.overrides:
            return self.config.with_overrides(phase.overrides, phase.name)
        config = self.config.with_overrides(
            {**phase.overrides, "method": []}, phase.name
        )  # losses that no name may find
        return config.model_copy(update={"method": self.config.method})

    def settings(self, phase: Phase) -> TrainerSettings:
        """Return the trainer's settings for one phase."""
        config = self.config_for(phase)
        values = {key: getattr(config, key) for key in TrainerSettings.model_fields} | {"seed": phase.seed}
        if not self.inputs_for(phase).data.is_random:
            values["views"] = min(self.config.views or 1, 1) if self.config.cache else self.config.views
        return TrainerSettings(**values)

    def leaves_terms(self, phase: Phase) -> bool:
        """Return whether a later phase begins with the state of this one's terms."""
        names = [
            name for stage in self.config.stages for key, name in stages.stage_refs(stage) if key == "term_weights"
        ]
        return phase.role == "stage" and phase.name.rpartition("-")[0] in {
            stages.parse_stage_ref(name).stage for name in names
        }

    def is_fitted(self, phase: Phase) -> bool:
        """Return whether a phase's model is fitted in one go, not trained by steps."""
        return kinds.is_fitted(self.config_for(phase).student)

    def has_teacher(self) -> bool:
        """Return whether the run has a teacher."""
        return self.config.teacher is not None or self.inputs.provided.teacher is not None

    def teacher_is_trained(self) -> bool:
        """Return whether the run's only teacher is first trained on this data."""
        if self.inputs.provided.teacher is not None:
            return bool(self.config.teacher_epochs)
        return needs_training(self.config)


def needs_training(config: Config) -> bool:
    """Return whether a configuration's only teacher is first trained: it is a model's name, without weights."""
    name, epochs = config.teacher, config.teacher_epochs
    if kinds.is_fitted(name):
        return True
    if not isinstance(name, str) or config.catalogue_teacher is not None or stages.is_stage(name):
        return False
    if epochs is not None:
        return epochs > 0
    return not (serialization.is_run(name) or name.startswith(ESTIMATOR)) and config.teacher_weights is None


def teacher_overrides(config: Config) -> Spec:
    """Return the keys that differ where this configuration's only teacher is trained."""
    return baseline_overrides() | {
        "student": config.teacher,
        "student_weights": config.teacher_weights,
        "epochs": config.teacher_epochs or config.epochs,
        "lr": config.teacher_lr or config.lr,
        "scheme": config.teacher_scheme or scheme_alone(config.scheme),
        "student_inputs": config.teacher_inputs,
        "student_size": None,
    }


def _refuse_teacher_keys(config: Config, run: Config, is_trained: bool) -> None:
    """Refuse keys for training that one of several teachers has although it isn't trained, and the reverse."""
    training_keys = [key for key in ("teacher_scheme", "teacher_lr") if getattr(config, key) != getattr(run, key)]
    if training_keys and not is_trained:
        raise ConfigError(
            f"teacher {config.teacher}: {training_keys[0].removeprefix('teacher_')} is for a teacher that is trained "
            "in this "
            "run, and this one isn't: remove it."
        )
    if config.teacher_size and is_trained:
        raise ConfigError(
            f"teacher_size={config.teacher_size}: a teacher that is trained in this run gets the run's images; "
            f"train it first (`tutelage train … size={config.teacher_size}`), and give its run folder."
        )
    if config.teacher_mean and is_trained:
        raise ConfigError(
            f"teacher_mean={config.teacher_mean}: a teacher that is trained in this run gets its images normalised "
            "as the data is: remove teacher_mean and teacher_std, or set teacher_epochs=0 to use it as it is."
        )


def column_of_each_teacher(teachers: Sequence[str], data: DataModule) -> list[str | None]:
    """Return the label column that each of several teachers teaches; None: the data's only one.

    Raises: ConfigError if there are columns, and not a model or run folder for each.
    """
    columns = list(data.columns)
    if not columns:
        return [data.column_name or None] * len(teachers)
    if len(teachers) != len(columns) or any(map(stages.is_stage, teachers)):
        raise ConfigError(
            f"teacher=[{', '.join(teachers)}]: {data.name} has the label columns {', '.join(columns)}; expected a "
            "model or run folder for each, in this order, or a single teacher of all."
        )
    return [*columns]
