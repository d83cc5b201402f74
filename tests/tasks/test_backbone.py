"""Backbones from images without labels: runs, probes, exports, resumed and cached runs, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from small import Crash, CrashAt
from torch.utils.data import TensorDataset

import tutelage
from tutelage import data as datasets
from tutelage.config.schema import check
from tutelage.errors import CheckpointError, ConfigError
from tutelage.nn.feature_extractor import compute_response
from tutelage.runs.inputs import Provided, RunInputs
from tutelage.tasks.backbone import Backbone, embed

TEACHER, STUDENT = "timm:test_vit", "timm:test_resnet"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Unlabelled images, labelled ones, and the weights of a teacher that was trained elsewhere."""
    root, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    for number in range(40):
        for name in (f"pics/{number % 3}/{number}.png", f"labelled/{'ab'[number % 2]}/{number}.png"):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 120, (16, 16, 3)) + 100 * (number % 2) * np.array([1, 0, 0])
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    torch.manual_seed(1)
    torch.save(timm.create_model("test_vit", num_classes=7).state_dict(), root / "teacher.pth")
    return root


def keys(files, **changes):
    fixed = {
        "teacher": TEACHER, "teacher_weights": str(files / "teacher.pth"), "data": f"images:{files / 'pics'}",
        "task": "embedding", "size": 32, "epochs": 2, "batch_size": 8, "device": "cpu",
    }  # fmt: skip
    return fixed | changes


def test_a_command_leaves_a_backbone_that_timm_loads(files, tmp_path):
    run = tutelage.distill(STUDENT, **keys(files, out=str(tmp_path / "run")))
    model = timm.create_model("test_resnet", num_classes=0)
    model.load_state_dict(load_file(run.folder / "backbone.safetensors"), strict=True)
    x = torch.randn(2, 3, 32, 32)
    own = tutelage.load(run.folder)
    torch.testing.assert_close(model.eval()(x), compute_response(own, x))
    result = json.loads((run.folder / "result.json").read_text())
    assert (result["metric"], result["baseline"]) == ("embedding_loss", None)
    figures = json.loads((run.folder / "student-0" / "phase.json").read_text())["figures"]
    assert figures["embedding_loss"] == pytest.approx(figures["embedding_cosine_loss"])
    assert 0 < figures["embedding_loss"] < 2
    assert figures["spread"] > 0
    names = load_file(run.folder / "student.safetensors").keys()
    assert not any("connector" in name or "terms" in name for name in names)


def test_labelled_data_judges_teacher_and_student(files, tmp_path):
    run = tutelage.distill(STUDENT, **keys(files, out=str(tmp_path / "run"), probe=f"folder:{files / 'labelled'}"))
    result = json.loads((run.folder / "result.json").read_text())
    assert (result["metric"], result["higher_is_better"]) == ("knn_accuracy", True)
    for role in ("teacher", "student-0"):
        figures = json.loads((run.folder / role / "phase.json").read_text())["figures"]
        assert {"knn_accuracy", "probe_accuracy", "spread"} <= figures.keys()
    assert result["teacher"]["knn_accuracy"] > 0.9  # the classes differ by their redness
    rows = [json.loads(line) for line in (run.folder / "student-0" / "metrics.jsonl").read_text().splitlines()]
    assert all("knn_accuracy" in row["val"] for row in rows if row["kind"] == "epoch")


@pytest.mark.parametrize(
    "method",
    ["seed", "compress", "lightly_queue", "embedding_l2", "embedding_smooth_l1", "embedding_cosine+patch_cosine",
     "pkt", "rkd", "crd", "fitnet", [{"name": "patch_cosine", "student": "layer3", "teacher": "blocks.1"}]],
    ids=str,
)  # fmt: skip
def test_methods_of_embeddings_and_patches(files, tmp_path, method):
    changes = {"method": method, "epochs": 1, "teacher_size": 64, "out": str(tmp_path / "run")}
    run = tutelage.distill("cnn4", **keys(files, **changes))
    assert run.result["student"]["embedding_loss"] is not None


@pytest.mark.parametrize("student", ["torchvision:shufflenet_v2_x0_5", "cnn4", "resnet8"])
def test_other_libraries_networks_lose_their_classifier(files, tmp_path, student):
    run = tutelage.distill(student, **keys(files, epochs=1, out=str(tmp_path / "run")))
    assert compute_response(tutelage.load(run.folder), torch.zeros(1, 3, 32, 32)).dim() == 2


def test_a_run_stopped_at_any_moment_ends_in_the_same_backbone(files, tmp_path):
    options = keys(files, checkpoint_every=0, log_every=1, method="seed+patch_cosine", augment="crop-flip+color-jitter")
    whole = tutelage.distill(STUDENT, out=str(tmp_path / "whole"), **options)
    for number in (2, 5, 9):
        out = tmp_path / f"at-{number}"
        with pytest.raises(Crash):
            tutelage.distill(STUDENT, out=str(out), callbacks=[CrashAt(number)], **options)
        tutelage.resume(out)
        for name in ("student.safetensors", "backbone.safetensors"):
            assert (out / name).read_bytes() == (whole.folder / name).read_bytes()


def test_a_cached_teacher_is_the_live_one(files, tmp_path):
    options = keys(files, method="embedding_cosine+patch_cosine", views=2, workers=0)
    live = tutelage.distill(STUDENT, out=str(tmp_path / "live"), **options)
    options |= {"cache": str(tmp_path / "cache"), "cache_storage": "exact"}
    cached = tutelage.distill(STUDENT, out=str(tmp_path / "cached"), **options)
    one, two = (load_file(run.folder / "backbone.safetensors") for run in (live, cached))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor)


def test_an_altered_network_is_found_on_resume(files, tmp_path):
    run = tutelage.distill(STUDENT, **keys(files, epochs=1, out=str(tmp_path / "run")))
    path = run.folder / "student-0" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        tutelage.resume(run.folder)


def test_each_side_has_its_own_size_and_normalisation(files, tmp_path):
    changes = {"teacher_size": 48, "teacher_mean": [0.1, 0.2, 0.3], "teacher_std": [0.5, 0.4, 0.3]}
    run = tutelage.distill(STUDENT, **keys(files, epochs=1, out=str(tmp_path / "run"), **changes))
    assert tutelage.load(run.folder).card.size == (32, 32)


def test_datasets_of_images_alone(files, tmp_path):
    x = torch.randint(0, 256, (30, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    run = tutelage.distill(
        STUDENT, **keys(files, data=TensorDataset(x), out=str(tmp_path / "run"), size=None, epochs=1)
    )
    assert run.result["metric"] == "embedding_loss"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": None, "teacher_weights": None}, "needs a teacher"),
        ({"teacher": "cnn4", "teacher_weights": None}, "has no published weights"),
        ({"teacher_epochs": 2}, "can't train a teacher"),
        ({"scheme": "mutual", "teacher": None, "teacher_weights": None, "method": "dml"}, "only a teacher"),
        ({"method": "logit_mse"}, "the student outputs"),
        ({"method": "dkd"}, "outputs are features"),
        ({"task": "classification"}, "is for backbone, not for classification"),
        ({"task": {"name": "embedding", "dim": 8}}, "no task loss"),
        ({"data": "digits", "probe": "digits", "task": "auto"}, "is for data without labels"),
        ({"probe": "digits"}, "channels"),
    ],
)
def test_what_labels_would_be_needed_for_is_refused(files, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        tutelage.distill(STUDENT, **keys(files, out=str(tmp_path / "run"), **changes))


def test_defaults_of_a_run_without_labels(files):
    config = check({"student": STUDENT, **keys(files, teacher_weights=None)})
    inputs = RunInputs.load(config.model_copy(update={"teacher": "timm:resnet18"}), Provided())
    assert inputs.config.teacher == f"timm:resnet18.{timm.get_pretrained_cfg('resnet18').tag}"
    assert (inputs.config.method, inputs.config.baseline, inputs.config.teacher_epochs) == (
        "embedding_cosine",
        False,
        0,
    )


def test_a_teacher_whose_vectors_are_equal_or_find_nothing_is_judged(files):
    data = datasets.load(f"images:{files / 'pics'}")
    assert Backbone().judge_teacher({"spread": 0.001}, {}, data)[0].level == "error"
    assert Backbone().judge_teacher({"spread": 0.5}, {}, data)[0].level == "ok"
    from dataclasses import replace

    probed = replace(data, probe=datasets.load(f"folder:{files / 'labelled'}"))
    levels = [Backbone(True).judge_teacher({"spread": 1, "knn_accuracy": x}, {}, probed)[0].level for x in (0.4, 0.9)]
    assert levels == ["error", "ok"]


def test_vectors_come_in_the_datas_order(files):
    data = datasets.load(f"folder:{files / 'labelled'}")
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 4))
    vectors, labels = embed(network, data, "train", 5)
    assert torch.equal(labels, data.train.labels)
    torch.testing.assert_close(embed(network, data, "train", 7)[0], vectors)
