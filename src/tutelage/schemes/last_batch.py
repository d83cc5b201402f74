"""A student whose soft targets are its own logits from the previous batch (DLB)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.objective.player import Player
from tutelage.schemes.base import SchemeContext, SelfTaught, Turn
from tutelage.structures import Batch, Outputs
from tutelage.utils.distributed import all_gather_object


class LastBatch(SelfTaught):
    """Each batch repeats the new half of the previous batch; the logits from that step are the soft targets.

    Terms without a teacher compare the whole batch; the other terms compare the repeated half, which has a new
    augmentation. Each half has its own forward, the new half first, so that batch norm normalises them separately. In
    the first batch the repeated half is its own teacher.
    Paper: Shen, Xu, Yang, Li, Guo. CVPR 2022. arXiv:2203.16172 (DLB), where the terms are CE and KD at T = 3.
    """

    name = "last_batch"

    def __init__(self, player: Player) -> None:
        super().__init__(player, sampling="overlapping")
        self.last_logits: Tensor | None = None

    @classmethod
    def from_context(cls, context: SchemeContext) -> LastBatch:
        """Build the student."""
        return cls(RepeatedBatchPlayer(context.network(), context.terms(), context.task))

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Yield the student's turn, then store the logits of the new half."""
        losses, new_logits = self.players["student"](batch, self.last_logits)
        yield "student", losses
        self.last_logits = new_logits

    def checkpoint_state(self) -> dict[str, Any]:
        """Return every process's logits of the last batch's new half."""
        return {} if self.last_logits is None else {"last": all_gather_object(self.last_logits.cpu())}

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Restore this process's logits."""
        if state:
            self.last_logits = state["last"][dist.get_rank() if dist.is_available() and dist.is_initialized() else 0]


class RepeatedBatchPlayer(Player):
    """A student whose batches are repeated samples followed by new ones."""

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Wire the terms to the student itself as the teacher."""
        super().wire(profile_model(self.student.model, batch), batch, samples, provides)
        if self.terms.layers("teacher"):
            raise ConfigError("scheme=last_batch stores logits, not features: use losses of responses, such as kd.")

    def forward(  # type: ignore[override]
        self, batch: Batch, last: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the weighted terms, and the logits of the new samples, detached.

        last: the logits of the repeated samples one step ago; None in the first batch.
        """
        repeated = batch.extras["parts"][0]
        repeated_batch = batch.part(0, repeated)
        new_logits, repeated_logits = (
            self.forward_student(part).response for part in (batch.part(repeated, len(batch)), repeated_batch)
        )
        last = repeated_logits if last is None else last.to(repeated_logits)
        with torch.autocast(repeated_logits.device.type, enabled=False):
            all_outputs = Outputs(torch.cat([repeated_logits, new_logits]), metadata=self.metadata)
            supervised = self.terms.supervised_terms(all_outputs, None, batch, self.task.stream_mask(batch))
            student_outputs = Outputs(repeated_logits, metadata=self.metadata)
            mask = self.task.mask(repeated_batch)
            losses = self.terms(student_outputs, Outputs(last.detach()), repeated_batch, mask, supervised)
        return losses, new_logits.detach()
