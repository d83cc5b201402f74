"""The two control experiments of born-again networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from small import net

from tutelage.losses.self_distillation.dkpp import DKPP
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.policies.sample_weight.confidence import Confidence
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers.frozen import Frozen


def test_dkpp_keeps_the_first_class_and_permutes_the_others_uniformly():
    teacher = torch.randn(1, 4, dtype=torch.float64).expand(6000, 4).contiguous()
    p, first = teacher[0].softmax(0), int(teacher[0].argmax())
    targets = torch.stack([-DKPP_targets(teacher, c) for c in range(4)], 1)
    assert torch.allclose(targets.sort(1).values, p.sort().values.expand(6000, 4))
    assert torch.allclose(targets[:, first], p[first].expand(6000))
    others = [c for c in range(4) if c != first]
    assert torch.allclose(targets[:, others].mean(0), p[others].mean().expand(3), atol=0.02)


def DKPP_targets(teacher, c: int):  # noqa: N802
    """Return −∂L/∂(log softmax)_c, from the gradient to one logit, with the same draw for each."""
    torch.manual_seed(7)
    student = torch.zeros_like(teacher).requires_grad_()
    values = DKPP()(student, teacher)
    (gradient,) = torch.autograd.grad(values.sum(), [student])
    return gradient[:, c] - 0.25  # ∂L/∂s = softmax(s) − target


def test_cwtm_is_the_weighted_cross_entropy():
    task = Classification()
    method = [{"name": "ce", "samples": {"name": "confidence"}}]
    model, teacher = net("cnn2"), net("cnn4", 1)
    scheme = Offline(Player(model, Terms.from_method(method), task), Frozen(teacher, task))
    batch = Batch(torch.randn(6, 1, 8, 8), torch.arange(6), torch.arange(6))
    scheme.wire(batch, 20)
    scheme.train()
    ((_, losses),) = scheme.turns(batch, 0)
    confidence = teacher.eval()(batch.inputs).softmax(1).amax(1)
    values = F.cross_entropy(net("cnn2").train()(batch.inputs), batch.targets, reduction="none")
    assert torch.allclose(losses["ce"], (confidence / confidence.sum() * values).sum(), rtol=1e-5)
    assert torch.allclose(Confidence()(values, teacher(batch.inputs)).mean(), torch.tensor(1.0))
