"""Values gathered from the processes of one training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def all_gather_samples(value: Any, samples: int) -> Any:
    """Gather a process's tensor (B, …) from all W processes as (W·B, …), in rank order, with gradients.

    Lists and dicts are gathered item by item; other values than tensors of `samples` samples stay unchanged. Every
    process must have the same number of samples. If every process computes a loss of the result, the mean of their
    gradients is the joint batch's gradient.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return value
    if isinstance(value, Mapping):
        return {name: all_gather_samples(x, samples) for name, x in value.items()}
    if isinstance(value, list):
        return [all_gather_samples(x, samples) for x in value]
    if isinstance(value, Tensor) and value.dim() and len(value) == samples:
        return _Gather.apply(value)
    return value


def count_samples(value: Any) -> int:
    """Return the number of samples of a tensor, or of each tensor in a list."""
    return len(value[0] if isinstance(value, list) else value)


class _Gather(torch.autograd.Function):
    """All processes' tensors, one after the other; the gradients of all of them come back.

    torch 2.15 deprecates its own, `torch.distributed.nn.functional.all_gather`, in favour of a private one.
    Fabric's `all_gather(sync_grads=True)` calls that deprecated one (lightning 2.6), and losses know no Fabric.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        parts = [torch.empty_like(value, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, value.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def all_gather_object(value: Any) -> list[Any]:
    """Return every process's value, in rank order."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
