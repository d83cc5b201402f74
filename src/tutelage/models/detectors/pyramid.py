"""torchvision's detectors on a residual network with a feature pyramid, in any width."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import resnet
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSHead, FCOSRegressionHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from tutelage.models.detectors import torchvision_detectors
from tutelage.models.detectors.base import Detector

BINS = 17
"""The number of distances, 0 to 16 strides, over which a side of a box is distributed."""

BACKBONES: dict[str, tuple[Any, list[int]]] = {
    "resnet10": (resnet.BasicBlock, [1, 1, 1, 1]),
    "resnet18": (resnet.BasicBlock, [2, 2, 2, 2]),
    "resnet34": (resnet.BasicBlock, [3, 4, 6, 3]),
    "resnet50": (resnet.Bottleneck, [3, 4, 6, 3]),
}
"""The blocks of each residual network, and their number in each of its four stages."""


def pyramid(backbone: str, channels: int, width: int, levels: list[int], extra: Any = None) -> BackboneWithFPN:
    """Return a residual network with a feature pyramid on some of its four stages; extra: makes further levels."""
    block, depths = BACKBONES[backbone]
    network = resnet.ResNet(block, depths)
    if channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    outputs = {f"layer{stage}": str(number) for number, stage in enumerate(levels)}
    widths = [64 * 2 ** (stage - 1) * block.expansion for stage in levels]
    return BackboneWithFPN(network, outputs, widths, width, extra)


def retinanet(backbone: str, classes: int, channels: int, width: int) -> Detector:
    """Build a RetinaNet."""
    network = pyramid(backbone, channels, width, [2, 3, 4], LastLevelP6P7(width, width))
    sizes = tuple((x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (16, 32, 64, 128, 256))
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
    norm = partial(nn.GroupNorm, width // 8)
    head = RetinaNetHead(width, anchors.num_anchors_per_location()[0], classes, norm_layer=norm)
    return torchvision_detectors.RetinaNet(RetinaNet(network, classes, anchor_generator=anchors, head=head))


def fcos(backbone: str, classes: int, channels: int, width: int) -> Detector:
    """Build an FCOS."""
    network = pyramid(backbone, channels, width, [2, 3, 4], LastLevelP6P7(width, width))
    head, norm = FCOSHead(width, 1, classes), partial(nn.GroupNorm, width // 8)
    head.classification_head = FCOSClassificationHead(width, 1, classes, norm_layer=norm)
    head.regression_head = FCOSRegressionHead(width, 1, norm_layer=norm)
    return torchvision_detectors.FCOS(FCOS(network, classes, head=head))


class DistributionHead(FCOSHead):
    """FCOS's head with a distribution over `BINS` distances, in strides, for each side of a box."""

    def __init__(self, width: int, classes: int, norm: Callable[..., nn.Module]) -> None:
        super().__init__(width, 1, classes)
        self.classification_head = FCOSClassificationHead(width, 1, classes, norm_layer=norm)
        self.regression_head = FCOSRegressionHead(width, 1, norm_layer=norm)
        self.regression_head.bbox_reg = nn.Conv2d(width, 4 * BINS, 3, padding=1)

    def forward(self, x: list[Tensor]) -> dict[str, Tensor]:
        """Return FCOS's outputs and `box_distribution`, (B, N, 4·BINS) logits."""
        towers = [self.regression_head.conv(level) for level in x]
        logits = torch.cat([_places(self.regression_head.bbox_reg(tower)) for tower in towers], 1)
        distances = torch.arange(BINS, device=logits.device, dtype=logits.dtype)
        return {
            "cls_logits": self.classification_head(x),
            "bbox_regression": logits.unflatten(2, (4, BINS)).softmax(3) @ distances,
            "bbox_ctrness": torch.cat([_places(self.regression_head.bbox_ctrness(tower)) for tower in towers], 1),
            "box_distribution": logits,
        }


def _places(x: Tensor) -> Tensor:
    """(B, C, H, W) → (B, H·W, C)."""
    return x.flatten(2).mT


def fcosdist(backbone: str, classes: int, channels: int, width: int) -> Detector:
    """Build an FCOS whose boxes are distributions."""
    network = pyramid(backbone, channels, width, [2, 3, 4], LastLevelP6P7(width, width))
    head = DistributionHead(width, classes, partial(nn.GroupNorm, width // 8))
    return torchvision_detectors.FCOS(FCOS(network, classes, head=head))


def fasterrcnn(backbone: str, classes: int, channels: int, width: int) -> Detector:
    """Build a Faster R-CNN."""
    network = pyramid(backbone, channels, width, [1, 2, 3, 4])
    sizes = tuple((size,) for size in (16, 32, 64, 128, 256))
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
    return torchvision_detectors.FasterRCNN(FasterRCNN(network, classes + 1, rpn_anchor_generator=anchors))


BUILDERS: dict[str, Callable[[str, int, int, int], Detector]] = {
    "retinanet": retinanet,
    "fcos": fcos,
    "fcosdist": fcosdist,
    "fasterrcnn": fasterrcnn,
}
"""The builders of a detector: the backbone's name, the classes, the channels of images, and the pyramid's width."""
