"""Multi-label classification: any number of labels per sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.losses.response.bce import BCE
from tutelage.report import label_sections
from tutelage.structures import Batch
from tutelage.tasks import class_weights, label_checks
from tutelage.tasks.base import Sections, Task
from tutelage.utils.finding import Finding


class MultiLabel(Task):
    """Independent labels per sample: binary cross-entropy, and the mean over labels of average precision (0…1).

    Responses (B, C) are logits, one per label; targets (B, C) are 1, 0, or below 0 where it isn't known whether the
    sample has the label. Such labels count nowhere: not in losses of responses, nor in metrics.

    Args:
        pos_weight: the weight of each label's positive samples in the task loss; none: 1.
    """

    name = "multi_label"
    metric = "map"
    other_metrics: ClassVar[Mapping[str, bool]] = {"macro_f1": True, "micro_f1": True}
    response_kind = "labels"
    usage = "print([name for name, p in zip(model.card.classes, outputs[0].sigmoid().tolist()) if p >= 0.5])"

    def __init__(self, pos_weight: Sequence[float] = ()) -> None:
        self.pos_weight = tuple(pos_weight)

    def weighted(self, way: str | Sequence[float], data: DataModule) -> Self:
        """Return the task with weights from the labels' numbers of training samples with and without them."""
        if data.train.values is None:
            raise ConfigError(f"class_weights={way}: {data.name!r} doesn't have its labels before it reads samples.")
        return type(self)(class_weights.weights_of_labels(way, data.train.values))

    def describe_outputs(self, outputs: int) -> str:
        """Return the required outputs in words."""
        return f"{outputs} label{'s' if outputs > 1 else ''} for each sample"

    def task_loss(self) -> Loss:
        """Return binary cross-entropy."""
        return BCE(pos_weight=self.pos_weight)

    def metrics(self, outputs: int, shared: bool = False) -> Any:
        """Return average precision and F1, and a table of each label's."""
        from tutelage.tasks.multi_label_metrics import MultiLabelMetrics

        return MultiLabelMetrics(sync_on_compute=shared)

    def mask(self, batch: Batch) -> Tensor | None:
        """Return the mask of known labels."""
        return None if batch.targets is None else batch.targets >= 0

    def predictions(self, response: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the targets and the probabilities, (B, C) each."""
        assert batch.targets is not None
        return {"targets": batch.targets, "probabilities": response.sigmoid()}

    def check_data(self, data: DataModule) -> list[Finding]:
        """Check that each label has training samples with and without it."""
        return label_checks.check_labels(data)

    def judge_teacher(
        self, values: Mapping[str, float], tables: Mapping[str, Tensor], data: DataModule
    ) -> list[Finding]:
        """Compare average precision with that of chance, the labels' frequencies, and with a linear model's."""
        return label_checks.judge_precision(values["map"], tables["labels"], label_checks.linear_precision(data))

    @classmethod
    def report_sections(cls) -> Sections:
        """Return the sections of labels and thresholds."""
        return {"Labels": label_sections.labels, "Thresholds": label_sections.thresholds}
