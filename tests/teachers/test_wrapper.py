"""A wrapper forwards every method of a teacher that it doesn't override."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import digits, net

from tutelage.config import schema
from tutelage.errors import ConfigError
from tutelage.nn.model_profile import ModelProfile
from tutelage.runs.run import Run
from tutelage.schemes.base import Scheme
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers.base import Teacher, TeacherWrapper
from tutelage.teachers.cached import Cached, CachePlan
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen
from tutelage.teachers.moving_average import MovingAverage
from tutelage.teachers.prefetching import PrefetchingTeacher
from tutelage.teachers.projected import Projected

DATA = digits(32)
METHODS = [name for name, _ in inspect.getmembers(Teacher, inspect.isfunction) if name in vars(Teacher)]
ASIDE = {"train", "__init__"}


class Recording(Frozen):
    """A teacher that records which methods were called."""

    def __init__(self) -> None:
        super().__init__(net("cnn4", 1), Classification())
        self.calls: list[str] = []


def recording(name: str) -> Callable[..., Any]:
    def method(self: Recording, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(name)
        return getattr(Frozen, name)(self, *args, **kwargs)

    return method


for method in set(METHODS) - ASIDE:
    setattr(Recording, method, recording(method))


class Plain(TeacherWrapper):
    """A wrapper as a user would write it."""


WRAPPERS: dict[str, Callable[[Teacher, Path], Teacher]] = {
    "plain": lambda teacher, folder: Plain(teacher),
    "projected": lambda teacher, folder: Projected(teacher, 3),
    "ahead": lambda teacher, folder: PrefetchingTeacher(teacher, 2),
    "cached": lambda teacher, folder: Cached(teacher, DATA, CachePlan(folder)),
    "all of them": lambda teacher, folder: PrefetchingTeacher(
        Cached(Projected(teacher, 3), DATA, CachePlan(folder)), 2
    ),
}


def arguments(name: str) -> tuple[Any, ...]:
    batch = next(DATA.batches("val", 4))
    arguments_by_method = {
        "forward": (batch,),
        "profile": (batch,),
        "respond": (batch,),
        "prepare_for": (["layer2"],),
        "load_checkpoint_state": ({},),
        "prefetch": (iter([batch]),),
    }
    return arguments_by_method.get(name, ())


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", sorted(set(METHODS) - ASIDE - {"prefetch"}))
def test_every_call_reaches_the_teacher(wrapper: str, name: str, tmp_path: Path) -> None:
    teacher = Recording()
    outer = WRAPPERS[wrapper](teacher, tmp_path)
    teacher.calls.clear()
    with torch.no_grad():
        getattr(outer, name)(*arguments(name))
    assert name in teacher.calls


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_metadata_and_profile_are_forwarded(wrapper: str, tmp_path: Path) -> None:
    teacher = Frozen(net("cnn4", 1), Classification())
    outer = WRAPPERS[wrapper](teacher, tmp_path)
    batch = next(DATA.batches("train", 4))
    profile = outer.profile(batch)
    assert isinstance(profile, ModelProfile)
    narrow = wrapper in ("projected", "all of them")
    assert outer.metadata.keys() == teacher.metadata.keys() - ({"head", "heads"} if narrow else set())  # type: ignore[attr-defined]
    assert outer(batch, ["layer1"]).metadata.keys() == outer.metadata.keys()  # type: ignore[attr-defined]


def dry_run(keys: dict[str, Any], folder: Path) -> tuple[Scheme, Batch] | str:
    """Return the student's scheme and a batch before any training, or the message of the error."""
    try:
        wired = Run(schema.check(keys), folder=folder).dry_run(8)
    except ConfigError as error:
        return str(error)
    return wired.scheme, wired.batch


@pytest.mark.parametrize("teachers", [["cnn4", "cnn4"], ["cnn4", "cnn8"], ["cnn2", "cnn8"]])
@pytest.mark.parametrize("ensemble", ["logits", "random", "annealed"])
@pytest.mark.parametrize("method", ["kd", "kd+fitnet"])
@pytest.mark.parametrize(
    "options",
    [{"teacher_width": 12}, {"teacher_width": 3}, {"teacher_ahead": 2}, {"teacher_width": 12, "teacher_ahead": 2},
     {"cache": True, "teacher_width": 12}, {"cache": True}],
    ids=lambda options: "-".join(options) + f"-{options.get('teacher_width', '')}",
)  # fmt: skip
def test_what_does_not_go_together_is_refused_before_any_teacher_is_trained(
    teachers: list[str], ensemble: str, method: str, options: dict[str, Any], tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keys = {"teacher": teachers, "ensemble": ensemble, "method": method, "limit": 64, "device": "cpu"} | options
    result = dry_run(keys, tmp_path)
    if isinstance(result, str):
        assert "one architecture" in result or "can't be cached" in result
        assert ensemble != "logits"
        return
    scheme, batch = result
    assert not {"cache", "teacher_width"} <= options.keys() or ensemble == "logits"
    for k in range(8):  # each member is drawn
        drawn = Batch(batch.inputs, batch.targets, index=batch.index, epoch=k / 8)
        for _, losses in scheme.turns(drawn, k):
            assert all(value.isfinite() for value in losses.values())


def test_a_teacher_is_in_eval_mode_from_the_beginning() -> None:
    teacher = Frozen(net("cnn4", 1), Classification())
    for outer in (teacher, Plain(teacher), Ensemble([teacher]), MovingAverage(net(), Classification())):
        assert not any(module.training for module in outer.modules() if isinstance(module, Teacher))
