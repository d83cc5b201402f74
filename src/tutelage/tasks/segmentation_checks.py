"""Checks of masks: classes without pixels, images without labels, and binary masks whose object is ignored."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.data.image_files import ImageFileSplit
from tutelage.data.splits import IGNORE, Split
from tutelage.errors import plain
from tutelage.utils.finding import Finding, list_first

READ = 200
"""The most masks that are read."""

FREQUENT = 0.95
"""The share of a class's pixels above which the others hardly count in the loss."""


@dataclass(frozen=True)
class MaskCounts:
    """Of some training samples: each class's pixels (C,), each sample's labelled pixels (N,), and a mask's size.

    numbers: the samples' numbers (N,).
    """

    classes: Tensor
    labelled: Tensor
    size: int
    numbers: Tensor


def count_masks(data: DataModule) -> MaskCounts:
    """Count the pixels of at most `READ` training samples, evenly spread."""
    samples = data.train
    numbers = torch.linspace(0, len(samples) - 1, min(READ, len(samples))).long()
    total, labelled, size = torch.zeros(len(data.classes), dtype=torch.int64), [], 0
    for batch in replace(data, train=samples.take(numbers)).batches("train", 16, train=False):
        assert batch.targets is not None
        known = batch.targets != IGNORE
        total += torch.bincount(batch.targets[known], minlength=len(data.classes))
        labelled.append(known.flatten(1).sum(1))
        size = batch.targets[0].numel()
    return MaskCounts(total, torch.cat(labelled), size, numbers)


def check_masks(data: DataModule) -> list[Finding]:
    """Check that each class has training pixels, that images have labels, and that no class has almost all."""
    counts = count_masks(data)
    names = [name for name, count in zip(data.classes, counts.classes.tolist(), strict=True) if not count]
    pixels = int(counts.labelled.sum())
    share = 1 - pixels / max(counts.size * len(counts.numbers), 1)
    if not pixels:
        mend = "correct the masks, or map their values to classes in classes.json."
        return [Finding("error", "every training pixel is unlabelled (255)", mend)]
    if len(names) == len(data.classes) - 1 and share > 0:
        only = next(name for name in data.classes if name not in names)
        what = f"the training masks have pixels of {only} and unlabelled ones (255) alone"
        mend = 'if 255 is a class, as in binary masks, add classes.json: {"background": 0, "object": 255}.'
        return [Finding("error", what, mend)]
    findings = []
    if names:
        mend = "add images of them, or leave the classes out of classes.json."
        read = "" if len(counts.numbers) == len(data.train) else f" ({len(counts.numbers)} masks were read)"
        findings.append(Finding("warning", f"no training pixels of {list_first(names)}{read}", mend))
    empty = counts.numbers[counts.labelled == 0]
    if len(empty):
        which = list_first([_name(data.train, number) for number in empty.tolist()])
        what = f"{len(empty)} of {len(counts.numbers)} training images have no labelled pixel: {which}"
        findings.append(Finding("warning", what, "label or remove them: only the teacher teaches there."))
    most = int(counts.classes.argmax())
    frequent = float(counts.classes[most]) / pixels
    if frequent > FREQUENT:
        what = f"{frequent:.1%} of the labelled training pixels are {data.classes[most]}"
        findings.append(
            Finding("warning", what, "judge by miou or dice, not by accuracy; crops around the others help.")
        )
    text = f"{share:.0%} of the training pixels are unlabelled; {data.classes[most]} has {frequent:.0%} of the others"
    return findings or [Finding("ok", text)]


def _name(samples: Split, number: int) -> str:
    """Return a sample's mask file, or its number."""
    if isinstance(samples, ImageFileSplit) and samples.masks is not None:
        return plain(samples.masks.paths[number])
    return f"sample {number}"
