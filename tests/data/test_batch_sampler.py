"""Which samples make which batch."""

import pytest
import torch

from tutelage.data.batch_sampler import epoch_batches, sample_per_class, steps_per_epoch, stratified_permutation


def test_every_epoch_has_each_sample_once_in_its_own_order():
    first, second = (torch.cat(epoch_batches(50, 8, seed=1, epoch=e)) for e in (0, 1))
    assert sorted(first.tolist()) == list(range(50))
    assert not first.equal(second)
    assert first.equal(torch.cat(epoch_batches(50, 8, seed=1, epoch=0)))
    assert first.equal(torch.cat(epoch_batches(50, 5, seed=1, epoch=0))), "the order doesn't know the batch size"


@pytest.mark.parametrize("count", [1, 2, 3, 16, 17, 18, 33])
@pytest.mark.parametrize("batch_size", [1, 2, 8, 16, 64])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_steps_is_the_length_of_the_walk_on_every_rank(count, batch_size, world):
    assert {len(epoch_batches(count, batch_size, rank=r, world=world)) for r in range(world)} == {
        steps_per_epoch(count, batch_size, world)
    }


def test_a_last_batch_of_one_is_left_out_but_not_an_only_one():
    assert [len(b) for b in epoch_batches(17, 8)] == [8, 8]
    assert [len(b) for b in epoch_batches(18, 8)] == [8, 8, 2]
    assert [len(b) for b in epoch_batches(5, 8)] == [5]
    assert [len(b) for b in epoch_batches(1, 8)] == [1]
    assert [len(b) for b in epoch_batches(3, 1)] == [1, 1, 1]
    assert [len(b) for b in epoch_batches(17, 8, shuffle=False)] == [8, 8, 1]


def test_two_ranks_cover_the_epoch():
    ranks = [epoch_batches(21, 4, seed=3, epoch=2, rank=r, world=2) for r in (0, 1)]
    assert [len(b) for b in ranks[0]] == [len(b) for b in ranks[1]]
    assert {int(i) for batches in ranks for b in batches for i in b} == set(range(21))
    joint = epoch_batches(21, 8, seed=3, epoch=2)
    assert {*ranks[0][0].tolist(), *ranks[1][0].tolist()} == {*joint[0].tolist()}, "a step of both is the joint batch"


def test_evaluation_takes_no_sample_twice():
    got = [int(i) for r in range(3) for b in epoch_batches(10, 4, shuffle=False, rank=r, world=3) for i in b]
    assert sorted(got) == list(range(10))
    assert epoch_batches(1, 4, shuffle=False, rank=1, world=2) == []


def test_every_beginning_is_stratified():
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    order = stratified_permutation(labels, seed=5)
    assert sorted(order.tolist()) == list(range(100))
    for count in (10, 20, 50):
        parts = torch.bincount(labels[order[:count]], minlength=3).tolist()
        assert all(abs(got - count * share) <= 1 for got, share in zip(parts, (0.6, 0.3, 0.1), strict=True))
    assert not order.equal(stratified_permutation(labels, seed=6))


def test_few_per_class():
    labels = torch.tensor([0, 1, 0, 1, 0, 2] * 5)
    rows = sample_per_class(labels, 3, seed=0)
    assert torch.bincount(labels[rows]).tolist() == [3, 3, 3]
    assert torch.bincount(labels[sample_per_class(labels, 7, seed=0)]).tolist() == [7, 7, 5]
    assert not rows.equal(sample_per_class(labels, 3, seed=1))
