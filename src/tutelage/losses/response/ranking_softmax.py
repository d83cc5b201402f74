"""Bruch, Wang, Bendersky, Najork: softmax cross-entropy over the documents of a query."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Response
from tutelage.losses.functional.ranking import lists_by_group, lowest_score


class RankingSoftmax(Response):
    r"""Cross-entropy between the grades of a query's documents, as a distribution, and the softmax of their scores.

    L = −Σ_i (y_i / Σ_j y_j) · log softmax(s)_i, i and j over the documents of a query.

    Shapes: student (B,) or (B, 1), a score per document; targets (B,) grades, 0 or more; groups (B,) query numbers; the
    teacher isn't used. Returns a value for each query that has a grade above 0.
    Paper: Bruch, Wang, Bendersky, Najork. ICTIR 2019, for grades of 0 and 1. No published numbers were compared.
    Raises: ConfigError if documents have several scores.
    """

    name = "ranking_softmax"
    paper = "Bruch, Wang, Bendersky, Najork. ICTIR 2019"
    needs_teacher = False
    zero_at_equal = False
    maskable = False
    data_dependent_size = True
    response_kinds = ("scores",)
    compiles = False

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        """Return two queries of two and four documents."""
        groups = torch.tensor([4, 4, 9, 9, 9, 9])
        return torch.randn(6, 1), torch.randn(6, 1), {"targets": torch.tensor([2, 0, 1, 0, 3, 1]), "groups": groups}

    def forward(self, student: Tensor, teacher: Tensor | None = None, *, targets: Tensor, groups: Tensor) -> Tensor:
        if student.numel() != len(student):
            raise ConfigError(
                f"RankingSoftmax: the student's tensor is {tuple(student.shape)}, expected one score per document, "
                "(B,) or (B, 1): it is for rankings."
            )
        (scores, grades), mask = lists_by_group(groups, student, targets.to(student.dtype))
        log_probabilities = F.log_softmax(scores.masked_fill(~mask, lowest_score(scores)), dim=1)
        total = grades.sum(1)
        values = -(grades * log_probabilities.masked_fill(~mask, 0)).sum(1)
        return values[total > 0] / total[total > 0]
