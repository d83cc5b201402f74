"""Losses in chunks equal losses of all rows at once, in value and gradient."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Sequence
from tutelage.losses.functional import chunked
from tutelage.losses.functional.chunked import apply_in_chunks
from tutelage.losses.sequence.akl import AKL
from tutelage.losses.sequence.distillm import SkewKL, SkewRKL
from tutelage.losses.sequence.distillm2 import DistiLLM2
from tutelage.losses.sequence.f_distill import TVD
from tutelage.losses.sequence.gkd import GKD
from tutelage.losses.sequence.taid import TAID
from tutelage.losses.sequence.token_ce import TokenCE

B, T, V = 3, 7, 11
LOSSES = [GKD(0.3, temperature=2.0), GKD(0.0), GKD(1.0), SkewKL(), SkewKL(entropy=False), SkewRKL(), TVD(), AKL()]


@pytest.fixture(autouse=True)
def two_rows_a_chunk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(chunked, "SMALLEST", 2 * V)


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    targets = torch.randint(V, (B, T))
    targets[0, :3] = targets[1] = targets[2, 6] = -100
    return torch.randn(B, T, V, dtype=dtype, requires_grad=True), torch.randn(B, T, V, dtype=dtype), targets


def plain(loss: Sequence, student: Tensor, teacher: Tensor, tokens: Tensor) -> Tensor:
    return loss.divergence(student[tokens], teacher[tokens])


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_all_rows_at_once(loss: Sequence, shift: bool, dtype: torch.dtype) -> None:
    student, teacher, targets = batch(dtype)
    tokens = (F.pad(targets[:, 1:], (0, 1), value=-100) if shift else targets) != -100
    loss.shift = shift
    values, expected = loss(student, teacher, targets=targets), plain(loss, student, teacher, tokens)
    outer = torch.randn_like(values)
    assert values.dtype == dtype
    torch.testing.assert_close(values, expected)
    gradients = [torch.autograd.grad(x, student, outer)[0] for x in (values, expected)]
    torch.testing.assert_close(*gradients)
    assert (gradients[0][~tokens] == 0).all()


def test_taid_keeps_the_place_it_had_for_a_second_gradient() -> None:
    student, teacher, targets = batch()
    loss = TAID(adaptive=False).double()
    for _ in range(2):
        values = loss(student, teacher, targets=targets, epoch=9.0)
    assert loss.t > 0.9
    first, second = (torch.autograd.grad(values.sum(), student, retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(first, second)


def test_a_retained_graph_gives_the_gradient_again() -> None:
    student, teacher, targets = batch()
    values = GKD()(student, teacher, targets=targets)
    first = torch.autograd.grad(values.mean(), student, retain_graph=True)[0]
    kept = first.clone()
    second = torch.autograd.grad(3 * values.mean(), student)[0]
    torch.testing.assert_close(second, 3 * kept)
    torch.testing.assert_close(first, kept)


def test_autograd_agrees_with_differences() -> None:
    student, teacher, targets = batch()
    assert torch.autograd.gradcheck(lambda x: GKD(0.2)(x, teacher, targets=targets), (student,))


def test_a_teacher_that_learns_gets_its_gradient() -> None:
    student, teacher, targets = batch()
    teacher.requires_grad_()
    GKD()(student, teacher, targets=targets).sum().backward()
    chunked = GKD()(student, teacher.detach(), targets=targets)
    torch.testing.assert_close(torch.autograd.grad(chunked.sum(), student)[0], student.grad)
    assert teacher.grad is not None
    assert teacher.grad.abs().sum() > 0


@pytest.mark.parametrize("gradient", [True, False])
def test_no_formula_sees_more_than_its_chunk(gradient: bool) -> None:
    student, teacher, targets = batch()
    sizes = []

    def formula(s: Tensor, t: Tensor) -> Tensor:
        sizes.append((len(s), s.requires_grad))
        return (s - t).square().sum(1)

    with torch.set_grad_enabled(gradient):
        values = apply_in_chunks(formula, targets != -100, student, teacher)
    assert values.requires_grad == gradient
    assert sizes == [(2, gradient)] * 5


def test_many_rows_are_at_most_128_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "SMALLEST", 1)
    sizes = []

    def formula(s: Tensor) -> Tensor:
        sizes.append(len(s))
        return s.sum(1)

    apply_in_chunks(formula, torch.ones(1000, dtype=torch.bool), torch.randn(1000, 3))
    assert sizes == [8] * 125


def test_nothing_labelled_gives_no_values_and_no_gradient() -> None:
    student, teacher, targets = batch()
    values = GKD()(student, teacher, targets=torch.full_like(targets, -100))
    values.sum().backward()
    assert values.shape == (0,)
    assert (student.grad == 0).all()


def test_logits_that_are_a_slice_and_those_of_autocast() -> None:
    student, teacher, targets = batch(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        values = GKD()(student[:, 1:], teacher[:, 1:], targets=targets[:, 1:])
        expected = plain(GKD(), student[:, 1:], teacher[:, 1:], targets[:, 1:] != -100)
    assert values.dtype == expected.dtype
    torch.testing.assert_close(values, expected)
    gradients = [torch.autograd.grad(x.sum(), student)[0] for x in (values, expected)]
    torch.testing.assert_close(*gradients, rtol=0.02, atol=1e-4)


def test_a_second_gradient_is_made_in_the_precision_of_the_first() -> None:
    student, teacher, targets = batch(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        values = GKD()(student, teacher, targets=targets)
    first, second = (torch.autograd.grad(values.sum(), student, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("loss", [TokenCE(), DistiLLM2()], ids=repr)
def test_equals_one_chunk(loss: Sequence, monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher, targets = batch()
    inputs = {"by_teacher": torch.tensor([True, True, False])} if isinstance(loss, DistiLLM2) else {}
    results = []
    for smallest in (2 * V, 100 * V):
        monkeypatch.setattr(chunked, "SMALLEST", smallest)
        values = loss(student, teacher, targets=targets, **inputs)
        results.append((values, torch.autograd.grad(values.square().sum(), student)[0]))
    torch.testing.assert_close(*results)
