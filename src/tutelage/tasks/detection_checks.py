"""Checks of images with boxes, and of a trained detector."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.utils.finding import Finding, list_first

TINY = 4
"""The side in pixels of the network's image below which an object can hardly be detected."""
DETECTS = 0.01
"""The mean average precision below which a detector finds nothing."""


def check_boxes(data: DataModule) -> list[Finding]:
    """Check that training has objects of every class, large enough, and each once."""
    objects: list[dict[str, Tensor]] | None = getattr(data.train, "objects", None)
    if objects is None:
        return []
    labels = torch.cat([each["labels"] for each in objects])
    counts = torch.bincount(labels, minlength=len(data.classes)).tolist()
    findings = []
    if absent := [name for name, count in zip(data.classes, counts, strict=True) if not count]:
        what = f"no training image has an object of the class(es) {list_first(absent)}"
        findings.append(Finding("warning", what, "add some, or leave the classes out of the data."))
    sides = torch.cat([_sides(each, data.size) for each in objects])
    if (tiny := float((sides < TINY).float().mean()) if len(sides) else 0.0) > 0.1:
        what = f"{tiny:.0%} of the objects are less than {TINY} pixels high or wide in images of {data.size}"
        findings.append(Finding("warning", what, "they can hardly be detected: use larger images (size=HEIGHTxWIDTH)."))
    if repeated := sum(_repeated(each) for each in objects):
        what = f"{repeated} object(s) are there twice, with the same box and class"
        findings.append(Finding("warning", what, "remove the copies: a detector would be wrong to find one of them."))
    if (empty := sum(not len(each["labels"]) for each in objects)) > 0.5 * len(objects):
        what = f"{empty} of {len(objects)} training images have no object"
        findings.append(Finding("warning", what, "are annotations missing? Images without objects are negatives."))
    ok = f"{len(labels):,} objects of {len(data.classes)} classes in {len(objects):,} training images, {empty} without"
    return findings or [Finding("ok", ok)]


def judge_precision(values: Mapping[str, float]) -> list[Finding]:
    """Say whether a trained teacher detects anything on the validation split."""
    what = f"the teacher's mean average precision on the validation split is {values['map']:.3f}"
    mend = "is it trained on these classes, in this order, with this size and normalisation? Set teacher_epochs."
    return [Finding("warning", what, mend) if values["map"] < DETECTS else Finding("ok", what)]


def _sides(objects: Mapping[str, Tensor], size: tuple[int, ...]) -> Tensor:
    """Return the shorter side of each object in pixels of the network's image."""
    sides = objects["boxes"][:, 2:] - objects["boxes"][:, :2]
    return (sides * torch.tensor([size[1], size[0]]) / objects["size"].flip(0)).amin(1)


def _repeated(objects: Mapping[str, Tensor]) -> int:
    rows = torch.cat([objects["boxes"], objects["labels"][:, None]], 1)
    return len(rows) - len(rows.unique(dim=0))
