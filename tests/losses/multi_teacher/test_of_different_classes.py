"""Losses of teachers that know different classes, read slowly."""

import pytest
import torch
import torch.nn.functional as F

from tutelage.errors import ConfigError
from tutelage.losses.multi_teacher.cfl import CFL, CFLMMD, SIGMAS
from tutelage.losses.multi_teacher.ka import KA
from tutelage.losses.multi_teacher.uhc import UHC

COLUMNS = [[0, 2, 4], [4, 1], [3, 1, 0]]


def test_uhc_renormalises_the_student_on_each_teachers_classes():
    student, teachers = torch.randn(4, 5), [torch.randn(4, len(known)) for known in COLUMNS]
    value = UHC(temperature=2.0)(student, teachers, columns=COLUMNS)
    for i in range(4):
        p = (student[i] / 2).softmax(0)
        by_hand = 0.0
        for answer, known in zip(teachers, COLUMNS, strict=True):
            q = (answer[i] / 2).softmax(0)
            by_hand -= sum(q[j] * (p[c] / p[known].sum()).log() for j, c in enumerate(known))
        assert torch.allclose(value[i], by_hand, atol=1e-5)


def test_uhc_wants_no_class_of_a_teacher_that_does_not_know_it():
    student = torch.randn(4, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(UHC()(student, [torch.randn(4, 3)], columns=[[0, 2, 4]]).sum(), student)
    assert gradient[:, [1, 3]].abs().max() == 0
    assert gradient[:, [0, 2, 4]].abs().min() > 0


def test_uhc_is_zero_gradient_where_the_student_agrees_on_each_ones_classes():
    student = torch.randn(4, 5, requires_grad=True)
    teachers = [student.detach()[:, known] + 3.0 for known in COLUMNS]
    (gradient,) = torch.autograd.grad(UHC()(student, teachers, columns=COLUMNS).sum(), student)
    assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize("columns", [None, [[0, 1]], [[0, 1], [2, 3, 4]]])
def test_uhc_refuses_classes_that_do_not_fit(columns):
    with pytest.raises(ConfigError, match="UHC: columns lists"):
        UHC()(torch.randn(4, 5), [torch.randn(4, 3)], columns=columns)


def test_ka_is_its_formula_and_the_code_is_learned_from_the_reconstruction_alone():
    shallow, deep = torch.randn(4, 3, 6, 6, requires_grad=True), torch.randn(4, 5, 2, 2, requires_grad=True)
    teachers = [torch.randn(4, 2, 6, 6), torch.randn(4, 4, 3, 3), torch.randn(4, 6, 2, 2), torch.randn(4, 6, 2, 2)]
    loss = KA()
    loss.build([shallow, shallow, deep, deep], teachers, 20)
    assert loss.groups == [[0, 1], [2, 3]]
    loss.eval()
    said = loss([shallow, shallow, deep, deep], teachers)
    features = [torch.cat([F.adaptive_avg_pool2d(teachers[0], 3), teachers[1]], 1), torch.cat(teachers[2:], 1)]
    again = match = 0.0
    for k, (f, s, first) in enumerate(zip(features, (shallow, deep), (2, 6), strict=True)):
        code = loss.encoders[k](f)
        off = (loss.decoders[k](code) - f).pow(2)
        again = again + off[:, :first].mean((1, 2, 3)) + off[:, first:].mean((1, 2, 3))
        ours = loss.aligners[k](F.adaptive_avg_pool2d(s, code.shape[2:]))
        match = match + (ours - code.detach()).pow(2).mean((1, 2, 3))
    assert torch.allclose(said["reconstruction"], again, atol=1e-6)
    assert torch.allclose(said["match"], match, atol=1e-6)
    learned = [*loss.encoders.parameters(), *loss.decoders.parameters()]
    assert all(g is None for g in torch.autograd.grad(said["match"].sum(), learned, allow_unused=True))
    reached = torch.autograd.grad(said["reconstruction"].sum(), [shallow, deep, *learned], allow_unused=True)
    assert [g is None for g in reached] == [True, True, *[False] * len(learned)]


def mmd(x, y, sigmas=SIGMAS):
    """Flattened, of unit length, the kernels summed, pair by pair."""
    x, y = (v.flatten(1) / v.flatten(1).norm(dim=1, keepdim=True) for v in (x, y))

    def mean_kernel(x, y):
        pairs = [torch.exp(-(a - b).pow(2).sum() / (2 * s * s)) for s in sigmas for a in x for b in y]
        return sum(pairs) / (len(x) * len(y))

    return mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)


@pytest.mark.parametrize("options", [{}, {"sigmas": (0.5, 3.0)}])
def test_mmd_is_its_formula(options):
    student, teacher = torch.randn(5, 3, 4, 4).double(), torch.randn(5, 3, 4, 4).double()
    torch.testing.assert_close(CFLMMD(**options)(student, teacher).mean(), mmd(student, teacher, **options))
    with pytest.raises(ConfigError, match="expected a number above 0"):
        CFLMMD(sigmas=(0.1, 0.0))


@pytest.mark.parametrize("options", [{}, {"dim": 8, "sigmas": (0.5, 3.0)}])
def test_cfl_is_its_formula(options):
    student, teachers = torch.randn(4, 12, 3, 3).double(), [torch.randn(4, c, 3, 3).double() for c in (2, 5)]
    loss = CFL(**options)
    loss.build([student, student], teachers, 20)
    assert loss.adapt[0].out_channels == options.get("dim", 3)
    said = loss.eval()([student, student], teachers)

    def common(x):
        for block in loss.common:
            conv1, bn1, _, conv2, bn2 = block.convs
            x = (x + bn2(conv2(bn1(conv1(x)).clamp_min(0)))).clamp_min(0)
        return x

    ours = common(loss.adapt[1](loss.adapt[0](student)).clamp_min(0))
    far = again = 0.0
    for adapt, back, t in zip(loss.adapts, loss.returns, teachers, strict=True):
        h = common(adapt[1](adapt[0](t)).clamp_min(0))
        far = far + mmd(ours, h, loss.sigmas)
        again = again + (back[3](back[1](back[0](h)).clamp_min(0)) - t).pow(2).mean((1, 2, 3))
    assert torch.allclose(said["mmd"].mean(), far, atol=1e-4)
    assert torch.allclose(said["reconstruction"], again, atol=1e-5)
    with pytest.raises(ConfigError, match="dim=0"):
        CFL(dim=0)
