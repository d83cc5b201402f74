"""SRRL against its formula."""

from __future__ import annotations

import torch

from tutelage.losses.feature.srrl import SRRL


def test_equals_the_formula() -> None:
    student, teacher = torch.randn(3, 5, 4, 4).double(), torch.randn(3, 6, 2, 2).double()
    weight, bias, logits = torch.randn(7, 6).double(), torch.randn(7).double(), torch.randn(3, 7).double()
    loss = SRRL(response_weight=2.0)
    loss.build(student, teacher, 0)
    loss.eval()
    x = torch.einsum("dc,bchw->bdhw", loss.embed[0].weight[:, :, 0, 0], student) / (1 + 1e-5) ** 0.5
    x, t = x.clamp_min(0).mean((2, 3)), teacher.mean((2, 3))
    losses = loss(student, teacher, head=(weight, bias), teacher_response=logits)
    torch.testing.assert_close(losses["feature"], (x - t) ** 2)
    torch.testing.assert_close(losses["response"], 2 * (x @ weight.T + bias - logits) ** 2)
    without_response = loss(student, teacher, head=(weight, bias))
    torch.testing.assert_close(without_response["response"], 2 * ((x - t) @ weight.T) ** 2)
