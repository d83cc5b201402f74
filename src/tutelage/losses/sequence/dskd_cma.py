"""Zhang, Zhang, Sun, Chen, Xu: one space for student and teacher of two tokenisers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.base import IGNORED, Sequence
from tutelage.losses.functional.divergence import kl
from tutelage.losses.sequence.dskd import OBJECTIVES, Objective
from tutelage.utils.options import Temperature


class DSKDCMA(Sequence):
    r"""DSKD for two tokenisers: each side's tokens attend to the other's.

    x̂ = x / std x over the whole tensor; e, e' the embeddings of the token read and of the one to say;
    A = Q·[e_s; e'_s]·[e_t; e'_t]^ᵀ/√(2D'), for pairs of labelled tokens;
    z_ts = sg(H_s)·softmax(A)·P_t·(ĥ_t + ê'_t);  z_st = H_t·softmax(Aᵀ)·P_s·h_s;
    L = CE(z_ts, y) + [argmax z_ts = y]·D(z_s/T, sg(z_ts)/(T·T_t)) + KL(z_t/T ‖ z_st/T): the parts "truth",
    "student_space" and "teacher_space".

    Shapes: student (B, T, D), teacher (B, T', D') last hidden states of the same texts, targets (B, T) and
    teacher_targets (B, T') int64, −100 where it doesn't count, student_input_ids and teacher_input_ids the tokens read;
    student_vocabulary ((V, D), (V, D)), teacher_vocabulary ((V', D'), (V', D')): the embeddings and the heads H. The
    projections P and Q are trained. The parts are (N,), (N,) and (N',).
    Paper: Zhang, Zhang, Sun, Chen, Xu. EMNLP 2024. arXiv:2406.17328, section 3.2. No T²; the authors' code adds up the
    tokens, and divides by the student's number outside.
    Raises: ConfigError if a temperature isn't above 0, or the objective isn't known.
    """

    name = "dskd_cma"
    paper = "Zhang, Zhang, Sun, Chen, Xu. EMNLP 2024. arXiv:2406.17328"
    only_for = "language models"
    class_dim = None
    zero_at_equal = False

    temperature: Temperature = 2.0
    teacher_temperature: Temperature = 1.0
    objective: Objective = "forward_kl"

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        self.t2s = nn.Linear(teacher.shape[-1], student.shape[-1]).to(student)
        self.s2t = nn.Linear(student.shape[-1], teacher.shape[-1]).to(student)
        self.query = nn.Linear(2 * student.shape[-1], 2 * teacher.shape[-1]).to(student)

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        targets: Tensor,
        teacher_targets: Tensor,
        student_input_ids: Tensor,
        teacher_input_ids: Tensor,
        student_vocabulary: tuple[Tensor, Tensor],
        teacher_vocabulary: tuple[Tensor, Tensor],
    ) -> dict[str, Tensor]:
        (embed_s, head_s), (embed_t, head_t) = student_vocabulary, teacher_vocabulary
        own, others = self.tokens(student, targets), self.tokens(teacher, teacher_targets)
        y, y_t = self.aligned(targets), self.aligned(teacher_targets)
        query = self.query(torch.cat([words(embed_s, x, own) for x in (student_input_ids, y)], dim=-1))
        said = words(embed_t, y_t, others)
        key = scaled(torch.cat([words(embed_t, teacher_input_ids, others), said], dim=-1))
        align = query @ key.mT / key.shape[-1] ** 0.5 - 1e5 * (~(own[:, :, None] & others[:, None])).to(query)

        h_ts = (align.softmax(-1) @ self.t2s(scaled(teacher) + scaled(said)))[own]
        h_st = (align.mT.softmax(-1) @ self.s2t(student))[others]
        z_s, z_ts = F.linear(student[own], head_s), F.linear(h_ts, head_s.detach())
        z_t, z_st = F.linear(teacher[others], head_t), F.linear(h_st, head_t)
        right = (z_ts.argmax(1) == y[own]).to(z_ts)
        z_sure = z_ts.detach() / self.teacher_temperature
        log_s, log_ts, log_t, log_st = (F.log_softmax(z / self.temperature, dim=1) for z in (z_s, z_sure, z_t, z_st))
        return {
            "truth": F.cross_entropy(z_ts, y[own], reduction="none"),
            "student_space": right * OBJECTIVES[self.objective](log_s, log_ts),
            "teacher_space": kl(log_t, log_st),
        }

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Texts of 5 tokens for either side, and vocabularies of 7."""
        names = ("targets", "teacher_targets", "student_input_ids", "teacher_input_ids")
        inputs: dict[str, Any] = {name: torch.randint(7, (6, 5)) for name in names}
        for name in names[:2]:
            inputs[name][:, 0] = IGNORED
        for side in ("student", "teacher"):
            inputs[f"{side}_vocabulary"] = torch.randn(7, 4), torch.randn(7, 4)
        return torch.randn(6, 5, 4), torch.randn(6, 5, 4), inputs


def words(embedding: Tensor, ids: Tensor, tokens: Tensor) -> Tensor:
    """The embeddings of tokens (B, T), without gradient; where they don't count, those of token 0."""
    return F.embedding(ids.masked_fill(~tokens, 0), embedding.detach())


def scaled(x: Tensor) -> Tensor:
    """x / std x over the whole tensor."""
    return x / x.std().clamp_min(torch.finfo(x.dtype).tiny)
