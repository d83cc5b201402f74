"""Boizard, El Haddad, Hudelot, Colombo: student and teacher with different vocabularies."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import IGNORE_INDEX, Sequence
from tutelage.losses.functional.tokens import mean_by_sequence
from tutelage.utils.options import Temperature


class ULD(Sequence):
    r"""Match the sorted probabilities of tokens, regardless of the tokens themselves, for two tokenisers.

    p↓ = softmax(z/T), sorted from the largest, padded with zeros to the larger vocabulary;
    L = mean over an answer's tokens of Σ_v |s↓_v − t↓_v|, one value per answer; the longer answer is truncated.

    Shapes: student (B, T, V), teacher (B, T', V') logits, targets (B, T) and teacher_targets (B, T') int64: −100 before
    and after one run of tokens, the answer; returns (B,). skip_student_eos, skip_teacher_eos: leave out the last token.
    Paper: Boizard, El Haddad, Hudelot, Colombo. TMLR 2025. arXiv:2402.12030, eq. 4. The authors' code has `shift`, and
    reads an answer that starts at the first position from position 0.
    Raises: ConfigError if a temperature isn't above 0, or the batches differ in size.
    """

    paper = "Boizard, El Haddad, Hudelot, Colombo. TMLR 2025. arXiv:2402.12030"
    only_for = "language models"
    class_dim = None
    ignores = ("shift of logits", "swapped sides")

    student_temperature: Temperature = 1.0
    teacher_temperature: Temperature = 1.0
    skip_student_eos: bool = False
    skip_teacher_eos: bool = False

    def forward(self, student: Tensor, teacher: Tensor, *, targets: Tensor, teacher_targets: Tensor) -> Tensor:
        if len(student) != len(teacher):
            raise ConfigError(
                f"ULD: {len(student)} student sequences and {len(teacher)} teacher sequences, expected equal numbers."
            )
        start_s, length_s = self.answer_span(targets, self.skip_student_eos)
        start_t, length_t = self.answer_span(teacher_targets, self.skip_teacher_eos)
        place = torch.arange(min(student.shape[1], teacher.shape[1]), device=student.device)
        tokens = place < torch.minimum(length_s, length_t)[:, None]
        sample, place = tokens.nonzero(as_tuple=True)
        s = descending(student[sample, start_s[sample] + place] / self.student_temperature)
        t = descending(teacher[sample, start_t[sample] + place] / self.teacher_temperature)
        size = max(s.shape[1], t.shape[1])
        s, t = (F.pad(x, (0, size - x.shape[1])) for x in (s, t))
        return mean_by_sequence((s - t).abs().sum(1), tokens)

    def answer_span(self, targets: Tensor, skip_last: bool) -> tuple[Tensor, Tensor]:
        """Return the position that predicts an answer's first token, and its number of tokens, (B,) each."""
        ignored = targets == IGNORE_INDEX
        before = ignored.long().cumprod(1).sum(1)
        return (before - int(self.shift)).clamp_min(0), (~ignored).sum(1) - int(skip_last)

    @classmethod
    def example(cls) -> tuple[Any, Any, dict[str, Any]] | None:
        """Answers of 4 tokens on each side, with equal vocabularies."""
        targets, teacher_targets = torch.randint(7, (6, 5)), torch.randint(7, (6, 5))
        targets[:, 0] = teacher_targets[:, 0] = IGNORE_INDEX
        return torch.randn(6, 5, 7), torch.randn(6, 5, 7), {"targets": targets, "teacher_targets": teacher_targets}


def descending(logits: Tensor) -> Tensor:
    """Return the probabilities (N, V) from the largest to the smallest."""
    return logits.softmax(1).sort(dim=1, descending=True).values
