"""A student that is told what it said of the samples a batch ago."""

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
from tutelage.utils.distributed import all_of


class LastBatch(SelfTaught):
    """Half of each batch are the samples that were new in the one before; what was said of them then is the teacher.

    Terms without a teacher see the whole batch, the others the repeated half, augmented otherwise than before. Each
    half is a forward of its own, the new one first, so that batch norm sees them apart. The very first batch is its
    own past.
    Paper: Shen, Xu, Yang, Li, Guo. CVPR 2022. arXiv:2203.16172 (DLB), where the terms are CE and KD at T = 3.
    """

    name = "last_batch"

    def __init__(self, player: Player) -> None:
        super().__init__(player, order="overlapping")
        self.last: Tensor | None = None

    @classmethod
    def from_context(cls, parts: SchemeContext) -> LastBatch:
        """The student."""
        return cls(RepeatedBatchPlayer(parts.network(), parts.terms(), parts.task))

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """One turn; then what was said of the new half is remembered."""
        losses, new = self.players["student"](batch, self.last)
        yield "student", losses
        self.last = new

    def checkpoint_state(self) -> dict[str, Any]:
        """What every process said of its last batch's new half."""
        return {} if self.last is None else {"last": all_of(self.last.cpu())}

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Take it back."""
        if state:
            self.last = state["last"][dist.get_rank() if dist.is_available() and dist.is_initialized() else 0]


class RepeatedBatchPlayer(Player):
    """Its batches are repeated samples, then new ones."""

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """It is its own teacher."""
        super().wire(profile_model(self.student.model, batch), batch, samples, provides)
        if self.terms.layers("teacher"):
            raise ConfigError("scheme=last_batch remembers answers, no features: use losses of responses, such as kd.")

    def forward(  # type: ignore[override]
        self, batch: Batch, last: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The terms, and what it says of the new samples, without gradient."""
        repeated = batch.extras["parts"][0]
        old = batch.part(0, repeated)
        now, again = (self.forward_student(part).response for part in (batch.part(repeated, len(batch)), old))
        last = again if last is None else last.to(again)
        with torch.autocast(again.device.type, enabled=False):
            whole = Outputs(torch.cat([again, now]), metadata=self.metadata)
            truths = self.terms.supervised_terms(whole, None, batch, self.task.mask(batch))
            ours, teacher_outputs = Outputs(again, metadata=self.metadata), Outputs(last.detach())
            losses = self.terms(ours, teacher_outputs, old, self.task.mask(old), truths)
        return losses, now.detach()
