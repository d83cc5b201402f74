"""The configuration of a run on data without labels, in which only a teacher that comes trained teaches."""

from __future__ import annotations

from tutelage.config.schema import Config
from tutelage.config.stages import is_stage
from tutelage.errors import ConfigError
from tutelage.models import serialization
from tutelage.models.providers import published_name
from tutelage.tasks.base import Task
from tutelage.utils.registry import is_known

OTHER_VIEW = "other_view"
"""The scheme in which a moving average of the student teaches without labels."""


def without_task_loss(config: Config, task: Task, has_teacher: bool) -> Config:
    """Return the configuration with the defaults of a task without a task loss; unchanged for other tasks.

    There is no baseline, a teacher by name comes with its published weights, and the default method is the task's.
    Raises: ConfigError if there is no teacher, it would have to be trained, or the scheme needs labels.
    """
    if task.task_loss() is not None:
        return config
    refuse_supervision(config, has_teacher)
    if config.teacher_epochs or config.teacher_scheme:
        raise ConfigError(
            f"teacher_epochs={config.teacher_epochs}, teacher_scheme={config.teacher_scheme}: data without labels "
            "can't train a teacher; remove them."
        )
    overrides = {"baseline": False, "teacher_epochs": 0}
    method = {"method": task.default_method} if config.method == Config.model_fields["method"].default else {}
    return config.model_copy(update=overrides | method | _teacher(config))


def refuse_supervision(config: Config, has_teacher: bool) -> None:
    """Refuse a training on data without labels that no teacher teaches.

    Raises: ConfigError if there is no teacher, or it or the scheme requires labels.
    """
    if not has_teacher and config.teacher is None:
        raise ConfigError(f"data={config.data} has no labels, so that only a teacher can teach: name one (teacher=…).")
    if config.scheme_name != OTHER_VIEW and (config.scheme_name != "offline" or config.teacher_follows):
        raise ConfigError(
            f"scheme={config.scheme_name}, teacher={config.teacher}: data without labels is for scheme=offline and a "
            f"teacher that comes trained, or for scheme={OTHER_VIEW}, whose teacher may be a moving average."
        )


def _teacher(config: Config) -> dict[str, str]:
    """Return the teacher's name with the tag of its published weights, if it names none."""
    name = config.teacher
    is_model = isinstance(name, str) and not is_stage(name) and not serialization.is_run(name)
    if not is_model or config.teacher_weights or config.pretrained is not None or is_known("teachers", str(name)):
        return {}
    if str(name).startswith(("object:", "python:")):
        return {}
    return {"teacher": published_name(str(name))}
