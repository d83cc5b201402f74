"""Small blocks of convolution and batch normalisation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.utils.compat import BatchNormOfAnyShape


class BatchNorm(BatchNormOfAnyShape):
    """Batch normalisation of maps (B, C, H, W) or vectors (B, C) that accepts a single value per channel.

    Such a batch has no variance, so it is normalised by the running statistics, as in evaluation.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise by the batch statistics, or by the running statistics if there is a single value per channel."""
        if input.numel() == input.shape[1]:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)


def conv_bn(channels: int, out_channels: int, kernel: int = 1) -> nn.Sequential:
    """Return a size-preserving convolution without bias, followed by batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2, bias=False), BatchNorm(out_channels)
    )


def conv_relu_conv(channels: int) -> nn.Sequential:
    """Return two 3×3 convolutions with a ReLU between them; the number of channels stays the same."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
    )
