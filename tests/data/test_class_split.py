"""Splits without a class in common."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tutelage import data
from tutelage.data.class_split import JoinedSplit, shared_classes, split_by_class
from tutelage.data.data_module import SPLITS, DataModule
from tutelage.data.splits import InMemorySplit, ViewSeed
from tutelage.errors import ConfigError, DataError


def digits() -> DataModule:
    return data.load("digits")


def class_sets(module: DataModule) -> list[set[str]]:
    return [{module.classes[int(label)] for label in getattr(module, split).labels} for split in SPLITS]


def test_no_class_is_in_two_splits_and_no_sample_is_lost() -> None:
    module, whole = split_by_class(digits(), None, 0.1, 0), digits()
    assert list(map(len, class_sets(module))) == [3, 2, 5]
    assert not shared_classes(module)
    assert len(shared_classes(whole)) == 10
    assert sum(len(getattr(module, split)) for split in SPLITS) == sum(len(getattr(whole, split)) for split in SPLITS)
    assert sorted(module.classes) == sorted(whole.classes)


def test_the_training_classes_come_first() -> None:
    module = split_by_class(digits(), None, 0.1, 0)
    assert [sorted(getattr(module, split).labels.unique().tolist()) for split in SPLITS] == [
        [0, 1, 2], [3, 4], [5, 6, 7, 8, 9],
    ]  # fmt: skip


def test_samples_keep_their_class() -> None:
    whole, module = digits(), split_by_class(digits(), None, 0.1, 0)
    by_image = {
        x.numpy().tobytes(): whole.classes[int(y)]
        for split in SPLITS
        for x, y in zip(
            *next(getattr(whole, split).read([torch.arange(len(getattr(whole, split)))], ViewSeed())), strict=True
        )
    }
    for batch in (next(getattr(module, split).read([torch.arange(50)], ViewSeed())) for split in SPLITS):
        assert all(by_image[x.numpy().tobytes()] == module.classes[int(y)] for x, y in zip(*batch, strict=True))


def test_the_seed_chooses_validation_classes_but_never_those_of_test() -> None:
    first, second = (split_by_class(digits(), None, 0.1, seed) for seed in (0, 3))
    assert class_sets(first)[2] == class_sets(second)[2]
    assert class_sets(first)[1] != class_sets(second)[1]


def test_the_test_classes_may_be_named() -> None:
    module = split_by_class(digits(), ["7", "1"], 0.5, 0)
    assert class_sets(module)[2] == {"1", "7"}
    assert list(map(len, class_sets(module))) == [4, 4, 2]


def test_splits_that_share_no_class_stay() -> None:
    module = split_by_class(digits(), None, 0.1, 0)
    assert split_by_class(module, None, 0.3, 5) is module


def test_batches_train_on_it() -> None:
    module = split_by_class(digits(), None, 0.1, 0)
    batches = list(module.batches("train", 32))
    assert sum(map(len, batches)) == len(module.train)
    assert module.fingerprint == split_by_class(digits(), None, 0.1, 0).fingerprint != digits().fingerprint


def test_joined_splits_read_in_the_batches_order() -> None:
    parts = [InMemorySplit(torch.full((3, 1, 1, 1), float(k)) + torch.arange(3).view(3, 1, 1, 1) / 10,
                           torch.arange(3) + 3 * k) for k in range(3)]  # fmt: skip
    joined = JoinedSplit(parts).take(torch.tensor([8, 0, 4, 3, 7]))
    assert joined.labels is not None
    assert joined.labels.tolist() == [8, 0, 4, 3, 7]
    batches = [torch.tensor([0, 1, 2]), torch.tensor([4, 0]), torch.tensor([3])]
    read = list(joined.read(batches, ViewSeed()))
    assert [y.tolist() for _, y in read] == [[8, 0, 4], [7, 8], [3]]
    assert read[0][0].flatten().tolist() == pytest.approx([2.2, 0.0, 1.1])
    assert len(joined.take(torch.tensor([1]))) == 1
    assert joined.fingerprint() != JoinedSplit(parts).fingerprint()


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="unknown class of digits '11'"):
        split_by_class(digits(), ["11", "1"], 0.1, 0)
    few = replace(digits(), classes=("a", "b", "c"), **{split: few_classes() for split in SPLITS})
    with pytest.raises(DataError, match="its 3 classes leave 0 for train, 2 for val and 1 for test"):
        split_by_class(few, None, 0.1, 0)
    unlabelled = few_classes()
    unlabelled.labels = None
    with pytest.raises(DataError, match="known without reading"):
        split_by_class(replace(digits(), train=unlabelled), None, 0.1, 0)


def few_classes() -> InMemorySplit:
    return InMemorySplit(torch.zeros(9, 1, 8, 8), torch.arange(9) % 3)
