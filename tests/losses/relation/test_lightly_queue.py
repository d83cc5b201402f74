"""LightlyQueue against its formula; this batch is added to the queue before the comparison."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.relation.lightly_queue import LightlyQueue


def slow(s: torch.Tensor, t: torch.Tensor, queue: torch.Tensor, tau: float) -> torch.Tensor:
    p, q = ((x @ queue.T / tau).exp() for x in (t, s))
    p, q = p / p.sum(1, keepdim=True), q / q.sum(1, keepdim=True)
    return (p * (p / q).log()).sum(1)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.5}])
def test_compares_with_this_batch_too(options: dict[str, float]) -> None:
    loss, s, t = LightlyQueue(size=6, **options), torch.randn(4, 5).double(), torch.randn(4, 5).double()
    loss.build(s, t, 100)
    unit_s, unit_t = F.normalize(s, dim=1), F.normalize(t, dim=1)
    queue = torch.cat([unit_t, loss.queue.rows[4:]])
    expected = slow(unit_s, unit_t, queue, options.get("temperature", 0.07))
    torch.testing.assert_close(loss(s, t), expected)
    torch.testing.assert_close(loss.eval()(s, t, queue=queue), expected)


def test_unit_vectors_may_be_taken_as_they_come() -> None:
    s, t, queue = (F.normalize(torch.randn(n, 5).double(), dim=1) for n in (4, 4, 9))
    loss = LightlyQueue(normalise=False)
    torch.testing.assert_close(loss(2 * s, t, queue=queue), slow(2 * s, t, queue, 0.07))
