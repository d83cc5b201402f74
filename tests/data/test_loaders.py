"""What a DataLoader says: honoured, or refused by name."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from tutelage.data import from_datasets
from tutelage.data.preparation import prepare_data
from tutelage.errors import ConfigError, DataError

ITEMS = TensorDataset(
    torch.arange(40, dtype=torch.uint8)[:, None, None, None].expand(40, 1, 4, 4), torch.arange(40) % 2
)
OTHER = TensorDataset(torch.zeros(8, 1, 4, 4, dtype=torch.uint8), torch.arange(8) % 2)


class Fewer(Sampler):
    def __iter__(self):
        yield from range(10)

    def __len__(self):
        return 10


class Loader(DataLoader):
    def __iter__(self):
        yield from ()


def numbers(data, split="train", **options):
    train = split == "train"
    lots = [getattr(data, split).rows[b.index] for b in data.batches(split, 16, train=train, **options)]
    return torch.cat(lots)


def test_batch_size_and_workers_are_a_runs():
    data = from_datasets(DataLoader(ITEMS, batch_size=12, shuffle=True, num_workers=2), test=OTHER, classes=2)
    assert data.loader_keys == {"batch_size": 12, "workers": 2}
    assert from_datasets(ITEMS, test=DataLoader(OTHER, batch_size=3), classes=2).loader_keys == {}
    assert prepare_data("again", data).loader_keys == data.loader_keys


def test_a_subset_sampler_is_a_subset_in_every_split():
    odd, even = list(range(1, 40, 2)), list(range(0, 40, 2))
    train, test = (DataLoader(ITEMS, batch_size=4, sampler=SubsetRandomSampler(part)) for part in (odd, even))
    data = from_datasets(train, OTHER, test, classes=2)
    assert numbers(data).sort().values.tolist() == odd
    assert numbers(data, "test").tolist() == even


def test_weights_of_samples_are_drawn_by_and_resume():
    weights = [0.0 if i % 4 else 1.0 + i // 4 for i in range(40)]
    loader = DataLoader(ITEMS, batch_size=8, sampler=WeightedRandomSampler(weights, 40))
    data = from_datasets(loader, OTHER, OTHER, classes=2)
    drawn = torch.cat([numbers(data, epoch=e) for e in range(200)])
    counts = torch.bincount(drawn, minlength=40).double()
    expected = torch.tensor(weights, dtype=torch.float64)
    assert (counts[expected == 0] == 0).all()
    assert (counts / counts.sum() - expected / expected.sum()).abs().max() < 0.015
    assert len(numbers(data)) == 40
    assert numbers(data, epoch=3).equal(numbers(data, epoch=3))
    assert numbers(data, epoch=3, start=1).equal(numbers(data, epoch=3)[16:])
    plain = from_datasets(ITEMS, OTHER, OTHER, classes=2)
    assert data.fingerprint != plain.fingerprint
    assert plain.train.weights is None
    assert numbers(plain).sort().values.tolist() == list(range(40))


def test_weights_go_with_their_samples():
    weights = torch.arange(1, 41, dtype=torch.float64)
    loader = DataLoader(ITEMS, batch_size=8, sampler=WeightedRandomSampler(weights.tolist(), 40))
    data = from_datasets(loader, test=OTHER, classes=2, val_fraction=0.5)
    assert data.train.weights.equal(weights[data.train.rows])
    limited = prepare_data("few", data, limit=5)
    assert limited.train.weights.equal(weights[limited.train.rows])
    whole = [numbers(data, rank=r, world=2) for r in range(2)]
    assert len(whole[0]) == len(whole[1]) == 10


def test_drawing_again_and_again_is_weights_that_are_alike():
    data = from_datasets(DataLoader(ITEMS, 8, sampler=RandomSampler(ITEMS, replacement=True)), OTHER, OTHER, classes=2)
    assert data.train.weights.equal(torch.ones(40, dtype=torch.float64))


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(ITEMS, 8, shuffle=True),
        DataLoader(ITEMS, 8, sampler=RandomSampler(ITEMS)),
        DataLoader(Subset(ITEMS, range(40)), 8, shuffle=True, pin_memory=False, timeout=0),
    ],
)
def test_what_training_does_anyway(loader):
    assert numbers(from_datasets(loader, OTHER, OTHER, classes=2)).sort().values.tolist() == list(range(40))


WEIGHTED = [1.0] * 40


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, r"shuffle=False, but training .*shuffle=True"),
        ({"sampler": SequentialSampler(ITEMS)}, "shuffle=False"),
        ({"shuffle": True, "drop_last": True}, "drop_last=True"),
        ({"shuffle": True, "collate_fn": list}, "its own collate_fn"),
        ({"shuffle": True, "worker_init_fn": print}, "a worker_init_fn"),
        ({"shuffle": True, "generator": torch.Generator()}, "a generator"),
        ({"sampler": RandomSampler(ITEMS, generator=torch.Generator())}, "a generator"),
        ({"batch_sampler": BatchSampler(RandomSampler(ITEMS), 4, False)}, "its own batch_sampler"),
        ({"batch_sampler": [[0, 1], [2, 3]]}, "its own batch_sampler"),
        ({"batch_size": None, "shuffle": True}, "its own batch_sampler, or none"),
        ({"sampler": Fewer()}, r"the sampler Fewer\(\)"),
        ({"sampler": range(10)}, r"the sampler range\("),
        ({"sampler": DistributedSampler(ITEMS, 2, 0)}, r"the sampler DistributedSampler\("),
        ({"sampler": RandomSampler(ITEMS, num_samples=10)}, r"RandomSampler\(replacement=False, num_samples=10\)"),
        ({"sampler": WeightedRandomSampler(WEIGHTED, 10)}, r"num_samples=10\): .*num_samples=40 with replacement"),
        ({"sampler": WeightedRandomSampler(WEIGHTED, 40, replacement=False)}, "replacement=False"),
        ({"sampler": WeightedRandomSampler([1.0] * 7, 40)}, "WeightedRandomSampler"),
        ({"sampler": WeightedRandomSampler([0.0] * 40, 40)}, "WeightedRandomSampler"),
    ],
)
def test_words_of_a_training_loader_that_are_refused(options, words):
    loader = DataLoader(ITEMS, **({} if "batch_sampler" in options else {"batch_size": 8}) | options)
    with pytest.raises(DataError, match=rf"^train: a DataLoader with .*{words}"):
        from_datasets(loader, OTHER, OTHER, classes=2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampler": WeightedRandomSampler(WEIGHTED, 40)}, "the sampler WeightedRandomSampler"),
        ({"sampler": RandomSampler(ITEMS, replacement=True)}, "the sampler RandomSampler"),
        ({"drop_last": True}, "drop_last"),
        ({"sampler": Fewer()}, "the sampler Fewer"),
    ],
)
def test_words_of_a_test_loader_that_change_its_figures_are_refused(options, words):
    with pytest.raises(DataError, match=rf"^test: a DataLoader with .*{words}"):
        from_datasets(OTHER, test=DataLoader(ITEMS, batch_size=8, **options), classes=2)


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(1, 4, 4), 0


class NoLength(Dataset):
    def __getitem__(self, i):
        return torch.zeros(1, 4, 4), 0


class Broken(NoLength):
    def __len__(self):
        raise OSError("no index")


def test_a_length_that_cant_be_had():
    with pytest.raises(DataError, match=r"train: the Dataset's length can't be read \(OSError: no index\)"):
        from_datasets(Broken(), classes=2)


def test_loaders_of_streams_and_of_their_own_kind():
    with pytest.raises(DataError, match="train: Stream has no __len__ and __getitem__"):
        from_datasets(DataLoader(Stream()), classes=2)
    with pytest.raises(DataError, match="train: NoLength has no __len__"):
        from_datasets(NoLength(), classes=2)
    with pytest.raises(DataError, match="its own __iter__"):
        from_datasets(Loader(ITEMS, 8, shuffle=True), classes=2)


def test_a_validation_share_beside_a_validation_split():
    with pytest.raises(ConfigError, match=r"val=0\.2: 'datasets' already has a validation split"):
        from_datasets(ITEMS, OTHER, OTHER, classes=2, val_fraction=0.2)
