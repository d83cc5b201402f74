"""The order of peers, and of an ensemble's teachers, has no effect where the papers treat them symmetrically."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from schemes.test_two_processes import STEPS, TASK, data, peers, together, with_teachers
from small import settings

from tutelage.losses.multi_teacher.aekd import AEKD
from tutelage.losses.multi_teacher.aver import AVER
from tutelage.losses.multi_teacher.camkd import CAMKD
from tutelage.losses.multi_teacher.ebkd import EBKD
from tutelage.losses.multi_teacher.endd import EnDD
from tutelage.losses.online.dml import DML, DMLJoint
from tutelage.losses.online.kdcl import KDCL
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.schemes.base import Scheme
from tutelage.schemes.codistillation import Codistillation
from tutelage.schemes.mutual import Mutual
from tutelage.teachers.ensemble import Ensemble
from tutelage.training.trainer import Trainer

CASES: dict[str, Callable[..., Scheme]] = {
    "mutual": partial(peers, Mutual, CE(), DML(), KD()),
    "codistillation": partial(peers, partial(Codistillation, every=3), CE(), KD()),
    "dml_joint": partial(together, "none", None, DMLJoint()),
    "the others' mean": partial(together, "none", None, CE(), KD()),
    **{
        f"kdcl {kind}": partial(together, "none", None, KDCL(kind))
        for kind in ("minlogit", "naive", "linear", "general")
    },
    **{
        type(loss).__name__: partial(with_teachers, Ensemble, CE(), loss)
        for loss in (AVER(), EBKD(), CAMKD(), AEKD(), EnDD())
    },
    "mean logits": partial(with_teachers, Ensemble, CE(), KD()),
    "mean probabilities": partial(with_teachers, partial(Ensemble, average="probabilities"), CE(), KD()),
}


@pytest.mark.parametrize("case", CASES)
def test_in_another_order_the_same_networks_are_trained(case: str) -> None:
    states: list[dict[str, Any]] = []
    for order in ((0, 1, 2), (2, 0, 1)):
        torch.manual_seed(3)
        students = Trainer(settings(**STEPS), TASK).fit(CASES[case](order=order), data())
        states.append({name: student.state_dict() for name, student in students.items()})
    assert list(states[0]) != list(states[1]) or len(states[0]) == 1
    torch.testing.assert_close(states[0], {name: states[1][name] for name in states[0]}, atol=1e-5, rtol=1e-4)
