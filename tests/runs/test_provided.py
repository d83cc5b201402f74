"""Data and other things that are given as objects, and what is said beside them."""

from __future__ import annotations

import json
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from small import Plain, digits
from torch import nn
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset, WeightedRandomSampler
from torchvision.datasets import ImageFolder
from torchvision.transforms import ToTensor

import tutelage
from tutelage.config.schema import Config, check
from tutelage.data import from_datasets
from tutelage.data.from_datasets import DatasetSource
from tutelage.errors import ConfigError, DataError, TutelageError
from tutelage.runs.data import load_data
from tutelage.training.callbacks import Callback

KEYS = {"epochs": 1, "device": "cpu", "baseline": False}
X = torch.arange(60, dtype=torch.uint8)[:, None, None, None].expand(60, 1, 6, 6)


class Labelled(TensorDataset):
    """With `targets`, as torchvision's have."""

    def __init__(self, count=60, classes=3):
        super().__init__(X[:count], torch.arange(count) % classes)
        self.targets = self.tensors[1]
        self.classes = ["ant", "bee", "cat"][:classes]


TRAIN, TEST = Labelled(), Labelled(12)


def loaded(given, **keys):
    return load_data(Config(student="cnn2", method=None, **keys), given)


GIVEN = {
    "Datasets": lambda: DatasetSource({"train": TRAIN, "test": TEST}),
    "Data": lambda: from_datasets(TRAIN, test=TEST),
}


@pytest.mark.parametrize("kind", GIVEN)
class TestKeysBesideData:
    def test_limit(self, kind):
        assert len(loaded(GIVEN[kind](), limit=9).train) == 9

    def test_labels_per_class(self, kind):
        train = loaded(GIVEN[kind](), labels_per_class=2).train
        assert torch.bincount(train.labels).tolist() == [2, 2, 2]

    def test_size(self, kind):
        data = loaded(GIVEN[kind](), size=10)
        assert data.size == (10, 10)
        assert next(data.batches("train", 4)).inputs.shape == (4, 1, 10, 10)

    def test_augment(self, kind):
        assert loaded(GIVEN[kind](), augment="crop-flip").augment == "crop-flip"
        with pytest.raises(ConfigError, match="resized-crop"):
            loaded(GIVEN[kind](), augment="resized-crop")

    def test_task(self, kind):
        with pytest.raises(TutelageError, match="multi_task"):
            loaded(GIVEN[kind](), task="multi_task")

    def test_column(self, kind):
        with pytest.raises(ConfigError, match="column=age: its samples have a single label"):
            loaded(GIVEN[kind](), column="age")

    def test_a_limit_below_the_classes(self, kind):
        with pytest.raises(ConfigError, match="limit=2 training samples can't hold the 3 classes of datasets"):
            loaded(GIVEN[kind](), limit=2)


def test_val_and_seed_cut_datasets_and_are_refused_where_the_split_is_there():
    cut = {seed: loaded(GIVEN["Datasets"](), val=0.5, seed=seed) for seed in (0, 1)}
    assert len(cut[0].val) == 30
    assert not cut[0].val.rows.equal(cut[1].val.rows)
    three = DatasetSource({"train": TRAIN, "val": TEST, "test": TEST})
    for given in (three, GIVEN["Data"](), digits()):
        with pytest.raises(ConfigError, match=r"val=0\.5: .* already has a validation split"):
            loaded(given, val=0.5)


def test_classes_of_data_are_chosen_of_datasets_named():
    data = loaded(GIVEN["Data"](), classes=["cat", "ant"])
    assert data.classes == ("cat", "ant")
    assert len(data.test) == 8
    with pytest.raises(ConfigError, match="unknown class of datasets 'dog'"):
        loaded(GIVEN["Data"](), classes=["dog", "ant"])
    assert DatasetSource({"train": TRAIN}, ["x", "y", "z"]).data().classes == ("x", "y", "z")
    assert DatasetSource({"train": TRAIN}, ["cat", "ant"]).data().classes == ("cat", "ant")


def test_labels_that_nobody_says():
    bare = TensorDataset(X, torch.arange(60) % 3)
    for key, value in (("labels_per_class", 2),):
        with pytest.raises(
            ConfigError, match=f"{key}.*without reading the sample.*give a Dataset the attribute `targets`"
        ):
            loaded(DatasetSource({"train": bare}, 3), **{key: value})
    with pytest.raises(ConfigError, match=r"classes=.*give a Dataset the attribute `targets`"):
        loaded(from_datasets(bare, classes=3), classes=["0", "1"])


def test_every_key_about_data_is_recorded_and_holds_on_resume(tmp_path):
    class Stop(Callback):
        def on_epoch_end(self, event):
            raise KeyboardInterrupt

    keys = {"limit": 20, "val": 0.3, "size": 8, "augment": "crop-flip", "seed": 5, "epochs": 2}
    whole = tutelage.train("cnn2", (TRAIN, TEST), out=str(tmp_path / "whole"), **KEYS | keys)
    with pytest.raises(KeyboardInterrupt):
        tutelage.train("cnn2", (TRAIN, TEST), callbacks=[Stop()], out=str(tmp_path / "r"), **KEYS | keys)
    with pytest.raises(
        ConfigError, match=r"its data, 'datasets', was given as an object: pass it again in Python \(data="
    ):
        tutelage.resume(tmp_path / "r")
    again = tutelage.resume(tmp_path / "r", data=(TRAIN, TEST))
    assert (again.folder / "student.safetensors").read_bytes() == (whole.folder / "student.safetensors").read_bytes()
    told = yaml.safe_load((whole.folder / "config.yaml").read_text())
    assert {key: told[key] for key in keys} == keys
    assert json.loads((whole.folder / "result.json").read_text())["data"]["train"] == 20
    with pytest.raises(ConfigError, match=r"evaluate: its data, 'datasets', was passed as an object"):
        tutelage.evaluate(whole.folder)
    assert tutelage.evaluate(whole.folder, (TRAIN, TEST)).values["accuracy"] == whole.result["student"]["accuracy"]


def test_a_loaders_words_are_a_runs(tmp_path):
    loader = DataLoader(TRAIN, batch_size=7, sampler=WeightedRandomSampler([1.0] * 30 + [0.0] * 30, 60))
    made = tutelage.train("cnn2", (loader, TEST), out=str(tmp_path / "r"), **KEYS)
    assert yaml.safe_load((made.folder / "config.yaml").read_text())["batch_size"] == 7
    with pytest.raises(ConfigError, match="batch_size=9, but the DataLoader of train has 7: set one of them"):
        tutelage.train("cnn2", (loader, TEST), out=str(tmp_path / "s"), batch_size=9, **KEYS)
    data = from_datasets(DataLoader(TRAIN, batch_size=5, sampler=SubsetRandomSampler(range(30))), test=TEST)
    made = tutelage.train("cnn2", data, out=str(tmp_path / "t"), **KEYS)
    assert yaml.safe_load((made.folder / "config.yaml").read_text())["batch_size"] == 5
    assert made.result["data"]["train"] == 27


Splits = namedtuple("Splits", ["train", "test"])


@pytest.mark.parametrize(
    ("data", "counts"),
    [
        (TRAIN, (43, 5, 12)),
        ((TRAIN,), (43, 5, 12)),
        ([TRAIN, TEST], (54, 6, 12)),
        (Splits(TRAIN, TEST), (54, 6, 12)),
        ((TRAIN, None), (43, 5, 12)),
        ({"train": [TRAIN[i] for i in range(60)]}, (43, 5, 12)),
        ([TRAIN[i] for i in range(60)], (43, 5, 12)),
        ((TRAIN, TEST, TEST), (60, 12, 12)),
        ({"train": TRAIN, "test": TEST}, (54, 6, 12)),
        ({"train": TRAIN, "validation": TEST, "test": TEST}, (60, 12, 12)),
        ((DataLoader(TRAIN, 8, shuffle=True), DataLoader(TEST)), (54, 6, 12)),
    ],
)
def test_forms_of_splits(tmp_path, data, counts):
    made = tutelage.train("cnn2", data, classes=["ant", "bee", "cat"], out=str(tmp_path / "r"), **KEYS)
    assert tuple(made.result["data"][split] for split in ("train", "val", "test")) == counts
    assert made.result["data"]["classes"] == ["ant", "bee", "cat"]


def test_an_image_folder_takes_its_own_classes(tmp_path):
    for number in range(24):
        path = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 10 * number, np.uint8)).save(path)
    folder = ImageFolder(tmp_path / "photos", ToTensor())
    made = tutelage.train("cnn2", folder, out=str(tmp_path / "r"), labels_per_class=4, **KEYS)
    assert made.result["data"]["classes"] == ["cat", "dog"]
    assert made.result["data"]["train"] == 8


# other kinds than can be meant

WRONG = [
    (
        {"student": 42},
        r"student=42 \(int\): expected a model's name, a run folder, a torch.nn.Module object, or a mapping",
    ),
    ({"student": Plain}, r"student=<class .*Plain.*: expected .* object"),
    ({"student": ["cnn2"]}, "student=a list of 1"),
    ({"student": torch.zeros(2)}, "student=a float32 tensor"),
    ({"teacher": 4.5}, r"teacher=4.5 \(float\): expected"),
    ({"teacher": []}, "teacher=a list of 0"),
    ({"teacher": [nn.Linear(1, 1)]}, r"teacher=a list of 1 .*: expected .* a list of names"),
    ({"data": None}, r"data=None \(NoneType\): expected a name"),
    ({"data": 42}, r"data=42 \(int\): expected a name"),
    ({"data": object()}, "data=<object objec"),
    ({"data": ()}, "data=a tuple of 0"),
    ({"data": (1, 2, 3, 4)}, "data=a tuple of 4"),
    ({"data": {"training": TRAIN}}, "data=a dict of 'training'"),
    ({"data": {}}, "data=a dict of nothing"),
    ({"method": 42}, r"method=42 \(int\): expected a loss"),
    ({"method": tutelage.KD}, r"method=<class .*KD.*: expected a loss \(an object, as KD\(\)\)"),
    ({"method": nn.MSELoss()}, r"method=MSELoss\(\)"),
    ({"callbacks": 42}, r"callbacks=42 \(int\): expected a list of tutelage.training.callbacks.Callback"),
    ({"callbacks": [print]}, "callbacks=a list of 1"),
    ({"callbacks": Callback()}, r"callbacks=<tutelage\..*\(Callback\): expected a list"),
]


@pytest.mark.parametrize(("given", "words"), WRONG)
def test_arguments_of_another_kind_are_named(tmp_path, given, words):
    usual = {"student": "cnn2", "teacher": "cnn4", "data": "digits", "out": str(tmp_path / "r")}
    with pytest.raises(ConfigError, match=rf"^{words}"):
        tutelage.distill(**usual | given)
    if "callbacks" not in given:
        with pytest.raises(ConfigError, match=rf"^{words}"):
            list(tutelage.build_cache(**usual | given))
    if "student" not in given and "teacher" not in given and given.get("data", 1) is not None:
        with pytest.raises(ConfigError, match=rf"^{words}"):
            tutelage.resume(tmp_path, **given)
    assert not (tmp_path / "r").exists()


def test_all_of_them_at_once():
    with pytest.raises(ConfigError) as caught:
        tutelage.distill(42, 4.5, None, 3, 7)
    assert [line.partition("=")[0] for line in str(caught.value).splitlines()] == [
        "data", "callbacks", "student", "teacher", "method",
    ]  # fmt: skip


@pytest.mark.parametrize("word", ["student", "teacher", "method"])
def test_what_train_doesnt_take(word):
    with pytest.raises(ConfigError, match=f"train: {word}="):
        tutelage.train("cnn2", **{word: "cnn4"})


@pytest.mark.parametrize("value", [42, None, ["a"], nn.Linear])
def test_runs_and_models_of_another_kind(value):
    with pytest.raises(ConfigError, match=r"^folder=.*: expected the folder of a run"):
        tutelage.resume(value)
    with pytest.raises(ConfigError, match=r"^model=.*: expected a run folder"):
        tutelage.evaluate(value, "digits")


@pytest.mark.parametrize("data", [42, object(), (), {"no": TEST}])
def test_data_of_another_kind_to_evaluate_on(data):
    with pytest.raises(ConfigError, match=r"^data="):
        tutelage.evaluate(Plain(), data)


def test_a_lone_dataset_is_evaluated_on_as_a_whole(tmp_path):
    made = tutelage.train("cnn2", (TRAIN, TEST), out=str(tmp_path / "r"), **KEYS)
    for whole in (TEST, DataLoader(TEST, batch_size=5)):
        figures = tutelage.evaluate(made.folder, whole)
        assert len(figures.predictions["targets"]) == 12
        assert figures.values["accuracy"] == made.result["student"]["accuracy"]


def test_a_network_without_parameters_has_figures():
    figures = tutelage.evaluate(nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(3)), TEST, batch_size=5)
    assert figures.values["accuracy"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("key", ["limit", "labels_per_class", "augment", "val", "seed", "epochs", "method"])
def test_keys_that_change_no_figure_of_an_evaluation(key):
    with pytest.raises(ConfigError, match=f"evaluate: {key}="):
        tutelage.evaluate(Plain(), "digits", **{key: 3})


def test_an_engine_that_is_none():
    with pytest.raises(ConfigError, match="unknown engine '42'"):
        list(tutelage.build_cache("cnn2", "cnn4", engine=42))


def test_datasets_without_train():
    with pytest.raises(DataError, match="there is no train split, only test"):
        tutelage.train("cnn2", (None, TEST))


def test_words_of_datasets_beside_a_name():
    for word in ("mean", "normalised", "fields"):
        with pytest.raises(ConfigError, match=f"unknown key '{word}'"):
            tutelage.train("cnn2", "digits", **{word: True})


def test_paths_are_names(tmp_path):
    made = tutelage.train("cnn2", (TRAIN, TEST), out=str(tmp_path / "r"), **KEYS)
    again = tutelage.distill("cnn2", Path(made.folder), (TRAIN, TEST), out=str(tmp_path / "s"), **KEYS)
    assert again.result["teacher"]["accuracy"] == made.result["student"]["accuracy"]
    assert check({"student": "cnn2", "teacher": str(made.folder)}).teacher == str(made.folder)
