"""Forecasting: the next values of series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.data.value_targets import ValueTargets
from tutelage.data.window_split import WindowSplit
from tutelage.errors import ConfigError
from tutelage.report import forecast_sections
from tutelage.tasks.base import Sections
from tutelage.tasks.forecast_metrics import naive_mase
from tutelage.tasks.regression import Regression
from tutelage.utils.finding import Finding


class Forecasting(Regression):
    """The values of some columns at the next times: the squared error, and the error over the naive forecast's.

    Responses and targets (B, H·K), of H times and K columns, the first time's first, in units of the targets' standard
    deviation over the training split.

    Args:
        values: the targets' names and scale.
        scale: of each column, the mean absolute error of the naive forecast over the training rows.
    """

    metric = "mase"
    other_metrics: ClassVar[Mapping[str, bool]] = {"mae": False, "mse": False}

    def __init__(self, values: ValueTargets, scale: tuple[float, ...]) -> None:
        super().__init__(values)
        self.scale = scale

    @classmethod
    def from_data(cls, data: DataModule) -> Self:
        """Build the task for the data's targets.

        Raises: ConfigError if the data has no windows.
        """
        if data.values is None or not isinstance(data.judged, WindowSplit):
            raise ConfigError(f"task=forecasting: {data.name!r} has no windows of series: use data=windows:FILE.")
        return cls(data.values, data.judged.form.scale)

    def describe_outputs(self, outputs: int) -> str:
        """Return the values in words."""
        names = self.values.names
        return f"{outputs} values for each sample ({names[0]} … {names[-1]})"

    def metrics(self, outputs: int, shared: bool = False) -> Any:
        """Return the errors, also of each time ahead."""
        from tutelage.tasks.forecast_metrics import ForecastMetrics

        return ForecastMetrics(self.values, self.scale, sync_on_compute=shared)

    def judge_teacher(
        self, values: Mapping[str, float], tables: Mapping[str, Tensor], data: DataModule
    ) -> list[Finding]:
        """Compare the error with that of the naive forecast on the same windows."""
        naive = naive_mase(data.val, self.scale) if isinstance(data.val, WindowSplit) else float("inf")
        what = f"the teacher's MASE on the validation split is {values['mase']:.3f}, the last value's {naive:.3f}"
        if values["mase"] >= naive:
            return [Finding("error", what, "is it trained on these windows? Set teacher_epochs to train it first.")]
        return [Finding("ok", what)]

    @classmethod
    def report_sections(cls) -> Sections:
        """Return the section of forecasts."""
        return {"Forecasts": forecast_sections.forecasts}
