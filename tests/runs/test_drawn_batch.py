"""The page of a training batch: of every task, what models get and the targets, as they are after augmentation."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from tutelage.config.schema import check
from tutelage.data.splits import IGNORE
from tutelage.runs import drawn_batch, preflight
from tutelage.runs.run import Run

sys.path.append(str(Path(__file__).parents[2] / "bench"))
from tiny_tasks import TASKS

WITHOUT_PICTURES = {"regression", "tables", "ranking", "recommendation", "nodes", "graphs", "forecasting"}


def page_of(tmp_path: Path, **keys) -> tuple[str, object]:
    run = Run(check({"device": "cpu", **keys}), folder=Path())
    page = tmp_path / "batch.html"
    drawn_batch.write(page, run.inputs.data, run.config)
    return page.read_text(encoding="utf-8"), run.inputs.data


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_batch_of_every_task_is_drawn(name, tmp_path):
    text, _ = page_of(tmp_path, **TASKS[name](tmp_path / "data"))
    shows = text.count("data:image/png") + text.count("<svg") + text.count("<tr>")
    assert shows >= 6  # the documents of a query, or more samples
    assert ("data:image/png" in text) == (name not in WITHOUT_PICTURES)


def test_boxes_are_drawn_where_the_augmented_objects_are(tmp_path):
    keys = TASKS["detection"](tmp_path / "data")
    run = Run(check({"device": "cpu", "augment": "crop-flip", **keys}), folder=Path())
    data = run.inputs.data
    batch = next(iter(data.batches("train", 4, seed=0)))
    drawn = []
    for n in range(4):
        ((_, pixels),) = drawn_batch.DRAWINGS["objects"](data, batch, n, np.zeros((48, 48, 3), np.uint8), "")
        rows, columns = np.nonzero(pixels.any(2))
        factor = pixels.shape[0] / 48
        drawn.append((np.array([columns.min(), rows.min(), columns.max(), rows.max()]) / factor).round().tolist())
    expected = [each["boxes"][0].round().tolist() for each in batch.objects]
    assert np.abs(np.array(drawn) - np.array(expected)).max() <= 1
    assert any(each["boxes"][0].tolist() != [float(v) for v in drawn[0]] for each in batch.objects)  # not all alike


def test_captions_name_the_targets(tmp_path):
    text, data = page_of(tmp_path, data="digits", student="cnn2", batch_size=5)
    labels = next(iter(data.batches("train", 5, seed=0))).targets.tolist()
    assert re.findall(r"<figcaption>([^<]*)</figcaption>", text) == [data.classes[label] for label in labels]


def test_what_a_teacher_with_other_inputs_gets_is_shown_too(tmp_path):
    random, y = np.random.default_rng(0), np.arange(60) % 3
    arrays = {"image_train": random.integers(256, size=(60, 8, 8, 3), dtype=np.uint8), "y_train": y}
    arrays |= {"inputs": ["image", "row"], "row_train": random.normal(size=(60, 4))}
    np.savez(tmp_path / "a.npz", **arrays)
    keys = {"teacher": {"model": "mlp-4", "inputs": "row"}, "student": {"model": "cnn2", "inputs": "image"}}
    keys |= {"data": f"npz:{tmp_path / 'a.npz'}", "device": "cpu", "batch_size": 4}
    page = tmp_path / "batch.html"
    trial = preflight.check(check(keys), draw=page)
    assert not [finding for finding in trial.findings if finding.level == "error"]
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/png") == 4
    assert text.count("<tr>") == 5  # the head, and the rows of the teacher


def test_unlabelled_samples_of_a_stream_are_named_so(tmp_path):
    streams = {"labelled": "digits", "unlabelled": "digits"}
    text, _ = page_of(tmp_path, data=streams, student="cnn2", labels_per_class=2, method="pseudo_label", batch_size=8)
    assert "<figcaption>unlabelled</figcaption>" in text


def test_unlabelled_pixels_are_transparent(tmp_path):
    from tutelage.report.masks import colour_mask

    pixels = colour_mask(np.array([[0, 1, IGNORE]]), 2)
    assert pixels[0, :, 3].tolist() == [255, 255, 0]
