"""Yang, Qiu, Song, Tao, Wang: the local structure around each node of a graph."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.utils.options import Positive


class LSP(Loss):
    r"""Match the similarity of each node of a graph to its neighbours.

    LS_i = softmax_j K(h_i, h_j) over the neighbours j of i;  L_i = KL(LS_i(t) ‖ LS_i(s)).

    kernel: K is exp(−‖h_i − h_j‖²/2σ²) for "rbf", exp(−‖h_i − h_j‖₁/σ) for "l1", ‖h_i − h_j‖² for "l2", ⟨h_i, h_j⟩ for
    "linear", ⟨h_i, h_j⟩² for "polynomial". scale: σ.
    Shapes: student (B, N, D), teacher (B, N, D'), the nodes of B graphs, or (N, D) and (N, D') of one; adjacency
    (B, N, N) or (N, N), also sparse, nonzero where j is a neighbour of i. Returns (B, N) or (N,), 0 for a node without
    neighbours.
    Paper: Yang, Qiu, Song, Tao, Wang. CVPR 2020. arXiv:2003.10477, with its σ. The authors' code has "l1".
    Raises: ConfigError for an unknown kernel, if the scale isn't above 0, or the shapes don't fit.
    """

    name = "lsp"
    paper = "Yang, Qiu, Song, Tao, Wang. CVPR 2020. arXiv:2003.10477"
    compares = "embedding"
    compiles = False  # the number of edges depends on the data

    kernel: Literal["rbf", "l1", "l2", "linear", "polynomial"] = "rbf"
    scale: Positive = 100.0

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]]:
        adjacency = torch.rand(6, 5, 5) > 0.4
        return 100 * torch.randn(6, 5, 4), 100 * torch.randn(6, 5, 3), {"adjacency": adjacency}

    def forward(self, student: Tensor, teacher: Tensor, *, adjacency: Tensor) -> Tensor:
        adjacency = adjacency.to_dense() if adjacency.is_sparse else adjacency
        if student.dim() == 2 and teacher.dim() == 2:
            return self(student[None], teacher[None], adjacency=adjacency[None])[0]
        nodes = teacher.shape[:2]
        if student.dim() != 3 or student.shape[:2] != nodes or adjacency.shape != (*nodes, nodes[1]):
            raise ConfigError(
                f"LSP: nodes {tuple(student.shape)} and {tuple(teacher.shape)} with adjacency "
                f"{tuple(adjacency.shape)}, expected (B, N, D), (B, N, D') and (B, N, N), or each without B."
            )
        linked = adjacency != 0
        log_s, log_t = (self.log_structure(x, linked) for x in (student, teacher))
        return (F.kl_div(log_s, log_t, reduction="none", log_target=True) * linked).sum(2)

    def log_structure(self, nodes: Tensor, linked: Tensor) -> Tensor:
        """Return log LS, (B, N, N)."""
        graph, i, j = linked.nonzero(as_tuple=True)
        similarity = self.similarity(nodes[graph, i], nodes[graph, j])
        lowest = nodes.new_full(linked.shape, torch.finfo(nodes.dtype).min)
        return F.log_softmax(lowest.masked_scatter(linked, similarity), dim=2)

    def similarity(self, x: Tensor, y: Tensor) -> Tensor:
        """Return K of the two ends of each edge, (E, D) → (E,)."""
        if self.kernel == "linear":
            return (x * y).sum(1)
        if self.kernel == "polynomial":
            return (x * y).sum(1).pow(2)
        if self.kernel == "l1":
            return (-(x - y).abs().sum(1) / self.scale).exp()
        squared = (x - y).pow(2).sum(1)
        return squared if self.kernel == "l2" else (-squared / (2 * self.scale**2)).exp()
