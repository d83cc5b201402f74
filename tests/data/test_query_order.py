"""Whole queries in batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tutelage.data.query_order import query_batches, query_steps
from tutelage.errors import ConfigError


def groups_of(count: int = 60, most: int = 12) -> Tensor:
    sizes = torch.randint(1, most + 1, (count,))
    groups = torch.randperm(count * 3)[:count].repeat_interleave(sizes)
    return groups[torch.randperm(len(groups))]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 8, 30, 10_000])
def test_no_query_straddles_two_batches(batch_size: int, shuffle: bool) -> None:
    groups = groups_of()
    batches = query_batches(groups, batch_size, shuffle=shuffle)
    assert sorted(torch.cat(batches).tolist()) == list(range(len(groups)))
    queries = [groups[batch].unique() for batch in batches]
    assert sum(map(len, queries)) == len(groups.unique())
    assert all(len(batch) <= batch_size or len(q) == 1 for batch, q in zip(batches, queries, strict=True))
    assert all(len(q) >= 1 for q in queries)


def test_an_epoch_is_a_function_of_seed_and_epoch() -> None:
    groups = groups_of()
    first = query_batches(groups, 20, seed=1, epoch=2)
    assert all(a.equal(b) for a, b in zip(first, query_batches(groups, 20, seed=1, epoch=2), strict=True))
    others = [query_batches(groups, 20, seed=s, epoch=e) for s, e in ((1, 3), (2, 2))]
    assert not any(torch.cat(first).equal(torch.cat(other)) for other in others)


@pytest.mark.parametrize("batch_size", [1, 7, 20, 64, 1000])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_epoch_has_as_many_batches_on_every_rank(batch_size: int, world: int) -> None:
    groups = groups_of()
    for epoch in range(20):
        ranks = [query_batches(groups, batch_size, epoch=epoch, rank=r, world=world) for r in range(world)]
        assert {len(batches) for batches in ranks} == {query_steps(groups, batch_size, world)}
        assert {int(i) for batches in ranks for batch in batches for i in batch} == set(range(len(groups)))


def test_batches_are_nearly_full() -> None:
    groups = groups_of(count=500, most=40)
    assert query_steps(groups, 128) <= 1.1 * len(groups) / 128


def test_companions_change_from_epoch_to_epoch() -> None:
    groups = groups_of(count=200)

    def pairs(epoch: int) -> set[tuple[int, int]]:
        queries = [groups[batch].unique().tolist() for batch in query_batches(groups, 40, epoch=epoch)]
        return {(a, b) for batch in queries for a in batch for b in batch if a < b}

    assert len(pairs(0) & pairs(1)) < 0.2 * len(pairs(0))


def test_evaluation_takes_each_query_once_in_order() -> None:
    groups = torch.tensor([5, 5, 2, 2, 2, 9])
    ranks = [query_batches(groups, 3, shuffle=False, rank=r, world=2) for r in (0, 1)]
    assert [batch.tolist() for batch in ranks[0]] == [[2, 3, 4]]
    assert [batch.tolist() for batch in ranks[1]] == [[0, 1, 5]]


def test_no_documents_and_no_batch_size() -> None:
    assert query_batches(torch.zeros(0, dtype=torch.int64), 3) == []
    with pytest.raises(ConfigError, match="batch_size=0"):
        query_batches(torch.zeros(3, dtype=torch.int64), 0)


def test_no_batch_has_a_single_document_if_that_can_be_avoided() -> None:
    groups = torch.cat([torch.arange(30), torch.arange(30, 40).repeat_interleave(7)])
    for batch_size in (7, 8, 20):
        for epoch in range(10):
            batches = query_batches(groups, batch_size, epoch=epoch)
            assert all(1 < len(batch) <= batch_size for batch in batches)
            assert sorted(torch.cat(batches).tolist()) == list(range(len(groups)))
