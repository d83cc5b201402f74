"""What schemes ask of the batches: companions, overlaps, copies."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from tutelage import data as datasets
from tutelage.data.batch_sampler import SAMPLINGS, companions, compose_batches, epoch_batches
from tutelage.errors import ConfigError

LABELS = torch.randint(5, (83,), generator=torch.Generator().manual_seed(0))
ASKED = [{"sampling": sampling, "group_size": 3} for sampling in SAMPLINGS] + [
    {"num_views": 2},
    {"sampling": "pairs", "num_views": 2},
]


def digits(augment: str = "shift"):
    return datasets.load("digits", limit=100, augment=augment)


def same(one, other) -> bool:
    one, other = list(one), list(other)
    return len(one) == len(other) and all(
        a.inputs.equal(b.inputs) and a.targets.equal(b.targets) and a.index.equal(b.index)
        for a, b in zip(one, other, strict=True)
    )


def test_companions_are_others_of_the_class_each_as_often():
    near = companions(LABELS, 3, seed=1, epoch=2)
    assert (LABELS[near] == LABELS[:, None]).all()
    assert (near != torch.arange(83)[:, None]).all()
    assert all(len(set(row)) == 3 for row in near.tolist())
    assert torch.bincount(near[:, 0]).tolist() == [1] * 83
    assert torch.bincount(near.flatten()).tolist() == [3] * 83


def test_companions_are_uniform_over_the_class_from_epoch_to_epoch():
    labels = torch.tensor([0, 1] * 5)
    drawn = torch.stack([companions(labels, 1, seed=0, epoch=e)[0, 0] for e in range(2000)])
    counts = torch.bincount(drawn, minlength=10)
    assert counts[[0, 1, 3, 5, 7, 9]].sum() == 0
    assert (counts[[2, 4, 6, 8]] - 500).abs().max() < 90  # over four standard deviations


def test_a_class_of_one_is_its_own_companion_and_small_ones_repeat():
    assert companions(torch.tensor([0, 1, 1]), 2, 0, 0).tolist() == [[0, 0], [2, 1], [1, 2]]


def test_pairs_and_groups_stand_side_by_side():
    lots = epoch_batches(83, 10)
    first, others = compose_batches(lots, "grouped", labels=LABELS, group_size=3)
    assert all(LABELS[o].equal(LABELS[a].repeat_interleave(3)) for a, o in zip(first, others, strict=True))
    assert [len(p) for p in compose_batches(lots, "pairs", labels=LABELS, group_size=3)[1]] == [
        len(lot) for lot in lots
    ]


def test_half_of_an_overlapping_batch_is_the_new_half_of_the_one_before():
    data = digits()
    epochs = [list(data.batches("train", 16, epoch=e, sampling="overlapping")) for e in (0, 1)]
    batches = [batch for epoch in epochs for batch in epoch]
    for before, batch in pairwise(batches):
        new = before.index[before.extras["parts"][0] :]
        assert batch.index[: batch.extras["parts"][0]].equal(new)
    assert torch.cat([b.index[b.extras["parts"][0] :] for b in epochs[0]]).unique().numel() == len(data.train)
    assert not batches[1].part(0, 16).inputs.equal(batches[0].inputs[-16:]), "augmented otherwise"


def test_copies_are_other_views_of_the_same_samples():
    batch = next(digits().batches("train", 16, num_views=2))
    one, other = batch.part(0, 16), batch.part(16, 32)
    assert one.index.equal(other.index)
    assert one.targets.equal(other.targets)
    assert not one.inputs.equal(other.inputs)
    plain = next(digits("none").batches("train", 16, num_views=2))
    assert plain.inputs[:16].equal(plain.inputs[16:])


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_they_go_on_from_any_position_and_are_as_many_as_steps(asked):
    data = digits()
    whole = list(data.batches("train", 16, seed=3, epoch=2, **asked))
    assert len(whole) == data.steps(16)
    for start in range(len(whole) + 1):
        assert same(whole[start:], data.batches("train", 16, seed=3, epoch=2, start=start, **asked))


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_two_ranks_share_an_epoch(asked):
    data = digits()
    ranks = [list(data.batches("train", 8, epoch=1, rank=r, world=2, **asked)) for r in (0, 1)]
    assert len(ranks[0]) == len(ranks[1]) == data.steps(8, 2)
    assert [len(b) for b in ranks[0]] == [len(b) for b in ranks[1]]
    if asked.get("sampling") in ("pairs", "grouped"):
        alone = {}
        for batch in data.batches("train", 16, epoch=1, **asked):
            first, rest = batch.extras["parts"][:2]
            near = batch.index[first : first + rest].view(first, -1)
            alone |= dict(zip(batch.index[:first].tolist(), near.tolist(), strict=True))
        for batch in (b for rank in ranks for b in rank):
            first, rest = batch.extras["parts"][:2]
            near = batch.index[first : first + rest].view(first, -1).tolist()
            assert [alone[i] for i in batch.index[:first].tolist()] == near, "companions don't depend on the ranks"


def test_views_repeat_and_an_order_without_classes_is_refused():
    data = digits()
    zero, one, two = (next(data.batches("train", 16, epoch=e, views=2, num_views=2)) for e in range(3))
    profiles = {int(i): x for b in (zero,) for i, x in zip(b.index, b.inputs, strict=True)}
    again = [(profiles[int(i)], x) for i, x in zip(two.index, two.inputs, strict=True) if int(i) in profiles]
    assert again
    assert not torch.equal(zero.inputs, one.inputs)
    assert any(a.equal(b) for a, b in again)
    data.train.labels = None
    with pytest.raises(ConfigError, match="requires each sample's class"):
        data.batches("train", 4, sampling="pairs")
    with pytest.raises(ConfigError, match="did you mean 'pairs'"):
        data.batches("train", 4, sampling="pair")
