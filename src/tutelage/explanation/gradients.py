"""Gradients: whether the terms of a method pull the student in one direction at the end of its training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor

from tutelage.explanation.base import Explanation, NotApplicable, Words
from tutelage.explanation.opened_run import OpenedRun
from tutelage.report.components import format_decimal
from tutelage.report.svg_charts import draw_heat_map
from tutelage.runs.scheme_context import build_scheme
from tutelage.schemes.base import Scheme, display_name, unwrap
from tutelage.training import checkpoint
from tutelage.training.batches import TrainingBatches
from tutelage.training.fabric import seed_everything
from tutelage.training.gradient_norms import Gradients, norm_of, term_gradients

BATCHES = 4
"""The training batches that are measured."""
CONFLICT = Words(
    "conflict",
    "Conflict between terms",
    "Terms whose gradients point apart (cosine below 0) undo each other's steps, and one with a far larger norm "
    "decides alone: lower a weight, or let it end before the training does.",
    "Yu, Kumar, Gupta, Levine, Hausman, Finn. Gradient surgery for multi-task learning. NeurIPS 2020; Du, Czarnecki, "
    "Jayakumar, Farajtabar, Pascanu, Lakshminarayanan. Adapting auxiliary losses using gradient similarity. "
    "arXiv:1812.02224",
)


def cosine(a: Gradients, b: Gradients) -> float:
    """Return the cosine of two gradients over the parameters that both reach; NaN if there are none or one is 0."""
    both = [(x.flatten(), y.flatten()) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if not both:
        return float("nan")
    x, y = (torch.cat(side).double() for side in zip(*both, strict=True))
    norms = float(x.norm() * y.norm())
    return float(x @ y) / norms if norms else float("nan")


def add(a: Gradients, b: Gradients) -> list[Tensor | None]:
    """Return the sum of two gradients; a parameter that one doesn't reach has the other's."""
    return [y if x is None else x if y is None else x + y for x, y in zip(a, b, strict=True)]


def figures(opened: OpenedRun) -> list[Explanation]:
    """Return the figure of conflict, of the first student at the end of its training."""
    run, phase = opened.run, opened.phase
    if run.plan.is_fitted(phase):
        raise NotApplicable("the student was fitted in one go, without gradients")
    scheme, batches = _at_the_end(opened)
    epoch = max(run.plan.settings(phase).epochs - 1, 0)
    sums: dict[str, Gradients] = {}
    for step, batch in enumerate(islice(batches.train(epoch), BATCHES)):
        for name, gradients in term_gradients(scheme, batch, epoch * batches.steps + step):
            sums[name] = add(sums[name], gradients) if name in sums else gradients
    count = min(BATCHES, batches.steps)
    players: dict[str, dict[str, Gradients]] = {}
    for name, total in sums.items():
        mean = [None if g is None else g / count for g in total]
        players.setdefault(name.partition("/")[0], {})[display_name(name)] = mean
    shown = [_conflict(player, terms) for player, terms in players.items() if len(terms) > 1]
    if not shown:
        raise NotApplicable("no student of the run has several terms")
    return shown


def _at_the_end(opened: OpenedRun) -> tuple[Scheme, TrainingBatches]:
    """Return the first student's scheme with the state of its last checkpoint, and its training batches.

    Raises: NotApplicable if that checkpoint is gone.
    """
    run, phase = opened.run, opened.phase
    saved = checkpoint.load(run.folder / phase.name / "checkpoints", lambda message: None)
    if saved is None:
        raise NotApplicable("the last checkpoint of the student's training is gone")
    seed_everything(phase.seed)
    scheme, context = build_scheme(run.builder, phase)
    batches = TrainingBatches(context.data, run.plan.settings(phase), run.fabric, scheme.batching)
    scheme.to(run.fabric.device)
    scheme.wire(next(iter(batches.train(0))), len(context.data.train))
    scheme.to(run.fabric.device)
    for name, player in scheme.players.items():
        unwrap(player).load_state_dict(saved["players"][name])
    scheme.load_checkpoint_state(saved["scheme"])
    return scheme.train(), batches


def find_conflict(names: Sequence[str], cosines: Sequence[Sequence[float]]) -> str:
    """Return in words which two terms point apart most, where both have a gradient."""
    pairs = [(cosines[i][j], names[j], names[i]) for i in range(len(names)) for j in range(i)]
    known = [pair for pair in pairs if math.isfinite(pair[0])]
    if not known:
        return "no two terms have a gradient for the same parameters"
    worst, a, b = min(known)
    if worst >= 0:
        return "over the parameters that both reach, no two terms point apart"
    return f"over the parameters that both reach, {a} and {b} have cosine −{-worst:.2f}"


def compare_norms(norms: Mapping[str, float]) -> list[str]:
    """Return in words which norms are 0, and the largest ratio of two of one network, as "peer0/ce" is of peer0."""
    pairs = [(a, b) for a in norms for b in norms if a != b and a.rpartition("/")[0] == b.rpartition("/")[0]]
    ratios = [(norms[a] / norms[b], a, b) for a, b in pairs if norms[a] and norms[b]]
    largest = sorted(ratios)[-1:]
    zeros = [f"the gradient of {name} is 0" for name, norm in norms.items() if norm == 0]
    return zeros + [f"the gradient of {a} is {ratio:.3g} times that of {b}" for ratio, a, b in largest]


def _conflict(player: str, terms: Mapping[str, Gradients]) -> Explanation:
    """Return the norms and cosines of a player's terms."""
    names = [*terms]
    cosines = [[cosine(terms[a], terms[b]) for b in names] for a in names]
    norms = {name: norm_of(gradients) for name, gradients in terms.items()}
    reading = (
        f"Mean gradients of up to {BATCHES} training batches at the end of the first student's training: "
        f"{'; '.join([find_conflict(names, cosines), *compare_norms(norms)])}."
    )
    name = CONFLICT.name if player == "student" else f"{CONFLICT.name}_{player}"
    title = CONFLICT.title if player == "student" else f"{CONFLICT.title}: {player}"
    drawing = draw_heat_map("cosine of gradients", "student", cosines, names, names)  # type: ignore[arg-type]
    table = [[a, format_decimal(norms[a]), *map(format_decimal, row)] for a, row in zip(names, cosines, strict=True)]
    words = Words(name, title, CONFLICT.meaning, CONFLICT.source)
    values = {"terms": names, "norms": norms, "cosines": cosines}
    return words.as_chart(drawing, [], (["Term", "Norm", *names], table), values, reading)
