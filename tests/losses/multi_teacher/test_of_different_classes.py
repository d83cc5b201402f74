"""Losses of teachers of different classes, against plain implementations."""

import pytest
import torch
import torch.nn.functional as F

from tutelage.errors import ConfigError
from tutelage.losses.multi_teacher.cfl import CFL, CFLMMD, SIGMAS
from tutelage.losses.multi_teacher.ka import KA
from tutelage.losses.multi_teacher.uhc import UHC

COLUMNS = [[0, 2, 4], [4, 1], [3, 1, 0]]


def test_uhc_renormalises_the_student_on_each_teachers_classes():
    student, teachers = torch.randn(4, 5), [torch.randn(4, len(classes)) for classes in COLUMNS]
    value = UHC(temperature=2.0)(student, teachers, columns=COLUMNS)
    for i in range(4):
        p = (student[i] / 2).softmax(0)
        by_hand = 0.0
        for logits, classes in zip(teachers, COLUMNS, strict=True):
            q = (logits[i] / 2).softmax(0)
            by_hand -= sum(q[j] * (p[c] / p[classes].sum()).log() for j, c in enumerate(classes))
        assert torch.allclose(value[i], by_hand, atol=1e-5)


def test_uhc_has_no_gradient_to_classes_that_a_teacher_does_not_predict():
    student = torch.randn(4, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(UHC()(student, [torch.randn(4, 3)], columns=[[0, 2, 4]]).sum(), student)
    assert gradient[:, [1, 3]].abs().max() == 0
    assert gradient[:, [0, 2, 4]].abs().min() > 0


def test_uhc_has_no_gradient_where_the_student_agrees_on_each_teachers_classes():
    student = torch.randn(4, 5, requires_grad=True)
    teachers = [student.detach()[:, classes] + 3.0 for classes in COLUMNS]
    (gradient,) = torch.autograd.grad(UHC()(student, teachers, columns=COLUMNS).sum(), student)
    assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize("columns", [None, [[0, 1]], [[0, 1], [2, 3, 4]]])
def test_uhc_raises_for_classes_that_do_not_fit(columns):
    with pytest.raises(ConfigError, match="UHC: columns lists"):
        UHC()(torch.randn(4, 5), [torch.randn(4, 3)], columns=columns)


def test_ka_equals_the_formula_and_only_the_reconstruction_trains_the_code():
    shallow, deep = torch.randn(4, 3, 6, 6, requires_grad=True), torch.randn(4, 5, 2, 2, requires_grad=True)
    teachers = [torch.randn(4, 2, 6, 6), torch.randn(4, 4, 3, 3), torch.randn(4, 6, 2, 2), torch.randn(4, 6, 2, 2)]
    loss = KA()
    loss.build([shallow, shallow, deep, deep], teachers, 20)
    assert loss.groups == [[0, 1], [2, 3]]
    loss.eval()
    losses = loss([shallow, shallow, deep, deep], teachers)
    features = [torch.cat([F.adaptive_avg_pool2d(teachers[0], 3), teachers[1]], 1), torch.cat(teachers[2:], 1)]
    reconstruction = match = 0.0
    for k, (f, s, first) in enumerate(zip(features, (shallow, deep), (2, 6), strict=True)):
        code = loss.encoders[k](f)
        errors = (loss.decoders[k](code) - f).pow(2)
        reconstruction = reconstruction + errors[:, :first].mean((1, 2, 3)) + errors[:, first:].mean((1, 2, 3))
        aligned = loss.aligners[k](F.adaptive_avg_pool2d(s, code.shape[2:]))
        match = match + (aligned - code.detach()).pow(2).mean((1, 2, 3))
    assert torch.allclose(losses["reconstruction"], reconstruction, atol=1e-6)
    assert torch.allclose(losses["match"], match, atol=1e-6)
    weights = [*loss.encoders.parameters(), *loss.decoders.parameters()]
    assert all(g is None for g in torch.autograd.grad(losses["match"].sum(), weights, allow_unused=True))
    gradients = torch.autograd.grad(losses["reconstruction"].sum(), [shallow, deep, *weights], allow_unused=True)
    assert [g is None for g in gradients] == [True, True, *[False] * len(weights)]


def mmd(x, y, sigmas=SIGMAS):
    """Return MMD² of flattened maps of unit length, from the kernels' sum for each pair."""
    x, y = (v.flatten(1) / v.flatten(1).norm(dim=1, keepdim=True) for v in (x, y))

    def mean_kernel(x, y):
        pairs = [torch.exp(-(a - b).pow(2).sum() / (2 * s * s)) for s in sigmas for a in x for b in y]
        return sum(pairs) / (len(x) * len(y))

    return mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)


@pytest.mark.parametrize("options", [{}, {"sigmas": (0.5, 3.0)}])
def test_mmd_equals_the_formula(options):
    student, teacher = torch.randn(5, 3, 4, 4).double(), torch.randn(5, 3, 4, 4).double()
    torch.testing.assert_close(CFLMMD(**options)(student, teacher).mean(), mmd(student, teacher, **options))
    with pytest.raises(ConfigError, match="expected a number above 0"):
        CFLMMD(sigmas=(0.1, 0.0))


@pytest.mark.parametrize("options", [{}, {"dim": 8, "sigmas": (0.5, 3.0)}])
def test_cfl_equals_the_formula(options):
    student, teachers = torch.randn(4, 12, 3, 3).double(), [torch.randn(4, c, 3, 3).double() for c in (2, 5)]
    loss = CFL(**options)
    loss.build([student, student], teachers, 20)
    assert loss.adapt[0].out_channels == options.get("dim", 3)
    losses = loss.eval()([student, student], teachers)

    def common(x):
        for block in loss.common:
            conv1, bn1, _, conv2, bn2 = block.convs
            x = (x + bn2(conv2(bn1(conv1(x)).clamp_min(0)))).clamp_min(0)
        return x

    student_code = common(loss.adapt[1](loss.adapt[0](student)).clamp_min(0))
    discrepancy = reconstruction = 0.0
    for adapt, back, t in zip(loss.adapts, loss.returns, teachers, strict=True):
        h = common(adapt[1](adapt[0](t)).clamp_min(0))
        discrepancy = discrepancy + mmd(student_code, h, loss.sigmas)
        reconstruction = reconstruction + (back[3](back[1](back[0](h)).clamp_min(0)) - t).pow(2).mean((1, 2, 3))
    assert torch.allclose(losses["mmd"].mean(), discrepancy, atol=1e-4)
    assert torch.allclose(losses["reconstruction"], reconstruction, atol=1e-5)
    with pytest.raises(ConfigError, match="dim=0"):
        CFL(dim=0)
