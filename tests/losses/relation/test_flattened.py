"""Relation losses accept maps and tokens, flattened as by their authors; losses of vectors reject them."""

from __future__ import annotations

import copy

import pytest
import torch
from lessons.lesson import TASK, seen, wired
from saying import Says
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.losses.feature.pad import PAD
from tutelage.losses.feature.vkd import VKD
from tutelage.losses.relation.cc import CC, CCNeighbours
from tutelage.losses.relation.compress import CompRess
from tutelage.losses.relation.crd import CRD
from tutelage.losses.relation.darkrank import HardDarkRank
from tutelage.losses.relation.irg import IRGEdge
from tutelage.losses.relation.lightly_queue import LightlyQueue
from tutelage.losses.relation.pkt import PKT
from tutelage.losses.relation.relative_teacher import RelativeTeacher
from tutelage.losses.relation.rkd import RKD, RKDAngle, RKDDistance
from tutelage.losses.relation.seed import SEED
from tutelage.losses.relation.sp import SP
from tutelage.objective.player import Player
from tutelage.objective.reduction import mean
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.teachers.frozen import Frozen
from tutelage.verify.vector import Vector

FLATTEN = [RKD, RKDAngle, RKDDistance, PKT, CC, CCNeighbours, CRD, HardDarkRank, RelativeTeacher, SP, IRGEdge]
VECTORS = [SEED, CompRess, LightlyQueue, PAD, VKD]


def summed(values: Tensor | dict[str, Tensor]) -> Tensor:
    parts = values.values() if isinstance(values, dict) else [values]
    return torch.stack([part.sum() for part in parts]).sum()


@pytest.mark.parametrize("kind", FLATTEN, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("shapes", [((3, 4, 4), (5, 2, 2)), ((7, 3), (7, 5))], ids=["maps", "tokens"])
def test_maps_and_tokens_are_flattened(kind: type[Loss], shapes: tuple[tuple[int, ...], ...]) -> None:
    student, teacher = (torch.randn(6, *shape).double() for shape in shapes)
    loss = kind()
    loss.build(student, teacher, 20)
    loss.double()
    again = copy.deepcopy(loss)
    inputs = {"index": torch.arange(6), "contrast_index": torch.randint(20, (6, 9))} if kind is CRD else {}
    values, flat = loss(student, teacher, **inputs), again(student.flatten(1), teacher.flatten(1), **inputs)
    torch.testing.assert_close(summed(values), summed(flat))


@pytest.mark.parametrize("kind", [RKD, PKT, CC, SP, IRGEdge, RelativeTeacher], ids=lambda kind: kind.__name__)
def test_maps_of_named_layers_are_flattened_in_runs_too(kind: type[Loss]) -> None:
    student_maps, teacher_maps = torch.randn(6, 3, 4, 4).double(), torch.randn(6, 5, 2, 2).double()
    student, teacher = (Says(torch.zeros(6, 2).double(), x) for x in (student_maps, teacher_maps))
    term = Term(kind(), 1.0, student="layer1", teacher="layer1")
    batch = seen(Vector, 0, 6, torch.zeros(6, dtype=torch.long))
    scheme = wired(Offline(Player(student, Terms.from_method(term), TASK), Frozen(teacher, TASK)), batch)
    ((_, losses),) = scheme.turns(batch, 0)
    expected = mean(kind()(student_maps.flatten(1), teacher_maps.flatten(1)))
    torch.testing.assert_close(sum(losses.values()), expected)


@pytest.mark.parametrize("kind", VECTORS, ids=lambda kind: kind.__name__)
def test_what_compares_vectors_says_so(kind: type[Loss]) -> None:
    x = torch.randn(6, 5)
    loss = kind()
    loss.build(x, x, 20)
    for shape in ((6, 5, 4, 4), (6, 7, 5)):
        with pytest.raises(ConfigError, match=r"expected vectors \(B, D\)"):
            loss(torch.randn(shape), torch.randn(shape))
