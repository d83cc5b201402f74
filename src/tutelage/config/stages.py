"""The trainings of a run before the student's: their names, and their references to earlier ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tutelage.errors import ConfigError, unknown

STAGE = "stage:"
"""The prefix of a reference to an earlier training of the same run, in place of a model's name."""

LAST = "student"
"""The stage that is the student's own training."""

BASELINE = "baseline"
"""The student's training without a teacher, as a name for teacher."""

EPOCH = re.compile(r"[1-9]\d{0,5}")

Overrides = Mapping[str, Any]
"""The keys that a training sets differently from the run."""


class StageReference(NamedTuple):
    """A reference to the network of an earlier training, at its end or after `epoch` epochs."""

    stage: str
    epoch: int | None = None


def is_stage(name: Any) -> bool:
    """Return whether a model's name refers to an earlier training."""
    return isinstance(name, str) and name.startswith(STAGE)


def parse_stage_ref(name: str) -> StageReference:
    """Parse "stage:NAME" or "stage:NAME@EPOCH".

    Raises: ConfigError if EPOCH isn't a positive whole number.
    """
    stage, at, epoch = name.removeprefix(STAGE).partition("@")
    if at and not EPOCH.fullmatch(epoch):
        raise ConfigError(f"{name}: expected a whole number of epochs after @, such as {STAGE}{stage}@10.")
    return StageReference(stage, int(epoch) if at else None)


def stage_refs(overrides: Overrides) -> Iterator[tuple[str, str]]:
    """Yield each key that refers to an earlier training, with the reference."""
    for key, value in overrides.items():
        for item in value if isinstance(value, list) else [value]:
            names = [item.get("model"), item.get("weights")] if isinstance(item, Mapping) else [item]
            yield from ((key, str(name)) for name in names if is_stage(name))


def find_faults(
    stages: Sequence[Overrides],
    run: Overrides,
    run_wide: Sequence[str],
    of_data: Sequence[str],
    naming: Sequence[str],
) -> list[str]:
    """Return the faults of the stages' names and references, a sentence each.

    run: the run's keys. run_wide: the keys that a stage can't set. of_data: those that the last stage can't set.
    naming: the keys that may name an earlier stage.
    """
    names = [str(stage.get("name")) for stage in stages]
    problems = [f"two stages are called {name!r}: give each a name of its own" for name in _twice(names)]
    problems += [f"{key}={name}: set it in the stage that it is for" for key, name in stage_refs(run)]
    if LAST in names[:-1]:
        problems.append(f"the stage {LAST!r} is the student's own training: put it last")
    for i, stage in enumerate(stages):
        if not isinstance(stage.get("name"), str) or not re.fullmatch(r"[A-Za-z]\w*", names[i]):
            problems.append(f"stage {stage.get('name')!r}: its name is a letter and then letters, digits or _")
        if re.fullmatch(rf"teacher\d*|{BASELINE}", names[i]):
            problems.append(f"stage {names[i]!r}: a training of the run has this name already, choose another")
        problems += [
            f"stage {names[i]}: {key} is the run's, the same for all stages" for key in stage if key in run_wide
        ]
        if names[i] == LAST:
            own = [key for key in stage if key in of_data]
            problems += [f"stage {LAST}: {key} is the run's, whose data the student is trained on" for key in own]
        for key, name in stage_refs(stage):
            before = dict(zip(names[:i], stages, strict=False))
            fault = "" if key in naming else f"only {', '.join(naming[:-1])} and {naming[-1]} may name an earlier stage"
            fault = fault or _fault(key, name, stage, before, names[i + 1 :], run)
            fault = fault or _misfit(key, parse_stage_ref(name), stage, before, run)
            problems += [f"stage {names[i]}: {key}={name}: {fault}"] if fault else []
    return problems


def _fault(
    key: str, name: str, stage: Overrides, before: Mapping[str, Overrides], later: Sequence[str], run: Overrides
) -> str:
    """Return why this name refers to no earlier training; empty if it does."""
    stage_name, at, epoch = name.removeprefix(STAGE).partition("@")
    if key == "term_weights" and (at or stage_name == "teacher"):
        return "the terms can only begin with the state of an earlier stage's terms at its end"
    if stage_name == BASELINE and run.get("baseline"):
        return "" if key == "teacher" and not at else "the baseline can only be named as a teacher, at its end"
    if at and not EPOCH.fullmatch(epoch):
        return f"expected a whole number of epochs after @, such as {STAGE}{stage_name}@10"
    if stage_name == stage.get("name"):
        return "a stage can't name itself"
    if stage_name in later:
        return f"{stage_name!r} comes later, put it before"
    return "" if stage_name in ("teacher", *before) else unknown("stage", stage_name, ["teacher", *before])


def _misfit(
    key: str, reference: StageReference, stage: Overrides, before: Mapping[str, Overrides], run: Overrides
) -> str:
    """Return why the network or the terms that this refers to won't exist or don't fit; empty if they do."""
    overrides, teacher = before.get(reference.stage, {}), run.get("teacher")
    if reference.stage == "teacher":
        if not isinstance(teacher, str) or teacher == "moving_average":
            return "the run has no single teacher of its own, name one (teacher=…)"
        overrides = {"student": teacher, "epochs": run.get("teacher_epochs") or run["epochs"]}
    training = {**run, **overrides}
    if key == "student_weights" and training["student"] != stage.get("student", run["student"]):
        return f"these are {training['student']}'s, and the student is {stage.get('student', run['student'])}"
    if key == "term_weights" and (training.get("keep") == "best" or training.get("patience") is not None):
        return f"the terms of {reference.stage} are those of its last epoch: let it keep the last (keep=last)"
    if reference.epoch is not None and reference.epoch > training["epochs"]:
        return f"{reference.stage} is trained for {training['epochs']} epochs"
    if reference.epoch is not None and training.get("patience") is not None:
        return f"with patience {reference.stage} may stop before that epoch, leave patience out"
    return ""


def _twice(names: Sequence[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def epochs_of_weights(stages: Mapping[str, Overrides], last: Overrides, epochs: int) -> int:
    """Return the epochs of the student's weights: in the last training and in the earlier ones that it continues.

    stages: the overrides of the stages before the last, by name; epochs: the run's.
    """
    total, overrides = int(last.get("epochs", epochs)), last
    while is_stage(overrides.get("student_weights")):
        before = parse_stage_ref(overrides["student_weights"])
        if before.stage not in stages:  # the teacher's
            break
        overrides = stages[before.stage]
        total += before.epoch or int(overrides.get("epochs", epochs))
    return total
