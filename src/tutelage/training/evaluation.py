"""Evaluation of a network on a split; metrics are accumulated on its device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.data.multitask_targets import by_label
from tutelage.errors import DataError, ModelError, NotFinite
from tutelage.losses.base import Loss
from tutelage.nn.feature_extractor import answer, eval_no_grad
from tutelage.objective.reduction import mean
from tutelage.structures import Batch
from tutelage.tasks.base import Task


@dataclass
class EvaluationResult:
    """A network's metrics on a split by name (accuracy, loss …), the confusion matrix, and its predictions if kept.

    confusion: (3, N), each pair of truth and answer that occurs, and how often; `matrix()` is the same as a (C, C).
    """

    values: dict[str, float]
    confusion: Tensor
    classes: int
    probabilities: Tensor | None = None
    targets: Tensor | None = None
    index: Tensor | None = None

    def matrix(self) -> Tensor:
        """Return the confusion matrix with the true classes in rows."""
        truth, outputs, counts = self.confusion
        matrix = counts.new_zeros(self.classes, self.classes)
        return matrix.index_put_((truth, outputs), counts, accumulate=True)


def evaluate(
    model: nn.Module, batches: Iterable[Batch], task: Task, classes: int, *, keep: bool = False, shared: bool = False
) -> EvaluationResult:
    """Run a network over a split in eval mode.

    keep: keep every sample's probabilities (one label each). shared: each process has a part; figures are of all.
    Raises: DataError if there is no batch; NotFinite if an answer isn't finite.
    """
    metrics, truth = task.metrics(classes, shared), task.task_loss()
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    losses: list[Tensor] = []
    with eval_no_grad(model):
        for batch in batches:
            if not losses:
                metrics = metrics.to(_device(batch))
            response = task.response(answered(model, batch), batch).float()
            metrics.update(response, batch.targets)
            losses.append(_truth(truth, response, batch, task))
            keep = keep and response.dim() == 2 and not batch.columns
            if keep and batch.targets is not None and batch.index is not None:
                kept.append((F.softmax(response, dim=1).cpu(), batch.targets.cpu(), batch.index.cpu()))
    if not losses:
        raise DataError("there is no sample to evaluate on; give a split that isn't empty.")
    values = metrics.compute()
    confusion = values.pop("confusion").cpu()
    totals = torch.stack(losses).sum(0)
    if shared:
        dist.all_reduce(totals)
    values["loss"] = (totals[:, 0] / totals[:, 1]).mean()
    metrics = {name: float(value) for name, value in values.items()}
    if not all(map(_finite, metrics.values())):
        raise NotFinite(
            f"the network's answers are not finite numbers ({metrics}); was it trained, is the input sound?"
        )
    parts = [torch.cat(part) for part in zip(*kept, strict=True)] if kept else [None, None, None]
    return EvaluationResult(metrics, confusion, classes, *parts)


def answered(model: nn.Module, batch: Batch) -> Tensor:
    """Return a network's response to a batch, in as few parts as there is memory for.

    Raises: ModelError if there isn't enough for one sample.
    """
    try:
        return answer(model, batch.inputs)
    except torch.OutOfMemoryError as error:
        if len(batch) == 1:
            raise ModelError(f"{type(model).__name__} needs more memory than there is for one sample.") from error
    middle = (len(batch) + 1) // 2  # what the failed try held is free again here
    return torch.cat([answered(model, batch.part(0, middle)), answered(model, batch.part(middle, len(batch)))])


def _truth(truth: Loss, response: Tensor, batch: Batch, task: Task) -> Tensor:
    """(K, 2): of each of K label columns, or of the one label: the truth's loss over what counts, and how many are."""
    mask, targets = task.mask(batch), batch.targets
    assert targets is not None
    if mask is not None:
        response, targets = response.movedim(1, -1)[mask], targets[mask]
    return torch.stack([_sum(truth, *labelled) for labelled in by_label(response, targets, batch.columns)])


def _sum(truth: Loss, response: Tensor, targets: Tensor) -> Tensor:
    count = len(targets)
    loss = mean(truth(response, None, targets=targets)) if count else response.new_zeros(())
    return torch.stack([loss * count, loss.new_tensor(float(count))])


def _device(batch: Batch) -> torch.device:
    x = batch.inputs if isinstance(batch.inputs, Tensor) else next(iter(batch.inputs.values()))
    return x.device


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")
