"""Items of Datasets with several inputs by name."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small import Crash, CrashAt
from torch.utils.data import DataLoader, Dataset

import tutelage
from tutelage.data import from_datasets
from tutelage.data.input_views import view_inputs
from tutelage.errors import ConfigError, DataError

RNG = torch.Generator().manual_seed(0)
Y = torch.arange(60) % 3
RGB = torch.randint(0, 256, (60, 3, 8, 8), generator=RNG, dtype=torch.uint8)
DEPTH = 5 * torch.rand(60, 8, 8, generator=RNG)
DEPTH[torch.arange(60), Y] = 20.0
Item = namedtuple("Item", ["rgb", "depth", "label"])
TINY = {"epochs": 2, "teacher_epochs": 2, "batch_size": 16, "device": "cpu", "lr": 0.05, "log_every": 1}
KEYS = {"teacher": {"model": "cnn4", "inputs": "depth"}, "student": {"model": "cnn2", "inputs": "rgb"}}


class Both(Dataset):
    """Colours and depths; `change` maps an item's number and fields to the item."""

    def __init__(self, change=lambda number, item: item, count=60, **attributes):
        self.change, self.count = change, count
        self.__dict__.update(attributes)

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return self.change(i, {"rgb": RGB[i], "depth": DEPTH[i], "label": int(Y[i])})


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (lambda i, item: item, {}),
        (lambda i, item: ({"rgb": item["rgb"], "depth": item["depth"]}, item["label"]), {}),
        (lambda i, item: Item(**item), {}),
        (lambda i, item: item | {"id": f"photo {i}"}, {"fields": (["rgb", "depth"], "label")}),
        (lambda i, item: item | {"kind": item["label"], "label": 9}, {"fields": (["rgb", "depth"], "kind")}),
    ],
)
def test_each_field_is_read_and_measured(change, options):
    data = from_datasets(Both(change), classes=3, **options)
    assert [(name, f.modality, f.channels, f.size) for name, f in data.fields.items()] == [
        ("rgb", "image", 3, (8, 8)),
        ("depth", "image", 1, (8, 8)),
    ]
    assert (data.target, data.task, data.channels) == ("label", "classification", 3)
    batch = next(view_inputs(data, "depth").batches("train", 60, train=False))
    assert batch.inputs.shape == (len(data.train), 1, 8, 8)
    assert batch.inputs.mean().abs() < 1e-5
    assert batch.targets.equal(Y[data.train.rows])


def test_shapes_tell_modalities_and_names_those_that_they_dont():
    fields = {"row": torch.ones(4), "wave": torch.rand(2, 9), "scan": np.ones((1, 3, 4, 5)), "grey": np.ones((6, 7))}
    items = [fields | {"y": n % 2} for n in range(20)]
    data = from_datasets(items, classes=2, modalities={"wave": "series"})
    assert {name: (f.modality, f.channels, f.size) for name, f in data.fields.items()} == {
        "row": ("table", 4, ()),
        "wave": ("series", 2, (9,)),
        "scan": ("volume", 1, (3, 4, 5)),
        "grey": ("image", 1, (6, 7)),
    }


def test_floats_are_values_and_vectors_of_bits_are_label_sets():
    values = [{"rgb": RGB[n], "depth": DEPTH[n], "target": torch.tensor([0.5 * n, -n])} for n in range(60)]
    data = from_datasets(values)
    assert (data.task, data.values.names, data.target) == ("regression", ("target0", "target1"), "values")
    assert data.values.mean[0] == pytest.approx(float(data.train.rows.double().mean() / 2))
    single = from_datasets([(RGB[n], float(n)) for n in range(60)])
    assert (single.task, single.values.names, single.train.values.shape) == ("regression", ("y",), (48 - 5, 1))
    whole = from_datasets([(RGB[n], n) for n in range(60)], task="regression")
    assert whole.values.std == single.values.std
    bits = from_datasets([(RGB[n], [n % 2, 1, 0]) for n in range(60)], task="multi_label")
    assert (bits.target, bits.classes) == ("label set", ("0", "1", "2"))
    assert next(bits.batches("test", 4)).targets.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": None}, "sample 7 has no field 'depth': expected the fields of the first of train, 'rgb', 'depth', "),
        ({"heat": torch.ones(3)}, "sample 7 has the field 'heat' too"),
        (
            {"depth": torch.rand(8, 9)},
            r"sample 7 has the field 'depth', a float32 tensor of shape \(1, 8, 9\): expected",
        ),
        ({"depth": RGB[0, 0]}, "sample 7 has the field 'depth', a uint8 tensor .*: expected a float32 tensor"),
        ({"depth": torch.rand(8)}, "sample 7 has the field 'depth', which is a float32 tensor .*: expected a uint8"),
        ({"depth": torch.full((8, 8), torch.nan)}, "sample 7 has the field 'depth', which has NaN or infinite"),
        ({"depth": "d7.png"}, "sample 7 has the field 'depth', which is 'd7.png' .*: expected a tensor"),
        ({"label": 3}, "sample 7 has labels from 3 to 3"),
        ({"label": None}, "sample 7 has no field 'label'"),
    ],
)
def test_samples_that_disagree_are_named(change, message):
    def changed(number, item):
        item = item | change if number == 7 else item
        return {name: x for name, x in item.items() if x is not None}

    with pytest.raises(DataError, match=message):
        from_datasets(Both(changed), classes=3)


@pytest.mark.parametrize(
    ("item", "options", "message"),
    [
        ({"rgb": RGB[0], "depth": DEPTH[0]}, {}, "sample 0 is a dict of 'rgb', 'depth': .*it has no target; name them"),
        ({"rgb": RGB[0], "label": 0, "y": 0}, {}, "it has two targets"),
        ({"rgb": RGB[0], "label": 0}, {"fields": (["rgb", "heat"], "label")}, "expected the field 'heat'"),
        ({"rgb": RGB[0], "label": 0}, {"modalities": {"wave": "series"}}, "unknown field in modalities 'wave'"),
        ({"rgb": RGB[0], "label": 0}, {"modalities": {"rgb": "smell"}}, "unknown modality"),
        ({"rgb": RGB[0], "label": 0}, {"modalities": "series"}, "expected a modality by field"),
        ({"rgb": RGB[0], "label": 0}, {"mean": [0.5] * 3, "std": [1.0] * 3}, "mean, std: for images alone"),
        ({"rgb": RGB[0], "label": torch.nan}, {"classes": None}, "sample 0 has the target .*expected finite numbers"),
        ({"rgb": RGB[0], "label": [2, 0]}, {"task": "multi_label"}, r"has the target \[2, 0\]: expected 1 \(has"),
        (({"rgb": RGB[0], "target": 1}, 1), {}, "so that there are two targets"),
        ({"rgb": RGB[0], "label": 0}, {"augment": "shift+randaugment"}, "randaugment is for a single input"),
    ],
)
def test_what_no_sample_has_is_refused(item, options, message):
    with pytest.raises((DataError, ConfigError), match=message):
        from_datasets([item] * 20, **{"classes": 2} | options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields") / "run"
    return tutelage.distill(data=(Both(), Both(count=30)), classes=3, **KEYS, **TINY, out=str(folder))


def test_teacher_and_student_see_their_own_fields(run):
    cards = [tutelage.load(path).card for path in (run.folder / "teacher" / "model.safetensors", run.folder)]
    assert [(card.channels, card.inputs) for card in cards] == [(1, ("depth",)), (3, ("rgb",))]
    again = tutelage.evaluate(run.folder, (Both(), Both(count=30)), classes=3)
    assert again.values["accuracy"] == run.result["student"]["accuracy"]


def test_loaders_with_workers_change_no_bit(run, tmp_path):
    loader = DataLoader(Both(), batch_size=16, shuffle=True, num_workers=2)
    keys = {key: value for key, value in TINY.items() if key != "batch_size"}
    data = (loader, DataLoader(Both(count=30)))
    other = tutelage.distill(data=data, classes=3, **KEYS, **keys, out=str(tmp_path / "run"))
    assert (other.folder / "student.safetensors").read_bytes() == (run.folder / "student.safetensors").read_bytes()


@pytest.mark.parametrize("at", [2, 14])
def test_a_crash_costs_no_bit(run, at, tmp_path):
    config = {"data": (Both(), Both(count=30)), "classes": 3, **KEYS, **TINY, "out": str(tmp_path / "run")}
    with pytest.raises(Crash):
        tutelage.distill(**config, checkpoint_every=0, callbacks=[CrashAt(at)])
    tutelage.resume(tmp_path / "run", data=(Both(), Both(count=30)), classes=3)
    assert (tmp_path / "run/student.safetensors").read_bytes() == (run.folder / "student.safetensors").read_bytes()


def test_the_cached_teacher_is_the_live_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys = {"data": (Both(), Both(count=30)), "classes": 3, "epochs": 2, "batch_size": 21, "device": "cpu"}
    tutelage.train("cnn4", **keys, student_inputs="depth", out=str(tmp_path / "teacher"))
    keys |= {"teacher": {"model": str(tmp_path / "teacher"), "inputs": "depth"}, "student": "cnn2", "baseline": False}
    keys |= {"views": 2, "cache_storage": "exact"}
    runs = [tutelage.distill(**keys, cache=cache, out=str(tmp_path / str(cache))) for cache in (False, True)]
    live, cached = (load_file(each.folder / "student.safetensors") for each in runs)
    assert all(torch.allclose(live[name], cached[name], atol=1e-5) for name in live)
