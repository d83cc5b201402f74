"""Losses at some positions: what isn't in the mask counts in nothing, whichever way the loss is computed."""

from __future__ import annotations

import math

import pytest
import torch

from tutelage.losses.base import Loss
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.objective.masking import compare_at, select_positions, values_at
from tutelage.utils import registry

MASK = torch.rand(6, 4, 5, generator=torch.Generator().manual_seed(0)) < 0.6


def losses_by_position() -> list[type[Loss]]:
    classes = [entry.load() for entry in registry.catalogue("losses").values()]
    return [cls for cls in classes if cls.by_position]


def compared(loss, student, teacher, targets, way):
    inputs = {"targets": targets} if "targets" in loss.required_inputs() else {}
    values = way(MASK, lambda s, t, kwargs: loss(s, t, **kwargs), student, teacher, inputs)
    return values, torch.autograd.grad(values.sum(), student)[0]


@pytest.mark.parametrize("cls", losses_by_position(), ids=lambda cls: cls.__name__)
def test_both_ways_give_the_same(cls):
    generator = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(6, 3, 4, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    student.requires_grad_()
    targets = torch.randint(3, (6, 4, 5), generator=generator)
    targets[~MASK] = 255  # no class
    loss = cls()
    teacher = teacher if loss.needs_teacher else None
    (values, gradient), (expected, of_rows) = (
        compared(loss, student, teacher, targets, way) for way in (values_at, compare_at)
    )
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(gradient, of_rows)
    assert not gradient.movedim(1, -1)[~MASK].any()


def test_some_losses_are_computed_by_position():
    assert CE in losses_by_position()


@pytest.mark.parametrize("way", [values_at, compare_at])
def test_unknown_teachers_outside_the_mask_dont_reach_the_gradient(way):
    student = torch.randn(6, 3, 4, 5, requires_grad=True)
    teacher = torch.where(MASK[:, None], torch.randn(6, 3, 4, 5), math.nan)
    _, gradient = compared(KD(), student, teacher, None, way)
    assert gradient.isfinite().all()


def test_single_outputs_are_selected_as_such():
    mask = torch.tensor([[True, False], [False, True]])
    assert select_positions(torch.tensor([[1.0, 2], [3, 4]]), mask).tolist() == [1, 4]
