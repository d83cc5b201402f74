"""LightlyTrain: similarities to a queue as a class distribution."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses.base import Relation, require_same_shape, require_vectors
from tutelage.losses.functional.memory_banks import VectorQueue, similarity_kl
from tutelage.utils.options import Count, Temperature


class LightlyQueue(Relation):
    r"""Match the teacher's distribution of similarities to a queue of its vectors, which includes this batch's.

    L = KL(softmax(t·Qᵀ/τ) ‖ softmax(s·Qᵀ/τ)), s, t and the rows of Q unit vectors.

    Shapes: student, teacher (B, D); returns (B,). In contrast to SEED and CompRess, this batch is added to the queue
    before the loss, in training only; queue (N, D) of unit vectors, if passed, replaces the queue. With
    normalise=False, s and t are used unchanged: the student must output unit vectors.
    Paper: none; it follows the distillation of the software LightlyTrain. Its predictions aren't scaled by τ².
    Raises: ConfigError if an option isn't above 0, or the shapes differ.
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
        self.queue = VectorQueue(self.size, teacher)

    def forward(self, student: Tensor, teacher: Tensor, *, queue: Tensor | None = None) -> Tensor:
        require_vectors(self, student, teacher)
        require_same_shape(self, student, teacher)
        s, t = (F.normalize(x, dim=1) if self.normalise else x for x in (student, teacher))
        if self.training and queue is None:
            self.queue.push(t)
        bank = self.queue.rows if queue is None else queue
        return similarity_kl(s, t, bank, bank, self.temperature)
