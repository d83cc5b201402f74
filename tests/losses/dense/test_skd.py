"""SKD's pairs of positions against loops over patches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.dense.skd import SKDPairwise


def affinity(x: np.ndarray, patch: int) -> np.ndarray:
    """The same for one sample (C, H, W)."""
    nodes = [
        x[:, i : i + patch, j : j + patch].max((1, 2))
        for i in range(0, x.shape[1], patch)
        for j in range(0, x.shape[2], patch)
    ]
    return np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in nodes] for a in nodes])


@pytest.mark.parametrize(("options", "patch"), [({}, 2), ({"patch": 3}, 3), ({"scale": 0.5}, 3), ({"patch": 1}, 1)])
def test_equals_the_formula(options: dict[str, float], patch: int) -> None:
    s, t = torch.randn(2, 3, 6, 7).double(), torch.randn(2, 5, 6, 7).double()
    values = SKDPairwise(**options)(s, t)
    for b in range(2):
        expected = (affinity(s[b].numpy(), patch) - affinity(t[b].numpy(), patch)) ** 2
        np.testing.assert_allclose(values[b], expected.mean(1), rtol=1e-6)


def test_constant_norms_change_only_the_gradient() -> None:
    s, t = torch.randn(2, 3, 4, 4).double().requires_grad_(), torch.randn(2, 5, 4, 4).double()
    plain, constant = SKDPairwise()(s, t).mean(), SKDPairwise(detach_norm=True)(s, t).mean()
    assert plain.item() == constant.item()
    gradients = [torch.autograd.grad(x, s)[0] for x in (plain, constant)]
    assert not torch.allclose(*gradients)
    assert abs((gradients[0] * s).sum()) < 1e-7  # features' norms don't matter, so the gradient is orthogonal to them
    assert torch.autograd.gradcheck(lambda x: SKDPairwise()(x, t), s)


def test_raises_for_no_patch() -> None:
    with pytest.raises(ConfigError, match="patch=0"):
        SKDPairwise(patch=0)
    with pytest.raises(ConfigError, match="scale=0"):
        SKDPairwise(scale=0)
