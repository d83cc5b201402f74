"""Lessons: scheme turns built from a reference vector, and the comparison of their results with the vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from saying import Says, of
from torch import Tensor, nn

from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.base import Scheme
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.verify.checker import GRADIENT_TOLERANCE, LOSS_TOLERANCE
from tutelage.verify.vector import Vector

TASK = Classification()


@dataclass
class Lesson:
    """The schemes and batches to run, and the tensors whose gradients are compared with the vector's.

    counts: returns True for the losses, as "player/term", that the vector includes.
    """

    played: list[tuple[Scheme, Batch]]
    arrive: Mapping[str, Callable[[], Tensor]] = field(default_factory=dict)
    counts: Callable[[str], bool] = lambda name: True


def player(kind: type[Player], model: nn.Module, *terms: dict[str, Any]) -> Any:
    return kind(model, Terms.from_method(terms), TASK)


def seen(vector: Vector, first: int, count: int, targets: Tensor | None = None, **known: Any) -> Batch:
    """Return a batch of the samples with these numbers, with the vector's targets."""
    number = torch.arange(first, first + count)
    return Batch(number[:, None].double(), vector.get("target") if targets is None else targets, number, **known)


def wired(scheme: Any, batch: Batch) -> Any:
    scheme.wire(batch, 64)
    return scheme.train()


def offline(vector: Vector, *terms: dict[str, Any], teacher: Any = None) -> Lesson:
    model, batch = Says(vector.inputs["student_logits"]), seen(vector, 0, len(vector.inputs["student_logits"]))
    return Lesson(
        [(wired(Offline(player(Player, model, *terms), teacher), batch), batch)], {"student_logits": of(model)}
    )


def compare(vector: Vector, lesson: Lesson) -> None:
    """Run the lesson, and compare its loss and gradients with the vector's."""
    total = 0.0
    for scheme, batch in lesson.played:
        for name, losses in scheme.turns(batch, 0):
            sum(losses.values()).backward()
            total += sum(value.item() for term, value in losses.items() if lesson.counts(f"{name}/{term}"))
        teacher = getattr(scheme, "teacher", None) or nn.Identity()
        assert all(p.grad is None for p in teacher.parameters())
    assert total == pytest.approx(vector.loss, rel=LOSS_TOLERANCE)
    arrived = {name: gradient() for name, gradient in lesson.arrive.items()}
    assert arrived.keys() >= vector.gradients.keys()
    for name, gradient in arrived.items():
        expected = vector.gradients.get(name, torch.zeros(()))  # a tensor without an expected gradient must get none
        scale = 1.0 if name in vector.near_zero else expected.abs().max().item()
        assert (gradient - expected).abs().max().item() <= GRADIENT_TOLERANCE * scale + 1e-12, name
