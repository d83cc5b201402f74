"""Gradients: whether the terms of a method pull the student in one direction at the end of its training."""

from __future__ import annotations

from collections.abc import Mapping
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
    """Return the cosine of two gradients over the parameters that both reach; NaN if they share none."""
    both = [(x.flatten(), y.flatten()) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if not both:
        return float("nan")
    x, y = (torch.cat(side).double() for side in zip(*both, strict=True))
    return float(x @ y / (x.norm() * y.norm()).clamp_min(1e-300))


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


def _conflict(player: str, terms: Mapping[str, Gradients]) -> Explanation:
    """Return the norms and cosines of a player's terms."""
    names = [*terms]
    cosines = [[cosine(terms[a], terms[b]) for b in names] for a in names]
    norms = {name: norm_of(gradients) for name, gradients in terms.items()}
    pairs = [(cosines[i][j], names[i], names[j]) for i in range(len(names)) for j in range(i) if cosines[i][j] < 0]
    worst = min(pairs, default=None)
    found = "no two terms point apart" if worst is None else f"{worst[2]} and {worst[1]} have cosine {worst[0]:.2f}"
    strong, weak = max(norms, key=norms.__getitem__), min(norms, key=norms.__getitem__)
    ratio = f"{norms[strong] / norms[weak]:.3g}" if norms[weak] else "infinitely"
    reading = (
        f"Mean gradients of up to {BATCHES} training batches at the end of the first student's training, over the "
        f"parameters that both terms reach: {found}; the gradient of {strong} is {ratio} times that of {weak}."
    )
    name = CONFLICT.name if player == "student" else f"{CONFLICT.name}_{player}"
    title = CONFLICT.title if player == "student" else f"{CONFLICT.title}: {player}"
    drawn = [[0.0 if x != x else x for x in row] for row in cosines]
    drawing = draw_heat_map("cosine of gradients", "student", drawn, names, names)  # type: ignore[arg-type]
    table = [[a, format_decimal(norms[a]), *map(format_decimal, row)] for a, row in zip(names, cosines, strict=True)]
    words = Words(name, title, CONFLICT.meaning, CONFLICT.source)
    values = {"terms": names, "norms": norms, "cosines": cosines}
    return words.as_chart(drawing, [], (["Term", "Norm", *names], table), values, reading)
