"""Transfer: a linear classifier on the networks' features of another labelled data set."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data.data_module import DataModule
from tutelage.explanation.base import Explanation, NotApplicable, OverSeeds, Words
from tutelage.explanation.layers import features_of, profile_of
from tutelage.explanation.opened_run import OpenedRun, spread
from tutelage.report.components import format_percent

PROBE = Words(
    "linear_probe",
    "Linear probe",
    "The accuracy of a linear classifier on frozen features of other data: a student that is better taught than alone "
    "has learned features of general use from its teacher, not only its answers.",
    "Alain, Bengio. Understanding intermediate layers using linear classifier probes. ICLR workshop 2017; Tian, "
    "Krishnan, Isola. Contrastive representation distillation. ICLR 2020, for probes of distilled students",
)


def figures(opened: OpenedRun) -> list[Explanation]:
    """Return the figure of transfer."""
    if opened.probe is None:
        raise NotApplicable("no other data set was named (probe=DATA)")
    probe = opened.probe
    values: dict[str, Any] = {
        role: OverSeeds([_accuracy(opened, network, probe) for network in dict.fromkeys(networks)])
        for role, networks in opened.networks.items()
    }
    targets = _vectors(opened, opened.networks["student"][0], probe, "test")[1]
    chance = float(torch.bincount(targets).max() / len(targets))
    rows = [[opened.labels[role], accuracy.percent()] for role, accuracy in values.items()]
    rows.append(["Most frequent class", format_percent(chance)])
    reading = f"On {probe.name}, {len(targets)} test samples."
    return [PROBE.as_table(["Features of", "Accuracy"], rows, {**values, "chance": chance}, reading, wide=False)]


def _accuracy(opened: OpenedRun, network: nn.Module, probe: DataModule) -> float:
    from tutelage.tasks.probe_metrics import probe_accuracy

    return probe_accuracy(*_vectors(opened, network, probe, "train"), *_vectors(opened, network, probe, "test"))


def _vectors(opened: OpenedRun, network: nn.Module, probe: DataModule, split: str) -> tuple[Tensor, Tensor]:
    """Return a network's embeddings (N, D) of a part of the probe's split, and their labels (N,).

    Raises: NotApplicable if the network has no layer before a classifier.
    """
    layer = profile_of(opened, network).embedding
    if not layer:
        raise NotApplicable("a network has no embedding")
    data, _ = spread(probe, split, opened.samples)
    x = features_of(opened, network, layer, data, split)
    labels = torch.cat([batch.targets.cpu() for batch in opened.batches(data, split, network)])
    return (x.flatten(2).mean(2) if x.dim() > 2 else x).float(), labels
