"""The response of a network to images larger than those that it is for: the mean over overlapping windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.structures import Batch


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Return where windows start that cover a length: every `stride`, the last one at the end.

    Example:
        >>> window_starts(10, 4, 3), window_starts(11, 4, 3), window_starts(3, 4, 3)
        ([0, 3, 6], [0, 3, 6, 7], [0])
    """
    last = max(length - window, 0)
    return [*range(0, last, stride), last]


def average_windows(
    respond: Callable[[Batch], Tensor], batch: Batch, window: tuple[int, int], stride: tuple[int, int]
) -> Tensor:
    """Return the response (B, C, H, W) to images, the mean of the responses of the windows that contain a pixel.

    Every window lies within the image, so that no padding is seen; an image that fits into one is responded to as a
    whole. A window's response is resized bilinearly to the window.

    Args:
        respond: returns the response to a batch.
        batch: the images; other views must have their size.
        window, stride: heights and widths.

    Raises: ConfigError if the inputs aren't images of one size.
    """
    inputs = [*(batch.inputs.values() if isinstance(batch.inputs, dict) else [batch.inputs]), *batch.views.values()]
    if any(x.dim() != 4 for x in inputs) or len({x.shape[2:] for x in inputs}) > 1:
        shapes = ", ".join(str(tuple(x.shape[1:])) for x in inputs)
        raise ConfigError(f"window={window[0]}x{window[1]}: the inputs are {shapes}: expected images of one size.")
    height, width = inputs[0].shape[2:]
    tops, lefts = window_starts(height, window[0], stride[0]), window_starts(width, window[1], stride[1])
    if len(tops) == len(lefts) == 1:
        return respond(batch)
    total: Tensor | None = None
    count = inputs[0].new_zeros(height, width)
    for top in tops:
        for left in lefts:
            rows, columns = slice(top, top + window[0]), slice(left, left + window[1])
            response = _fit(respond(_cut(batch, rows, columns)).float(), count[rows, columns])
            total = response.new_zeros(*response.shape[:2], height, width) if total is None else total
            total[..., rows, columns] += response
            count[rows, columns] += 1
    assert total is not None
    return total / count


def _cut(batch: Batch, rows: slice, columns: slice) -> Batch:
    """Return the batch of one window."""
    inputs = batch.inputs
    views = {name: x[..., rows, columns] for name, x in batch.views.items()}
    if isinstance(inputs, dict):
        return replace(batch, inputs={name: x[..., rows, columns] for name, x in inputs.items()}, views=views)
    return replace(batch, inputs=inputs[..., rows, columns], views=views)


def _fit(response: Tensor, like: Tensor) -> Tensor:
    """Return the response resized to a window; refuse one without positions.

    Raises: ConfigError.
    """
    if response.dim() != 4:
        raise ConfigError(f"window: the network's response is {tuple(response.shape)}: expected a map of classes.")
    if response.shape[2:] == like.shape:
        return response
    return F.interpolate(response, size=like.shape, mode="bilinear", align_corners=False)
