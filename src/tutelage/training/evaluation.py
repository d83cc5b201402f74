"""The evaluation of a network on a split; all counting happens on the network's device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tutelage.data.multitask_targets import split_columns
from tutelage.errors import DataError, ModelError, NotFinite
from tutelage.losses.base import Loss
from tutelage.nn.feature_extractor import eval_no_grad, respond
from tutelage.objective.masking import select_positions
from tutelage.objective.reduction import mean
from tutelage.structures import Batch
from tutelage.tasks.base import Task


@dataclass
class EvaluationResult:
    """The metrics of a network on a split, its tables, and its predictions if they were kept.

    Args:
        values: the metrics by name (accuracy, loss …).
        tables: the task's tables by name, such as the counts of each pair of target and prediction (`confusion`).
        predictions: the task's predictions, arrays (N, …) by name, with each sample's number in the split as `index`;
            empty if the task has none or they weren't kept.
    """

    values: dict[str, float]
    tables: dict[str, Tensor] = field(default_factory=dict)
    predictions: dict[str, Tensor] = field(default_factory=dict)


def evaluate(
    model: nn.Module, batches: Iterable[Batch], task: Task, outputs: int, *, keep: bool = False, shared: bool = False
) -> EvaluationResult:
    """Evaluate a network on a split in eval mode.

    Args:
        model: the network.
        batches: the split's batches; with `shared`, those of this process.
        task: the task, whose metrics and loss are computed.
        outputs: the number of the network's outputs (`Task.outputs`).
        keep: whether to keep the task's predictions for every sample.
        shared: whether each process has a part of the split; the metrics are of the whole split.

    Raises:
        DataError: there is no batch.
        NotFinite: an output isn't finite.
    """
    metrics, task_loss = task.metrics(outputs, shared), task.evaluation_loss()
    kept: list[dict[str, Tensor]] = []
    losses: list[Tensor] = []
    is_empty = True
    with eval_no_grad(model):
        for batch in batches:
            if is_empty:
                metrics, is_empty = metrics.to(_device(batch)), False
            response = task.response(compute_response_in_halves(model, batch, task.infer), batch).float()
            task.update(metrics, response, batch)
            if task_loss is not None:
                losses.append(_task_losses(task_loss, response, batch, task))
            if keep and batch.index is not None and (predictions := task.predictions(response, batch)):
                kept.append({name: x.cpu() for name, x in {"index": batch.index, **predictions}.items()})
    if is_empty:
        raise DataError("there is no sample to evaluate on; give a split that isn't empty.")
    computed = metrics.compute()
    tables = {name: x.cpu() for name, x in computed.items() if x.dim()}
    values = {name: x for name, x in computed.items() if not x.dim()}
    if losses:
        totals = torch.stack(losses).sum(0)
        if shared:
            dist.all_reduce(totals)
        values["loss"] = (totals[:, 0] / totals[:, 1].clamp_min(1)).mean()  # of nothing known, 0
    numbers = {name: float(value) for name, value in values.items()}
    if not all(map(math.isfinite, numbers.values())):
        raise NotFinite(f"the network's outputs are not finite numbers ({numbers}): check its training and its inputs.")
    names = kept[0] if kept else ()
    return EvaluationResult(numbers, tables, {name: _joined([part[name] for part in kept]) for name in names})


def _joined(parts: list[Tensor]) -> Tensor:
    """Return the batches' arrays as one; those of different lengths are filled up with -1."""
    if len({x.shape[1:] for x in parts}) <= 1:
        return torch.cat(parts)
    return pad_sequence([x for part in parts for x in part], batch_first=True, padding_value=-1)


def compute_response_in_halves(
    model: nn.Module, batch: Batch, infer: Callable[[nn.Module, Batch], Tensor] = respond
) -> Tensor:
    """Return a network's response to a batch, which is halved until it fits into memory.

    Raises: ModelError if one sample doesn't fit.
    """
    try:
        return infer(model, batch)
    except torch.OutOfMemoryError as error:
        if len(batch) == 1:
            raise ModelError(f"{type(model).__name__} needs more memory than there is for one sample.") from error
    middle = (len(batch) + 1) // 2  # the memory of the failed attempt is free again here
    return _joined(
        [
            compute_response_in_halves(model, batch.part(0, middle), infer),
            compute_response_in_halves(model, batch.part(middle, len(batch)), infer),
        ]
    )


def _task_losses(task_loss: Loss, response: Tensor, batch: Batch, task: Task) -> Tensor:
    """Return (K, 2): each label column's task loss, summed over the positions that count, and their number."""
    mask, targets = task.mask(batch), batch.targets
    available = batch.available()
    required = {
        name: available[name] for name in task_loss.required_inputs() if name in available and name != "targets"
    }
    if targets is None:
        return _sum(task_loss, response, {}, required)[None]
    if mask is not None and task_loss.maskable:
        response, targets = select_positions(response, mask), targets[mask]
    parts = split_columns(response, targets, batch.columns)
    return torch.stack([_sum(task_loss, x, {"targets": y}, required) for x, y in parts])


def _sum(task_loss: Loss, response: Tensor, targets: Mapping[str, Tensor], required: Mapping[str, Any]) -> Tensor:
    count = len(response)
    if not count:
        return response.new_zeros(2)
    values = task_loss(response, None, **targets, **required)
    loss = mean(values)
    if task_loss.data_dependent_size and isinstance(values, Tensor):
        count = values.numel()
    return torch.stack([loss * count, loss.new_tensor(float(count))])


def _device(batch: Batch) -> torch.device:
    x = batch.inputs if isinstance(batch.inputs, Tensor) else next(iter(batch.inputs.values()))
    return x.device
