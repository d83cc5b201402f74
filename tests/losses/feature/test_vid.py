"""VID is half of a Gaussian's negative log-likelihood, as torch computes it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tutelage.errors import ConfigError
from tutelage.losses.feature.vid import VID


@pytest.mark.parametrize("variance", [5.0, 0.2])
def test_equals_the_formula(variance: float) -> None:
    student = [torch.randn(3, 2, 4, 4).double(), torch.randn(3, 3, 2, 2).double()]
    teacher = [torch.randn(3, 4, 2, 2).double(), torch.randn(3, 5, 2, 2).double()]
    loss = VID(variance=variance)
    loss.build(student, teacher, 0)
    expected = 0
    for gaussian, s, t in zip(loss.gaussians, student, teacher, strict=True):
        x = F.avg_pool2d(s, s.shape[2] // 2)
        for number in (0, 2, 4):
            x = torch.einsum("dc,bchw->bdhw", gaussian.regressor[number].weight[:, :, 0, 0], x)
            x = x.clamp_min(0) if number < 4 else x
        nll = F.gaussian_nll_loss(x, t, torch.full_like(t, variance), reduction="none")
        expected = expected + nll.mean((1, 2, 3))
    torch.testing.assert_close(loss(student, teacher), expected)


def test_the_variance_grows_where_the_estimate_is_poor() -> None:
    student, teacher = torch.randn(3, 2, 4, 4), 10 * torch.randn(3, 2, 4, 4)
    loss = VID(variance=0.5)
    loss.build([student], [teacher], 0)
    loss([student], [teacher]).mean().backward()
    assert (loss.gaussians[0].log_scale.grad < 0).all()
    for options in ({"eps": 0}, {"variance": 1e-6}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            VID(**options)
