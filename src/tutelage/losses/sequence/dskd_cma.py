"""Zhang, Zhang, Sun, Chen, Xu: a shared space for student and teacher with different tokenisers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.losses.base import IGNORE_INDEX, Sequence
from tutelage.losses.functional.divergence import kl
from tutelage.losses.sequence.dskd import OBJECTIVES, Objective
from tutelage.utils.options import Temperature


class DSKDCMA(Sequence):
    r"""DSKD for two tokenisers: each side's tokens attend to the other's.

    x̂ = x / std x over the whole tensor; e, e' the embeddings of the input token and of the target token;
    A = Q·[e_s; e'_s]·[e_t; e'_t]^ᵀ/√(2D'), for pairs of labelled tokens;
    z_ts = sg(H_s)·softmax(A)·P_t·(ĥ_t + ê'_t);  z_st = H_t·softmax(Aᵀ)·P_s·h_s;
    L = CE(z_ts, y) + [argmax z_ts = y]·D(z_s/T, sg(z_ts)/(T·T_t)) + KL(z_t/T ‖ z_st/T): the parts "truth",
    "student_space" and "teacher_space".

    Shapes: student (B, T, D), teacher (B, T', D') last hidden states of the same texts, targets (B, T) and
    teacher_targets (B, T') int64, −100 at positions that don't count, student_input_ids and teacher_input_ids the input
    tokens; student_vocabulary ((V, D), (V, D)), teacher_vocabulary ((V', D'), (V', D')): the embeddings and the heads
    H. The projections P and Q are trained. The parts are (N,), (N,) and (N',).
    Paper: Zhang, Zhang, Sun, Chen, Xu. EMNLP 2024. arXiv:2406.17328, section 3.2. No T²; the authors' code sums over
    the tokens, and divides by the student's number of tokens outside the loss.
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
        tokens_s, tokens_t = self.tokens(student, targets), self.tokens(teacher, teacher_targets)
        y_s, y_t = self.align_targets(targets), self.align_targets(teacher_targets)
        query = self.query(torch.cat([embed_tokens(embed_s, x, tokens_s) for x in (student_input_ids, y_s)], dim=-1))
        target_embeddings = embed_tokens(embed_t, y_t, tokens_t)
        key = scaled(torch.cat([embed_tokens(embed_t, teacher_input_ids, tokens_t), target_embeddings], dim=-1))
        align = query @ key.mT / key.shape[-1] ** 0.5 - 1e5 * (~(tokens_s[:, :, None] & tokens_t[:, None])).to(query)

        h_ts = (align.softmax(-1) @ self.t2s(scaled(teacher) + scaled(target_embeddings)))[tokens_s]
        h_st = (align.mT.softmax(-1) @ self.s2t(student))[tokens_t]
        z_s, z_ts = F.linear(student[tokens_s], head_s), F.linear(h_ts, head_s.detach())
        z_t, z_st = F.linear(teacher[tokens_t], head_t), F.linear(h_st, head_t)
        correct = (z_ts.argmax(1) == y_s[tokens_s]).to(z_ts)
        z_ts_target = z_ts.detach() / self.teacher_temperature
        log_s, log_ts, log_t, log_st = (
            F.log_softmax(z / self.temperature, dim=1) for z in (z_s, z_ts_target, z_t, z_st)
        )
        return {
            "truth": F.cross_entropy(z_ts, y_s[tokens_s], reduction="none"),
            "student_space": correct * OBJECTIVES[self.objective](log_s, log_ts),
            "teacher_space": kl(log_t, log_st),
        }

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Texts of 5 tokens for each side, and vocabularies of 7."""
        names = ("targets", "teacher_targets", "student_input_ids", "teacher_input_ids")
        inputs: dict[str, Any] = {name: torch.randint(7, (6, 5)) for name in names}
        for name in names[:2]:
            inputs[name][:, 0] = IGNORE_INDEX
        for side in ("student", "teacher"):
            inputs[f"{side}_vocabulary"] = torch.randn(7, 4), torch.randn(7, 4)
        return torch.randn(6, 5, 4), torch.randn(6, 5, 4), inputs


def embed_tokens(embedding: Tensor, ids: Tensor, tokens: Tensor) -> Tensor:
    """Return the embeddings of tokens (B, T), without gradient; that of token 0 at positions that don't count."""
    return F.embedding(ids.masked_fill(~tokens, 0), embedding.detach())


def scaled(x: Tensor) -> Tensor:
    """Return x / std x, over the whole tensor."""
    return x / x.std().clamp_min(torch.finfo(x.dtype).tiny)
