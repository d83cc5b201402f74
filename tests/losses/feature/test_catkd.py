"""CAT-KD against a plain implementation, which pools after computing the maps, as in the paper, per class."""

from __future__ import annotations

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.feature.catkd import CATKD


def activation(feature: torch.Tensor, weight: torch.Tensor, cells: int, normalised: bool) -> torch.Tensor:
    cams = torch.zeros(len(feature), len(weight), cells, cells).double()
    side = feature.shape[2] // cells
    for b, sample in enumerate(feature):
        for k, w in enumerate(weight):
            evidence = sum(w[c] * sample[c] for c in range(len(w)))
            for i in range(cells):
                for j in range(cells):
                    cams[b, k, i, j] = evidence[i * side : (i + 1) * side, j * side : (j + 1) * side].mean()
            if normalised:
                cams[b, k] /= cams[b, k].pow(2).sum().sqrt()
    return cams


@pytest.mark.parametrize("options", [{}, {"resolution": 4, "normalised": True}])
def test_equals_the_formula(options: dict[str, int]) -> None:
    student, teacher = torch.randn(2, 3, 8, 8).double(), torch.randn(2, 5, 4, 4).double()
    heads = [(torch.randn(6, c).double(), torch.randn(6).double()) for c in (3, 5)]
    cells, normalised = options.get("resolution", 2), bool(options.get("normalised"))
    s, t = (activation(x, h[0], cells, normalised) for x, h in zip((student, teacher), heads, strict=True))
    values = CATKD(**options)(student, teacher, student_head=heads[0], head=heads[1])
    torch.testing.assert_close(values, (s - t) ** 2)


def test_the_students_classifier_gets_gradients() -> None:
    x, head = torch.randn(2, 3, 4, 4), (torch.randn(6, 3), torch.randn(6))
    classifier = torch.randn(6, 3, requires_grad=True), torch.randn(6)
    CATKD()(x, x, student_head=classifier, head=head).mean().backward()
    assert classifier[0].grad is not None
    assert classifier[0].grad.abs().min() > 0


def test_raises_for_invalid_arguments() -> None:
    x = torch.randn(2, 3, 4, 4)
    with pytest.raises(ConfigError, match="equal shapes"):
        CATKD()(x, x, student_head=(torch.randn(6, 3), torch.randn(6)), head=(torch.randn(5, 3), torch.randn(5)))
    with pytest.raises(ConfigError, match="resolution=0"):
        CATKD(resolution=0)
