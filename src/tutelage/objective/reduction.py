"""The mean of a loss's un-reduced values, and their multiplication by weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import LossValues


def mean(values: LossValues, shared: bool = False) -> Tensor:
    """Return the mean of un-reduced values; of several by name, the sum of their means.

    shared: the number of values differs between processes (masks), so that each divides by the number of all of them:
    the mean of the processes' results is then the mean over all values.
    """
    if isinstance(values, Mapping):
        return torch.stack([mean(value, shared) for value in values.values()]).sum()
    if not shared:
        return values.mean() if values.numel() else values.sum()
    count = torch.tensor(float(values.numel()), device=values.device)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(count)
        count /= dist.get_world_size()
    return values.sum() / count.clamp(min=1)


def multiply(values: LossValues, factor: Tensor) -> LossValues:
    """Return un-reduced values times a number, or times one number per sample or position.

    Raises: ConfigError if they aren't values of samples.
    """
    if isinstance(values, Mapping):
        return {name: cast(Tensor, multiply(value, factor)) for name, value in values.items()}
    if factor.numel() == 1:
        return factor.reshape(()) * values
    if values.shape[: factor.dim()] != factor.shape:
        raise ConfigError(
            f"the loss returns values {tuple(values.shape)}, not one for each of the {tuple(factor.shape)} samples or "
            "positions that a policy weighs differently; use a policy that is the same for all."
        )
    return factor.reshape(*factor.shape, *[1] * (values.dim() - factor.dim())) * values
