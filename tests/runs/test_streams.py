"""Runs on labelled and unlabelled samples, or on another domain's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small import Crash, CrashAt
from torch.utils.data import TensorDataset

import tutelage
from tutelage.config.schema import check
from tutelage.errors import ConfigError
from tutelage.runs.data import load_data
from tutelage.runs.run import Run

TINY = {"teacher": "cnn4", "student": "cnn2", "epochs": 2, "teacher_epochs": 2, "batch_size": 32, "device": "cpu"}
FEW = {"data": {"labelled": "digits", "unlabelled": "digits"}, "labels_per_class": 4}
HALF = {"source": "digits", "share": 0.5}
METHOD = [{"name": "pseudo_label", "stream": "unlabelled", "threshold": 0.2}]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Images of 10 classes in one file, and two of 8 × 8 pixels."""
    folder = tmp_path_factory.mktemp("streams")
    rng, y = np.random.default_rng(0), np.arange(60) % 10
    x = (rng.integers(0, 60, (60, 8, 8)) + 15 * y[:, None, None]).astype(np.uint8)
    np.savez(folder / "a.npz", x_train=x, y_train=y, classes=np.array([str(c) for c in range(10)]))
    np.savez(folder / "rgb.npz", x_train=np.stack([x] * 3, -1), y_train=y)
    (folder / "more").mkdir()
    for number, image in enumerate(x[:20]):
        Image.fromarray(image).save(folder / "more" / f"{number}.png")
    return folder


def test_pseudo_labels_of_unlabelled_samples_teach(tmp_path):
    run = tutelage.distill(**TINY, **FEW, method=METHOD, out=str(tmp_path / "run"))
    labelled, unlabelled = run.result["data"]["streams"]
    assert (labelled["count"], unlabelled["count"]) == (40, 1294)
    assert "unlabelled" in (run.folder / "report.html").read_text(encoding="utf-8")
    assert tutelage.evaluate(run.folder).values["accuracy"] == run.result["student"]["accuracy"]


def test_test_samples_are_in_no_stream():
    data = load_data(check(TINY | FEW))
    alone = load_data(check(TINY | {"data": "digits"}))
    assert len(data.train) == 40 + len(alone.train)
    assert data.test.fingerprint() == alone.test.fingerprint()
    rows = {tuple(x.flatten().tolist()) for batch in alone.batches("test", 100) for x in batch.inputs}
    joined = torch.cat([batch.inputs for batch in data.batches("train", 100, train=False)])
    twins = sum(tuple(x.flatten().tolist()) in rows for x in joined)
    assert twins == sum(
        tuple(x.flatten().tolist()) in rows for b in alone.batches("train", 100, train=False) for x in b.inputs
    )


def test_terms_compare_the_samples_of_their_stream():
    class Seen(tutelage.losses.base.Response):
        needs_teacher = True

        def forward(self, student, teacher):
            seen.append(len(student))
            return (student - teacher).square().mean(1)

    seen = []
    data = load_data(check(TINY | FEW))
    (batch, *_) = data.batches("train", 32)
    outputs = tutelage.Outputs(torch.randn(32, 10))
    for stream in (None, "labelled", "unlabelled"):
        tutelage.Term(Seen(), stream=stream)(outputs, outputs, batch)
    assert seen == [32, 16, 16]
    assert tutelage.Term(tutelage.CE())(outputs, None, batch) == tutelage.Term(tutelage.CE())(
        outputs.part(slice(16)), None, batch.stream("labelled")
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"method": [{"name": "dkd", "stream": "unlabelled"}]}, "stream=unlabelled has no targets, which DKD requires"),
        ({"method": [{"name": "kd", "stream": "target"}]}, "unknown stream 'target'"),
        ({"method": [{"name": "kd", "stream": "wild"}]}, "unknown stream 'wild'"),
        ({"data": {"unlabelled": "digits"}}, "expected labelled, and unlabelled or target too"),
        ({"data": {"labelled": "digits"}}, "expected labelled, and unlabelled or target too"),
        ({"data": {"labelled": "digits", "wild": "digits"}}, "unknown stream of data 'wild'"),
        ({"data": {"labelled": "digits", "unlabelled": {"source": "digits", "part": 1}}}, "unknown key of a stream"),
        ({"data": {"labelled": "digits", "unlabelled": {"source": "digits", "share": 1.5}}}, "add up to 1"),
        (
            {
                "data": {
                    "labelled": {"source": "digits", "share": 0.5},
                    "unlabelled": {"source": "digits", "share": 0.4},
                }
            },
            "add up to 1",
        ),
        ({"data": {"labelled": {"share": 0.5}, "unlabelled": "digits"}}, "labelled needs a source"),
        ({"data": {"labelled": "digits", "unlabelled": "npz:rgb.npz"}, "labels_per_class": None}, "has channels 3"),
        ({"data": {"labelled": "digits", "target": "npz:two.npz"}, "labels_per_class": None}, "has the classes"),
        ({"balance": True}, "is drawn by weights"),
        ({"scheme": "mixed", "teacher": "none"}, "have samples without any"),
        ({"scheme": "same_class", "teacher": "none"}, "makes up batches of its own"),
        ({"batch_size": 1}, "expected a sample of each"),
        ({"data": {"labelled": "npz:a.npz", "unlabelled": "images:."}, "labels_per_class": None}, "files in common"),
        ({"data": {"labelled": "images:more", "unlabelled": "digits"}, "labels_per_class": None}, "has no labels"),
        ({"data": {"labelled": "digits", "target": "npz:values.npz"}, "labels_per_class": None}, "are 'values', and"),
        ({"data": "digits", "method": METHOD}, "unknown stream 'unlabelled'"),
    ],
)
def test_streams_that_cant_be_meant_are_refused(files, monkeypatch, keys, message):
    monkeypatch.chdir(files)
    y = np.arange(60) % 2
    np.savez("values.npz", x_train=np.zeros((60, 8, 8), np.uint8), y_train=np.random.default_rng(0).normal(size=60))
    np.savez("two.npz", x_train=np.zeros((60, 8, 8), np.uint8) + y[:, None, None].astype(np.uint8), y_train=y)
    with pytest.raises(ConfigError, match=message):
        Run(check(TINY | FEW | keys)).dry_run()


def test_another_domain_is_evaluated_if_it_has_labels(files, tmp_path):
    keys = {"data": {"labelled": "digits", "target": f"npz:{files}/a.npz"}, "limit": 100}
    run = tutelage.distill(**TINY, **keys, out=str(tmp_path / "run"))
    assert run.result["data"]["name"] == f"npz:{files}/a.npz"
    assert run.result["data"]["test"] == 12
    assert tutelage.evaluate(run.folder).values["accuracy"] == run.result["student"]["accuracy"]


def test_unlabelled_images_of_a_folder(files, tmp_path):
    config = check(TINY | {"data": {"labelled": "digits", "unlabelled": f"images:{files}/more"}})
    labelled, unlabelled = load_data(config).streams
    assert unlabelled.count == 20  # none is held out
    assert labelled.share == unlabelled.share == 0.5


def test_own_datasets_are_streams(tmp_path):
    x = torch.randint(0, 256, (90, 1, 8, 8), dtype=torch.uint8)
    labelled = (TensorDataset(x[:40], torch.arange(40) % 4), TensorDataset(x[40:60], torch.arange(20) % 4))
    alone = list(x[60:])
    data = {"labelled": labelled, "unlabelled": {"source": alone, "share": 0.25}}
    keys = {**TINY, "method": METHOD, "classes": 4}
    run = tutelage.distill(data=data, **keys, out=str(tmp_path / "run"))
    assert [stream["count"] for stream in run.result["data"]["streams"]] == [36, 30]
    with pytest.raises(ConfigError, match=r"its unlabelled data was given as an object"):
        tutelage.resume(run.folder, data=labelled, epochs=3)


def test_cached_and_resumed_runs_are_the_same(tmp_path):
    keys = TINY | FEW | {"method": METHOD, "views": 2, "cache_storage": "exact", "baseline": False, "log_every": 1}
    keys |= {"data": {"labelled": "digits", "unlabelled": {"source": "digits", "share": 0.75}}, "limit": 60}
    config = {name: check(keys | {"out": str(tmp_path / name)}) for name in ("live", "stopped")}
    whole = Run(config["live"]).fit()
    with pytest.raises(Crash):
        tutelage.distill(**keys | {"out": str(tmp_path / "stopped")}, callbacks=[CrashAt(150)])
    stopped = tutelage.resume(tmp_path / "stopped").folder
    cached = tutelage.distill(**keys, cache=str(tmp_path / "cache"), out=str(tmp_path / "cached")).folder
    one, two, three = (load_file(folder / "student.safetensors") for folder in (whole, stopped, cached))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert all(torch.allclose(one[name], three[name], atol=1e-5) for name in one)


def test_checks_and_weights_are_those_of_the_labelled_samples(tmp_path):
    data = load_data(check(TINY | FEW))
    assert len(data.labelled.train) == 40
    assert torch.bincount(data.labelled.train.labels).tolist() == [4] * 10
    teacher = tutelage.train("cnn4", data="digits", epochs=2, device="cpu", out=str(tmp_path / "teacher"))
    keys = TINY | FEW | {"method": METHOD, "class_weights": "balanced", "out": str(tmp_path / "run")}
    run = tutelage.distill(**keys | {"teacher": str(teacher.folder), "teacher_epochs": None})
    assert run.result["student"]["accuracy"] > 0


def test_a_run_of_own_datasets_is_resumed_with_them(tmp_path):
    x = torch.randint(0, 256, (90, 1, 8, 8), dtype=torch.uint8)
    data = {"labelled": (TensorDataset(x[:40], torch.arange(40) % 4), TensorDataset(x[40:60], torch.arange(20) % 4))}
    data["unlabelled"] = list(x[60:])
    run = tutelage.distill(data=data, **TINY, method=METHOD, classes=4, out=str(tmp_path / "run"))
    assert tutelage.resume(run.folder, data=data, classes=4, epochs=3).result["student"]["accuracy"] >= 0
    with pytest.raises(ConfigError, match="unlabelled is None"):
        tutelage.distill(data=data | {"unlabelled": None}, **TINY)
