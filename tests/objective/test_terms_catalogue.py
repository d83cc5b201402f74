"""Every loss of the catalogue in a run: positions that don't count, networks of any kind, plain refusals."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from small import net
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.objective.player import Player
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.structures import Batch, Outputs
from tutelage.tasks.classification import Classification
from tutelage.teachers.frozen import Frozen
from tutelage.utils import registry

CATALOGUE = {name: entry.load() for name, entry in registry.catalogue("losses").items()}
GIVEN = {"inputs", "targets", "index", "epoch", "head", "student_head", "teacher_response"}
"""What a run of classification gives to losses that ask."""


def plain(cls: type[Loss]) -> bool:
    """Whether it compares what two networks of a plain run say, and asks for nothing more."""
    return not cls.list_inputs and {*cls.required_inputs()} <= GIVEN and cls.example() is None


def chosen(*facts) -> list:
    return [pytest.param(cls, id=name) for name, cls in CATALOGUE.items() if all(fact(cls) for fact in facts)]


# positions


def positionwise(cls: type[Loss]) -> bool:
    return cls.compares == "response" and cls.maskable


def value_and_gradient(
    cls: type[Loss], said: Tensor, told: Tensor, batch: Batch, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    said = said.clone().requires_grad_()
    term = Term(cls())
    profiles = (SimpleNamespace(response=x, metadata={}, member_profiles=()) for x in (said, told))
    term.wire(*profiles, batch, samples=40)
    value = term(Outputs(said), Outputs(told), batch, mask)
    (gradient,) = torch.autograd.grad(value, said)
    return value.detach(), gradient


@pytest.mark.parametrize("cls", chosen(positionwise, plain))
@pytest.mark.parametrize("positions", [(), (3, 2)], ids=["samples", "maps"])
def test_positions_that_do_not_count_change_nothing(cls, positions):
    """With a mask: the value and gradients of the chosen positions alone, whatever stands in the others."""
    said, told = (torch.randn(8, 5, *positions, dtype=torch.float64) for _ in range(2))
    targets = torch.randint(5, (8, *positions))
    mask = torch.rand(8, *positions) < 0.6
    rows = Batch(torch.randn(8, 3), targets[mask])
    value, gradient = value_and_gradient(cls, *(x.movedim(1, -1)[mask] for x in (said, told)), rows, None)
    for filling in (0.0, 1e4):
        for x in (said, told):
            x.movedim(1, -1)[~mask] = filling
        whole = Batch(torch.randn(8, 3), targets.masked_fill(~mask, 255))
        ours, its = value_and_gradient(cls, said, told, whole, mask)
        torch.testing.assert_close(ours, value)
        torch.testing.assert_close(its.movedim(1, -1)[mask], gradient)
        assert its.movedim(1, -1)[~mask].eq(0).all()


@pytest.mark.parametrize("cls", chosen(positionwise, plain))
def test_no_position_at_all_gives_zero(cls):
    said, told, mask = torch.randn(4, 5, 3, 2), torch.randn(4, 5, 3, 2), torch.zeros(4, 3, 2, dtype=torch.bool)
    value, gradient = value_and_gradient(cls, said, told, Batch(said, torch.full((4, 3, 2), 255)), mask)
    assert value == 0
    assert gradient.eq(0).all()


# networks


def vit() -> nn.Module:
    import timm

    size = {"img_size": 8, "patch_size": 2, "in_chans": 1, "embed_dim": 12, "depth": 4, "num_heads": 2}
    return timm.create_model("vit_tiny_patch16_224", num_classes=10, **size)


SIDES = {
    "cnn from a larger cnn": (lambda: net("cnn2", 1), lambda: net("resnet8x4", 2)),
    "cnn from vit": (lambda: net("cnn4", 1), vit),
    "vit from cnn": (vit, lambda: net("cnn4", 1)),
}


@pytest.fixture(scope="module", params=SIDES)
def networks(request) -> tuple[nn.Module, Frozen]:
    student, teacher = SIDES[request.param]
    return student(), Frozen(teacher(), Classification())


def taught(cls: type[Loss], networks: tuple[nn.Module, Frozen], batch: Batch, **wiring) -> dict[str, Tensor]:
    """The gradients of the student, after one comparison."""
    model, teacher = networks
    model.zero_grad()
    player = Player(model, Terms.from_method(Term(cls(), **wiring)), Classification())
    try:
        player.wire(teacher.profile(batch), batch, samples=40)
        told = teacher(batch, player.terms.layers("teacher"))
        value = torch.stack(list(player(batch, told).values())).sum()
        value.backward()
        assert value.isfinite()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    finally:
        player.student.close()


@pytest.fixture
def batch() -> Batch:
    return Batch(torch.randn(6, 1, 8, 8), torch.arange(6), torch.arange(6), epoch=1.0)


def of_classes(cls: type[Loss]) -> bool:
    return not cls.response_kinds or "classes" in cls.response_kinds


def formed(cls: type[Loss]) -> bool:
    return bool(cls.feature_format) or cls.compares == "response"


@pytest.mark.parametrize("cls", chosen(plain, formed, of_classes))
def test_any_two_networks_are_compared_without_a_number_typed(cls, networks, batch):
    gradients = taught(cls, networks, batch)
    assert sum(x.abs().sum() for x in gradients.values()) > 0
    assert all(x.isfinite().all() for x in gradients.values())


@pytest.mark.parametrize("cls", chosen(lambda cls: not (plain(cls) and formed(cls) and of_classes(cls))))
def test_what_a_plain_run_does_not_give_is_refused_or_goes(cls, networks, batch):
    """Never a traceback from within: a loss works, or a ConfigError says what it takes."""
    unknown = [ask for ask in cls.required_inputs() if ask not in GIVEN]
    try:
        taught(cls, networks, batch)
    except ConfigError as error:
        said = str(error)
        assert cls.__name__ in said or "expected" in said
        other_outputs = f"{cls.__name__} compares {' or '.join(cls.response_kinds)}" in said
        assert cls.list_inputs or other_outputs or all(ask in said for ask in unknown)
    else:
        assert not cls.list_inputs
        assert not unknown


@pytest.mark.parametrize("cls", chosen(lambda cls: cls.list_inputs, of_classes))
def test_lists_are_refused_with_the_side_that_is_one(cls, networks, batch):
    with pytest.raises(ConfigError, match=f"{cls.__name__} requires .*a list of {cls.list_inputs[0]} outputs"):
        taught(cls, networks, batch)
