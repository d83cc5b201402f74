"""Detection: metrics as pycocotools has them, a real training, resume, cache, refusals."""

from __future__ import annotations

import contextlib
import io
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tutelage
from tests.detection_data import SIDE, coco, write_images
from tests.small import Crash, CrashAt
from tutelage.data import load
from tutelage.errors import ConfigError
from tutelage.models import create
from tutelage.schemes.pseudo_boxes import PseudoBoxes
from tutelage.structures import Batch
from tutelage.tasks.detection import Detection
from tutelage.tasks.detection_metrics import DetectionMetrics
from tutelage.teachers.frozen import Frozen

KEYS = {"size": 2 * SIDE, "batch_size": 9, "optimizer": "adamw", "lr": 2e-3, "device": "cpu", "augment": "none"}
STUDENT = "fcos-resnet10-32"


def random_images(seed, images=12, classes=3):
    """Objects (some crowds, one image without) and detections with equal scores, of images of 200 × 300."""
    generator = random.Random(seed)

    def boxes(count):
        corners = [(generator.uniform(0, 200), generator.uniform(0, 100)) for _ in range(count)]
        return torch.tensor([[x, y, x + generator.uniform(5, 99), y + generator.uniform(5, 99)] for x, y in corners])

    truth, found = [], []
    for k in range(images):
        count = 0 if k == 3 else generator.randint(1, 6)
        truth.append(
            {
                "boxes": boxes(count).reshape(-1, 4),
                "labels": torch.tensor([generator.randrange(classes) for _ in range(count)], dtype=torch.int64),
                "iscrowd": torch.tensor([generator.random() < 0.2 for _ in range(count)], dtype=torch.bool),
            }
        )
        truth[-1]["area"] = (truth[-1]["boxes"][:, 2:] - truth[-1]["boxes"][:, :2]).prod(1)
        near = truth[-1]["boxes"] + torch.tensor([generator.uniform(-4, 4) for _ in range(4)])
        rows = torch.cat([near, boxes(4)])
        scores = torch.tensor([generator.choice([0.2, 0.5, 0.9]) for _ in rows])
        labels = torch.tensor([generator.randrange(classes) for _ in rows])
        labels[:count] = truth[-1]["labels"]
        found.append({"boxes": rows, "scores": scores, "labels": labels})
    return truth, found


def by_pycocotools(truth, found, classes):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def corners(box):
        x1, y1, x2, y2 = map(float, box)
        return [x1, y1, x2 - x1, y2 - y1]

    api = COCO()
    api.dataset = {
        "images": [{"id": k + 1} for k in range(len(truth))],
        "categories": [{"id": k} for k in range(classes)],
        "annotations": [],
    }
    for k, each in enumerate(truth):
        for box, label, crowd, area in zip(*(each[n] for n in ("boxes", "labels", "iscrowd", "area")), strict=True):
            number = len(api.dataset["annotations"]) + 1
            entry = {"id": number, "image_id": k + 1, "category_id": int(label), "bbox": corners(box)}
            api.dataset["annotations"].append(entry | {"area": float(area), "iscrowd": int(crowd)})
    results = [
        {"image_id": k + 1, "category_id": int(label), "bbox": corners(box), "score": float(score)}
        for k, each in enumerate(found)
        for box, score, label in zip(each["boxes"], each["scores"], each["labels"], strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        api.createIndex()
        evaluation = COCOeval(api, api.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("seed", range(3))
def test_the_metrics_are_pycocotools(seed):
    truth, found = random_images(seed)
    metrics = DetectionMetrics(3)
    for start in (0, 5):
        metrics.update(found[start : start + (5 if start == 0 else 7)], truth[start : start + (5 if start == 0 else 7)])
    values = metrics.compute()
    stats = by_pycocotools(truth, found, 3)
    for name, number in (("map", 0), ("map50", 1), ("map75", 2), ("map_medium", 4), ("recall", 8)):
        assert values[name].item() == pytest.approx(stats[number], abs=1e-6), name
    assert values["classes"][:, 1].mean().item() == pytest.approx(stats[0], abs=1e-6)
    assert values["classes"][:, 2].mean().item() == pytest.approx(stats[1], abs=1e-6)


def test_without_objects_or_detections_all_is_0():
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    empty = nothing | {"iscrowd": torch.zeros(0, dtype=torch.bool), "area": torch.zeros(0)}
    one = {"boxes": torch.tensor([[0.0, 0, 9, 9]]), "labels": torch.tensor([1])}
    crowds = {"iscrowd": torch.tensor([False]), "area": torch.tensor([81.0])}
    for found, truth in (
        (one | {"scores": torch.ones(1)}, empty),
        (nothing | {"scores": torch.zeros(0)}, one | crowds),
    ):
        metrics = DetectionMetrics(2)
        metrics.update([found], [truth])
        values = metrics.compute()
        assert all(values[name] == 0 for name in ("map", "map50", "recall"))


def test_detections_are_judged_in_the_files_pixels():
    """Boxes of a network's 10 × 20 image are those of a file of 100 × 100."""
    objects = {
        "boxes": torch.tensor([[0.0, 0, 10, 10]]),
        "labels": torch.tensor([0]),
        "size": torch.tensor([100.0, 100]),
    }
    batch = Batch(torch.zeros(1, 3, 10, 20), objects=[objects])
    task, response = Detection(1), torch.tensor([[[0.0, 0, 0.5, 1, 0.9, 0], [-1, -1, -1, -1, -1, -1]]])
    metrics = task.metrics(1)
    task.update(metrics, response, batch)
    assert metrics.compute()["map"].item() == pytest.approx(1)
    assert task.predictions(response, batch)["detections"][0].tolist() == [
        [0, 0, 50, 100, pytest.approx(0.9), 0],
        [-1] * 6,
    ]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A run folder of a trained detector, and the data."""
    root = tmp_path_factory.mktemp("detection")
    data = f"coco:{coco(root, 60)}"
    run = tutelage.train(STUDENT, data=data, epochs=8, **KEYS, out=root / "teacher")
    return data, run


def test_it_learns_and_its_figures_are_stored(teacher, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, run = teacher
    values = run.result["student"]
    assert values["map"] > 0.1
    assert tutelage.evaluate(run.folder).values["map"] == pytest.approx(values["map"])
    stored = np.load(Path(run.folder) / "student-0" / "predictions.npz")["detections"]
    assert stored.shape[2] == 6
    lines = (Path(run.folder) / "student-0" / "metrics.jsonl").read_text().splitlines()
    losses = next(json.loads(line)["losses"] for line in lines if json.loads(line)["kind"] == "step")
    assert set(losses) == {"classification", "bbox_regression", "bbox_ctrness"}
    found = run.student.detect(next(load(data, size=SIDE).batches("test", 1)).inputs)
    assert set(found[0]) == {"boxes", "scores", "labels"}


def test_a_method_of_each_kind_cached_and_live(teacher, tmp_path, monkeypatch):
    """Terms of the pyramid's levels, of boxes' places, of the class logits and of the boxes' code."""
    monkeypatch.chdir(tmp_path)
    data, run = teacher
    levels = [f"detector.backbone.fpn:{k}" for k in (0, 1)]
    method = [
        {"name": "fgd", "student": levels, "teacher": levels},
        {"name": "bkd"},
        {"name": "logit_mse", "part": "boxes"},
        {"name": "mgd", "mask": "positions", "student": levels[0], "teacher": levels[0], "weight": 2e-5},
    ]
    results = []
    for cache in (False, True):
        keys = {"teacher": str(run.folder), "student": STUDENT, "method": method, "data": data, "epochs": 2}
        more = (
            {"baseline": False, "cache": cache, "cache_storage": "exact"}
            if cache
            else {"baseline": False, "cache": False}
        )
        taught = tutelage.distill(**keys, **KEYS, **more, out=f"run{cache}")
        results.append(load_file(taught.folder / "student.safetensors"))
    assert all(torch.allclose(results[0][name], results[1][name], atol=1e-5) for name in results[0])
    page = (taught.folder / "report.html").read_text()
    assert "Precision by class" in page
    assert "test image 0 with boxes, truth" in page


def test_a_run_that_was_killed_resumes_bitwise(teacher, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys = KEYS | {"augment": "crop-flip", "size": SIDE, "data": teacher[0], "epochs": 2}
    with pytest.raises(Crash):
        tutelage.train(STUDENT, **keys, out="cut", callbacks=[CrashAt(5)])
    whole, resumed = tutelage.train(STUDENT, **keys, out="whole"), tutelage.resume("cut")
    one, two = (load_file(x.folder / "student.safetensors") for x in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_teacher_finds_the_boxes_of_unlabelled_images(teacher, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, run = teacher
    write_images(tmp_path / "more", range(100, 112))
    streams = {"labelled": data, "unlabelled": "images:more"}
    keys = {"teacher": str(run.folder), "student": STUDENT, "method": "pkd", "baseline": False, "epochs": 1}
    taught = tutelage.distill(data=streams, scheme={"name": "pseudo_boxes", "score": 0.3}, **keys, **KEYS, out="run")
    assert taught.result["student"]["map"] >= 0
    scheme = PseudoBoxes({}, Frozen(run.student, Detection(2)), 0.3)
    batch = next(load(data, size=KEYS["size"], augment="none").batches("test", 6))
    filled = scheme.with_boxes(replace(batch, objects=batch.objects[:2]))
    assert len(filled.objects) == 6
    assert filled.objects[:2] == batch.objects[:2]
    found = torch.cat([each["boxes"] for each in filled.objects[2:]])
    assert len(found)
    assert (found <= 2 * SIDE + 1).all()
    with pytest.raises(ConfigError, match="the data has none"):
        tutelage.distill(data=data, scheme="pseudo_boxes", **keys, **KEYS, out="refused")


def test_a_moving_average_of_the_student_finds_boxes_too(teacher, tmp_path, monkeypatch):
    """The unbiased teacher: the student learns from its own average's boxes in unlabelled images."""
    monkeypatch.chdir(tmp_path)
    data, _ = teacher
    write_images(tmp_path / "more", range(100, 112))
    keys = {"data": {"labelled": data, "unlabelled": "images:more"}, "student": STUDENT, "epochs": 1, **KEYS}
    keys |= {"teacher": "moving_average", "scheme": {"name": "pseudo_boxes", "score": 0.05}, "baseline": False}
    keys |= {"method": "pkd"}
    runs = [tutelage.distill(**keys, out=f"run{n}") for n in range(2)]
    assert runs[0].result["student"]["map"] >= 0
    first, second = (load_file(run.folder / "student.safetensors") for run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", ["fcosdist-resnet10-32", "retinanet-resnet10-32", "fasterrcnn-resnet10-32"])
def test_a_detector_computes_its_losses_of_the_labelled_images(name):
    """The losses of some of a batch's images are those of these images alone."""
    torch.manual_seed(0)
    model = create(name, classes=2, task="detection").model.eval()
    images = torch.randn(3, 3, 48, 64)
    objects = [
        {"boxes": torch.tensor([[4.0, 4, 30, 40]]), "labels": torch.tensor([1])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    outputs = []
    for batch in (images, images[:2]):
        torch.manual_seed(1)  # which proposals of Faster R-CNN are used
        outputs.append(model(batch, objects))
    assert set(outputs[0]["losses"]) == set(model.loss_names)
    for loss in model.loss_names:
        torch.testing.assert_close(outputs[0]["losses"][loss], outputs[1]["losses"][loss], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outputs[0]["response"][:2], outputs[1]["response"], rtol=1e-4, atol=1e-5)
    assert outputs[0]["boxes"].shape[::2] == outputs[0]["response"].shape[::2]
    with torch.no_grad():
        detections = model.respond(Batch(images))
    assert detections.shape[2] == 6


def test_detr_of_hugging_face_is_a_detector(tmp_path):
    transformers = pytest.importorskip("transformers")
    backbone = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_features=["stage2"])
    layers = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "d_model": 16, "num_queries": 7}
    config = transformers.DetrConfig(use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
                                     backbone_config=backbone, num_labels=5, **layers, **heads)  # fmt: skip
    transformers.DetrForObjectDetection(config).save_pretrained(tmp_path / "detr")
    loaded = create(f"hf:{tmp_path / 'detr'}", classes=2, task="detection", pretrained=True)
    assert "start from random weights" in loaded.untrained[0]
    model, images = loaded.model, torch.randn(2, 3, 64, 64)
    objects = [{"boxes": torch.tensor([[4.0, 4, 30, 40]]), "labels": torch.tensor([1])}]
    outputs = model(images, objects)
    assert outputs["response"].shape == (2, 3, 7)
    outputs["losses"]["detr"].backward()
    with torch.no_grad():
        found = model.eval().respond(Batch(images))
    assert found.shape == (2, 7, 6)
    assert set(found[..., 5].unique().tolist()) <= {0.0, 1.0}


def test_a_classifier_cannot_be_trained_to_detect(teacher):
    with pytest.raises(ConfigError, match="cnn4 is a network for classification, not for detection"):
        tutelage.train("cnn4", data=teacher[0], epochs=1, **KEYS)


def test_check_finds_the_usual_mistakes(tmp_path):
    file = coco(tmp_path, 20)
    content = json.loads(file.read_text())
    content["annotations"] += [{**entry, "id": 9000 + n} for n, entry in enumerate(content["annotations"])]
    content["categories"].append({"id": 50, "name": "ring"})
    file.write_text(json.dumps(content))
    findings = Detection(3).check_data(load(f"coco:{file}", size="8x8"))
    words = " ".join(finding.what for finding in findings)
    for expected in ("the class(es) ring", "less than 4 pixels", "are there twice"):
        assert expected in words
