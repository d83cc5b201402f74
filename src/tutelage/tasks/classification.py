"""Classification: one class per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.losses.response.ce import CE
from tutelage.report import prediction_sections
from tutelage.structures import Batch
from tutelage.tasks import class_checks, class_weights
from tutelage.tasks.base import Sections, Task
from tutelage.tasks.sample_scores import SampleScores
from tutelage.utils.finding import Finding

CLASS_SECTIONS: Sections = {
    "Gain by class": prediction_sections.classes,
    "Confusions": prediction_sections.confusions,
    "Where teacher and student differ": prediction_sections.examples,
}
"""The report's sections for tasks with a confusion matrix."""


class Classification(Task):
    """One class per sample: cross-entropy, and top-1 accuracy (a fraction, 0…1).

    Responses (B, C), targets (B,) int64.

    Args:
        class_weights: the weight of each class in the task loss; none: 1.
    """

    metric = "accuracy"
    other_metrics: ClassVar[Mapping[str, bool]] = {"balanced_accuracy": True, "macro_f1": True}
    usage = "print(model.card.classes[int(outputs[0].argmax())], float(outputs[0].softmax(0).max()))"

    def __init__(self, class_weights: Sequence[float] = ()) -> None:
        self.class_weights = tuple(class_weights)

    def weighted(self, way: str | Sequence[float], data: DataModule) -> Self:
        """Return the task with weights from the classes' numbers of training samples."""
        if data.train.labels is None:
            raise ConfigError(
                f"class_weights={way}: requires a single class per sample that is known without reading it, which "
                f"{data.name!r} doesn't have; give a Dataset the attribute `targets`."
            )
        counts = torch.bincount(data.train.labels, minlength=len(data.classes))
        return type(self)(class_weights.weights_of_classes(way, counts))

    def task_loss(self) -> Loss:
        """Return cross-entropy."""
        return CE(class_weights=self.class_weights)

    def metrics(self, outputs: int, shared: bool = False) -> Any:
        """Return accuracy, balanced accuracy, macro F1, each class's recall, and confusion counts, targets first."""
        from tutelage.tasks.class_counts import ClassCounts

        metrics = accuracy_and_confusion(outputs, shared)
        metrics.add_metrics({"classes": ClassCounts(outputs, sync_on_compute=shared)})
        return metrics

    def predictions(self, response: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the targets (B,) and the probabilities (B, C)."""
        assert batch.targets is not None
        return {"targets": batch.targets, "probabilities": response.softmax(1)}

    def check_data(self, data: DataModule) -> list[Finding]:
        """Check that each class has training samples."""
        return class_checks.check_classes(data)

    def judge_teacher(
        self, values: Mapping[str, float], tables: Mapping[str, Tensor], data: DataModule
    ) -> list[Finding]:
        """Compare the accuracy with chance, the most frequent class and a linear classifier."""
        linear = class_checks.compare_with_linear(values["accuracy"], class_checks.linear_accuracy(data))
        return [*class_checks.judge_by_shares(values, tables, data), *linear]

    @classmethod
    def sample_scores(cls, metric: str, predictions: Mapping[str, Any]) -> SampleScores | None:
        """Return whether each prediction is right; None for metrics other than accuracy."""
        if metric != "accuracy":
            return None
        return SampleScores(predictions["probabilities"].argmax(1) == predictions["targets"])

    @classmethod
    def report_sections(cls) -> Sections:
        """Return the sections of agreement, calibration, classes, confusions and examples."""
        return {
            "Agreement with the teacher": prediction_sections.teacher_agreement,
            "Calibration": prediction_sections.calibration,
            **CLASS_SECTIONS,
        }


def accuracy_and_confusion(classes: int, shared: bool, ignore_index: int | None = None) -> Any:
    """Return a MetricCollection of accuracy and confusion; targets of `ignore_index` aren't counted."""
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassAccuracy

    from tutelage.tasks.confusion import Confusion

    options: dict[str, Any] = {"ignore_index": ignore_index, "sync_on_compute": shared}
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(classes, average="micro", validate_args=False, **options),
            "confusion": Confusion(classes, **options),
        },
        compute_groups=False,
    )
