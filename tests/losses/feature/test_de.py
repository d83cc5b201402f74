"""DE against a slow reading."""

from __future__ import annotations

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.feature.de import DE


def built(width: int = 3, teacher_width: int = 7, **options: float) -> DE:
    loss = DE(**options)  # type: ignore[arg-type]
    loss.build(torch.randn(5, width), torch.randn(5, teacher_width), 40)
    return loss


def test_each_sample_is_reconstructed_by_the_experts_that_its_teacher_embedding_chooses() -> None:
    loss = built(experts=4).eval()
    s, t = torch.randn(5, 3), torch.randn(5, 7)
    for b in range(5):
        choice = loss.selection(t[b]).softmax(0)
        output = sum(a * expert(s[b]) for a, expert in zip(choice, loss.reconstructions, strict=True))
        expected = ((t[b] - output) ** 2).sum().item()
        assert loss(s, t, epoch=0.0)[b].item() == pytest.approx(expected, rel=1e-5)


def test_the_choice_becomes_hard() -> None:
    loss = built(experts=4, anneal_epochs=10.0).eval()
    assert loss.annealed(0.9) == 1.0
    assert loss.annealed(5.0) == pytest.approx(1e-5)
    assert loss.annealed(25.0) == pytest.approx(1e-10)
    s, t = torch.randn(5, 3), torch.randn(5, 7)
    best = loss.selection(t).argmax(1)
    outputs = torch.stack([loss.reconstructions[int(k)](x) for k, x in zip(best, s, strict=True)])
    torch.testing.assert_close(loss(s, t, epoch=10.0), (t - outputs).pow(2).sum(1))


def test_noise_is_gumbel_and_only_in_training() -> None:
    loss = built(experts=2)
    s, t = torch.randn(1, 3).repeat(4000, 1), torch.randn(1, 7).repeat(4000, 1)
    share = loss.selection(t[0]).softmax(0)
    outputs = torch.stack([expert(s[0]) for expert in loss.reconstructions])
    errors = (t[0] - outputs).pow(2).sum(1)
    hard = loss(s, t, epoch=100.0)
    first = (hard - errors[0]).abs() < 1e-3 * errors[0]
    assert first.float().mean().item() == pytest.approx(share[0].item(), abs=0.04)
    assert loss.eval()(s, t, epoch=100.0).unique().numel() == 1


def test_hidden_widths() -> None:
    assert built(3, 7).reconstructions[0][0].out_features == 5
    assert built(6, 6).reconstructions[0][0].out_features == 3


def test_maps_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected vectors"):
        DE().build(torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4), 40)
