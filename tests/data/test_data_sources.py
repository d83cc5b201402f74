"""Every source, on tiny data made here."""

import gzip
import hashlib
import json
import pickle
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from tutelage.data import available, load
from tutelage.data.image_files import ImageFileSplit
from tutelage.data.splits import InMemorySplit


def numbers(samples):
    return {int(i) for i in samples.rows}


def test_digits():
    data = load("digits")
    assert (data.task, data.channels, data.size, data.augment) == ("classification", 1, (8, 8), "shift")
    assert data.classes == tuple("0123456789")
    splits = [numbers(getattr(data, s)) for s in ("train", "val", "test")]
    assert [len(s) for s in splits] == [1294, 144, 359]
    assert len(set.union(*splits)) == 1797
    assert data.train.inputs.max() == 255
    share = torch.bincount(data.test.labels) / 359
    assert (share - torch.bincount(data.train.labels) / 1294).abs().max() < 0.01


def test_the_test_split_is_the_same_for_any_seed_and_val_isnt():
    one, two = load("digits", seed=1), load("digits", seed=2)
    assert numbers(one.test) == numbers(two.test)
    assert numbers(one.val) != numbers(two.val)
    assert numbers(load("digits", seed=1).val) == numbers(one.val)


def test_subsets_of_train():
    whole = load("digits")
    few = load("digits", labels_per_class=4)
    assert torch.bincount(few.train.labels).tolist() == [4] * 10
    assert (few.mean, few.std) == (whole.mean, whole.std), "inputs mean the same to a teacher of the whole"
    limited = load("digits", limit=200)
    assert len(limited.train) == 200
    assert torch.bincount(limited.train.labels).min() >= 18
    assert numbers(limited.val) == numbers(whole.val)
    assert numbers(limited.train) < numbers(whole.train)
    assert numbers(load("digits", limit=200, seed=1).train) != numbers(limited.train)


@pytest.mark.parametrize("form", ["NHWC", "NCHW", "NHW", "float", "column"])
def test_npz(tmp_path, made, form):
    x = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
    y = np.arange(20) % 2
    given = {
        "NHWC": (x, y),
        "NCHW": (x.transpose(0, 3, 1, 2), y),
        "NHW": (x[..., 0], y),
        "float": (x / 255, y),
        "column": (x, y[:, None]),
    }[form]
    file = made.npz(tmp_path / "a.npz", x_train=given[0], y_train=given[1], x_test=given[0], y_test=given[1])
    data = load(f"npz:{file}")
    assert data.size == (6, 5)
    assert data.channels == (1 if form == "NHW" else 3)
    got = next(data.batches("test", 20))
    plain = got.inputs * torch.tensor(data.std).view(-1, 1, 1) + torch.tensor(data.mean).view(-1, 1, 1)
    want = torch.from_numpy(x).permute(0, 3, 1, 2)[:, : data.channels] / 255
    assert torch.allclose(plain, want, atol=1e-5)
    assert got.targets.tolist() == y.tolist()


def test_npz_val_and_class_names(tmp_path, made):
    x, y = np.zeros((4, 8, 8, 3), np.uint8), np.arange(4)
    file = made.npz(tmp_path / "a.npz", x_val=x, y_val=y, classes=np.array(["a", "b", "c", "d"]))
    data = load(f"npz:{file}")
    assert (len(data.train), len(data.val), len(data.test)) == (40, 4, 12)
    assert data.classes == ("a", "b", "c", "d")
    beside = made.npz(tmp_path / "b.npz")
    (tmp_path / "classes.json").write_text(json.dumps({"coarse": ["x", "y"], "fine": ["k", "l", "m", "n"]}))
    assert load(f"npz:{beside}").classes == ("k", "l", "m", "n")


def test_constant_images_have_a_deviation(tmp_path, made):
    file = made.npz(tmp_path / "a.npz", x_train=np.full((40, 8, 8, 3), 51, np.uint8))
    data = load(f"npz:{file}")
    assert data.mean == pytest.approx((0.2,) * 3)
    assert data.std == (1.0,) * 3


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_folder_in_splits(tmp_path, made, val):
    data = load(f"folder:{made.photo_folder(tmp_path, splits=('train', val, 'test'), each=3)}")
    assert [len(s) for s in (data.train, data.val, data.test)] == [6, 6, 6]
    assert (data.classes, data.size, data.channels, data.augment) == (("cat", "dog"), (12, 12), 3, "crop-flip")
    assert isinstance(data.train, InMemorySplit)
    with Image.open(tmp_path / "train" / "dog" / "0.png") as image:
        assert data.train.inputs[3].equal(torch.from_numpy(np.array(image)).permute(2, 0, 1))


def test_folder_without_splits_is_parted_by_class(tmp_path, made):
    data = load(f"folder:{made.photo_folder(tmp_path, each=10)}")
    assert [torch.bincount(s.labels).tolist() for s in (data.train, data.val, data.test)] == [[7, 7], [1, 1], [2, 2]]


def test_grey_and_mixed_folders(tmp_path, made):
    grey = made.photo_folder(tmp_path / "grey", mode="L")
    assert load(f"folder:{grey}").channels == 1
    Image.new("RGBA", (12, 12), (255, 0, 0, 9)).save(grey / "cat" / "0.png")
    Image.new("P", (12, 12), 3).save(grey / "cat" / "1.png")
    mixed = load(f"folder:{grey}")
    assert mixed.channels == 3
    assert mixed.train.inputs[0].float().mean((1, 2)).tolist() == [255, 0, 0]


def test_small_images_of_several_sizes_are_resized_to_the_largest(tmp_path, made):
    root = made.photo_folder(tmp_path)
    made.picture(root / "cat" / "wide.png", 10, 20)
    assert load(f"folder:{root}").size == (12, 20)


def test_photos_stay_in_their_files(tmp_path, made):
    root = made.photo_folder(tmp_path, side=70)
    data = load(f"folder:{root}")
    assert isinstance(data.train, ImageFileSplit)
    assert (data.size, data.augment) == ((224, 224), "resized-crop")
    assert next(data.batches("train", 2)).inputs.shape == (2, 3, 224, 224)
    small = load(f"folder:{root}", size=28)
    want = torch.cat([b.inputs for b in small.batches("test", 9)])
    assert want.shape[1:] == (3, 28, 28)
    assert (want.mean((0, 2, 3)).abs() < 0.3).all()


def test_evaluation_of_photos_takes_the_middle(tmp_path, made):
    root = made.photo_folder(tmp_path, side=256)
    edge = np.zeros((256, 512, 3), np.uint8)
    edge[16:-16, 144:-144] = 255
    Image.fromarray(edge).save(root / "cat" / "0.png")
    data = load(f"folder:{root}")
    x, _ = ImageFileSplit([root / "cat" / "0.png"], 3, (224, 224), labels=torch.zeros(1, dtype=torch.int64)).item(
        0, _plain()
    )
    assert data.size == (224, 224)
    assert (x == 255).all()


def _plain():
    from tutelage.data.splits import ViewSeed

    return ViewSeed()


def _idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.tobytes())
    with gzip.open(f"{path}.gz", "wb") as file:
        file.write(header + array.tobytes())


@pytest.mark.parametrize(("name", "title"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_mnist_files(tmp_path, name, title):
    raw = tmp_path / title / "raw"
    x = np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8)
    y = (np.arange(30) % 10).astype(np.uint8)
    for split in ("train", "t10k"):
        _idx(raw / f"{split}-images-idx3-ubyte", x)
        _idx(raw / f"{split}-labels-idx1-ubyte", y)
    data = load(f"{name}:{tmp_path}")
    assert (len(data.train), len(data.val), len(data.test)) == (27, 3, 30)
    assert (data.channels, data.size, len(data.classes)) == (1, (28, 28), 10)
    assert data.test.inputs[4, 0].equal(torch.from_numpy(x[4]))


def _cifar(folder, file, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(pickle.dumps(content))
    return [file, hashlib.md5((folder / file).read_bytes()).hexdigest()]


@pytest.mark.parametrize(
    ("name", "title", "key"), [("cifar10", "CIFAR10", "labels"), ("cifar100", "CIFAR100", "fine_labels")]
)
def test_cifar_files(tmp_path, monkeypatch, name, title, key):
    import torchvision

    kind = getattr(torchvision.datasets, title)
    folder = tmp_path / kind.base_folder
    x = np.random.default_rng(0).integers(0, 256, (20, 3 * 32 * 32), dtype=np.uint8)
    batch = {"data": x, key: [i % 2 for i in range(20)]}
    meta = _cifar(folder, "meta", {kind.meta["key"]: ["a", "b"]})
    monkeypatch.setattr(kind, "train_list", [_cifar(folder, "one", batch)])
    monkeypatch.setattr(kind, "test_list", [_cifar(folder, "two", batch)])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "filename": meta[0], "md5": meta[1]})
    data = load(f"{name}:{tmp_path}")
    assert (data.classes, data.size, data.channels, data.augment) == (("a", "b"), (32, 32), 3, "crop-flip")
    assert data.test.inputs[5].equal(torch.from_numpy(x[5]).view(3, 32, 32))


def test_segmentation_as_camvid_has_it(tmp_path, made):
    data = load(f"segmentation:{made.camvid(tmp_path)}", task="segmentation")
    assert (data.task, data.size, data.classes) == ("segmentation", (16, 24), ("road", "tree", "car"))
    assert isinstance(data.train, InMemorySplit)
    batch = next(data.batches("test", 4))
    assert batch.targets.shape == (4, 16, 24)
    with Image.open(tmp_path / "testannot" / "0.png") as image:
        values = torch.from_numpy(np.array(image)).long()
    assert batch.targets[0].equal(torch.tensor([0, 1, 255, 2])[values])


@pytest.mark.parametrize("layout", ["images/{s}/{n}|masks/{s}/{n}", "{s}/images/{n}|{s}/labels/{n}"])
def test_segmentation_layouts(tmp_path, made, layout):
    for split in ("train", "valid", "test"):
        for i in range(2):
            image, mask = (tmp_path / part.format(s=split, n=f"{i}.png") for part in layout.split("|"))
            made.picture(image, 8, 8)
            made.mask(mask, np.eye(8))
    data = load(f"segmentation:{tmp_path}")
    assert [len(s) for s in (data.train, data.val, data.test)] == [2, 2, 2]
    assert data.classes == ("0", "1")


def test_segmentation_in_files(tmp_path, made):
    for i in range(10):
        made.picture(tmp_path / "images" / f"{i}.jpg", 30 + i, 40)
        made.mask(tmp_path / "masks" / f"{i}.png", np.indices((30 + i, 40)).sum(0) % 3)
    data = load(f"segmentation:{tmp_path}", size=(24, 32))
    assert isinstance(data.train, ImageFileSplit)
    assert [len(s) for s in (data.train, data.val, data.test)] == [7, 1, 2]
    assert next(data.batches("train", 3)).targets.shape == (3, 24, 32)
    cropped = next(load(f"segmentation:{tmp_path}", size=(24, 32), augment="resized-crop").batches("train", 3))
    assert cropped.inputs.shape == (3, 3, 24, 32)
    assert {*cropped.targets.unique().tolist()} <= {0, 1, 2, 255}


def test_resized_crop_moves_image_and_mask_together(tmp_path, made):
    for i in range(8):
        values = (np.indices((40, 40 + i))[1] > 20).astype(np.uint8)
        made.mask(tmp_path / "images" / f"{i}.png", values * 255)
        made.mask(tmp_path / "masks" / f"{i}.png", values)
    data = load(f"segmentation:{tmp_path}", size=32, augment="resized-crop")
    for batch in data.batches("train", 4):
        bright = batch.inputs[:, 0] * data.std[0] + data.mean[0]
        assert ((bright > 0.5) == (batch.targets == 1)).float().mean() > 0.95


def test_python(tmp_path, monkeypatch):
    (tmp_path / "mine_for_tests.py").write_text(
        "import torch\n"
        "from tutelage.data import load\n"
        "def whole(): return load('digits')\n"
        "class Two(torch.utils.data.Dataset):\n"
        "    classes = ['a', 'b']\n"
        "    def __len__(self): return 20\n"
        "    def __getitem__(self, i): return torch.full((3, 4, 4), i, dtype=torch.uint8), i % 2\n"
        "def two(): return Two(), Two()\n"
    )
    monkeypatch.chdir(tmp_path)
    data = load("python:mine_for_tests:whole", limit=50)
    assert (data.name, len(data.train)) == ("python:mine_for_tests:whole", 50)
    data = load("python:mine_for_tests:two", augment="shift", size=8)
    assert (data.classes, len(data.train), len(data.test), data.size) == (("a", "b"), 18, 20, (8, 8))
    assert next(data.batches("train", 4)).inputs.shape == (4, 3, 8, 8)


def test_all_names_are_listed():
    kinds = {pattern.partition(":")[0] for pattern in available()}
    vision = {"mnist", "fashion-mnist", "cifar10", "cifar100"}
    assert (
        kinds
        == {
            "digits",
            "digits-tasks",
            "folder",
            "npz",
            "segmentation",
            "instances",
            "python",
            "csv",
            "parquet",
            "letor",
            "interactions",
            "labelled-images",
            "images",
            "points",
            "clouds",
            "maps",
            "keypoints",
            "sound",
            "windows",
            "clips",
            "footage",
            "graph",
            "graph-nodes",
            "coco",
            "voc",
            "yolo",
            "graphs",
        }
        | vision
    )
