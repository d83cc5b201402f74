"""Robustness: the metric of each network on corrupted test images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import torch
from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.explanation.base import Explanation, NotApplicable, Words
from tutelage.explanation.corruptions import SEVERITIES, Corruption, for_channels
from tutelage.explanation.opened_run import OpenedRun
from tutelage.report.components import format_decimal
from tutelage.report.svg_charts import Line, draw_lines
from tutelage.runs.profiling import as_network
from tutelage.structures import Batch
from tutelage.training.evaluation import evaluate

CORRUPTED = 1000
"""The most test samples that are corrupted."""
HENDRYCKS = (
    "Hendrycks, Dietterich. Benchmarking neural network robustness to common corruptions and perturbations. ICLR 2019; "
    "noise, contrast, brightness, pixelation and compression at their severities for ImageNet, blur in parts of the "
    "side as theirs for CIFAR-10; made here, so that figures aren't comparable with published ones"
)
COURSE = Words(
    "severity",
    "Metric by severity",
    "A student that loses much must see such changes in its training, and one that loses more than a teacher hasn't "
    "taken over that teacher's robustness: augment with them.",
    HENDRYCKS,
)
EACH = Words(
    "corruptions",
    "Each corruption",
    "The corruptions under which the student loses most are those that its use must exclude or its training include.",
    HENDRYCKS,
)


def figures(opened: OpenedRun) -> list[Explanation]:
    """Return the figures of robustness, of the first seed's networks."""
    _refuse_other_inputs(opened.data)
    data, _ = opened.part("test", CORRUPTED)
    clean = {role: _metric(opened, role, [*_batches(opened, data)]) for role in opened.networks}
    values: dict[str, dict[str, list[float]]] = {role: {} for role in opened.networks}
    for name, corruption in for_channels(data.channels).items():
        for severity in SEVERITIES:
            batches = [corrupted(batch, data, corruption, severity) for batch in _batches(opened, data)]
            for role in opened.networks:
                values[role].setdefault(name, []).append(_metric(opened, role, batches))
    return [_course(opened, clean, values, len(data.test)), _each(opened, clean, values)]


def corrupted(batch: Batch, data: DataModule, corruption: Corruption, severity: int) -> Batch:
    """Return a batch of normalised images, corrupted as pixels in [0, 1] and normalised again."""
    assert isinstance(batch.inputs, Tensor)
    assert batch.index is not None
    mean, std = (torch.tensor(x).view(-1, 1, 1) for x in (data.mean, data.std))
    pixels = (batch.inputs * std + mean).clamp(0, 1)
    return replace(batch, inputs=(corruption(pixels, batch.index, severity).clamp(0, 1) - mean) / std)


def _refuse_other_inputs(data: DataModule) -> None:
    """Refuse inputs that aren't images whose pixels are known.

    Raises: NotApplicable.
    """
    if data.modality != "image" or data.fields:
        raise NotApplicable(f"these are corruptions of images, and its inputs are {data.modality} data")
    if data.source_scale.kind != "pixels" or data.others or data.derivation is not None:
        raise NotApplicable("its images aren't pixels in [0, 1], or the models get different views of them")


def _batches(opened: OpenedRun, data: DataModule) -> Iterator[Batch]:
    return data.batches("test", opened.run.config.batch_size, train=False)


def _metric(opened: OpenedRun, role: str, batches: Sequence[Batch]) -> float:
    """Return the metric of a role's first network.

    Raises: NotApplicable if the metric isn't one of responses.
    """
    network, device = as_network(opened.networks[role][0]), opened.run.fabric.device
    moved = (batch.to(device) for batch in batches)
    values = evaluate(network, moved, opened.task, opened.outputs).values
    if opened.task.metric not in values:
        raise NotApplicable(f"the metric {opened.task.metric} isn't computed from outputs and targets")
    return values[opened.task.metric]


def _course(
    opened: OpenedRun, clean: dict[str, float], values: dict[str, dict[str, list[float]]], count: int
) -> Explanation:
    means = {
        role: [clean[role], *(fmean(of[k] for of in each.values()) for k in range(len(SEVERITIES)))]
        for role, each in values.items()
    }
    lines = [Line(role, opened.labels[role], [*enumerate(mean)]) for role, mean in means.items()]
    drawing = draw_lines(f"{opened.task.metric} by severity", lines, x="severity, 0: as it is")
    head = ["Severity", *(line.label for line in lines)]
    table = [[str(k), *(format_decimal(mean[k]) for mean in means.values())] for k in range(len(SEVERITIES) + 1)]
    each = ", ".join(
        f"{line.label.lower()} {format_decimal(clean[role])} → {format_decimal(fmean(means[role][1:]))}"
        for role, line in zip(means, lines, strict=True)
    )
    of = f"{len(next(iter(values.values())))} corruptions of {count} test images, first seed"
    reading = f"{opened.task.metric} as they are → its mean over all severities of {of}: {each}."
    return COURSE.as_chart(drawing, [(x.style, x.label) for x in lines], (head, table), means, reading)


def _each(opened: OpenedRun, clean: dict[str, float], values: dict[str, dict[str, list[float]]]) -> Explanation:
    names = [*next(iter(values.values()))]
    table = [["none", *(format_decimal(value) for value in clean.values())]]
    table += [[name, *(format_decimal(fmean(each[name])) for each in values.values())] for name in names]
    head = ["Corruption", *(opened.labels[role] for role in values)]
    last = opened.students[-1]
    sign = 1 if opened.task.higher_is_better else -1
    losses = {name: sign * (clean[last] - fmean(values[last][name])) for name in names}
    reading = f"Mean {opened.task.metric} over severities; {name_worst(opened.labels[last].lower(), losses)}."
    return EACH.as_table(head, table, {"none": clean, **values}, reading)


def name_worst(label: str, losses: Mapping[str, float]) -> str:
    """Return in words by which corruption a network loses most; losses: by corruption, 0 or less is none."""
    worst = max(losses, key=losses.__getitem__)
    return f"{label} loses most by {worst}" if losses[worst] > 1e-9 else f"{label} loses by none of them"
