"""Measure the cost of relational and distribution losses: CRD within a step, NST and RKD-angle alone.

    python bench/crd.py

CRD: 50,000 samples, 128 dimensions, 16,384 negatives; its step with CE, resnet56 → resnet20, relative to CE + KD. NST
and RKD-angle: forward and backward, relative to the broadcasting implementations of the papers' code.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from measure import conclude, least_of_instances, least_seconds, show
from step import BATCH, CLASSES, tutelage_step
from torch import Tensor

from tutelage import models
from tutelage.losses.base import Loss
from tutelage.losses.feature.nst import NST
from tutelage.losses.relation.crd import CRD
from tutelage.losses.relation.rkd import RKDAngle
from tutelage.losses.response.kd import KD

SAMPLES = 50_000
STAGES = ((16, 32), (32, 16), (64, 8))
Compare = Callable[[Tensor, Tensor], Tensor]


def naive_nst(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute NST with a row for every pair of channels: (B, C, C', N)."""
    s, t = (F.normalize(x.flatten(2), dim=2) for x in (student, teacher))

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a[:, None] * b[:, :, None]).sum(-1).pow(2).mean((1, 2))

    return kernel(s, s) + kernel(t, t) - 2 * kernel(s, t)


def naive_rkd_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute RKD-angle with a row for every edge: (B, B, D)."""

    def angles(x: Tensor) -> Tensor:
        edges = F.normalize(x[None] - x[:, None], dim=2)
        return edges @ edges.mT

    return F.smooth_l1_loss(angles(student), angles(teacher), reduction="none").mean((1, 2))


def forward_backward(loss: Compare, pairs: list[tuple[Tensor, Tensor]]) -> Callable[[], None]:
    """Return a function that runs forward and backward on each pair."""

    def call() -> None:
        for student, teacher in pairs:
            student.grad = None
            loss(student, teacher).mean().backward()

    return call


def losses() -> dict[str, Callable[[], None]]:
    """Return calls of the two losses and of their naive forms, after checking that they agree."""
    maps = [(torch.randn(BATCH, c, n, n, requires_grad=True), torch.randn(BATCH, c, n, n)) for c, n in STAGES]
    vectors = [(torch.randn(BATCH, 64, requires_grad=True), torch.randn(BATCH, 64))]
    comparisons: list[tuple[str, Compare, Compare, list[tuple[Tensor, Tensor]]]] = [
        ("nst", NST(), naive_nst, maps),
        ("rkd_angle", RKDAngle(), naive_rkd_angle, vectors),
    ]
    calls: dict[str, Callable[[], None]] = {}
    for name, loss, naive, pairs in comparisons:
        for pair in pairs:
            torch.testing.assert_close(loss(*pair), naive(*pair), rtol=1e-3, atol=1e-5)
        calls |= {name: forward_backward(loss, pairs), f"naive_{name}": forward_backward(naive, pairs)}
    return calls


def main() -> None:
    """Time the steps, then the losses."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    teacher, student = (models.create(n, classes=CLASSES, channels=3).model for n in ("resnet56", "resnet20"))
    x, y = torch.randn(BATCH, 3, 32, 32), torch.randint(CLASSES, (BATCH,))
    methods: dict[str, Callable[[], Loss]] = {"ce+kd": KD, "ce+crd": CRD}

    def make(name: str) -> Callable[[], object]:
        networks = copy.deepcopy(teacher), copy.deepcopy(student)
        return tutelage_step(*networks, x, y, methods[name](), SAMPLES, channels_last=False)

    seconds = least_of_instances(make, methods, rounds=8)
    show(seconds, "ce+kd")
    loss_seconds = least_seconds(losses(), 30)
    show(loss_seconds, "naive_nst")
    conclude(
        [
            ("crd_step/kd_step", seconds["ce+crd"] / seconds["ce+kd"], 1.2),
            ("nst/naive", loss_seconds["nst"] / loss_seconds["naive_nst"], 0.2),
            ("rkd_angle/naive", loss_seconds["rkd_angle"] / loss_seconds["naive_rkd_angle"], 0.7),
        ]
    )


if __name__ == "__main__":
    main()
