"""Wang, Sun, Liu, Sarma, Bronstein, Solomon: DGCNN, convolutions of points and their neighbours."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.models.zoo.base import ZooNetwork, init_kaiming
from tutelage.models.zoo.pointnet import linear_layers, shared_layers

NEIGHBOURS = 16
"""The number of each point's neighbours, itself among them."""


class DGCNN(ZooNetwork):
    """DGCNN, W wide: each stage compares a point with its 16 nearest neighbours among the features before it.

    The stages are layer1 … layer4, W, W, 2W and 4W wide, whose positions are the points; layer5 is 16W wide and sees
    all of them; linear layers of 8W and 4W classify its maximum and mean over points. The order of the points doesn't
    matter, except among neighbours at one distance.
    Shapes: (B, channels, N), any N → (B, classes).
    Paper: Wang, Sun, Liu, Sarma, Bronstein, Solomon. ACM TOG 2019. arXiv:1801.07829, which is 64 wide with 20
    neighbours. Here the maximum over neighbours is taken before batch norm, of a linear map of the neighbour to which
    one of the point is added: the same functions where batch norm's scales are above 0, and maps of points, not pairs.
    Raises: ConfigError if the width isn't above 0.
    """

    pattern = r"dgcnn_(?P<width>\d+)"
    name_form = "dgcnn-W"
    examples = ("dgcnn-8", "dgcnn-16", "dgcnn-64")
    dimensions = 1

    def __init__(self, classes: int, channels: int = 3, width: int = 64) -> None:
        super().__init__()
        if width < 1:
            raise ConfigError(f"dgcnn-{width}: expected a width of 1 or more.")
        self.layer1 = EdgeConv(channels, width)
        self.layer2 = EdgeConv(width, width)
        self.layer3 = EdgeConv(width, 2 * width)
        self.layer4 = EdgeConv(2 * width, 4 * width)
        self.layer5 = shared_layers(8 * width, 16 * width)
        self.classifier = linear_layers(32 * width, 8 * width, 4 * width)
        self.fc = nn.Linear(4 * width, classes)
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, N) → (B, classes)."""
        first = self.layer1(x)
        second = self.layer2(first)
        third = self.layer3(second)
        points = self.layer5(torch.cat([first, second, third, self.layer4(third)], 1))
        return self.fc(self.classifier(torch.cat([points.amax(2), points.mean(2)], 1)))


class EdgeConv(nn.Module):
    """For each point the maximum over its neighbours of linear maps of both, batch norm and ReLU.

    y_i = relu(norm(A x_i + max_j B x_j)) over the neighbours j of i, nearest by the inputs.
    Shapes: (B, inputs, N) → (B, outputs, N).

    Args:
        inputs, outputs: the numbers of channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.point = nn.Conv1d(inputs, outputs, 1, bias=False)
        self.neighbour = nn.Conv1d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, N) → (B, outputs, N)."""
        near = nearest(x, NEIGHBOURS)
        values = self.neighbour(x)
        B, C, N = values.shape
        gathered = values.gather(2, near.flatten(1)[:, None].expand(B, C, -1)).view(B, C, N, -1)
        return self.norm(self.point(x) + gathered.amax(3)).relu()


@torch.no_grad()
def nearest(x: Tensor, count: int) -> Tensor:
    """Return the numbers of each point's nearest points, itself among them: (B, C, N) → (B, N, min(count, N))."""
    squares = x.square().sum(1)
    closeness = 2 * x.mT @ x - squares[:, None]  # less the point's own square, which is the same for all
    return closeness.topk(min(count, x.shape[2]), sorted=False).indices
