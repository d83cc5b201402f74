"""Segmentation: metrics equal to the reference implementations, windows, crops, networks of libraries, and runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchmetrics.classification as reference
from PIL import Image
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import find_boundaries
from small import Crash, CrashAt, scenes
from torch import Tensor, nn

import tutelage
from tutelage import data as datasets
from tutelage import models
from tutelage.config.schema import check
from tutelage.errors import ConfigError
from tutelage.nn.model_profile import profile_model
from tutelage.nn.windows import average_windows
from tutelage.structures import Batch
from tutelage.tasks.segmentation import Segmentation
from tutelage.training.evaluation import evaluate

IGNORE = 255


def figures(task: Segmentation, classes: int, response: Tensor, targets: Tensor, size: int = 2) -> dict[str, Tensor]:
    metrics = task.metrics(classes)
    for start in range(0, len(targets), size):
        part = slice(start, start + size)
        task.update(metrics, response[part], Batch(response[part], targets[part]))
    return metrics.compute()


def blobs(classes: int, seed: int = 0, count: int = 5) -> Tensor:
    """Smooth logits (count, classes, 20, 24)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, classes, 5, 6, generator=generator)
    return F.interpolate(coarse, size=(20, 24), mode="bilinear")


CASES = {
    "random": lambda y: y,
    "ignored": lambda y: y.masked_fill(torch.rand(y.shape, generator=torch.Generator().manual_seed(3)) < 0.3, IGNORE),
    "absent": lambda y: y.masked_fill(y == 2, 0),
    "one": torch.zeros_like,
}


@pytest.mark.parametrize("case", CASES)
def test_metrics_equal_torchmetrics(case):
    response, targets = blobs(4), CASES[case](blobs(4, 1).argmax(1))
    result = figures(Segmentation(), 4, response, targets)
    options = {"num_classes": 4, "ignore_index": IGNORE}
    predictions, present = response.argmax(1), targets[targets != IGNORE].unique()
    assert result["miou"] == reference.MulticlassJaccardIndex(**options)(predictions, targets)
    assert result["accuracy"] == reference.MulticlassAccuracy(**options, average="micro")(predictions, targets)
    dice = reference.MulticlassF1Score(**options)(predictions, targets)
    assert result["dice"].item() == pytest.approx(dice.item(), abs=1e-6)
    by_class = reference.MulticlassAccuracy(**options, average=None)(predictions, targets)
    assert result["mean_accuracy"].item() == pytest.approx(by_class[present].mean().item(), abs=1e-6)
    iou = reference.MulticlassJaccardIndex(**options, average=None)(predictions, targets)
    known = result["overlap"][:, 1].isfinite()
    torch.testing.assert_close(result["overlap"][known, 1], iou[known].double(), atol=1e-6, rtol=0)
    assert result["overlap"][:, 0].tolist() == [int((targets == c).sum()) for c in range(4)]


def near(mask, tolerance: int):
    return distance_transform_edt(~mask) <= tolerance if mask.any() else mask


def boundary_figures(predictions: Tensor, targets: Tensor, tolerance: int) -> tuple[float, float]:
    """Boundary F1 and IoU by scikit-image's boundaries and scipy's distances."""
    f1s, ious = [], []
    for c in range(4):
        counts = np.zeros(6)
        for p, t in zip(predictions.numpy(), targets.numpy(), strict=True):
            edges = [find_boundaries(x + 1, connectivity=1, mode="inner") & (x == c) for x in (p, t)]
            bands = [near(edge, tolerance) & (x == c) for edge, x in zip(edges, (p, t), strict=True)]
            hits = [edges[0] & near(edges[1], tolerance), edges[1] & near(edges[0], tolerance)]
            both, either = bands[0] & bands[1], bands[0] | bands[1]
            counts += [x.sum() for x in (hits[0], edges[0], hits[1], edges[1], both, either)]
        if counts[1] + counts[3]:
            precision, recall = counts[0] / max(counts[1], 1), counts[2] / max(counts[3], 1)
            f1s.append(2 * precision * recall / max(precision + recall, 1e-12))
            ious.append(counts[4] / counts[5])
    return float(np.mean(f1s or [0])), float(np.mean(ious or [0]))


@pytest.mark.parametrize("tolerance", [1, 2, 3])
@pytest.mark.parametrize("case", ["random", "absent", "one"])
def test_boundary_metrics_equal_those_of_distances(case, tolerance):
    response, targets = blobs(4), CASES[case](blobs(4, 1).argmax(1))
    result = figures(Segmentation(boundary=tolerance), 4, response, targets)
    expected = boundary_figures(response.argmax(1), targets, tolerance)
    assert (result["boundary_f1"].item(), result["boundary_iou"].item()) == pytest.approx(expected, abs=1e-9)


def test_boundaries_against_ignored_pixels_are_none():
    targets = torch.zeros(1, 6, 6, dtype=torch.long)
    targets[:, :, 2:4], targets[:, :, 4:] = IGNORE, 1
    result = figures(Segmentation(boundary=1), 2, F.one_hot(targets.clamp(max=1)).movedim(3, 1).float(), targets)
    assert result["boundary"].isnan().all()
    assert result["boundary_f1"] == 0
    assert result["miou"] == 1


def test_a_metric_of_boundaries_requires_a_tolerance():
    assert Segmentation(boundary=2).decided_by("boundary_f1").metric == "boundary_f1"
    with pytest.raises(ConfigError, match="boundary: 2"):
        Segmentation().decided_by("boundary_f1")
    with pytest.raises(ConfigError, match="window=0: expected a side in pixels"):
        check({"student": "seg4", "teacher": "seg4", "task": {"name": "segmentation", "window": 0}})
    with pytest.raises(ConfigError, match="stride of the window's size at most"):
        Segmentation.from_data(scenes(), window=4, stride=5)


# windows and crops


def position_response(batch: Batch) -> Tensor:
    """Two maps: the image's first channel, and its mean within the window."""
    x = batch.inputs
    return torch.cat([x[:, :1], x[:, :1].mean((2, 3), keepdim=True).expand(-1, 1, *x.shape[2:])], 1)


@pytest.mark.parametrize(("window", "stride"), [((4, 5), (3, 5)), ((4, 5), (4, 2)), ((20, 5), (20, 5))])
def test_windows_are_averaged_where_they_overlap(window, stride):
    x = torch.randn(2, 3, 9, 11)
    result = average_windows(position_response, Batch(x), window, stride)
    torch.testing.assert_close(result[:, :1], x[:, :1])
    total, count = torch.zeros(2, 9, 11), torch.zeros(9, 11)
    starts = [sorted({min(s, max(n - w, 0)) for s in range(0, n, d)} | {max(n - w, 0)})
              for n, w, d in zip((9, 11), window, stride, strict=True)]  # fmt: skip
    for top in starts[0]:
        for left in starts[1]:
            part = x[:, 0, top : top + window[0], left : left + window[1]]
            total[:, top : top + window[0], left : left + window[1]] += part.mean((1, 2))[:, None, None]
            count[top : top + window[0], left : left + window[1]] += 1
    assert count.min() >= 1
    torch.testing.assert_close(result[:, 1], total / count)


def test_a_window_that_covers_the_image_is_the_whole_image():
    data, network = scenes(), models.create("seg4", classes=3, task="segmentation").model
    results = [
        evaluate(network, data.batches("test", 4), task, 3).values
        for task in (Segmentation(), Segmentation(window=(8, 8)), Segmentation(window=(64, 9)))
    ]
    assert results[0] == results[1] == results[2]
    smaller = evaluate(network, data.batches("test", 4), Segmentation(window=(4, 4)), 3).values
    assert smaller["loss"] != results[0]["loss"]


def test_windows_require_images_of_one_size_and_maps():
    views = {"small": torch.zeros(1, 3, 4, 4)}
    with pytest.raises(ConfigError, match=r"window=4x4: .*images of one size"):
        average_windows(position_response, Batch(torch.zeros(1, 3, 8, 8), views=views), (4, 4), (4, 4))
    with pytest.raises(ConfigError, match="expected a map of classes"):
        average_windows(lambda b: b.inputs.mean((2, 3)), Batch(torch.zeros(1, 3, 8, 8)), (4, 4), (4, 4))


def test_crops_of_their_own_size_move_images_and_masks_alike():
    pixels = torch.arange(8 * 10).view(8, 10)
    part = datasets.splits.InMemorySplit(pixels.expand(6, 3, 8, 10).to(torch.uint8), pixels.expand(6, 8, 10) % 3)
    whole = datasets.data_module.DataModule(
        "crops", "segmentation", ("a", "b", "c"), 3, (8, 10), (0.0,) * 3, (1.0,) * 3, part, part, part,
        augment="crop-flip-4x12", target="mask",
    )  # fmt: skip
    batch = next(whole.batches("train", 6, seed=1))
    assert batch.inputs.shape == (6, 3, 4, 12)
    assert batch.targets is not None
    known = batch.targets != IGNORE
    assert known.sum(2).unique().tolist() == [10], "two columns are padded and masked"
    assert (((batch.inputs[:, 0] * 255).round().long() % 3 == batch.targets) | ~known).all()
    assert len({tuple(x.flatten().tolist()) for x in batch.targets}) > 2
    assert next(whole.batches("test", 6)).inputs.shape == (6, 3, 8, 10)
    again = next(whole.batches("train", 6, seed=1))
    assert again.inputs.equal(batch.inputs)


# networks


@pytest.fixture(scope="module")
def segformer(tmp_path_factory):
    """The name of a tiny SegFormer with random weights, in a folder."""
    from transformers import SegformerConfig

    folder = tmp_path_factory.mktemp("segformer")
    sizes = {"hidden_sizes": [8, 16, 24, 40], "num_attention_heads": [1, 1, 2, 4], "decoder_hidden_size": 16}
    SegformerConfig(depths=[1, 1, 1, 1], sr_ratios=[2, 1, 1, 1], **sizes).save_pretrained(folder)
    return f"hf:{folder}"


STAGES = {
    "lraspp_mobilenet_v3_large": ["backbone.1", "backbone.3", "backbone.6", "classifier.cbr"],
    "deeplabv3_mobilenet_v3_large": ["backbone.1", "backbone.3", "backbone.6", "classifier.0"],
    "fcn_resnet50": ["backbone.layer1", "backbone.layer4"],
}


@pytest.mark.parametrize("name", STAGES)
def test_stages_of_torchvisions_networks_are_features_not_logits(name):
    made = models.create(f"torchvision:{name}", classes=5, size=(64, 80), task="segmentation")
    profile = profile_model(made.model, Batch(torch.randn(2, 3, 64, 80)))
    assert [stage.name for stage in profile.stages] == STAGES[name]
    assert profile.response.shape == (2, 5, 64, 80)


def test_segformer_is_made_for_the_data_and_has_four_stages(segformer):
    made = models.create(segformer, classes=5, channels=3, size=(64, 80), task="segmentation", pretrained=False)
    batch = Batch(torch.randn(2, 3, 64, 80))
    profile = profile_model(made.model, batch)
    assert [stage.name for stage in profile.stages] == [f"segformer.stages.{k}" for k in range(4)]
    assert profile.response.shape == (2, 5, 16, 20)
    assert Segmentation().response(profile.response, batch).shape == (2, 5, 64, 80)


class WithAux(nn.Module):
    """A network with torchvision's outputs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.head, self.aux_head = nn.Conv2d(width, 3, 1), nn.Conv2d(width, 3, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        early = self.stem(x).relu()
        out = self.head(self.body(early).relu())
        return {"out": F.interpolate(out, x.shape[2:], mode="bilinear"), "aux": self.aux_head(early)}


# runs


def write_shapes(folder, count: int = 24, side: int = 32, classes: bool = True) -> str:
    """Write noisy images of squares, with masks: the ground, squares of two colours, and an unlabelled strip."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        pixels, mask = rng.integers(0, 90, (side, side, 3), dtype=np.uint8), np.zeros((side, side), np.uint8)
        for c in (1, 2):
            top, left = rng.integers(0, side - 9, 2)
            pixels[top : top + 9, left : left + 9, c] += 150
            mask[top : top + 9, left : left + 9] = c
        mask[0] = IGNORE
        Image.fromarray(pixels).save(folder / "images" / f"{number:02}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number:02}.png")
    if classes:
        (folder / "classes.json").write_text(json.dumps(["ground", "green", "blue"]))
    return f"segmentation:{folder}"


MEMORY = {"name": "cirkd_memory", "num_classes": 3, "pixel_memory": 40, "region_memory": 10, "pixel_contrast": 24}
KEYS = {
    "size": 32, "student": "seg4", "batch_size": 8, "teacher_epochs": 2, "epochs": 2, "lr": 0.05, "device": "cpu",
    "method": [{"name": "kd"}, {"name": "cwd"}, {"name": "ifvd", "num_classes": 3, "weight": 1}, MEMORY],
    "task": {"name": "segmentation", "window": 24, "stride": 8, "boundary": 1}, "augment": "crop-flip-24",
    "log_every": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(segformer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    keys = KEYS | {"data": write_shapes(folder / "data"), "teacher": segformer, "pretrained": False}
    return tutelage.distill(**keys, out=str(folder / "run"))


def test_a_segformer_teaches_by_logits_relations_and_memories(run):
    assert run.result["metric"] == "miou"
    phase = json.loads((run.folder / "student-0" / "phase.json").read_text())
    assert {"ifvd", "cirkd_memory"} <= {term["name"] for term in phase["terms"]}
    assert {"miou", "accuracy", "mean_accuracy", "dice", "boundary_f1", "boundary_iou", "loss"} == {*phase["figures"]}
    steps = [json.loads(line) for line in (run.folder / "student-0" / "metrics.jsonl").read_text().splitlines()]
    losses = [step["losses"]["cirkd_memory"] for step in steps if step["kind"] == "step"]
    assert min(losses) > 0
    tables = np.load(run.folder / "student-0" / "tables.npz")
    assert tables["overlap"].shape == (3, 4)
    assert tables["boundary"].shape == (3, 2)


@pytest.mark.parametrize("loss", ["ifvd", "cirkd_memory"])
def test_a_loss_for_fewer_classes_is_refused(loss, tmp_path):
    keys = {"data": write_shapes(tmp_path / "data"), "teacher": "seg2", "student": "seg2", "epochs": 1, "device": "cpu"}
    with pytest.raises(ConfigError, match=f"term '{loss}': num_classes=2, and the student predicts 3 classes"):
        tutelage.distill(**keys, method=[{"name": loss, "num_classes": 2}], out=str(tmp_path / "run"))


def test_the_report_shows_masks_and_a_table_of_classes(run):
    page = run.report.read_text("utf-8")
    for text in ("IoU by class", "ground", "Masks", "Target", "Boundary F1"):
        assert text in page


def test_the_loaded_student_and_the_evaluation(run):
    model = tutelage.load(run.folder)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)
    values = tutelage.evaluate(run.folder, task=KEYS["task"]).values
    assert values["miou"] == pytest.approx(run.result["student"]["miou"])
    assert "boundary_f1" in values
    assert "boundary_f1" not in tutelage.evaluate(run.folder).values


def test_a_crash_costs_no_bit_of_the_memories(run, segformer, tmp_path):
    """The student's second epoch is interrupted, when the memories hold the first one's features."""
    config = {"data": run.result["data"]["name"], "teacher": segformer, "pretrained": False, **KEYS}
    with pytest.raises(Crash):
        tutelage.distill(**config, checkpoint_every=0, out=str(tmp_path / "run"), callbacks=[CrashAt(25)])
    resumed = tutelage.resume(tmp_path / "run")
    assert (resumed.folder / "student.safetensors").read_bytes() == (run.folder / "student.safetensors").read_bytes()


def test_the_cached_teacher_is_the_live_one(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = {key: value for key, value in KEYS.items() if key != "teacher_epochs"}
    config |= {"data": run.result["data"]["name"], "teacher": str(run.folder), "baseline": False, "views": 2}
    config |= {"method": "kd+cwd", "epochs": 1}
    live, cached = (
        tutelage.distill(**config, cache=c, cache_storage="exact", out=str(tmp_path / str(c))) for c in (False, True)
    )
    weights = [tutelage.load(x.folder).state_dict() for x in (live, cached)]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-6) for name in weights[0])


def test_an_auxiliary_output_joins_as_a_part_or_is_ignored(run, tmp_path):
    config = KEYS | {"data": run.result["data"]["name"], "epochs": 1, "teacher_epochs": 1, "baseline": False}
    pair = {"teacher": WithAux(8), "student": WithAux(4)}
    plain, joined = (
        tutelage.distill(**config | pair | {"method": method}, out=str(tmp_path / str(k)))
        for k, method in enumerate(([{"name": "kd"}], [{"name": "kd"}, {"name": "kd", "part": "aux"}]))
    )
    weights = [torch.cat([x.flatten() for x in r.student.state_dict().values()]) for r in (plain, joined)]
    assert not weights[0].equal(weights[1])
