"""The memory format of networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.utils.compat import convert


def use_memory_format(module: nn.Module, memory_format: torch.memory_format) -> None:
    """Convert the weights of images' convolutions, which have four dimensions; others stay as they are.

    torch's own conversion of a module fails on the weights of voxels' convolutions.
    """

    def converted(x: Tensor) -> Tensor:
        return x.to(memory_format=memory_format) if x.dim() == 4 else x

    convert(module, converted)
