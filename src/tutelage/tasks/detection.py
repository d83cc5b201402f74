"""Detection: objects of several classes, each in a box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.errors import ModelError
from tutelage.losses.base import Loss
from tutelage.losses.response.model_loss import ModelLoss
from tutelage.report import box_sections
from tutelage.structures import Batch
from tutelage.tasks import detection_checks
from tutelage.tasks.base import Sections, Task
from tutelage.utils.finding import Finding


class Detection(Task):
    """Objects in boxes: the detector's own losses, and mean average precision by pycocotools' rules (0…1).

    A detector (`models.detectors`) outputs a dense response (B, K, N) and further parts (`boxes`), which methods
    compare; for evaluation it responds with detections (B, D, 6): x₁, y₁, x₂, y₂ as fractions of the image's width and
    height, score, and class, -1 in rows without one. Boxes are in pixels of the image's file in metrics and
    predictions. Needs the extra `detection`.
    """

    metric = "map"
    other_metrics: ClassVar[Mapping[str, bool]] = {"map50": True, "map75": True}
    response_kind = "detections"
    target = "objects"
    default_method = "pkd"
    usage = "print(model.detect(inputs)[0])  # boxes in pixels of the inputs, scores and labels"

    def __init__(self, classes: int = 0) -> None:
        self.classes = classes

    @classmethod
    def from_data(cls, data: DataModule) -> Detection:
        """Build the task for the data's classes."""
        return cls(len(data.classes))

    def describe_outputs(self, outputs: int) -> str:
        """Return the required outputs in words."""
        return f"boxes of {outputs} class{'es' if outputs > 1 else ''}"

    def task_loss(self) -> Loss:
        """Return the detector's own losses."""
        return ModelLoss()

    def evaluation_loss(self) -> None:
        """Return none: a detector computes its losses in training alone."""

    def metrics(self, outputs: int, shared: bool = False) -> Any:
        """Return average precision and recall, and a table of each class's."""
        from tutelage.tasks.detection_metrics import DetectionMetrics

        return DetectionMetrics(outputs, sync_on_compute=shared)

    def update(self, metrics: Any, response: Tensor, batch: Batch) -> None:
        """Add a batch of detections (B, D, 6).

        Raises: ModelError if the response is no detections.
        """
        assert batch.objects is not None
        if response.shape[2] != 6:
            raise ModelError(
                f"the network responds with {tuple(response.shape)} for evaluation, expected detections (B, D, 6): use "
                "a single detector, such as retinanet-resnet18-64."
            )
        scales = file_scales(batch, response)
        found, truth = [], []
        for rows, objects, (of_detections, of_boxes) in zip(response, batch.objects, scales, strict=True):
            rows = rows[rows[:, 5] >= 0]
            found.append({"boxes": rows[:, :4] * of_detections, "scores": rows[:, 4], "labels": rows[:, 5].long()})
            truth.append({**objects, "boxes": objects["boxes"] * of_boxes})
        metrics.update(found, truth)

    def fits(self, response: Tensor, outputs: int) -> bool:
        """Return True if the response is detections, or dense outputs."""
        return response.dim() == 3

    def predictions(self, response: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the detections (B, D, 6), boxes in pixels of the file."""
        scales = torch.stack([of_detections for of_detections, _ in file_scales(batch, response)])
        boxes = torch.where(response[..., 5:] >= 0, response[..., :4] * scales[:, None], response[..., :4])
        return {"detections": torch.cat([boxes, response[..., 4:]], 2)}

    def check_data(self, data: DataModule) -> list[Finding]:
        """Check the boxes for the usual mistakes."""
        return detection_checks.check_boxes(data)

    def judge_teacher(
        self, values: Mapping[str, float], tables: Mapping[str, Tensor], data: DataModule
    ) -> list[Finding]:
        """Say whether the teacher detects anything."""
        return detection_checks.judge_precision(values)

    @classmethod
    def report_sections(cls) -> Sections:
        """Return the sections of classes and of boxes."""
        return {"Precision by class": box_sections.classes, "Boxes": box_sections.boxes}


def file_scales(batch: Batch, response: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return, for each image, the factors to the file's pixels of fractions and of the batch's pixels, (4,) each."""
    assert isinstance(batch.inputs, Tensor)
    shape = response.new_tensor(batch.inputs.shape[-2:])
    sizes = [shape if "size" not in each else each["size"].to(response) for each in batch.objects or []]
    sizes = sizes or [shape] * len(response)
    return [(size.flip(0).repeat(2), (size / shape).flip(0).repeat(2)) for size in sizes]
