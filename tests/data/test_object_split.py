"""Images with boxes in three formats, their augmentation, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch

from tests.detection_data import CLASSES, SIDE, coco, draw, voc, yolo
from tutelage.data import load
from tutelage.errors import ConfigError, DataError


def boxes_of(number):
    return sorted((label, float(x), float(y), float(x + w), float(y + h)) for label, (x, y, w, h) in draw(number)[1])


def rows(objects):
    return sorted((int(k), *box) for k, box in zip(objects["labels"], objects["boxes"].tolist(), strict=True))


@pytest.mark.parametrize("write", [coco, yolo, voc])
def test_the_three_formats_read_alike(tmp_path, write):
    path = write(tmp_path / "data")
    data = load(f"{write.__name__}:{path}", augment="none")
    assert (data.task, data.target, data.size) == ("detection", "objects", (SIDE, SIDE))
    assert data.classes == (tuple(sorted(CLASSES)) if write is voc else CLASSES)
    number = int(data.train.images[0].path.stem)
    _, objects = data.train.item(0, data._view_seed(0, 0))
    found = sorted((data.classes[k], *box) for k, *box in rows(objects))
    assert found == sorted((CLASSES[k], *map(pytest.approx, box)) for k, *box in boxes_of(number))
    assert objects["size"].tolist() == [SIDE, SIDE]


def test_boxes_are_resized_with_the_image(tmp_path):
    data = load(f"coco:{coco(tmp_path)}", size="24x96", augment="none")
    batch = next(data.batches("test", 2))
    number = int(data.test.images[int(batch.index[0])].path.stem)
    expected = [(k, 2 * x1, y1 / 2, 2 * x2, y2 / 2) for k, x1, y1, x2, y2 in boxes_of(number)]
    assert rows(batch.objects[0]) == expected
    assert batch.available()["boxes"].shape == (2, max(len(x["labels"]) for x in batch.objects), 4)


@pytest.mark.parametrize("augment", ["crop-flip", "shift", "resized-crop"])
def test_boxes_move_with_the_image(tmp_path, augment):
    """A box that is wholly inside is of bright pixels alone, and all bright pixels are in boxes."""
    data = load(f"coco:{coco(tmp_path)}", augment=augment)
    moved = 0
    for epoch in range(3):
        batch = next(data.batches("train", 18, epoch=epoch))
        images = batch.inputs * torch.tensor(data.std)[:, None, None] + torch.tensor(data.mean)[:, None, None]
        bright = images[:, 0] > 0.5
        for image, objects in zip(bright, batch.objects, strict=True):
            for x1, y1, x2, y2 in objects["boxes"].tolist():
                if augment != "resized-crop":
                    assert image[round(y1) : round(y2), round(x1) : round(x2)].all()
                else:
                    inner = image[int(y1) + 1 : int(y2), int(x1) + 1 : int(x2)]
                    assert not inner.numel() or inner.float().mean() > 0.8
                moved += 1
    assert moved > 50
    again = next(data.batches("train", 18, epoch=2))
    assert all(torch.equal(a["boxes"], b["boxes"]) for a, b in zip(batch.objects, again.objects, strict=True))


def test_policies_that_move_pixels_are_refused(tmp_path):
    data = f"coco:{coco(tmp_path)}"
    with pytest.raises(ConfigError, match="moves or hides pixels"):
        load(data, augment="randaugment")
    with pytest.raises(ConfigError, match="cuts the images but not the objects"):
        load(data, augment="crop-flip-24")


def edited(tmp_path, change):
    file = coco(tmp_path, 6)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return f"coco:{file}"


def corners(content):
    for entry in content["annotations"]:
        x, y, w, h = entry["bbox"]
        entry["bbox"] = [x, y, x + w, y + h]


FIRST = "annotations"
COCO_FAULTS = {
    r"annotations\[0\] has a box from .* isn't inside": lambda c: c[FIRST][0].update(bbox=[40, 0, 30, 10]),
    r"annotations\[0\] has a box of no area": lambda c: c[FIRST][0].update(bbox=[4, 4, 0, 10]),
    r"annotations\[0\] has the box \[1, 2\], expected \[x, y, width, height\]": lambda c: c[FIRST][0].update(
        bbox=[1, 2]
    ),
    r"annotations\[0\] has the box .*expected finite": lambda c: c[FIRST][0].update(bbox=[0, 0, float("nan"), 4]),
    r"annotations\[0\] is of the image 99": lambda c: c[FIRST][0].update(image_id=99),
    r"annotations\[0\] has the category 5": lambda c: c[FIRST][0].update(category_id=5),
    r"annotations\[0\] has no bbox": lambda c: c[FIRST][0].pop("bbox"),
    r"look like x₁, y₁, x₂, y₂": corners,
    r"images\[1\] has the id 0, as an earlier": lambda c: c["images"][1].update(id=0),
    r"images are missing: .*gone.png": lambda c: c["images"][0].update(file_name="gone.png"),
    r"is 48 × 48, and its annotations are for 50 × 48": lambda c: c["images"][0].update(width=50),
    r"two categories of one id or name": lambda c: c["categories"][1].update(name="square"),
    r"has no categories": lambda c: c.update(categories=[], annotations=[]),
    r"expected the lists images, annotations and categories": lambda c: c.pop("images"),
    r"the split 'trian'": lambda c: c["images"][0].update(split="trian"),
    r"is in train and test": lambda c: c["images"][4].update(file_name="images/000.png"),
}


@pytest.mark.parametrize("message", COCO_FAULTS)
def test_bad_coco_files_are_refused(tmp_path, message):
    with pytest.raises(DataError, match=message):
        load(edited(tmp_path, COCO_FAULTS[message]))


def first_label(root, text):
    (root / "labels" / "train" / "000.txt").write_text(text)


YOLO_FAULTS = {
    r"000.txt: line 1 has the class 2: expected 0 to 1": lambda r: first_label(r, "2 0.5 0.5 0.1 0.1"),
    r"line 2 is '0 0.5': expected": lambda r: first_label(r, "0 0.5 0.5 0.1 0.1\n0 0.5"),
    r"line 1 has 7 numbers": lambda r: first_label(r, "0 0.1 0.1 0.2 0.2 0.3 0.3"),
    r"expected fractions of the image": lambda r: first_label(r, "0 24 24 12 12"),
    r"line 1 has a box of no area": lambda r: first_label(r, "0 0.5 0.5 0 0.1"),
    r"isn't inside the image": lambda r: first_label(r, "0 0.9 0.5 0.5 0.1"),
    r"extra.txt is of no image": lambda r: (r / "labels" / "train" / "extra.txt").write_text(""),
    r"data.yaml: expected a list of class names": lambda r: (r / "data.yaml").write_text("names: [a, a]"),
    r"expected a file data.yaml": lambda r: (r / "data.yaml").unlink(),
}


@pytest.mark.parametrize("message", YOLO_FAULTS)
def test_bad_yolo_folders_are_refused(tmp_path, message):
    root = yolo(tmp_path / "data", 6)
    YOLO_FAULTS[message](root)
    with pytest.raises(DataError, match=message):
        load(f"yolo:{root}")


def first_xml(root, old, new):
    file = root / "Annotations" / "000.xml"
    file.write_text(file.read_text().replace(old, new))


VOC_FAULTS = {
    r"000.xml: object 1 has no name": lambda r: first_xml(r, "<name>square</name>", ""),
    r"object 1 has the box .*expected numbers": lambda r: first_xml(r, "<xmin>1<", "<xmin>left<"),
    r"object 1 has a box of no area": lambda r: first_xml(r, "<xmin>1<", "<xmin>40<"),
    r"is for an image of 99 × 48": lambda r: first_xml(r, "<width>48", "<width>99"),
    r"can't be read .*mismatched tag": lambda r: first_xml(r, "</annotation>", "</annot>"),
    r"entities, which could expand": lambda r: first_xml(
        r, "<annotation>", '<!DOCTYPE a [<!ENTITY x "y">]><annotation>'
    ),
    r"images are missing": lambda r: (r / "JPEGImages" / "000.png").unlink(),
}


@pytest.mark.parametrize("message", VOC_FAULTS)
def test_bad_voc_folders_are_refused(tmp_path, message):
    root = voc(tmp_path / "data", 6)
    VOC_FAULTS[message](root)
    with pytest.raises(DataError, match=message):
        load(f"voc:{root}")
