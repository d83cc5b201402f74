"""Streams of training data: which samples a batch has, with which augmentations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tutelage.data.data_module import DataModule
from tutelage.data.joined_split import JoinedSplit
from tutelage.data.splits import InMemorySplit, ViewSeed
from tutelage.data.streams import Stream, stream_laps, stream_sizes, stream_steps
from tutelage.errors import ConfigError


def streams(*counts: int, shares=None):
    names, starts = ("labelled", "unlabelled", "target"), [sum(counts[:i]) for i in range(len(counts))]
    shares = shares or [1 / len(counts)] * len(counts)
    return [Stream(*form, "a") for form in zip(names, starts, counts, shares, strict=False)]


def images(count: int, labels: bool = True, size: int = 8) -> InMemorySplit:
    x = torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8)
    return InMemorySplit(x, torch.arange(count) % 2 if labels else None)


@pytest.fixture
def data() -> DataModule:
    labelled, others, test = images(6), images(20, labels=False), images(4)
    form = {"channels": 1, "size": (8, 8), "mean": (0.5,), "std": (0.3,), "augment": "shift"}
    module = DataModule("a", "classification", ("even", "odd"), train=labelled, val=test, test=test, **form)
    joined = JoinedSplit([labelled, others])
    return replace(module, train=joined, streams=tuple(streams(6, 20, shares=[0.4, 0.6])))


@pytest.mark.parametrize("batch_size", [2, 3, 5, 16, 64, 100])
@pytest.mark.parametrize("shares", [(0.25, 0.75), (0.5, 0.5), (0.01, 0.99), (0.999, 0.001)])
def test_sizes_add_up_and_are_near_the_shares(batch_size, shares):
    sizes = stream_sizes(streams(10, 10, shares=shares), batch_size)
    assert sum(sizes) == batch_size
    assert min(sizes) >= 1
    for size, share in zip(sizes, shares, strict=True):
        assert abs(size - share * batch_size) < 1 or 1 in sizes


def test_a_batch_smaller_than_the_streams_is_refused():
    with pytest.raises(ConfigError, match="batch_size=2 for the streams labelled, unlabelled, target"):
        stream_sizes(streams(5, 5, 5), 2)


def test_each_pass_over_a_stream_has_each_sample_once():
    parts, order = streams(6, 40), {"seed": 3, "rank": 0, "world": 1}
    steps = stream_steps(parts, 4)
    assert steps == 20  # of two unlabelled samples
    seen: dict[int, dict[int, list[int]]] = {0: {}, 1: {}}
    for epoch in range(3):
        for stream, laps in enumerate(stream_laps(parts, 4, epoch=epoch, start=0, **order)):
            for lap, batches in laps:
                seen[stream].setdefault(lap, []).extend(torch.cat(batches).tolist())
    assert all(sorted(rows) == list(range(6, 46)) for rows in seen[1].values())
    assert all(sorted(rows) == list(range(6)) for rows in list(seen[0].values())[:-1])
    assert seen[0][0] != seen[0][1]  # another order


def test_the_batches_of_an_epoch_are_the_same_from_any_start():
    parts, order = streams(7, 40), {"seed": 3, "rank": 0, "world": 1}
    for whole, rest in zip(
        stream_laps(parts, 6, epoch=2, start=0, **order), stream_laps(parts, 6, epoch=2, start=5, **order), strict=True
    ):
        flat, tail = ([(lap, rows.tolist()) for lap, batches in laps for rows in batches] for laps in (whole, rest))
        assert flat[5:] == tail


def test_ranks_share_each_pass():
    parts = streams(8, 40)
    of_rank = [stream_laps(parts, 4, seed=0, epoch=0, start=0, rank=rank, world=2) for rank in (0, 1)]
    rows = [torch.cat(laps[1][0][1]) for laps in of_rank]
    assert sorted(torch.cat(rows).tolist()) == list(range(8, 48))


def test_batches_have_the_targets_of_the_labelled_samples_alone(data):
    for batch in data.batches("train", 10):
        count = batch.streams["labelled"][1]
        assert batch.streams == {"labelled": (0, count), "unlabelled": (count, len(batch))}
        labelled, other = batch.stream("labelled"), batch.stream("unlabelled")
        assert labelled.targets.tolist() == (labelled.index % 2).tolist()
        assert other.targets is None
        assert "targets" not in other.available()
        assert min(other.index.tolist()) >= 6 > max(labelled.index.tolist())
        assert batch.targets[count:].tolist() == [-100] * (len(batch) - count)
    assert len(list(data.batches("train", 10))) == data.steps(10) == 4


def test_a_sample_that_comes_again_is_augmented_anew(data):
    views = {}
    for batch in data.batches("train", 10):
        for number, x in zip(batch.stream("labelled").index.tolist(), batch.inputs, strict=False):
            views.setdefault(number, []).append(x)
    twice = [xs for xs in views.values() if len(xs) > 1]
    assert twice
    assert any(not torch.equal(xs[0], xs[1]) for xs in twice)


def test_counted_views_are_those_of_the_cache(data):
    for epoch in range(3):
        for batch in data.batches("train", 10, views=2, view_seed=5, epoch=epoch):
            assert batch.view == epoch % 2
            (again,) = data.view_batches([batch.index.cpu()], epoch % 2, 5)
            assert torch.equal(again.inputs, batch.inputs)


def test_schemes_that_compose_batches_are_refused(data):
    with pytest.raises(ConfigError, match="makes up batches of its own"):
        data.batches("train", 10, sampling="pairs")


def test_images_of_another_size_are_resized():
    joined = JoinedSplit([images(3), images(3, labels=False, size=12)])
    ((x, y),) = joined.read([torch.tensor([4, 0, 5])], ViewSeed())
    assert x.shape == (3, 1, 8, 8)
    assert y is None
