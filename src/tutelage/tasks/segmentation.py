"""Segmentation: one class per pixel."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Self

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.losses.response.ce import CE
from tutelage.nn.windows import average_windows
from tutelage.report import prediction_sections
from tutelage.report.masks import masks
from tutelage.report.segmentation_sections import overlaps
from tutelage.structures import Batch
from tutelage.tasks import class_checks, segmentation_checks
from tutelage.tasks.base import Sections, Task
from tutelage.utils.finding import Finding
from tutelage.utils.key_types import Size, parse_size
from tutelage.utils.options import SmallCountOrZero

IGNORE = 255

BOUNDARY = ("boundary_f1", "boundary_iou")

Sides = tuple[int, int]


class Segmentation(Task):
    """One class per pixel: cross-entropy over labelled pixels, and the mean intersection over union (0…1).

    Responses (B, C, h, w) are resized bilinearly to the targets (B, H, W) int64, where 255 is unlabelled. Of a network
    with auxiliary outputs (torchvision's `aux`) only the main one counts.

    Args:
        window: the height and width of the windows by which images are evaluated; None: as a whole.
        stride: the distance of windows; None: two thirds of their size.
        boundary: the tolerance of boundary F1 and boundary IoU in pixels; 0: they aren't computed.
    """

    metric = "miou"
    other_metrics: ClassVar[Mapping[str, bool]] = dict.fromkeys(("accuracy", "mean_accuracy", "dice", *BOUNDARY), True)
    positions = 2
    usage = "mask = outputs.argmax(1)  # a class of model.card.classes per pixel"

    def __init__(self, window: Sides | None = None, stride: Sides | None = None, boundary: int = 0) -> None:
        self.window, self.boundary = window, boundary
        self.stride = (
            stride if stride is not None or window is None else (_two_thirds(window[0]), _two_thirds(window[1]))
        )

    @classmethod
    def from_data(
        cls, data: DataModule, window: Size | None = None, stride: Size | None = None, boundary: SmallCountOrZero = 0
    ) -> Self:
        """Build the task for this data.

        Raises: ConfigError if there is a stride without a window, or pixels would lie between windows.
        """
        sides, step = (None if x is None else parse_size(x) for x in (window, stride))
        if step is not None and (sides is None or step[0] > sides[0] or step[1] > sides[1]):
            raise ConfigError(
                f"task: stride={stride}, window={window}: expected a stride of the window's size at most."
            )
        return cls(sides, step, boundary)

    def decided_by(self, metric: str) -> Self:
        """Return the same task with another decisive metric; those of boundaries require a tolerance."""
        if metric in BOUNDARY and not self.boundary:
            raise ConfigError(
                f"metric={metric}: set the tolerance in pixels, task={{name: segmentation, boundary: 2}}."
            )
        return super().decided_by(metric)

    def task_loss(self) -> Loss:
        """Return cross-entropy."""
        return CE()

    def metrics(self, outputs: int, shared: bool = False) -> Any:
        """Return miou, accuracies, Dice, those of boundaries, and tables of classes and confusions (targets first)."""
        from torchmetrics import MetricCollection
        from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

        from tutelage.tasks.confusion import Confusion
        from tutelage.tasks.segmentation_metrics import BoundaryAgreement, ClassOverlap

        options: dict[str, Any] = {"ignore_index": IGNORE, "validate_args": False, "sync_on_compute": shared}
        metrics: dict[str, Any] = {
            "miou": MulticlassJaccardIndex(outputs, **options),
            "accuracy": MulticlassAccuracy(outputs, average="micro", **options),
            "confusion": Confusion(outputs, IGNORE, sync_on_compute=shared),
            "overlap": ClassOverlap(outputs, IGNORE, sync_on_compute=shared),
        }
        if self.boundary:
            metrics["boundary"] = BoundaryAgreement(outputs, IGNORE, self.boundary, sync_on_compute=shared)
        return MetricCollection(metrics, compute_groups=False)

    def update(self, metrics: Any, response: Tensor, batch: Batch) -> None:
        """Add a batch to the metrics, which share its predicted classes."""
        metrics.update(response.argmax(1), batch.targets)

    def infer(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return a network's response in evaluation: the mean over windows, if there are any."""
        if self.window is None or self.stride is None:
            return super().infer(network, batch)
        return average_windows(partial(super().infer, network), batch, self.window, self.stride)

    def response(self, response: Tensor, batch: Batch) -> Tensor:
        """Return the response resized to the targets, or without them to the images; unchanged without positions."""
        like = batch.inputs if batch.targets is None else batch.targets
        if response.dim() != 4 or not isinstance(like, Tensor) or response.shape[-2:] == like.shape[-2:]:
            return response
        return F.interpolate(response, size=like.shape[-2:], mode="bilinear", align_corners=False)

    def mask(self, batch: Batch) -> Tensor | None:
        """Return the mask of labelled pixels."""
        return None if batch.targets is None else batch.targets != IGNORE

    def check_data(self, data: DataModule) -> list[Finding]:
        """Check for classes without training pixels, and for images without labels."""
        return segmentation_checks.check_masks(data)

    def judge_teacher(
        self, values: Mapping[str, float], tables: Mapping[str, Tensor], data: DataModule
    ) -> list[Finding]:
        """Compare the pixel accuracy with chance and the most frequent class."""
        return class_checks.judge_by_shares(values, tables, data)

    @classmethod
    def report_sections(cls) -> Sections:
        """Return the sections of classes, confusions and masks."""
        return {
            "Gain by class": prediction_sections.gain_in_iou,
            "Classes": overlaps,
            "Confusions": prediction_sections.confusions,
            "Where teacher and student differ": masks,
        }


def _two_thirds(side: int) -> int:
    return max(2 * side // 3, 1)
