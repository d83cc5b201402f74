"""Small blocks of convolution and batch normalisation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.nn.maps import conv
from tutelage.utils.compat import BatchNormOfAnyShape


class BatchNorm(BatchNormOfAnyShape):
    """Batch normalisation of maps (B, C, …) or vectors (B, C) that accepts a single value per channel.

    Such a batch has no variance, so it is normalised by the running statistics, as in evaluation.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise by the batch statistics, or by the running statistics if there is a single value per channel."""
        if input.numel() == input.shape[1]:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)


def conv_bn(dimensions: int, channels: int, out_channels: int, kernel: int = 1) -> nn.Sequential:
    """Return a size-preserving convolution without bias, followed by batch normalisation; dimensions: the maps'."""
    return nn.Sequential(
        conv(dimensions, channels, out_channels, kernel, padding=kernel // 2, bias=False), BatchNorm(out_channels)
    )


def conv_relu_conv(dimensions: int, channels: int) -> nn.Sequential:
    """Return two convolutions of size 3 with a ReLU between them; dimensions: the maps'; the channels stay the same."""
    like = dimensions, channels, channels
    return nn.Sequential(conv(*like, 3, padding=1), nn.ReLU(), conv(*like, 3, padding=1))
