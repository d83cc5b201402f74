"""What can't be trained, or be heard as it is, is said before anything is trained, by the name of the term or key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import Plain, digits, fit, net
from torch import Tensor, nn

import tutelage
from tutelage.errors import ConfigError, ModelError
from tutelage.losses.base import Loss, Response
from tutelage.losses.feature.at import AT
from tutelage.losses.feature.fitnet import FitNet
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.structures import Outputs
from tutelage.tasks.classification import Classification
from tutelage.teachers.frozen import Frozen
from tutelage.utils.registry import catalogue

DATA = digits(32)


def frozen(model: nn.Module, *but: str) -> nn.Module:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(but))
    return model


class Adapted(nn.Module):
    """A frozen network with a small trainable part beside its last layer, as LoRA's."""

    def __init__(self) -> None:
        super().__init__()
        base = frozen(Plain(), "nothing")
        self.layer1, self.layer2, self.fc = base.layer1, base.layer2, base.fc
        self.down, self.up = nn.Linear(8, 2, bias=False), nn.Linear(2, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(x)).mean((2, 3))
        return self.fc(x + self.up(self.down(x)))


class Normed(nn.Module):
    """With batch norm over vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc = nn.BatchNorm1d(64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(x.flatten(1)))


class Detached(Response):
    """Has no gradient."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher).detach().pow(2).mean(1)


def scheme(method: Any, student: nn.Module, teacher: nn.Module | None = None) -> Offline:
    task = Classification()
    told = Frozen(net("cnn4", 1) if teacher is None else teacher, task)
    return Offline(Player(student, Terms.from_method(method, task.task_loss()), task), told)


@pytest.mark.parametrize(
    ("method", "student", "message"),
    [
        (KD(), lambda: frozen(Plain(), "nothing"), "the student has nothing to learn"),
        (AT(), lambda: frozen(Plain(), "nothing"), "the student has nothing to learn"),
        (KD(), lambda: frozen(Plain(), "layer9"), "the student has nothing to learn"),
        (KD() + AT(), lambda: frozen(Plain(), "fc"), "term 'at': .*student's layer1, layer2, which nothing trainable"),
        (FitNet(), lambda: frozen(Plain(), "fc"), "term 'fitnet': .*layer2, which nothing trainable"),
        ([{"name": "rkd"}], lambda: frozen(Plain(), "fc"), "term 'rkd': .*fc:in, which nothing trainable"),
        (AT(), lambda: frozen(Plain(), "layer2", "fc"), "term 'at': .*student's layer1, which nothing trainable"),
        (KD() + AT(), Adapted, "term 'at': .*layer1, layer2, which nothing trainable"),
        (KD() + FitNet(), Adapted, "term 'fitnet': .*layer2, which nothing trainable"),
        (Detached(), Plain, "term 'student/detached'|term 'detached' of student reaches nothing trainable"),
    ],
)
def test_a_term_or_a_student_without_anything_to_train_is_named(
    method: Any, student: Callable[[], nn.Module], message: str
) -> None:
    with pytest.raises((ConfigError, ModelError), match=message):
        fit(scheme(method, student()), DATA)


@pytest.mark.parametrize(
    ("method", "student"),
    [
        (KD(), lambda: frozen(Plain(), "fc")),
        (KD(), Adapted),
        ([{"name": "fitnet", "student": "layer2", "teacher": "layer2"}], lambda: frozen(Plain(), "layer2", "fc")),
        ([{"name": "rkd", "student": "up", "teacher": "fc:in"}], Adapted),
    ],
)
def test_what_is_partly_frozen_learns_with_the_rest(method: Any, student: Callable[[], nn.Module]) -> None:
    model = student()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    free = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    fit(scheme(method, model), DATA)
    assert {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])} == free


def test_a_frozen_student_is_refused_before_the_run_has_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing to learn"):
        tutelage.distill(
            teacher=net("cnn4", 1), student=frozen(net(), "nothing"), data=DATA, out=tmp_path / "run", progress=False
        )
    assert not (tmp_path / "run").exists()


def distill_with_norm(batch_size: int, folder: Path) -> None:
    """Distill a student with a norm over the batch."""
    tutelage.distill(
        teacher=net("cnn4", 1), student=Normed(), data=DATA, batch_size=batch_size, epochs=1, baseline=False,
        out=folder, progress=False,
    )  # fmt: skip


def test_a_norm_over_batches_of_two_trains(tmp_path: Path) -> None:
    distill_with_norm(2, tmp_path / "run")


def test_a_norm_over_batches_of_one_is_refused_by_the_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"batch_size: one sample a batch.*student has a norm over the batch"):
        fit(scheme(KD(), Normed()), DATA, batch_size=1)
    with pytest.raises(ConfigError, match="batch_size"):
        distill_with_norm(1, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # type: ignore[return-value]


@pytest.mark.parametrize("method", [KD(), AT(), KD() + FitNet()])
@pytest.mark.parametrize("side", ["student", "teacher", "both"])
def test_a_compiled_network_is_taken_as_what_it_compiles(method: Any, side: str) -> None:
    def trained(*sides: str) -> dict[str, Tensor]:
        models = {"student": net("cnn2", 2), "teacher": net("cnn4", 1)}
        models |= {name: compiled(models[name]) for name in sides}
        return fit(scheme(method, models["student"], models["teacher"]), DATA).state_dict()

    plain, other = trained(), trained(*(["student", "teacher"] if side == "both" else [side]))
    assert plain.keys() == other.keys()
    assert all(torch.equal(plain[name], other[name]) for name in plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("side", ["student", "teacher"])
def test_weights_of_another_type_than_the_images_are_named(side: str, dtype: torch.dtype) -> None:
    models = {"student": net("cnn2", 2), "teacher": net("cnn4", 1)}
    models[side] = models[side].to(dtype)
    with pytest.raises(
        ModelError, match=rf"weights are {dtype} and the inputs torch.float32: pass the model in float32"
    ):
        fit(scheme(KD(), models["student"], models["teacher"]), DATA)


LOSSES = {name: entry.load() for name, entry in catalogue("losses").items()}
WIRED = [name for name, loss in LOSSES.items() if loss.compares != "response" or loss.build is not Loss.build]
"""The losses with layers to choose or parts to build."""


@pytest.mark.parametrize("name", WIRED)
def test_a_term_that_is_used_before_it_is_wired_says_so(name: str) -> None:
    terms = Terms.from_method([{"name": name}])
    with pytest.raises(ConfigError, match=f"{LOSSES[name].__name__} isn't wired yet"):
        terms(Outputs(torch.randn(4, 10)), Outputs(torch.randn(4, 10)), next(DATA.batches("val", 4)))
