"""SEED against loops, and the contents of its queue."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tutelage.errors import ConfigError
from tutelage.losses.relation.seed import SEED


def slow(s: torch.Tensor, t: torch.Tensor, queue: torch.Tensor, tau_s: float, tau_t: float) -> torch.Tensor:
    losses = []
    for a, b in zip(F.normalize(s, dim=1), F.normalize(t, dim=1), strict=True):
        anchors = [b, *queue]
        p, q = ([math.exp(float(x @ d) / tau) for d in anchors] for x, tau in ((b, tau_t), (a, tau_s)))
        losses.append(-sum(x / sum(p) * math.log(y / sum(q)) for x, y in zip(p, q, strict=True)))
    return torch.tensor(losses).double()


@pytest.mark.parametrize("options", [{}, {"student_temperature": 0.5, "teacher_temperature": 0.3}])
def test_reads_like_the_paper_and_remembers_afterwards(options: dict[str, float]) -> None:
    loss = SEED(size=6, **options)
    temperatures = options.get("student_temperature", 0.2), options.get("teacher_temperature", 0.01)
    s, t = torch.randn(2, 4, 5).double(), torch.randn(2, 4, 5).double()
    loss.build(s[0], t[0], 100)
    queue = loss.queue.rows.clone()
    torch.testing.assert_close(loss(s[0], t[0]), slow(s[0], t[0], queue, *temperatures))
    queue[:4] = F.normalize(t[0], dim=1)
    torch.testing.assert_close(loss.queue.rows, queue)
    torch.testing.assert_close(loss(s[1], t[1]), slow(s[1], t[1], queue, *temperatures))


def test_its_queue_rests_in_evaluation_and_where_one_is_given() -> None:
    loss, s, t = SEED(size=6), torch.randn(4, 5), torch.randn(4, 5)
    loss.build(s, t, 100)
    before = loss.queue.rows.clone()
    vectors = F.normalize(torch.randn(3, 5), dim=1)
    expected = slow(s.double(), t.double(), vectors.double(), 0.2, 0.01)
    torch.testing.assert_close(loss(s, t, queue=vectors).double(), expected, rtol=1e-4, atol=1e-5)
    loss.eval()(s, t)
    assert torch.equal(loss.queue.rows, before)


def test_refuses_widths_that_differ() -> None:
    loss = SEED(size=6)
    with pytest.raises(ConfigError, match="expected equal shapes"):
        loss(torch.randn(2, 4), torch.randn(2, 5))
