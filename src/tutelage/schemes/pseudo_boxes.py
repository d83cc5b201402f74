"""A detector that learns from the boxes that its teacher finds in unlabelled images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.models.detectors.base import corner_scale
from tutelage.objective.player import Player
from tutelage.schemes.base import SchemeContext, Turn
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch
from tutelage.teachers.base import Teacher


class PseudoBoxes(Offline):
    """Offline distillation, where the teacher's detections are the objects of the stream `unlabelled`.

    The student's own losses are then of labelled and unlabelled images at once, and other terms as without this scheme.
    Liu, Ma, He, Kuo, Chen, Zhang, Wu, Kira, Vajda. ICLR 2021. arXiv:2102.09480 (unbiased teacher) with a score of 0.7
    and a teacher that follows the student (teacher=moving_average); a trained one teaches in Radosavovic et al. CVPR
    2018. arXiv:1712.04440.

    Args:
        students, teacher: as in Offline.
        score: the least score of a detection that becomes an object, 0 to 1.
    """

    name = "pseudo_boxes"

    def __init__(self, students: Player, teacher: Teacher, score: float = 0.5) -> None:
        super().__init__(students, teacher)
        self.score = score

    @classmethod
    def from_context(cls, context: SchemeContext, score: float = 0.5) -> PseudoBoxes:
        """Build the student and the teacher; score: the least score of a detection that becomes an object.

        Raises: ConfigError if there is no teacher, or the score isn't in 0…1.
        """
        if not 0 <= score <= 1:
            raise ConfigError(f"scheme=pseudo_boxes: score={score}: expected a number from 0 to 1.")
        network = context.network()
        teacher = context.teacher(network)
        if teacher is None:
            raise ConfigError(
                "scheme=pseudo_boxes: a teacher finds the boxes, and there is none: name one (teacher=…)."
            )
        return cls(Player(network, context.terms(), context.task), teacher, score)

    def wire(self, batch: Batch, samples: int) -> None:
        """Wire the player.

        Raises: ConfigError if no image is without objects.
        """
        if batch.objects is None or "unlabelled" not in batch.streams:
            raise ConfigError(
                "scheme=pseudo_boxes: the teacher finds the boxes of unlabelled images, and the data has none: use "
                "data={labelled: coco:…, unlabelled: images:FOLDER} of a detection."
            )
        super().wire(batch, samples)

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Yield the student's turn on the batch with the teacher's boxes."""
        yield from super().turns(self.with_boxes(batch), step)

    def with_boxes(self, batch: Batch) -> Batch:
        """Return the batch with the teacher's detections as the objects of the samples that have none."""
        objects = batch.objects or []
        rest = batch.part(len(objects), len(batch))
        assert self.teacher is not None
        assert isinstance(rest.inputs, Tensor)
        sides = corner_scale(rest.inputs)
        found = self.teacher.respond(rest)
        sure = (found[..., 4] >= self.score) & (found[..., 5] >= 0)
        boxes = [(rows[kept, :4] * sides, rows[kept, 5].long()) for rows, kept in zip(found, sure, strict=True)]
        whole = [((each[:, 2:] - each[:, :2]) > 0).all(1) for each, _ in boxes]
        more = [{"boxes": b[k], "labels": c[k]} for (b, c), k in zip(boxes, whole, strict=True)]
        return replace(batch, objects=[*objects, *more])
