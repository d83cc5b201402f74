"""LightlyTrain: similarity to a queue as classes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Relation, same_shape, vectors
from tutelage.losses.functional.memory_banks import Queue, similarity_kl
from tutelage.utils.options import Count, Temperature


class LightlyQueue(Relation):
    r"""Match the teacher's distribution of similarities to a queue of its vectors, this batch's among them.

    L = KL(softmax(t·Qᵀ/τ) ‖ softmax(s·Qᵀ/τ)), s, t and the rows of Q unit vectors.

    Shapes: student (B, D), teacher (B, D) alike; returns (B,). Unlike SEED's and CompRess's, the queue takes this batch
    in before the loss, in training only; or it is queue (N, D) of unit vectors, if given. With normalise=False, s and
    t are taken as they come: unit vectors, from a student that normalises them itself.
    Paper: none; the distillation of the software LightlyTrain. Its predictions aren't scaled by τ².
    Raises: ConfigError if an option isn't above 0, or the two differ in shape.
    """

    name = "lightly_queue"
    paper = "LightlyTrain (software), distillation"
    connector = "linear"
    ignores = ("scale of each sample",)
    task_loss_weight = 0.0

    size: Count = 8192
    temperature: Temperature = 0.07
    normalise: bool = True

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        self.queue = Queue(self.size, teacher)

    def forward(self, student: Tensor, teacher: Tensor, *, queue: Tensor | None = None) -> Tensor:
        vectors(self, student, teacher)
        same_shape(self, student, teacher)
        s, t = (F.normalize(x, dim=1) if self.normalise else x for x in (student, teacher))
        if self.training and queue is None:
            self.queue.push(t)
        others = self.queue.rows if queue is None else queue
        return similarity_kl(s, t, others, others, self.temperature)
