"""Operations on the logits of several teachers or peers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.functional.divergence import softened_kl

ModelLogits = Tensor | Sequence[Tensor]
"""The logits (B, C, …) of M models: stacked, (M, B, C, …), or a list."""


def stack_logits(logits: ModelLogits, least: int = 1) -> Tensor:
    """Stack the logits of M models, (M, B, C, …).

    Raises: ConfigError if there are fewer than `least` models, or their shapes differ.
    """
    shapes = {tuple(x.shape) for x in logits}
    if len(logits) < least or len(shapes) != 1 or len(next(iter(shapes))) < 2:
        raise ConfigError(
            f"expected at least {least} tensors of logits (B, C, …), as a list or stacked (M, B, C, …); "
            f"got {len(logits)}" + (f" of shape {', '.join(map(str, sorted(shapes)))}." if shapes else ".")
        )
    return logits if isinstance(logits, Tensor) else torch.stack(list(logits))


def softened_kls(student: Tensor, teacher: Tensor, temperature: float, eps: float = 0.0) -> Tensor:
    """Return T² · KL(softmax(t/T) + ε ‖ softmax(s/T)), (M, B, …), of M stacked logits on one side or both.

    Raises: ConfigError if the compared logits differ in shape.
    """
    smaller, larger = sorted((student, teacher), key=Tensor.dim)
    if larger.shape[-smaller.dim() :] != smaller.shape:
        raise ConfigError(
            f"the student's logits are {tuple(student.shape)} and the teacher's are {tuple(teacher.shape)}: expected "
            "(B, C, …) on one side and M of those, stacked, on the other; use models of the same classes."
        )
    flat = [x.expand(larger.shape).flatten(0, 1) for x in (student, teacher)]
    return softened_kl(flat[0], flat[1], temperature, eps).unflatten(0, larger.shape[:2])


def ce_of_each(logits: Tensor, targets: Tensor) -> Tensor:
    """Return CE(z_m, y), (M, B, …), of logits (M, B, C, …)."""
    return torch.stack([F.cross_entropy(z, targets, reduction="none") for z in logits])


def confidences(logits: Tensor, targets: Tensor) -> Tensor:
    """Return (1 − softmax_m CE(z_m, y)) / (M − 1) of logits (M, B, C, …); it sums to 1 over M, and is 1 for M = 1."""
    errors = ce_of_each(logits, targets)
    return (1 - errors.softmax(0)) / (len(errors) - 1) if len(errors) > 1 else torch.ones_like(errors)
