"""Backbones: networks without a classifier, which learn a teacher's embeddings from data without labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError
from tutelage.nn.feature_extractor import compute_response, eval_no_grad
from tutelage.structures import Batch
from tutelage.tasks.base import Task
from tutelage.utils.finding import Finding

UNTRAINED = "is it trained, with this normalisation? Give its weights (teacher_weights)."

COLLAPSED = 0.01
"""The spread below which a network's vectors hardly differ between samples."""


class Backbone(Task):
    """A vector per sample, of the network's own size, without a task loss: only a teacher teaches.

    Responses (B, D), D differs between student and teacher. Networks that are made by name have no classifier. The
    metric is the sum of the terms on the validation split, or the k-NN accuracy on labelled data (probe=…).

    Args:
        is_probed: whether there is labelled data to judge by.
    """

    response_kind = "features"
    default_method = "embedding_cosine"
    usage = "print(outputs.shape)  # the embeddings; backbone.safetensors has the weights under the library's own names"

    def __init__(self, is_probed: bool = False) -> None:
        self.metric = "knn_accuracy" if is_probed else "embedding_loss"
        self.higher_is_better = is_probed

    @classmethod
    def from_data(cls, data: DataModule) -> Self:
        """Build the task for this data.

        Raises: ConfigError if the data has labels.
        """
        if data.target != "none":
            raise ConfigError(
                f"task=backbone is for data without labels, and {data.name} has some: use task=embedding."
            )
        return cls(data.probe is not None)

    def outputs(self, data: DataModule) -> int:
        """Return 0: networks have as many outputs as they have features."""
        return 0

    def describe_outputs(self, outputs: int) -> str:
        """Return the vectors in words."""
        return "a vector for each sample"

    def fits(self, response: Tensor, outputs: int) -> bool:
        """Return True if the response is a vector for each sample, of any size."""
        return response.dim() == 2

    def task_loss(self) -> None:
        """Return None: there are no targets."""

    def metrics(self, outputs: int, shared: bool = False) -> Any:
        """Return the spread of the vectors."""
        from torchmetrics import MetricCollection

        from tutelage.tasks.probe_metrics import Spread

        return MetricCollection({"spread": Spread(sync_on_compute=shared)})

    def update(self, metrics: Any, response: Tensor, batch: Batch) -> None:
        """Add a batch's vectors."""
        metrics.update(response)

    def measure(self, network: nn.Module, data: DataModule, split: str, batch_size: int) -> dict[str, float]:
        """Return the accuracy of k-NN and of a linear classifier on the probe's split; its train split teaches them."""
        if data.probe is None:
            return {}
        from tutelage.tasks.probe_metrics import knn_accuracy, probe_accuracy

        probe = replace(data.probe.normalised_by(data.mean, data.std, data.source_scale.known), size=data.size)
        bank, labels = embed(network, probe, "train", batch_size)
        queries, targets = embed(network, probe, split, batch_size)
        return {
            "knn_accuracy": knn_accuracy(bank, labels, queries, targets, len(probe.classes)),
            "probe_accuracy": probe_accuracy(bank, labels, queries, targets),
        }

    def judge_teacher(
        self, values: Mapping[str, float], tables: Mapping[str, Tensor], data: DataModule
    ) -> list[Finding]:
        """Check that the teacher's vectors differ between samples, and find neighbours of the same class."""
        what = f"the spread of the teacher's vectors is {values['spread']:.3f}; 1 is that of random directions"
        if values["spread"] < COLLAPSED:
            return [Finding("error", what, UNTRAINED)]
        if data.probe is None or data.probe.val.labels is None:
            return [Finding("ok", what)]
        chance = float(torch.bincount(data.probe.val.labels).max() / len(data.probe.val))
        what = f"the teacher's k-NN accuracy is {values['knn_accuracy']:.3f}; the most frequent class has {chance:.3f}"
        if values["knn_accuracy"] < min(1.2 * chance, (1 + chance) / 2):
            return [Finding("error", what, UNTRAINED)]
        return [Finding("ok", what)]


def embed(network: nn.Module, data: DataModule, split: str, batch_size: int) -> tuple[Tensor, Tensor]:
    """Return a network's vectors (N, D) for a split, and the labels (N,), both on the CPU."""
    device = next(network.parameters(), torch.zeros(())).device
    vectors, labels = [], []
    with eval_no_grad(network):
        for batch in data.batches(split, batch_size, train=False, device=device):
            outputs: Any = compute_response(network, batch.inputs)
            assert batch.targets is not None
            vectors.append(outputs.float().cpu())
            labels.append(batch.targets.cpu())
    return torch.cat(vectors), torch.cat(labels)
