"""A run that is judged on validation samples can't read the test split."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

import tutelage
from tests.small import digits
from tutelage import data as datasets
from tutelage.data.sealed import SealedSplit, seal
from tutelage.errors import DataError, TutelageError
from tutelage.report import run_record

sys.path.append(str(Path(__file__).parents[2] / "bench"))
from tiny_tasks import TASKS

SMALL = {"epochs": 1, "batch_size": 16, "device": "cpu"}


class Pictures(Dataset):
    """Noise of three classes; of a sealed one, each reading raises."""

    classes = ("a", "b", "c")

    def __init__(self, count: int, opened: bool = True) -> None:
        self.x = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(count))
        self.opened = opened

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, number: int):
        assert self.opened, "the test split was read"
        return self.x[number], number % 3


class Values(Pictures):
    """Noise, of which the mean is to be estimated."""

    classes = ()

    def __getitem__(self, number: int):
        return super().__getitem__(number)[0], self.x[number].mean()


def sealed(kind: type[Pictures]) -> dict[str, Dataset]:
    return {"train": kind(48), "val": kind(18), "test": kind(24, opened=False)}


def pictures():
    """The data that a configuration names by its function."""
    return Pictures(48), Pictures(24, opened=False)


@pytest.mark.parametrize(
    "access", [len, lambda s: s.labels, lambda s: s.take, lambda s: s.fingerprint(), lambda s: s.groups]
)
def test_any_access_to_a_sealed_split_is_refused(access):
    with pytest.raises(DataError, match="judged_on=val"):
        access(SealedSplit())


def test_sealed_data_have_the_same_training_and_validation_samples():
    whole, without = digits(), seal(digits(), 0.1, 0)
    assert without.splits == ("train", "val")
    assert without.judged_on == "val"
    assert without.judged is without.val
    assert [getattr(without, s).fingerprint() for s in without.splits] == [
        getattr(whole, s).fingerprint() for s in without.splits
    ]
    assert without.fingerprint != whole.fingerprint
    with pytest.raises(TutelageError, match="sealed"):
        next(without.batches("test", 8))


def test_data_by_name_are_sealed_too():
    assert datasets.load("digits", judged_on="val").test.is_sealed
    assert not datasets.load("digits").test.is_sealed


@pytest.mark.parametrize("kind", [Pictures, Values])
def test_a_run_never_reads_test(kind, tmp_path):
    run = tutelage.train("cnn2", data=sealed(kind), judged_on="val", out=tmp_path / "run", **SMALL)
    assert run.result["judged_on"] == "val"
    assert run.result["data"]["val"] == 18
    assert "test" not in run.result["data"]
    with pytest.raises(TutelageError, match="the test split was read"):  # as the data would say
        tutelage.train("cnn2", data=sealed(kind), out=tmp_path / "other", **SMALL)


def test_a_function_of_datasets_is_not_read_either(tmp_path, monkeypatch):
    data = f"python:{__name__}:pictures"
    run = tutelage.train("cnn2", data=data, judged_on="val", out=tmp_path / "run", **SMALL)
    assert run.result["data"]["val"] == 5  # a tenth of train, as ever


def test_a_whole_comparison_is_judged_on_validation(tmp_path):
    run = tutelage.distill("cnn2", "cnn2", data="digits", limit=64, judged_on="val", out=tmp_path / "run", **SMALL)
    own = tutelage.evaluate(run.folder)
    assert own.values["accuracy"] == run.result["student"]["accuracy"]
    assert len(own.predictions["index"]) == run.result["data"]["val"]
    test = tutelage.evaluate(run.folder, judged_on="test")
    assert len(test.predictions["index"]) == len(digits().test)
    assert run_record.read(run.folder).judged_on == "validation"
    page = run.report.read_text()
    assert "Validation accuracy by model" in page
    assert "Test accuracy" not in page


def test_the_seed_that_chose_the_validation_samples_is_kept(tmp_path):
    keys = {"data": "digits", "limit": 64, "judged_on": "val", "seed": 7, "val": 0.2}
    run = tutelage.train("cnn2", out=tmp_path / "run", **keys, **SMALL)
    assert tutelage.evaluate(run.folder).values["accuracy"] == run.result["student"]["accuracy"]
    assert json.loads((run.folder / "result.json").read_text())["judged_on"] == "val"


def test_objects_that_judged_a_run_on_validation_do_so_again(tmp_path):
    data = {"train": Pictures(48), "val": Pictures(18), "test": Pictures(24)}
    run = tutelage.train("cnn2", data=data, judged_on="val", out=tmp_path / "run", **SMALL)
    assert len(tutelage.evaluate(run.folder, data=data).predictions["index"]) == 18
    assert len(tutelage.evaluate(run.folder, data=data, judged_on="test").predictions["index"]) == 24
    assert len(tutelage.evaluate(run.folder, data=Pictures(24)).predictions["index"]) == 24


def test_subsets_of_classes_and_label_columns_stay_sealed(tmp_path):
    keys = {"limit": 64, "judged_on": "val", "classes": ["0", "1", "2"]}
    assert datasets.load("digits", **keys).test.is_sealed
    run = tutelage.train("cnn2", data="digits", out=tmp_path / "run", **keys, **SMALL)
    assert run.result["data"]["classes"] == ["0", "1", "2"]


def test_other_splits_by_class_are_made_before_the_seal():
    data = datasets.load("digits", judged_on="val", split="classes")
    assert data.test.is_sealed
    assert not set(data.val.labels.tolist()) & set(data.train.labels.tolist())


TASKS_OF_KINDS = ("segmentation", "detection", "embedding", "ranking", "graphs", "forecasting", "depth", "streams")
"""A task of each kind of targets, metrics and splits."""


@pytest.mark.parametrize("name", TASKS_OF_KINDS)
def test_every_kind_of_task_is_judged_on_validation(name, tmp_path):
    keys = TASKS[name](tmp_path / "data") | {"epochs": 1, "teacher_epochs": 1, "baseline": False, "device": "cpu"}
    run = tutelage.distill(**keys, judged_on="val", out=tmp_path / "run")
    metric = run.result["metric"]
    assert tutelage.evaluate(run.folder).values[metric] == pytest.approx(run.result["student"][metric], abs=1e-5)
    assert "Validation" in run.report.read_text()
    assert not re.search(r"\b[Tt]est (samples?|images?|split|windows?|pixels|quer)", run.report.read_text())
