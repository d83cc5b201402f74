"""Online label smoothing: three epochs, sample by sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import log_softmax, softmax
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.response.online_label_smoothing import OnlineLabelSmoothing


def built(alpha: float = 0.5, first: str = "zero") -> OnlineLabelSmoothing:
    loss = OnlineLabelSmoothing(alpha, first)
    loss.build(torch.zeros(1, 4).double(), None, 0)
    return loss


@pytest.mark.parametrize(("alpha", "first", "row"), [(0.5, "zero", 0.0), (0.2, "zero", 0.0), (0.2, "uniform", 0.25)])
def test_reads_like_the_paper(alpha: float, first: str, row: float) -> None:
    loss, labels = built(alpha, first), np.full((4, 4), row)
    for epoch in range(3):
        sums, counts = np.zeros((4, 4)), np.zeros(4)
        for batch in range(2):
            s, y = torch.randn(5, 4).double() * 3, torch.randint(3, (5,))  # of class 3 nothing is ever seen
            values = loss(s, targets=y, epoch=epoch + batch / 2)
            for b in range(5):
                p, k = softmax(s[b].numpy()), int(y[b])
                soft = alpha * np.eye(4)[k] + (1 - alpha) * labels[k]
                assert values[b].item() == pytest.approx(-(soft * log_softmax(s[b].numpy())).sum(), rel=1e-9)
                if p.argmax() == k:
                    sums[k] += p
                    counts[k] += 1
        labels = np.stack([sums[k] / counts[k] if counts[k] else np.full(4, 0.25) for k in range(4)])
    np.testing.assert_array_equal(loss.labels[3], 0.25)


def test_the_first_epochs_loss_is_a_share_of_the_cross_entropy() -> None:
    s, y = torch.randn(5, 4).double(), torch.randint(4, (5,))
    torch.testing.assert_close(built(0.3)(s, targets=y, epoch=0), 0.3 * F.cross_entropy(s, y, reduction="none"))


def test_positions_count_as_samples() -> None:
    maps, y = torch.randn(2, 4, 3).double(), torch.randint(4, (2, 3))

    def two_epochs(s: Tensor, y: Tensor) -> Tensor:
        loss = built()
        loss(s, targets=y, epoch=0)
        return loss(s, targets=y, epoch=1)

    flat = two_epochs(maps.movedim(1, -1).flatten(0, 1), y.flatten())
    torch.testing.assert_close(two_epochs(maps, y).flatten(), flat)


def test_evaluation_gathers_nothing() -> None:
    loss = built().eval()
    before = {name: x.clone() for name, x in loss.state_dict().items()}
    loss(torch.randn(5, 4).double(), targets=torch.randint(4, (5,)), epoch=3)
    assert all(torch.equal(x, before[name]) for name, x in loss.state_dict().items())


def test_refuses_a_share_above_one() -> None:
    with pytest.raises(ConfigError, match=r"alpha=1\.5"):
        OnlineLabelSmoothing(1.5)
    with pytest.raises(ConfigError, match="zeros"):
        OnlineLabelSmoothing(first="zeros")
