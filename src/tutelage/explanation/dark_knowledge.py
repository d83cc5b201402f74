"""Dark knowledge: what a teacher's probabilities hold beyond its prediction, and how much of it a student has."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tutelage.explanation.agreement import margins
from tutelage.explanation.base import Explanation, OverSeeds, Words
from tutelage.explanation.classes import class_rows
from tutelage.explanation.opened_run import OpenedRun
from tutelage.utils.intervals import paired_differences, verdict

RANKED, PAIRS = 2_000, 2**24
"""The most rows whose ranks are compared, and the pairs of classes that are held at once."""
ZHAO = "Zhao, Cui, Song, Qiu, Liang. Decoupled knowledge distillation. CVPR 2022"
SOFTNESS = Words(
    "softness",
    "How soft the outputs are",
    "With an effective number of classes, exp(entropy), near 1 an output is hardly more than its prediction: if it is "
    "a teacher's, raise the temperature, or use a teacher that is less sure, to have more to learn from.",
    "Hinton, Vinyals, Dean. Distilling the knowledge in a neural network. NIPS workshop 2014; Müller, Kornblith, "
    "Hinton. When does label smoothing help? NeurIPS 2019",
)
PARTS = Words(
    "parts",
    "Target and other classes",
    "KL to the teacher is that of the label's probability plus that of the other classes weighed by the teacher's "
    "probability of them: where the second part is small at temperature 1, a sure teacher hides it from the student.",
    ZHAO,
)
RANKS = Words(
    "ranks",
    "Rank agreement of the other classes",
    "Whether student and teacher order the classes other than the label alike, from −1 to 1: higher taught than alone "
    "means that the student learned which classes resemble each other.",
    "Kendall. Biometrika 1938 (tau-b); Spearman. American Journal of Psychology 1904; Huang, You, Wang, Qian, Xu. "
    "Knowledge distillation from a stronger teacher. NeurIPS 2022, for relations in place of values",
)


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy of each row's probabilities, in nats."""
    return torch.special.entr(logits.double().softmax(1)).sum(1)


def without_target(x: Tensor, targets: Tensor) -> Tensor:
    """Return the columns (N, C − 1) of the classes other than each row's label, in order."""
    rest = torch.arange(x.shape[1]) != targets[:, None]
    return x[rest].view(len(x), -1)


def softness(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """Return the means of entropy, effective classes, margin, and probability of the label and of the others."""
    probabilities = logits.double().softmax(1)
    own, h = probabilities.gather(1, targets[:, None])[:, 0], entropy(logits)
    others = without_target(logits.double(), targets)
    return {
        "entropy, nats": float(h.mean()),
        "effective classes": float(h.exp().mean()),
        "effective classes at temperature 4": float(entropy(logits / 4).exp().mean()),
        "effective classes among the others": float(entropy(others).exp().mean()) if others.shape[1] else float("nan"),
        "margin": float(margins(logits).mean()),
        "probability of the label": float(own.mean()),
        "probability of the others": float((1 - own).mean()),
    }


def parts(student: Tensor, teacher: Tensor, targets: Tensor) -> dict[str, float]:
    """Return KL(teacher ‖ student) = KL(b_t ‖ b_s) + (1 − p_t) KL(q_t ‖ q_s) in its parts, as means.

    b: the probabilities of the label and of all others; q: those of the others, given that it is one of them.
    """
    s, t = student.double(), teacher.double()
    own_s, own_t = (x.log_softmax(1).gather(1, targets[:, None])[:, 0] for x in (s, t))
    rest_s, rest_t = (without_target(x, targets) for x in (s, t))
    mass_s, mass_t = (rest.logsumexp(1) - x.logsumexp(1) for rest, x in ((rest_s, s), (rest_t, t)))
    of_target = own_t.exp() * (own_t - own_s) + mass_t.exp() * (mass_t - mass_s)
    q_s, q_t = rest_s.log_softmax(1), rest_t.log_softmax(1)
    of_others = (q_t.exp() * (q_t - q_s)).sum(1)
    return {
        "KL of the label": float(of_target.mean()),
        "KL of the others, weighed": float((mass_t.exp() * of_others).mean()),
        "KL of the others": float(of_others.mean()),
    }


def kendall(x: Tensor, y: Tensor) -> Tensor:
    """Return Kendall's tau-b of each row of two tables (N, C); 0 where one side is constant."""
    chunk = max(1, PAIRS // x.shape[1] ** 2)
    return torch.cat([_kendall(a, b) for a, b in zip(x.split(chunk), y.split(chunk), strict=True)])


def _kendall(x: Tensor, y: Tensor) -> Tensor:
    upper = torch.triu_indices(x.shape[1], x.shape[1], 1)
    a, b = ((z[:, upper[0]] - z[:, upper[1]]).sign() for z in (x, y))
    untied = (a.square().sum(1) * b.square().sum(1)).sqrt()
    return (a * b).sum(1) / untied.clamp_min(1)


def spearman(x: Tensor, y: Tensor) -> Tensor:
    """Return the correlation of ranks, ties at their mean rank, of each row of two tables; 0 if one is constant."""
    ranks = [_ranks(z) for z in (x, y)]
    a, b = (r - r.mean(1, keepdim=True) for r in ranks)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-12)


def _ranks(x: Tensor) -> Tensor:
    from scipy.stats import rankdata

    return torch.from_numpy(rankdata(x.numpy(), axis=1))


def rank_agreement(student: Tensor, teacher: Tensor, targets: Tensor) -> dict[str, float]:
    """Return the mean rank correlations of the classes other than the label, of some rows evenly spread."""
    rows = torch.linspace(0, len(targets) - 1, min(len(targets), RANKED)).long()
    s, t = (without_target(x[rows], targets[rows]) for x in (student, teacher))
    return {"Kendall's tau": float(kendall(s, t).mean()), "Spearman's rho": float(spearman(s, t).mean())}


def figures(opened: OpenedRun) -> list[Explanation]:
    """Return the figures of dark knowledge."""
    rows = class_rows(opened, "test")
    soft = rows.of_each(softness)
    each = ", ".join(f"{opened.labels[role].lower()} {x['effective classes'].mean:.2f}" for role, x in soft.items())
    reading = f"Effective number of {len(opened.data.classes)} classes at temperature 1: {each}."
    shown = [SOFTNESS.as_numbers(opened.labels, soft, reading)]
    if "teacher" in rows.logits:
        shown.append(PARTS.as_numbers(opened.labels, rows.to_teacher(parts), wide=False))
    if "teacher" in rows.logits and len(opened.data.classes) > 2:
        ranks = rows.to_teacher(rank_agreement)
        shown.append(RANKS.as_numbers(opened.labels, ranks, _compare(ranks), wide=False))
    return shown


def _compare(ranks: Mapping[str, Mapping[str, OverSeeds]]) -> str:
    """Return whether taught orders the classes more like the teacher than alone, over seeds; empty without alone."""
    if {"baseline", "student"} - ranks.keys():
        return ""
    taught, alone = (ranks[role]["Kendall's tau"].values for role in ("student", "baseline"))
    if len(taught) < 2:
        return "One seed: the difference between taught and alone has no interval."
    words = {"beats": "more like", "worse": "less like", "undecided": "not surely more or less like"}
    where = words[verdict(paired_differences(taught, alone))]
    return f"Over {len(taught)} seeds taught orders them {where} the teacher than alone."
