"""References for dense losses."""

from __future__ import annotations

from typing import Any

import torch

from tutelage.verify.reference import Reference
from tutelage.verify.vector import Vector


def weight_scale(vector: Vector) -> float:
    """Return the scale of code that multiplies by its own weight."""
    return float(vector.hyper.get("loss_weight", 1.0))


def batch_sum(vector: Vector) -> float:
    """Return the scale of code that sums over the batch."""
    return float(len(vector.side("student_logits")[0]))


def over_bins(vector: Vector) -> float:
    """Return the scale of a mean over the bins, and of a sum over the sides divided by avg_factor if there is one."""
    boxes, scores = vector.side("student_logits")[0].shape
    factor, bins = vector.hyper.get("avg_factor"), vector.hyper.get("reg_max", scores // 4 - 1) + 1
    return weight_scale(vector) / bins * (boxes * 4 / factor if factor else 1.0)


def pad_boxes(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Pad the images' lists of boxes to one tensor, and provide an input of the image's size."""
    height, width = map(int, vector.hyper["img_shape"][:2])
    boxes = list(vector.under("extra.gt_bboxes").values())
    no_box, count = torch.tensor([[0.0, 0.0, -1.0, -1.0]]), max(map(len, boxes))
    padded = [torch.cat([rows, no_box.repeat(count - len(rows), 1)]) for rows in boxes]
    return {"boxes": torch.stack(padded), "inputs": torch.empty(1, height, width)}


def add_image_size(vector: Vector, loss_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Provide an input of the image's size."""
    side = vector.inputs.get("extra.image_side", torch.zeros(()))
    return loss_kwargs | {"inputs": torch.empty(1, *side.long().expand(2))}


REFERENCES = {
    "cirkd_memory": Reference(
        options=lambda vector: {
            "num_classes": len(vector.inputs["extra.pixel_queue"]),
            "pixel_memory": 1,
            "region_memory": 1,
        }
    ),
    "cirkd_minibatch": Reference(),
    "cwd": Reference(scale=weight_scale),
    "dsd": Reference(),
    "fgd": Reference(
        fields={"lambda": "lambda_"},
        state={r"^conv_mask_(s|t)\.": r"context_\1.mask.", r"^channel_add_conv_(s|t)\.": r"context_\1.add."},
        prepare_inputs=pad_boxes,
    ),
    "fakd": Reference(),
    "fgfi": Reference(prepare_inputs=add_image_size, ignored=("sizes", "ratios")),  # of the provided anchors
    "ifvd": Reference(),
    "ld": Reference(scale=over_bins),
    "pixel_kd": Reference("kd"),
    "pkd": Reference(scale=weight_scale, fields={"resize_stu": "resize_student"}),
    "skd_pairwise": Reference(options={"detach_norm": True}),
    "skd_pairwise_cirkd": Reference("skd_pairwise"),
    "skd_pixelwise": Reference("soft_ce", options={"temperature": 1.0}, scale=batch_sum),
}
