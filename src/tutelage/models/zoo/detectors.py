"""The names of torchvision's detectors on a residual network with a feature pyramid."""

from __future__ import annotations

import re
from typing import Any

from tutelage.errors import ConfigError
from tutelage.models.zoo.base import ZooNetwork


class PyramidDetector(ZooNetwork):
    """A detector on a residual network (resnet10, 18, 34 or 50) whose feature pyramid and heads are W wide (256).

    retinanet (Lin et al. ICCV 2017, arXiv:1708.02002), fcos (Tian et al. ICCV 2019, arXiv:1904.01355) and fasterrcnn
    (Ren et al. NIPS 2015, arXiv:1506.01497) as in torchvision, but with batch norms that train. fcosdist is an fcos
    whose sides of boxes are distributions over distances, as in Li et al. NeurIPS 2020, arXiv:2006.04388, without its
    losses: the output `box_distribution` (B, 4·17, N) has their logits. The pyramid's levels are
    `detector.backbone.fpn:0` (a fourth or an eighth of the image's side), `:1` …
    """

    pattern = r"(?P<family>retinanet|fcos|fcosdist|fasterrcnn)_(?P<backbone>resnet(?:10|18|34|50))(?:_(?P<width>\d+))?"
    name_form = "FAMILY-RESNET[-W]"
    examples = ("retinanet-resnet18-64", "fcos-resnet10-32", "fasterrcnn-resnet50")
    task = "detection"

    @classmethod
    def from_name(cls, name: str, classes: int, channels: int = 3, size: tuple[int, ...] | None = None) -> Any:
        """Create the detector of that name; None if the name isn't one of this family."""
        match = re.fullmatch(cls.pattern, name.replace("-", "_"))
        if match is None:
            return None
        width = int(match["width"] or 256)
        if not 32 <= width <= 512 or width % 32:
            raise ConfigError(f"{name}: expected a pyramid of 32 to 512 channels, a multiple of 32.")
        from tutelage.models.detectors.pyramid import BUILDERS  # torchvision is loaded where it is used

        return BUILDERS[match["family"]](match["backbone"], classes, channels, width)
