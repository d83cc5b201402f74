"""Queues: new vectors replace the oldest ones."""

from __future__ import annotations

import torch

from tutelage.losses.functional.memory_banks import ClassQueues, VectorQueue, similarity_kl


def test_a_queue_holds_the_newest() -> None:
    queue = VectorQueue(5, torch.randn(1, 1))
    for start, size in ((0, 3), (3, 3), (6, 1), (7, 4)):
        queue.push(torch.arange(start, start + size).float()[:, None])
    assert sorted(queue.rows[:, 0].tolist()) == [6, 7, 8, 9, 10]
    assert queue.rows[queue.oldest, 0] == 6
    queue.push(torch.arange(100.0, 112.0)[:, None])  # more than its size
    assert sorted(queue.rows[:, 0].tolist()) == [107, 108, 109, 110, 111]


def test_a_queue_begins_with_unit_vectors_and_may_change_under_a_graph() -> None:
    queue, x = VectorQueue(5, torch.randn(1, 3)), torch.randn(2, 3, requires_grad=True)
    torch.testing.assert_close(queue.rows.norm(dim=1), torch.ones(5))
    value = similarity_kl(x, x.detach() + 1, queue.rows, queue.rows, 0.5).sum()
    queue.push(x)
    value.backward()
    assert x.grad is not None
    assert not queue.rows.requires_grad


def test_class_queues_store_the_vectors_of_each_class() -> None:
    queues = ClassQueues(3, 4, torch.randn(1, 1))
    queues.rows.fill_(-1)
    new = torch.arange(9.0).reshape(3, 3, 1)
    queues.push(new, torch.tensor([2, 0, 3]))
    assert queues.rows[..., 0].tolist() == [[0, 1, -1, -1], [-1, -1, -1, -1], [6, 7, 8, -1]]
    queues.push(new + 10, torch.tensor([3, 1, 3]))
    assert queues.rows[..., 0].tolist() == [[12, 1, 10, 11], [13, -1, -1, -1], [17, 18, 8, 16]]
    assert queues.oldest.tolist() == [1, 1, 2]


def test_class_queues_draw_the_same_rows_of_each() -> None:
    queues = ClassQueues(2, 6, torch.randn(1, 1))
    queues.rows.copy_(torch.arange(12.0).reshape(2, 6, 1))
    drawn = queues.draw(4)[..., 0]
    assert torch.equal(drawn[0] + 6, drawn[1])
    assert len(set(drawn[0].tolist())) == 4
    assert queues.draw(99).shape == (2, 6, 1)
