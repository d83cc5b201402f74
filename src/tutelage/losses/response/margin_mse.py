"""Hofstätter, Althammer, Schröder, Sertkan, Hanbury: margins between documents of one query."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Response, require_same_shape
from tutelage.losses.functional.tokens import scale_to_masked_mean


class MarginMSE(Response):
    r"""Match the teacher's margin between a better and a worse document of a query.

    L = ((s_i − s_j) − (t_i − t_j))², averaged over all pairs of documents of a query with grades y_i > y_j.

    Shapes: student, teacher (B,) or (B, 1), a score per document; targets (B,) grades; groups (B,) query numbers.
    Returns (B, B), scaled so that its mean is the mean over those pairs; 0 if there are none.
    Paper: Hofstätter, Althammer, Schröder, Sertkan, Hanbury. 2020. arXiv:2010.02666, with one relevant and one other
    passage of each query. No published numbers were compared.
    Raises: ConfigError if the shapes differ, or if documents have several scores.
    """

    name = "margin_mse"
    paper = "Hofstätter, Althammer, Schröder, Sertkan, Hanbury. 2020. arXiv:2010.02666"
    data_dependent_size = True
    response_kinds = ("scores",)
    maskable = False
    ignores = ("swapped sides",)

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        """Return two queries of three documents."""
        groups = torch.tensor([4, 4, 4, 9, 9, 9])
        return torch.randn(6, 1), torch.randn(6, 1), {"targets": torch.tensor([2, 0, 1, 0, 3, 1]), "groups": groups}

    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor, groups: Tensor) -> Tensor:
        require_same_shape(self, student, teacher)
        if student.numel() != len(student):
            raise ConfigError(
                f"MarginMSE: the student's tensor is {tuple(student.shape)}, expected one score per document, (B,) or "
                "(B, 1): it is for rankings."
            )
        gap = (student - teacher).reshape(-1)
        better = (groups[:, None] == groups) & (targets[:, None] > targets)
        return scale_to_masked_mean((gap[:, None] - gap).pow(2), better)
