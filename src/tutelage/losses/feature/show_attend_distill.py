"""Ji, Heo, Park: pairs of layers weighted by attention."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.base import Feature
from tutelage.nn.blocks import BatchNorm
from tutelage.nn.maps import adaptive_avg_pool, average_positions
from tutelage.utils.options import Width


class ShowAttendDistill(Feature):
    r"""Match the spatial energy of every layer of the teacher with every layer of the student, weighted by attention.

    v(f) = unit(mean_c f²), of the student pooled to the teacher's size;  q_t = BN(W_t·mean_hw f_t),
    k_s = relu(BN(W_s·mean_hw f_s)),  α_ts = softmax_s((⟨q_t, BN(W_Q·k_s)_t⟩ + ⟨p_t, p_s⟩) / √d);
    L = Σ_t Σ_s α_ts · mean (v_t − v_s)², one value per sample.

    dim: d, the width of queries, keys and the learned positions p.
    Shapes: student, teacher lists of maps (B, C, H, W), of any lengths; returns (B,).
    Paper: Ji, Heo, Park. Show, attend and distill. AAAI 2021. arXiv:2102.02973. Known as AFD, a name that it shares
    with others (see afd). The authors use it alongside 0.9·kd at T = 4, with blocks as layers.
    Raises: ConfigError if dim isn't above 0.
    """

    name = "show_attend_distill"
    paper = "Ji, Heo, Park. AAAI 2021. arXiv:2102.02973"
    compares = "review"
    zero_at_equal = False
    default_weight = 200.0

    dim: Width = 128

    def build(self, student: list[Tensor], teacher: list[Tensor], samples: int) -> None:
        self.queries = nn.ModuleList(linear_bn(t.shape[1], self.dim) for t in teacher).to(student[0])
        self.keys = nn.ModuleList(linear_bn(s.shape[1], self.dim) for s in student).to(student[0])
        self.bilinear = linear_bn(self.dim, self.dim * len(teacher)).to(student[0])
        positions = (nn.Parameter(student[0].new_empty(len(layers), self.dim)) for layers in (student, teacher))
        self.student_places, self.teacher_places = positions
        nn.init.xavier_normal_(self.student_places)
        nn.init.xavier_normal_(self.teacher_places)

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        attention = self.attention(student, teacher)
        losses = torch.stack([torch.stack([distance(s, t) for s in student], dim=1) for t in teacher], dim=1)
        return (attention * losses).sum((1, 2))

    def attention(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        """Return the weight of each pair of layers, (B, teacher's, student's)."""
        query = embedded(self.queries, teacher)
        key = embedded(self.keys, student).relu()
        key = self.bilinear(key.flatten(0, 1)).unflatten(0, key.shape[:2]).unflatten(2, (len(teacher), self.dim))
        logits = torch.einsum("btd,bstd->bts", query, key) + self.teacher_places @ self.student_places.T
        return (logits / math.sqrt(self.dim)).softmax(2)


def embedded(embeddings: Iterable[nn.Module], layers: list[Tensor]) -> Tensor:
    """Return the embeddings of the layers' means over positions, (B, layers, d)."""
    pairs = zip(embeddings, layers, strict=True)
    return torch.stack([embed(average_positions(x)) for embed, x in pairs], dim=1)


def linear_bn(dim: int, out_dim: int) -> nn.Sequential:
    """Build a linear layer with batch norm."""
    return nn.Sequential(nn.Linear(dim, out_dim), BatchNorm(out_dim))


def distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean square between the normalised energies of two maps, (B,)."""
    s, t = (x.pow(2).mean(1, keepdim=True) for x in (student, teacher))
    s = adaptive_avg_pool(s, t.shape[2:])
    return (F.normalize(s.flatten(1), dim=1) - F.normalize(t.flatten(1), dim=1)).pow(2).mean(1)
