"""Measure the cost of divergences over a large vocabulary: 512 tokens of 32,000, in chunks and all tokens at once.

    python bench/vocabulary.py

Memory: the increase of the peak by forward and backward in a process that holds the logits of both sides, including the
student's gradient; each variant in a separate process. Time: forward and backward. With three quarters of the tokens
masked: the generalised Jensen–Shannon divergence relative to TRL's form, which computes all tokens and then masks.
"""

from __future__ import annotations

import math
import resource
import subprocess
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from measure import conclude, least_seconds, show
from torch import Tensor

from tutelage.losses.base import IGNORE_INDEX
from tutelage.losses.sequence.gkd import GKD

TOKENS, VOCABULARY = 512, 32_000
MEMORY, TIME, MASKED = 0.25, 1.1, 0.25
ROUNDS = 5
LOSSES = {"gkd": GKD(0.5), "forward_kl": GKD(0.0), "reverse_kl": GKD(1.0)}
FORMS = ("chunked", "plain")


def logits(tokens: int = TOKENS) -> tuple[Tensor, Tensor]:
    """Return the student's and the teacher's logits, (1, T, V) each."""
    torch.manual_seed(0)
    return torch.randn(1, tokens, VOCABULARY, requires_grad=True), torch.randn(1, tokens, VOCABULARY)


def step(name: str, form: str, student: Tensor, teacher: Tensor) -> None:
    """Run forward and backward; the plain form is the same formula by autograd, over all tokens at once."""
    student.grad = None
    loss = LOSSES[name]
    values = loss(student, teacher) if form == "chunked" else loss.divergence(student.flatten(0, 1), teacher[0])
    values.mean().backward()


def trl(student: Tensor, teacher: Tensor, labels: Tensor, beta: float = 0.5) -> Tensor:
    """Compute TRL's generalised Jensen–Shannon divergence: at all tokens, then masked."""
    s, t = F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1)
    m = torch.logsumexp(torch.stack([s + math.log1p(-beta), t + math.log(beta)]), dim=0)
    to_teacher, to_student = (F.kl_div(m, x, reduction="none", log_target=True) for x in (t, s))
    jsd = beta * to_teacher + (1 - beta) * to_student
    mask = labels != IGNORE_INDEX
    return jsd[mask].sum() / mask.sum()


def peak() -> float:
    """Return the peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def print_peak(name: str, form: str) -> None:
    """Print the increase of the peak by a step, in MB, after a small step that triggers lazy loading."""
    torch.set_num_threads(1)
    step(name, form, *logits(2))
    student, teacher = logits()
    before = peak()
    step(name, form, student, teacher)
    print(peak() - before)


def added(name: str, form: str) -> float:
    """Return the increase of the peak in MB, measured in a new process."""
    return float(subprocess.run([sys.executable, __file__, name, form], check=True, capture_output=True).stdout)


def masked_steps() -> dict[str, Callable[[], None]]:
    """Return the steps of Tutelage's and TRL's form, with every fourth token labelled."""
    student, teacher = logits()
    labels = torch.full((1, TOKENS), IGNORE_INDEX)
    labels[:, ::4] = 0
    loss = LOSSES["gkd"]

    def chunked() -> None:
        student.grad = None
        loss(student, teacher, targets=labels).mean().backward()

    def everywhere() -> None:
        student.grad = None
        trl(student, teacher, labels).backward()

    chunked()
    expected = student.grad
    everywhere()
    torch.testing.assert_close(student.grad, expected, rtol=1e-3, atol=1e-9)
    return {"masked_gkd": chunked, "masked_trl": everywhere}


def main() -> None:
    """Measure, print, and exit with 1 if a value exceeds its bound."""
    figures = []
    for name in LOSSES:
        memory = {form: added(name, form) for form in FORMS}
        print(f"{name}: " + ", ".join(f"{form} {megabytes:.0f} MB" for form, megabytes in memory.items()))
        figures.append((f"{name}_memory_chunked/plain", memory["chunked"] / memory["plain"], MEMORY))
    student, teacher = logits()
    for name in LOSSES:
        seconds = least_seconds({form: lambda n=name, f=form: step(n, f, student, teacher) for form in FORMS}, ROUNDS)
        show({f"{name}_{form}": value for form, value in seconds.items()}, f"{name}_plain")
        figures.append((f"{name}_time_chunked/plain", seconds["chunked"] / seconds["plain"], TIME))
    seconds = least_seconds(masked_steps(), ROUNDS)
    show(seconds, "masked_trl")
    figures.append(("masked_gkd_time/trl", seconds["masked_gkd"] / seconds["masked_trl"], MASKED))
    conclude(figures)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print_peak(*sys.argv[1:])
    else:
        main()
