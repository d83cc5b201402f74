"""A student taught by a second head, which sees the whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.nn.connectors import format_shape
from tutelage.nn.feature_extractor import to_float32
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.base import SchemeContext, SelfTaught
from tutelage.structures import Batch, Outputs
from tutelage.tasks.base import Task
from tutelage.utils.options import CheckedArguments, NonNegative, SmallCount


class BatchHead(SelfTaught):
    """A head that relates the samples of a batch to each other teaches the student, which sees one at a time.

    d⁺ = encoder(d₁ … d_B): a transformer encoder over the batch's responses d (B, D). The supervised terms are summed
    over d and, times head_weight, d⁺; the other terms compare d with d⁺ without gradient. The exported student lacks
    the encoder.

    Args:
        layers: the encoder's layers.
        heads: its attention heads; D must be divisible by them.
        head_weight: the weight of the supervised terms of d⁺.
    Paper: SciceVPR, arXiv:2502.20676, which trains the encoder first and then a head of its own for single samples, by
    embedding_l2 and the multi-similarity loss; here one training has both.
    """

    name = "batch_head"

    @classmethod
    def from_context(
        cls, context: SchemeContext, layers: SmallCount = 2, heads: SmallCount = 4, head_weight: NonNegative = 1.0
    ) -> BatchHead:
        """Build the student and the encoder."""
        return cls(BatchHeadPlayer(context.network(), context.terms(), context.task, layers, heads, head_weight))


class BatchHeadPlayer(CheckedArguments, Player):
    """A student with an encoder of its batches' responses."""

    def __init__(
        self,
        model: nn.Module,
        terms: Terms,
        task: Task,
        layers: SmallCount = 2,
        heads: SmallCount = 4,
        head_weight: NonNegative = 1.0,
    ) -> None:
        super().__init__(model, terms, task)
        self.layers, self.heads, self.head_weight = layers, heads, head_weight
        self.encoder: nn.Module = nn.Identity()

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Build the encoder, and wire the terms.

        Raises: ConfigError if the responses aren't vectors that the heads can share, or a term compares layers.
        """
        profile = profile_model(self.student.model, batch)
        profile = replace(profile, response=self.task.response(profile.response, batch))
        response = profile.response
        if response.dim() != 2 or response.shape[1] % self.heads:
            raise ConfigError(
                f"scheme=batch_head: expected vectors (B, D), D a multiple of {self.heads} heads, got "
                f"{format_shape(response)}: set heads, or the number of outputs (task={{name: embedding, dim: 128}})."
            )
        width = response.shape[1]
        layer = nn.TransformerEncoderLayer(width, self.heads, 2 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, self.layers, enable_nested_tensor=False).to(response.device)
        for term in self.terms.named_terms().values():
            term.compare_responses()
        self.terms.fit_kind(self.task.response_kind)
        self.terms.wire(profile, profile.with_response(response), batch, samples, provides)
        if layers := self.terms.layers("teacher"):
            raise ConfigError(f"scheme=batch_head: its head has no layer {', '.join(layers)}: use losses of responses.")
        self.metadata = profile.metadata
        self.set_captured_layers()

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """Run one forward of the student and the encoder, and return the weighted terms."""
        outputs = self.forward_student(batch)
        related = to_float32(self.encoder(outputs.response[None])[0])
        with torch.autocast(outputs.response.device.type, enabled=False):
            mask = self.task.stream_mask(batch)
            of_head = self.terms.supervised_terms(Outputs(related, metadata=self.metadata), None, batch, mask)
            losses = self.terms(outputs, Outputs(related.detach(), metadata=self.metadata), batch, mask)
        return losses | {f"head_{name}": self.head_weight * value for name, value in of_head.items()}
