"""Own Datasets of objects in boxes, in the form of torchvision's detectors: what they become, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors

import tutelage
from tests.detection_data import SIDE, draw
from tutelage.data.from_datasets import from_datasets
from tutelage.errors import DataError

CLASSES = ["square", "bar"]


class Squares(Dataset):
    """Images with objects; `change(number, target)` returns the target to use in place of the true one."""

    def __init__(self, count=30, change=lambda number, target: target) -> None:
        self.count, self.change = count, change

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        image, objects = draw(number)
        corners = [(x, y, x + width, y + height) for _, (x, y, width, height) in objects]
        target = {"boxes": torch.tensor(corners).float(), "labels": torch.tensor([label for label, _ in objects])}
        return torch.from_numpy(image).permute(2, 0, 1), self.change(number, target | {"image_id": number})


def test_the_form_of_torchvision_is_detection():
    data = from_datasets(Squares(), classes=CLASSES)
    assert (data.task, data.target, data.classes, data.size) == (
        "detection",
        "objects",
        ("square", "bar"),
        (SIDE, SIDE),
    )
    batch = next(data.batches("train", 6, train=False))
    for number, each in zip(batch.index.tolist(), batch.objects, strict=True):
        expected = data.train.source.dataset[int(data.train.rows[number])][1]
        assert torch.equal(each["boxes"], expected["boxes"])
        assert torch.equal(each["labels"], expected["labels"])
        assert each["size"].tolist() == [SIDE, SIDE]
        assert not each["iscrowd"].any()


def test_boxes_are_resized_and_flipped_with_their_images():
    data = from_datasets(Squares(), classes=CLASSES, augment="crop-flip")
    plain = next(data.batches("train", 8, train=False))
    moved = next(data.batches("train", 8, train=True))
    for image, each in zip(moved.inputs, moved.objects, strict=True):
        for x1, y1, x2, y2 in each["boxes"].round().int().tolist():
            assert image[:, y1:y2, x1:x2].mean() > plain.inputs.mean() + 0.5


def test_a_dataset_of_objects_trains_like_the_same_files(tmp_path):
    keys = {"epochs": 1, "batch_size": 6, "device": "cpu", "optimizer": "adamw", "lr": 1e-3, "baseline": False}
    pair = {"teacher": "fcos-resnet10-32", "student": "fcos-resnet10-32", "method": "pkd", "teacher_epochs": 1}
    loader = DataLoader(Squares(), batch_size=6, shuffle=True)
    runs = [
        tutelage.distill(data=from_datasets(source, classes=CLASSES), **pair, **keys, out=str(tmp_path / name))
        for name, source in (("a", Squares()), ("b", loader))
    ]
    assert runs[0].result["student"]["map"] >= 0
    weights = [load_file(run.folder / "student.safetensors") for run in runs]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_boxes_of_another_format_are_refused():
    def change(number, target):
        boxes = tv_tensors.BoundingBoxes(target["boxes"], format="XYWH", canvas_size=(SIDE, SIDE))
        return target | {"boxes": boxes}

    with pytest.raises(DataError, match=r"train: sample 0 has boxes of the format XYWH"):
        from_datasets(Squares(change=change), classes=CLASSES)


def changed(number=7, **values):
    """The target of one sample, with other values."""

    def change(n, target):
        made = {key: value(target) if callable(value) else value for key, value in values.items()}
        return {key: value for key, value in (target | made).items() if value is not None} if n == number else target

    return change


BAD = {
    "a target without boxes": changed(labels=None),
    "doesn't use": changed(masks=torch.zeros(1, SIDE, SIDE)),
    r"expected \(n, 4\)": changed(boxes=torch.zeros(4)),
    "expected one of each": changed(labels=torch.zeros(9, dtype=torch.int64)),
    "a box of no area": changed(boxes=lambda target: target["boxes"].flip(1)),
    "isn't inside the image": changed(boxes=lambda target: target["boxes"] * 3 + 1),
    "expected finite numbers": changed(boxes=lambda target: target["boxes"] * torch.nan),
    "labels from -1": changed(labels=lambda target: target["labels"] * 0 - 1),
    "without a background": changed(labels=lambda target: target["labels"] * 0 + 2),
    "has labels from 0.5": changed(labels=lambda target: target["labels"] * 0 + 0.5),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_objects_are_refused_with_the_sample(message):
    with pytest.raises(DataError, match=message) as caught:
        from_datasets(Squares(20, BAD[message]), classes=CLASSES, val_fraction=0.2)
    assert "sample 7" in str(caught.value)


def test_cocos_own_annotations_point_to_its_reader():
    with pytest.raises(DataError, match="data=coco:FILE"):
        from_datasets(Squares(change=lambda n, t: [{"bbox": [1, 2, 3, 4], "category_id": 7}]), classes=CLASSES,
                      task="detection")  # fmt: skip


def test_an_image_without_objects_is_a_negative():
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    data = from_datasets(Squares(change=lambda n, t: empty if n % 2 else t), classes=CLASSES)
    batch = next(data.batches("train", 10, train=False))
    assert min(len(each["labels"]) for each in batch.objects) == 0
    assert np.all([each["boxes"].shape[1] == 4 for each in batch.objects])
