"""Samples of the split that judges, for the report, and the masks and maps that networks predict for them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tutelage.data.data_module import DataModule
from tutelage.nn.feature_extractor import eval_no_grad
from tutelage.structures import Batch
from tutelage.tasks.base import Task
from tutelage.utils import checksums

EXAMPLES, MASKS = 24, 6


def write(folder: Path, data: DataModule) -> None:
    """Write examples.npz: images where the student's and the teacher's predictions differ, or those with masks."""
    if data.modality != "image" and not data.kind.has_pictures:
        return
    if data.target == "mask":
        numbers = _spread_out(len(data.judged))
        batch = next(iter(_of(data, numbers).batches(data.judged_on, len(numbers), train=False)))
        assert isinstance(batch.targets, Tensor)
        _keep(folder / "examples.npz", index=numbers, **_images(data, numbers), masks=_small(batch.targets))
    elif data.target == "objects":
        numbers = _spread_out(len(data.judged))
        batch = next(iter(_of(data, numbers).batches(data.judged_on, len(numbers), train=False)))
        _keep(folder / "examples.npz", index=numbers, **_images(data, numbers), **_objects(batch))
    elif data.target == "map" and data.values is not None:
        numbers = _spread_out(len(data.judged))
        batch = next(iter(_of(data, numbers).batches(data.judged_on, len(numbers), train=False)))
        assert isinstance(batch.targets, Tensor)
        maps = data.values.restore(batch.targets).float().cpu().numpy()
        _keep(folder / "examples.npz", index=numbers, **_images(data, numbers), maps=maps)
    elif data.target == "label":
        numbers = _differing(folder)
        if len(numbers):
            _keep(folder / "examples.npz", index=numbers, **_images(data, numbers))


def write_masks(path: Path, network: nn.Module, data: DataModule, task: Task) -> None:
    """Write a network's predictions for the samples that the report shows: index (K,), masks (K, H, W)."""
    numbers = _spread_out(len(data.judged))
    _keep(path, index=numbers, masks=_small(_responses(network, data, task, numbers).argmax(1)))


def write_maps(path: Path, network: nn.Module, data: DataModule, task: Task) -> None:
    """Write a network's maps for the samples that the report shows: index (K,), maps (K, C, h, w) in their units."""
    assert data.values is not None
    numbers = _spread_out(len(data.judged))
    maps = data.values.restore(_responses(network, data, task, numbers)).float().cpu().numpy()
    _keep(path, index=numbers, maps=maps)


def _responses(network: nn.Module, data: DataModule, task: Task, numbers: np.ndarray[Any, Any]) -> Tensor:
    """Return a network's responses to the samples of those numbers."""
    device = next(network.parameters()).device
    batch = next(iter(_of(data, numbers).batches(data.judged_on, len(numbers), train=False, device=device)))
    with eval_no_grad(network):
        return task.response(task.infer(network, batch), batch)


def _differing(folder: Path) -> np.ndarray[Any, Any]:
    """Return the samples where the student predicts another class than the teacher, from each true class in turn."""
    try:
        student, teacher = (np.load(folder / name / "predictions.npz") for name in ("student-0", "teacher"))
    except OSError:
        return np.zeros(0, np.int64)
    if not all("probabilities" in arrays for arrays in (student, teacher)):
        return np.zeros(0, np.int64)
    differ = student["probabilities"].argmax(1) != teacher["probabilities"].argmax(1)
    return interleave_classes(student["index"][differ], student["targets"][differ])[:EXAMPLES]


def interleave_classes(numbers: np.ndarray[Any, Any], classes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the first of each class, then the second of each, and so on."""
    turn = np.zeros(len(classes), np.int64)
    for c in np.unique(classes):
        turn[classes == c] = np.arange((classes == c).sum())
    return numbers[np.lexsort((classes, turn))]


def _spread_out(count: int) -> np.ndarray[Any, Any]:
    return np.unique(np.linspace(0, count - 1, MASKS).round().astype(np.int64))


def _of(data: DataModule, numbers: np.ndarray[Any, Any]) -> DataModule:
    """Return the data with those samples of the split that judges alone."""
    chosen: dict[str, Any] = {data.judged_on: data.judged.take(torch.from_numpy(numbers))}
    return replace(data, **chosen)


def _images(data: DataModule, numbers: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return the images of those numbers, uint8 (K, H, W, 3), and, under `note`, a note on how they are shown."""
    batch = next(iter(_of(data, numbers).batches(data.judged_on, len(numbers), train=False)))
    assert isinstance(batch.inputs, Tensor)
    images, note = pixels_of(data, batch.inputs)
    return {"images": images, "note": note}


def pixels_of(data: DataModule, inputs: Tensor) -> tuple[np.ndarray[Any, Any], str]:
    """Return a batch's inputs as pictures, uint8 (B, H, W, 3), and a note on how they are shown."""
    if data.modality != "image":
        return _pictures(data, inputs)
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))
    pixels, note = inputs.cpu() * std + mean, ""
    if data.channels not in (1, 3):
        pixels, note = pixels[:, :1], f" Of an image's {data.channels} channels the first is shown."
    if not data.source_scale.known and not 0 <= pixels.min() <= pixels.max() <= 1:
        low, high = pixels.amin((1, 2, 3), keepdim=True), pixels.amax((1, 2, 3), keepdim=True)
        pixels = (pixels - low) / (high - low).clamp_min(torch.finfo(pixels.dtype).tiny)
        note += " Whatever normalised their values, each image is shown from its lowest to its highest."
    return pixels.clamp(0, 1).mul(255).round().byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy(), note


def _objects(batch: Batch) -> dict[str, Any]:
    """Return the boxes of a batch in its pixels, and the height and width of the pixels that predictions are in."""
    if not batch.objects or not {"boxes", "labels"} <= {*batch.objects[0]} or not isinstance(batch.inputs, Tensor):
        return {}
    shape = torch.tensor(batch.inputs.shape[-2:], dtype=torch.float32)
    sizes = [each.get("size", shape) for each in batch.objects]
    rows = []
    for each, size in zip(batch.objects, sizes, strict=True):
        rows.append(object_rows({**each, "boxes": each["boxes"] * (size / shape).flip(0).repeat(2)}))
    padded = pad_sequence(rows, batch_first=True, padding_value=-1)
    return {"objects": padded.numpy(), "sizes": torch.stack(sizes).numpy()}


def object_rows(objects: Mapping[str, Tensor]) -> Tensor:
    """Return objects in the form of detections (n, 6), of score 1."""
    boxes, labels = objects["boxes"].float().cpu(), objects["labels"][:, None].float().cpu()
    return torch.cat([boxes, torch.ones(len(boxes), 1), labels], 1)


def _pictures(data: DataModule, inputs: Tensor) -> tuple[np.ndarray[Any, Any], str]:
    """Return inputs that aren't images as pictures, likewise."""
    images = data.kind.pictures(inputs).mul(255).round().byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
    return images.numpy(), f" {data.kind.picture_note}"


def _small(masks: Tensor) -> np.ndarray[Any, Any]:
    return masks.cpu().numpy().astype(np.uint16)


def _keep(path: Path, **arrays: Any) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    checksums.write_recorded(path, buffer.getvalue())
