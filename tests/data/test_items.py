"""What the items of somebody's Dataset may be, and how the others are named."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from tutelage.data import from_datasets
from tutelage.data.items import to_image
from tutelage.data.splits import ViewSeed
from tutelage.errors import ConfigError, DataError

X = torch.arange(48, dtype=torch.uint8).reshape(3, 4, 4)
Pair = namedtuple("Pair", ["image", "label"])
Odd = namedtuple("Odd", ["picture", "kind"])


class Items(Dataset):
    """One item again and again, with what else a Dataset says."""

    def __init__(self, item, count=12, **says):
        self.item, self.count = item, count
        self.__dict__.update(says)

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return self.item(i) if callable(self.item) else self.item


def first(item, **options):
    data = from_datasets(Items(item), classes=options.pop("classes", ["a", "b"]), **options)
    return data.train.item(0, ViewSeed())


@pytest.mark.parametrize(
    ("item", "options"),
    [
        ((X, 1), {}),
        ([X, 1], {}),
        ((X, torch.tensor(1)), {}),
        ((X, torch.tensor([1])), {}),
        ((X, np.int16(1)), {}),
        ((X, np.uint32(1)), {}),
        ((X, np.array(1)), {}),
        ((X, True), {}),
        ((X, "b"), {}),
        (Pair(X, 1), {}),
        (Odd(X, 1), {}),
        ({"image": X, "label": 1}, {}),
        ({"img": X, "label": 1, "id": 7}, {}),
        ({"pixel_values": X, "labels": 1}, {}),
        ({"img": X, "fine_label": 1, "coarse_label": 0}, {"fields": ("img", "fine_label")}),
        ({"image": X, "label": 1, "target": 0}, {"fields": ("image", "label")}),
        ((7, X, 1), {"fields": (1, 2)}),
        (Odd(X, 1), {"fields": ("picture", "kind")}),
    ],
)
def test_an_item_is_a_pair_or_has_fields_that_are_named(item, options):
    x, y = first(item, **options)
    assert x.equal(X)
    assert (y.item(), y.dtype) == (1, torch.int64)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "I;16"]
)
def test_pictures_of_every_mode_are_read_or_refused(mode):
    picture = Image.new(mode, (5, 4))
    x = to_image(picture)
    assert x.shape == (1 if mode in ("L", "I;16") else 3, 4, 5)
    assert x.dtype == (torch.float32 if mode == "I;16" else torch.uint8)


@pytest.mark.parametrize("mode", ["I", "F", "La"])
def test_pictures_whose_values_have_no_agreed_range_are_refused(mode):
    with pytest.raises(DataError, match=rf"^train: sample 0 is a PIL image of mode {mode}: .*in the Dataset"):
        from_datasets(Items((Image.new(mode, (5, 4)), 0)), classes=2)


@pytest.mark.parametrize("form", ["I;16", "I;16L", "I;16B", "array", ">u2", "tensor"])
def test_sixteen_bits_are_pixels_of_65535(form):
    values = np.array([[0, 255, 256, 65535]] * 3, np.uint16)
    if form.startswith("I;16"):
        given = Image.frombytes(form, (4, 3), values.astype(">u2" if form == "I;16B" else "<u2").tobytes())
    else:
        given = {"array": values, ">u2": values.astype(">u2"), "tensor": torch.from_numpy(values)}[form]
    x = to_image(given)
    assert x.shape == (1, 3, 4)
    assert x[0].numpy() == pytest.approx(values / 65535)
    data = from_datasets(Items((given, 0), count=20), classes=2)
    assert data.source_scale.kind == "pixels"
    assert data.mean == pytest.approx([values.mean() / 65535])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (X[0].numpy(), X[:1]),
        (X[0], X[:1]),
        (X.numpy(), X),
        (X.permute(1, 2, 0).numpy(), X),
        (np.zeros((6, 5, 4), np.float32), torch.zeros(4, 6, 5)),
        (X.float().bfloat16(), X.float()),
        (X.float().requires_grad_(), X.float()),
    ],
)
def test_arrays_where_it_is_certain_what_they_mean(given, expected):
    assert to_image(given).equal(expected)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (X, r"a uint8 tensor of shape \(3, 4, 4\): expected \(image, target\)"),
        ((X, 0, 7), r"a tuple of 3 \(a uint8 tensor .*, 0 \(int\), 7 \(int\)\): expected .* fields=\(0, 1\)"),
        ((X,), "a tuple of 1"),
        (None, r"None \(NoneType\): expected \(image, target\)"),
        ("word", "'word'"),
        ({"image": X}, "a dict of 'image': expected .*fields="),
        ({"image": X, "label": 1, "target": 0}, "a dict of 'image', 'label', 'target': expected"),
        ({"image": X, "img": X}, "a dict of 'image', 'img': expected"),
        ((None, 0), r"None \(NoneType\): expected a uint8 or float tensor"),
        (("a.png", 0), "'a.png'"),
        ((X.float().to_sparse(), 0), "a float32 tensor"),
        ((X.to("meta"), 0), "a uint8 tensor"),
        ((X.long(), 0), "a int64 tensor"),
        ((np.zeros((3, 5, 3)), 0), r"a float64 array of shape \(3, 5, 3\): its channel axis is ambiguous"),
        ((np.zeros((6, 5, 7)), 0), r"a float64 array of shape \(6, 5, 7\): its channel axis is ambiguous"),
        ((np.array([None]), 0), "a object array"),
        ((torch.zeros(28, 28, 3), 0), r"a float32 tensor .*permute\(2, 0, 1\)"),
        ((torch.zeros(3, 0, 4), 0), r"a float32 tensor of shape \(3, 0, 4\)"),
        ((X, None), r"the target None \(NoneType\): expected an integer class"),
        ((X, "cat"), "the label 'cat': expected a class's number, or its name, one of 'a', 'b'"),
        ((X, 1.0), r"the target 1.0 \(float\)"),
        ((X, torch.tensor([0, 1])), "the target a int64 tensor"),
        ((X, {"label": 0}), "the target a dict of 'label'"),
        ((X, [None]), "the target a list of 1"),
        ((X, Image.new("L", (4, 4))), "the target a PIL image of mode L"),
    ],
)
def test_what_else_came_is_named_with_its_split_and_sample(item, words):
    good = Items((X, 0))
    for split, options in (("train", {}), ("test", {"train": good}), ("val", {"train": good, "test": good})):
        given = {"train": Items(item)} if split == "train" else options | {split: Items(item)}
        with pytest.raises(DataError, match=rf"^{split}: sample 0 (is|has) {words}"):
            from_datasets(**given, classes=["a", "b"])


def test_fields_that_an_item_lacks():
    for item, fields in (((X, 0), (0, 2)), ({"image": X}, ("image", "label")), ((X, 0), ("image", "label"))):
        with pytest.raises(DataError, match=r"train: sample 0 is .*: expected the fields"):
            from_datasets(Items(item), classes=2, fields=fields)


@pytest.mark.parametrize("fields", ["ab", ("x",), (1, 2, 3), 7, ("x", None), (0, True)])
def test_fields_are_two_names_or_numbers(fields):
    with pytest.raises(ConfigError, match=r"fields=.*two names or numbers"):
        from_datasets(Items((X, 0)), classes=2, fields=fields)


# masks

MASK = np.array([[0, 1, 255, 1]] * 4, np.uint8)


@pytest.mark.parametrize(
    "mask",
    [
        MASK,
        torch.from_numpy(MASK),
        torch.from_numpy(MASK).long()[None],
        MASK[..., None],
        MASK.astype(np.uint16),
        MASK.astype(np.uint32),
        MASK.tolist(),
        Image.fromarray(MASK),
        Image.fromarray(MASK).convert("P"),
        Image.fromarray(MASK.astype(np.int32)),
        Image.fromarray(MASK.astype(np.uint16)),
    ],
)
def test_masks_of_every_form(mask):
    if getattr(mask, "mode", "") == "P":
        mask.putpalette(list(range(256)) * 3)  # its indices count, not its colours
        mask.putdata(MASK.flatten().tolist())
    _, y = first((X, mask), task="segmentation")
    assert y.equal(torch.from_numpy(MASK).long())


def test_a_mask_of_two_values():
    _, y = first((X, Image.fromarray(MASK == 1)), task="segmentation")
    assert y.equal(torch.from_numpy(MASK == 1).long())


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (Image.new("RGB", (4, 4)), "the target a PIL image of mode RGB: .*convert colours"),
        (Image.new("LA", (4, 4)), "the target a PIL image of mode LA"),
        (Image.new("F", (4, 4)), "the target a PIL image of mode F"),
        (np.zeros((4, 4, 3), np.uint8), r"the target a uint8 array of shape \(4, 4, 3\)"),
        (torch.zeros(1, 4, 4), r"the target a float32 tensor .*fractions"),
        (1, r"the target 1 \(int\): expected a mask"),
        (None, "the target None"),
        (np.where(MASK == 1, 3, MASK), "labels from 0 to 3, but there are 2 classes"),
        (np.zeros((4, 8), np.uint8), r"an image of \(4, 4\) and a mask of \(4, 8\)"),
    ],
)
def test_masks_that_are_none(mask, words):
    with pytest.raises(DataError, match=rf"^train: sample 0 has {words}"):
        from_datasets(Items((X, mask)), classes=2, task="segmentation")


def test_a_mask_of_0_and_255_alone_isnt_taken_for_unlabelled():
    given = Items((X, np.where(MASK == 1, 255, 0)))
    with pytest.raises(DataError, match=r"masks .* only the values 0 and 255.*255"):
        from_datasets(given, classes=2, task="segmentation")


# one kind of image in all


@pytest.mark.parametrize(
    ("other", "words"),
    [(X.float(), "is a float32 tensor"), (X[:1], r"shape \(1, 4, 4\)"), (Image.new("L", (4, 4)), r"shape \(1, 4, 4\)")],
)
def test_images_of_another_kind_than_the_first_are_named(other, words):
    with pytest.raises(DataError, match=rf"^test: sample 0 .*{words}.*the first of train is a uint8"):
        from_datasets(Items((X, 0)), test=Items((other, 0)), classes=2)
    mixed = Items(lambda i: (other if i == 11 else X, 0))
    with pytest.raises(DataError, match=r"^train: sample 11 "):
        list(from_datasets(mixed, Items((X, 0)), Items((X, 0)), classes=2).batches("train", 4))


# classes and targets


class Labelled(Dataset):
    """Images, each full of its number; items say `labels`, through `target_transform`."""

    def __init__(self, labels, count=100, **says):
        self.truth, self.count, self.target_transform = labels, count, None
        self.__dict__.update(says)

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        label = self.truth(i)
        return torch.full((1, 4, 4), i, dtype=torch.uint8), (
            self.target_transform(label) if self.target_transform else label
        )


def test_targets_that_the_items_bear_out_are_known():
    data = from_datasets(Labelled(lambda i: i % 2, targets=[i % 2 for i in range(100)]), classes=2)
    assert data.train.labels is not None
    assert len(from_datasets(Labelled(lambda i: i % 2), classes=2).train) == len(data.train)


@pytest.mark.parametrize(
    ("labels", "says", "known"),
    [
        (lambda i: i % 2, {"targets": [(i + 1) % 2 for i in range(100)]}, False),  # permuted
        (lambda i: i % 2, {"targets": [7 + i % 2 for i in range(100)]}, False),  # beyond the classes
        (lambda i: 7 + i % 2, {"targets": [7 + i % 2 for i in range(100)], "target_transform": lambda y: y - 7}, True),
        (lambda i: i % 2, {"targets": ["ab"[i % 2] for i in range(100)]}, True),
        (lambda i: i % 2, {"targets": torch.arange(100).float()}, False),
        (lambda i: i % 2, {"targets": [{"label": 1}] * 100}, False),
        (lambda i: i % 2, {"targets": np.arange(100, dtype=np.uint8) % 2}, True),
        (lambda i: i % 2, {"targets": [0, 1]}, False),
        (lambda i: "ab"[i % 2], {"targets": ["ab"[i % 2] for i in range(100)]}, True),
    ],
)
def test_items_count_not_the_targets(labels, says, known):
    data = from_datasets(Labelled(labels, **says), classes=["a", "b"])
    assert (data.train.labels is not None) == known
    for batch in data.batches("train", 50):
        numbers = data.train.rows[batch.index]
        assert batch.targets.equal(numbers % 2)


def test_a_target_that_a_later_item_denies_is_named():
    targets = [i % 2 for i in range(100)]
    targets[98] = 1
    good = Labelled(lambda i: 0)
    with pytest.raises(DataError, match=r"^train: sample 98 is of class 0, but of class 1 in the Dataset's targets"):
        list(from_datasets(Labelled(lambda i: i % 2, targets=targets), good, good, classes=2).batches("train", 10))


class Feature:
    names = ("cat", "dog")


@pytest.mark.parametrize(
    "dataset",
    [
        Items((X, 0), classes=["cat", "dog"]),
        Subset(Items((X, 0), classes=["cat", "dog"]), range(12)),
        ConcatDataset([Items((X, 0), classes=["cat", "dog"])] * 2),
        Items({"image": X, "label": 0}, features={"image": None, "label": Feature()}),
    ],
)
def test_a_dataset_names_its_own_classes(dataset):
    assert from_datasets(dataset).classes == ("cat", "dog")
    assert from_datasets(dataset, classes=["Katze", "Hund"]).classes == ("Katze", "Hund")


def test_own_names_of_several_words_and_a_part_of_them():
    own = Labelled(lambda i: i % 3, targets=[i % 3 for i in range(100)], classes=[("cat", "felis"), "dog", "emu"])
    assert from_datasets(own).classes == ("cat, felis", "dog", "emu")
    part = from_datasets(own, classes=["emu", "dog"])
    assert part.classes == ("emu", "dog")
    batch = next(part.batches("test", 50))
    assert {(int(x[0, 0, 0] * 0 + y)) for x, y in zip(batch.inputs, batch.targets, strict=True)} == {0, 1}
    rows = part.test.samples.rows[batch.index] % 3
    assert batch.targets.equal((rows == 1).long())


@pytest.mark.parametrize(
    "classes", [None, "cat", 2.0, True, 0, -1, [], ["a", "a"], [1, 2], torch.tensor(2), torch.arange(2), object()]
)
def test_classes_that_are_none(classes):
    with pytest.raises(ConfigError, match=r"classes=.*expected their number, or a list of their names"):
        from_datasets(Items((X, 0)), classes=classes)


def test_a_tensor_dataset_of_grey_images():
    data = from_datasets(TensorDataset(torch.rand(20, 8, 8), torch.arange(20) % 2), classes=2)
    assert (data.channels, data.size) == (1, (8, 8))


def test_an_unknown_task():
    with pytest.raises(ConfigError, match="unknown task of Datasets 'parsing'"):
        from_datasets(Items((X, 0)), classes=2, task="parsing")
