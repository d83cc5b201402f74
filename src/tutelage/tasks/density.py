"""Counting by density: how many objects an image has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.losses.base import Loss
from tutelage.losses.regression.mse import MSE
from tutelage.report import map_sections
from tutelage.structures import Batch
from tutelage.tasks import map_checks
from tutelage.tasks.base import Sections
from tutelage.tasks.density_metrics import count_figures, counts
from tutelage.tasks.map_metrics import Measure
from tutelage.tasks.maps import MapTask
from tutelage.tasks.sample_scores import SampleScores, scores_of_errors
from tutelage.utils.finding import Finding


class Density(MapTask):
    """The density of objects, whose sum over the map is their number: squared error, and the mean error of the counts.

    `mae` and `rmse` are of the counts over the known part of each image, in objects.
    """

    metric = "mae"
    other_metrics: ClassVar[Mapping[str, bool]] = {"rmse": False}
    positions = 2
    figures = ("mae", "rmse")
    roots = ("rmse",)
    usage = "count = model.card.restore(outputs).sum((2, 3))  # objects in each image"

    def task_loss(self) -> Loss:
        """Return the squared error of the scaled density."""
        return MSE()

    def measure_maps(self) -> Measure:
        """Return the errors of each image's count."""
        return count_figures

    def response(self, response: Tensor, batch: Batch) -> Tensor:
        """Return the response resized to the targets' size, with the same sum."""
        resized = super().response(response, batch)
        return resized * (response[0, 0].numel() / resized[0, 0].numel()) if response.dim() == 4 else resized

    def predictions(self, response: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the true and the estimated counts over the known part of each image, (B, C) each."""
        assert batch.targets is not None
        estimated, true = counts(self.values.restore(response), self.values.restore(batch.targets))
        return {"targets": true, "counts": estimated}

    def check_data(self, data: DataModule) -> list[Finding]:
        """Check what is known, and that maps add up to whole numbers of objects."""
        return map_checks.check_known(data) + map_checks.check_counts(data)

    @classmethod
    def sample_scores(cls, metric: str, predictions: Mapping[str, Any]) -> SampleScores | None:
        """Return the error of each sample's count; None for images of several kinds of objects."""
        return scores_of_errors(metric, predictions["counts"], predictions["targets"])

    @classmethod
    def report_sections(cls) -> Sections:
        """Return the section of maps."""
        return {"Maps": map_sections.maps}
