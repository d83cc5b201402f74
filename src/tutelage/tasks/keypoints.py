"""Key points: the places of named points, by a heat map for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.data.map_targets import MapForm
from tutelage.data.value_targets import ValueTargets
from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.losses.regression.mse import MSE
from tutelage.report import map_sections
from tutelage.structures import Batch
from tutelage.tasks import map_checks
from tutelage.tasks.base import Sections
from tutelage.tasks.keypoint_metrics import find_peaks, point_figures
from tutelage.tasks.map_metrics import Measure
from tutelage.tasks.maps import MapTask
from tutelage.utils.finding import Finding


class Keypoints(MapTask):
    """The places of named points, the peaks of a heat map for each: squared error of the maps, and points found.

    `pck10` and `pck05` are the shares of visible points that are found within 0.1 and 0.05 of the longer side of the
    box around the true ones; `oks` is the mean similarity exp(−d²/(2·area·κ²)), area being that of the box.

    Args:
        values, form: as in MapTask.
        kappa: κ, the width of the tolerance.
    """

    metric = "pck10"
    higher_is_better = True
    other_metrics: ClassVar[Mapping[str, bool]] = {"pck05": True, "oks": True}
    positions = 2
    figures = ("pck10", "pck05", "oks")
    usage = (
        "from tutelage.tasks.keypoint_metrics import find_peaks; "
        "points = find_peaks(model.card.restore(outputs))[0]  # (B, K, 2): x, y"
    )

    def __init__(self, values: ValueTargets, form: MapForm, kappa: float = 0.1) -> None:
        super().__init__(values, form)
        self.kappa = kappa

    @classmethod
    def from_data(cls, data: DataModule, kappa: float = 0.1) -> Self:
        """Build the task for the data's points.

        Raises: ConfigError if the data has no maps, or κ isn't above 0.
        """
        if not isinstance(kappa, int | float) or not kappa > 0:
            raise ConfigError(f"task=keypoints: kappa={kappa!r}: expected a number above 0.")
        task = super().from_data(data)
        return cls(task.values, task.form, kappa)

    def task_loss(self) -> Loss:
        """Return the squared error of the heat maps."""
        return MSE()

    def measure_maps(self) -> Measure:
        """Return the share of points found, and the similarity, of each image."""
        return lambda estimates, targets: point_figures(estimates, targets, self.kappa)

    def predictions(self, response: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the estimated and the true points (B, K, 2), their peaks' heights, and which are visible (B, K)."""
        assert batch.targets is not None
        estimates, targets = (self.values.restore(x) for x in (response, batch.targets))
        (points, scores), (true, _) = find_peaks(estimates), find_peaks(targets)
        visible = ~targets.isnan().flatten(2).any(2)
        shown = torch.where(visible[..., None], true, 0)
        return {"points": points, "scores": scores, "targets": shown, "visible": visible}

    def check_data(self, data: DataModule) -> list[Finding]:
        """Check which points are visible, that they move, and that left and right change places."""
        return map_checks.check_known(data) + map_checks.check_points(data)

    @classmethod
    def report_sections(cls) -> Sections:
        """Return the section of maps."""
        return {"Maps": map_sections.maps}
