"""The base class of tasks with a map of values for each image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch.nn.functional as F
from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.data.map_targets import MapForm
from tutelage.data.value_targets import ValueTargets
from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.losses.regression.mae import MAE
from tutelage.structures import Batch
from tutelage.tasks import map_checks
from tutelage.tasks.base import Task
from tutelage.tasks.map_metrics import Measure, SampleMeans
from tutelage.utils.finding import Finding
from tutelage.utils.registry import catalogue_name


class MapTask(Task):
    """Abstract: a map of values for each image, (B, C, H, W); what isn't known (NaN) counts nowhere.

    Responses are resized bilinearly to the targets; both are in units of the data's scale (`ValueTargets`).

    Attributes:
        figures: the names of its metrics.
        roots: those that are the root of a mean.
        channels: the kinds of the channels that it is for (`data.map_targets.KINDS`); () for any.

    Args:
        values: the names and scale of the maps' channels.
        form: their kinds.
    """

    higher_is_better = False
    response_kind = "maps"
    target = "map"
    figures: ClassVar[tuple[str, ...]]
    roots: ClassVar[tuple[str, ...]] = ()
    channels: ClassVar[tuple[str, ...]] = ()
    usage = "maps = model.card.restore(outputs)  # (B, C, H, W), in the targets' units"

    def __init__(self, values: ValueTargets, form: MapForm) -> None:
        self.values, self.form = values, form

    @classmethod
    def from_data(cls, data: DataModule) -> Self:
        """Build the task for the data's maps.

        Raises: ConfigError if the data has no maps, or other channels.
        """
        if data.values is None or data.map_form is None:
            raise ConfigError(f"task={catalogue_name(cls)}: {data.name!r} has no maps of values.")
        kinds = data.map_form.kinds
        if cls.channels and kinds != cls.channels:
            raise ConfigError(
                f"task={catalogue_name(cls)}: the maps of {data.name!r} have channels of the kinds {', '.join(kinds)}: "
                f"expected {', '.join(cls.channels)}; save them so (kinds)."
            )
        return cls(data.values, data.map_form)

    def outputs(self, data: DataModule) -> int:
        """Return the number of channels."""
        return len(self.values.names)

    def describe_outputs(self, outputs: int) -> str:
        """Return the channels in words."""
        return f"a map of {outputs} channel{'s' if outputs > 1 else ''} ({', '.join(self.values.names)})"

    def task_loss(self) -> Loss:
        """Return the absolute error of the scaled values."""
        return MAE()

    def measure_maps(self) -> Measure:
        """Return the function of estimates and targets, in their units, that returns each sample's figures."""
        raise NotImplementedError

    def metrics(self, outputs: int, shared: bool = False) -> Any:
        """Return the means of the samples' figures."""
        return SampleMeans(self.measure_maps(), self.figures, self.roots, sync_on_compute=shared)

    def update(self, metrics: Any, response: Tensor, batch: Batch) -> None:
        """Add a batch to the metrics, in the targets' units."""
        assert batch.targets is not None
        metrics.update(self.values.restore(response), self.values.restore(batch.targets))

    def response(self, response: Tensor, batch: Batch) -> Tensor:
        """Return the response resized to the targets' size; unchanged if it has no positions."""
        if batch.targets is None or response.dim() != 4 or response.shape[-2:] == batch.targets.shape[-2:]:
            return response
        return F.interpolate(response, size=batch.targets.shape[-2:], mode="bilinear", align_corners=False)

    def mask(self, batch: Batch) -> Tensor | None:
        """Return the mask of known values, (B, C, H, W)."""
        return None if batch.targets is None else ~batch.targets.isnan()

    def predictions(self, response: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return each sample's figures, (B,) each; 0 where nothing is known."""
        assert batch.targets is not None
        figures = self.measure_maps()(self.values.restore(response), self.values.restore(batch.targets))
        return {name: value.float() for name, (value, _) in figures.items()}

    def check_data(self, data: DataModule) -> list[Finding]:
        """Check how much of the maps is known, and that they vary."""
        return map_checks.check_known(data)

    def judge_teacher(
        self, values: Mapping[str, float], tables: Mapping[str, Tensor], data: DataModule
    ) -> list[Finding]:
        """Compare the decisive metric with that of the mean map of the training samples."""
        least = map_checks.mean_map_figures(self, data)[self.metric]
        return map_checks.judge_figure(self.metric, values[self.metric], least, self.higher_is_better)
