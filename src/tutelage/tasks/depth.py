"""Depth: the distance of each pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tutelage.data.data_module import DataModule
from tutelage.losses.base import Loss
from tutelage.losses.regression.silog import SILog
from tutelage.report import map_sections
from tutelage.tasks import map_checks
from tutelage.tasks.base import Sections
from tutelage.tasks.depth_metrics import depth_figures
from tutelage.tasks.map_metrics import Measure
from tutelage.tasks.maps import MapTask
from tutelage.utils.finding import Finding


class Depth(MapTask):
    """The distance of each pixel, or another positive value: the scale-invariant loss, and the mean relative error.

    Metrics are means over images: `abs_rel` |s − y|/y, `rmse` in the targets' units, `log10` of the ratio, and
    `delta1` … `delta3`, the shares of pixels whose ratio is below 1.25, 1.25², 1.25³.
    """

    metric = "abs_rel"
    other_metrics: ClassVar[Mapping[str, bool]] = {"rmse": False, "log10": False, "delta1": True}
    positions = 2
    figures = ("abs_rel", "rmse", "log10", "delta1", "delta2", "delta3")
    usage = "depth = model.card.restore(outputs)  # (B, 1, H, W), in the targets' units"

    def task_loss(self) -> Loss:
        """Return the scale-invariant error of logarithms."""
        return SILog()

    def measure_maps(self) -> Measure:
        """Return the errors of each image."""
        return depth_figures

    def check_data(self, data: DataModule) -> list[Finding]:
        """Check what is known, and for depths of 0 or below, or in other units than metres."""
        return map_checks.check_known(data) + map_checks.check_depths(data)

    @classmethod
    def report_sections(cls) -> Sections:
        """Return the section of maps."""
        return {"Maps": map_sections.maps}
