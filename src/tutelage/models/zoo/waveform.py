"""Dai, Dai, Qu, Li, Das: convolutional networks of raw waveforms."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.models.zoo.base import ZooNetwork, init_kaiming


class WaveformCNN(ZooNetwork):
    """M5, for raw waveforms: a convolution of 80 samples and three of 3, each with batch norm, ReLU and a maximum of 4.

    Each waveform is first brought to mean 0 and deviation 1, since its loudness tells nothing of its class.
    The stages are layer1 … layer4, W, W, 2W and 4W wide; a linear layer classifies the mean over times.
    Shapes: (B, channels, T), T at least 1,040 → (B, classes).
    Paper: Dai, Dai, Qu, Li, Das. ICASSP 2017. arXiv:1610.00087, table 1 (W = 128); the widths are of its form.
    Raises: ConfigError if the width isn't above 0.
    """

    pattern = r"m5_(?P<width>\d+)"
    name_form = "m5-W"
    examples = ("m5-8", "m5-32", "m5-128")
    dimensions = 1

    def __init__(self, classes: int, channels: int = 1, width: int = 32) -> None:
        super().__init__()
        if width < 1:
            raise ConfigError(f"m5-{width}: expected a width of 1 or more.")
        self.layer1 = waveform_stage(channels, width, 80, 4)
        self.layer2 = waveform_stage(width, width, 3, 1)
        self.layer3 = waveform_stage(width, 2 * width, 3, 1)
        self.layer4 = waveform_stage(2 * width, 4 * width, 3, 1)
        self.fc = nn.Linear(4 * width, classes)
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, T) → (B, classes)."""
        x = F.layer_norm(x, x.shape[1:])
        return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean(2))


def waveform_stage(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """Return a convolution with batch norm and ReLU, and the maximum of each four of its outputs."""
    convolution = nn.Conv1d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm1d(outputs), nn.ReLU(), nn.MaxPool1d(4))
