"""Regression: one or several values per sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.data.value_targets import ValueTargets
from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.losses.regression.mse import MSE
from tutelage.report import value_sections
from tutelage.structures import Batch
from tutelage.tasks import value_checks
from tutelage.tasks.base import Sections, Task
from tutelage.tasks.sample_scores import SampleScores, scores_of_errors
from tutelage.utils.finding import Finding


class Regression(Task):
    """Values per sample: the mean squared error of the scaled targets, and the root mean squared error in their units.

    Responses and targets (B, T), in units of the targets' standard deviation over the training split.

    Args:
        values: the targets' names and scale.
    """

    metric = "rmse"
    higher_is_better = False
    other_metrics: ClassVar[Mapping[str, bool]] = {"mae": False, "r2": True, "srcc": True, "plcc": True, "krcc": True}
    response_kind = "values"
    usage = "print(dict(zip(model.card.values, model.card.restore(outputs)[0].tolist())))  # in the targets' units"

    def __init__(self, values: ValueTargets) -> None:
        self.values = values

    @classmethod
    def from_data(cls, data: DataModule) -> Self:
        """Build the task for the data's targets.

        Raises: ConfigError if the data has no values to estimate.
        """
        if data.values is None:
            raise ConfigError(f"task=regression: {data.name!r} has no values to estimate; name a target.")
        return cls(data.values)

    def outputs(self, data: DataModule) -> int:
        """Return the number of values."""
        return len(self.values.names)

    def describe_outputs(self, outputs: int) -> str:
        """Return the values in words."""
        return f"{outputs} value{'s' if outputs > 1 else ''} for each sample ({', '.join(self.values.names)})"

    def task_loss(self) -> Loss:
        """Return the squared error."""
        return MSE()

    def metrics(self, outputs: int, shared: bool = False) -> Any:
        """Return the errors and correlations."""
        from tutelage.tasks.regression_metrics import RegressionMetrics

        return RegressionMetrics(self.values, sync_on_compute=shared)

    def predictions(self, response: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the targets and the estimates, (B, T) each, in the targets' units."""
        assert batch.targets is not None
        return {"targets": self.values.restore(batch.targets), "estimates": self.values.restore(response)}

    def check_data(self, data: DataModule) -> list[Finding]:
        """Check for outliers among the targets, and for test samples that are in the training split too."""
        return value_checks.check_values(data)

    def judge_teacher(
        self, values: Mapping[str, float], tables: Mapping[str, Tensor], data: DataModule
    ) -> list[Finding]:
        """Compare R² with that of the mean, which is 0, and with that of a linear model."""
        return value_checks.judge_r2(values["r2"], value_checks.linear_r2(data))

    @classmethod
    def sample_scores(cls, metric: str, predictions: Mapping[str, Any]) -> SampleScores | None:
        """Return the squared or absolute error of each sample; None for other metrics, and of several values."""
        return scores_of_errors(metric, predictions["estimates"], predictions["targets"])

    @classmethod
    def report_sections(cls) -> Sections:
        """Return the section of estimates and residuals."""
        return {"Estimates": value_sections.estimates}
