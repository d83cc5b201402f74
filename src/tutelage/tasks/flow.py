"""Optical flow: where each pixel moves between two images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.report import map_sections
from tutelage.structures import Batch
from tutelage.tasks import map_checks
from tutelage.tasks.base import Sections
from tutelage.tasks.flow_metrics import flow_figures
from tutelage.tasks.map_metrics import Measure
from tutelage.tasks.maps import MapTask
from tutelage.utils.finding import Finding


class Flow(MapTask):
    """The displacement of each pixel along x and y, in pixels: absolute error, and the mean end-point error.

    `epe` is the mean length of the error over all known pixels; `fl_all` the share of pixels whose error is above 3
    pixels and above 5 % of the true displacement. The inputs are both images, 6 channels of colour.
    """

    metric = "epe"
    other_metrics: ClassVar[Mapping[str, bool]] = {"fl_all": False}
    positions = 2
    channels = ("x", "y")
    figures = ("epe", "fl_all")
    usage = "flow = model.card.restore(outputs)  # (B, 2, H, W), pixels along x and y"

    def measure_maps(self) -> Measure:
        """Return the errors of each sample."""
        return flow_figures

    def response(self, response: Tensor, batch: Batch) -> Tensor:
        """Return the response resized to the targets' size, with displacements that grow with it."""
        resized = super().response(response, batch)
        if resized.dim() != 4 or resized.shape == response.shape:
            return resized
        high, wide = (new / old for new, old in zip(resized.shape[2:], response.shape[2:], strict=True))
        return resized * resized.new_tensor([wide, high]).view(-1, 1, 1)

    def check_data(self, data: DataModule) -> list[Finding]:
        """Check what is known, the size of displacements, and that there are two images."""
        return map_checks.check_known(data) + map_checks.check_displacements(data)

    @classmethod
    def report_sections(cls) -> Sections:
        """Return the section of maps."""
        return {"Maps": map_sections.maps}
