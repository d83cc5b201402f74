"""Jiao et al. (TinyBERT), Sanh et al. (DistilBERT): hidden states."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.losses.base import Feature, require_equal_counts, require_same_shape
from tutelage.losses.functional.tokens import as_tokens, scale_to_masked_mean


class HiddenState(Feature):
    r"""Match the hidden states of paired layers, token by token.

    L = mean over layers and tokens of mean_d (W·s − t)² (kind "mse") or of 1 − cos(W·s, t) (kind "cosine").

    projection: W is learned for each pair of layers ("each"), one for all of them ("shared", as in TinyBERT), or absent
    ("none"; the widths must be equal).
    Shapes: student, teacher lists of (B, N, D), (B, N, D'); maps (B, D, H, W) count as tokens and vectors (B, D) as one
    token. mask (B, N), nonzero at the tokens that count. Returns (layers, B). TinyBERT sums over layers: set the weight
    to their number.
    Paper: Jiao et al. Findings of EMNLP 2020. arXiv:1909.10351, eq. 8 (mse); Sanh, Debut, Chaumond, Wolf. 2019.
    arXiv:1910.01108 (cosine).
    Raises: ConfigError for an unknown kind or projection, or if the lists or shapes differ.
    """

    paper = "Jiao et al. Findings of EMNLP 2020. arXiv:1909.10351"
    compares = "review"
    feature_format = ""
    zero_at_equal = False

    kind: Literal["mse", "cosine"] = "mse"
    projection: Literal["each", "shared", "none"] = "each"

    def build(self, student: list[Tensor], teacher: list[Tensor], samples: int) -> None:
        require_equal_counts(self, student, teacher)
        widths = [(as_tokens(s).shape[2], as_tokens(t).shape[2]) for s, t in zip(student, teacher, strict=True)]
        if self.projection == "shared" and len(set(widths)) > 1:
            raise ConfigError(f"HiddenState(projection='shared'): the layers differ in width, {widths}; use 'each'.")
        shapes = {"each": widths, "shared": widths[:1], "none": []}[self.projection]
        self.projections = nn.ModuleList(nn.Linear(*shape) for shape in shapes).to(student[0])

    def forward(self, student: list[Tensor], teacher: list[Tensor], *, mask: Tensor | None = None) -> Tensor:
        require_equal_counts(self, student, teacher)
        projections = [*self.projections] or [nn.Identity()]
        if self.projection != "each":
            projections = projections * len(student)
        pairs = zip(projections, student, teacher, strict=True)
        return torch.stack([self.compare(w(as_tokens(s)), as_tokens(t), mask) for w, s, t in pairs])

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Compare one pair of layers, each (B, N, D) → (B,)."""
        require_same_shape(self, student, teacher)
        if self.kind == "mse":
            values = (student - teacher).pow(2).mean(2)
        else:
            values = 1 - F.cosine_similarity(student, teacher, dim=2)
        return scale_to_masked_mean(values, mask).mean(1)
