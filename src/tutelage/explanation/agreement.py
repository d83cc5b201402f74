"""Agreement with the teacher: overall, by difficulty and by class; fidelity against accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.explanation.base import Explanation, OverSeeds, Words, over_seeds
from tutelage.explanation.classes import ClassRows, class_rows, distinct
from tutelage.explanation.opened_run import OpenedRun
from tutelage.report.components import format_count, format_decimal, format_percent
from tutelage.report.svg_charts import Line, draw_lines

QUANTILES, CLASSES = 5, 20
"""Groups of samples by difficulty, and the most classes in the table."""
STANTON = "Stanton, Izmailov, Kirichenko, Alemi, Wilson. Does knowledge distillation really work? NeurIPS 2021"
FIDELITY = Words(
    "fidelity",
    "Fidelity and accuracy",
    "Agreement is the share of samples with the same most probable class as the teacher: a student may be accurate "
    "without imitating its teacher, and one that agrees where the teacher errs has copied its errors.",
    STANTON,
)
DIFFICULTY = Words(
    "difficulty",
    "Agreement by difficulty",
    "Samples in groups of equal size by the teacher's loss: where agreement falls, the student doesn't follow the "
    "teacher on what is hard for it.",
    STANTON,
)
MARGIN = Words(
    "margin",
    "Agreement by the teacher's margin",
    "The margin is the difference of the teacher's two largest probabilities: students that part with their teacher "
    "at small margins differ from it only in doubtful cases.",
    STANTON,
)
BY_CLASS = Words(
    "classes",
    "Agreement by class",
    "The classes on which the student imitates its teacher worst: they need more samples, or a larger student.",
    STANTON,
)


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Return KL(teacher ‖ student) in nats of each row; logits (N, C)."""
    s, t = student.log_softmax(1), teacher.log_softmax(1)
    return F.kl_div(s, t, reduction="none", log_target=True).sum(1)


def agrees(student: Tensor, teacher: Tensor) -> Tensor:
    """Return whether both have the same most probable class, of each row."""
    return student.argmax(1) == teacher.argmax(1)


def margins(logits: Tensor) -> Tensor:
    """Return the difference of the two largest probabilities of each row."""
    first, second = logits.softmax(1).topk(2, dim=1).values.unbind(1)
    return first - second


def equal_groups(values: Tensor, groups: int) -> list[Tensor]:
    """Return the rows of each of several groups of equal size, by ascending value; ties in order of the rows."""
    return [*values.argsort(stable=True).tensor_split(min(groups, len(values)))]


def fidelity(student: Tensor, teacher: Tensor, targets: Tensor) -> dict[str, float]:
    """Return accuracy, agreement in all and where the teacher is right or wrong, and KL(teacher ‖ student)."""
    same, right = agrees(student, teacher).float(), teacher.argmax(1) == targets
    return {
        "accuracy": float((student.argmax(1) == targets).float().mean()),
        "agreement": float(same.mean()),
        "agreement where the teacher is right": _mean(same[right]),
        "agreement where it is wrong": _mean(same[~right]),
        "KL": float(divergence(student, teacher).mean()),
    }


def _mean(x: Tensor) -> float:
    return float(x.mean()) if len(x) else float("nan")


def figures(opened: OpenedRun) -> list[Explanation]:
    """Return the figures of agreement."""
    rows = class_rows(opened, "test", teacher=True)
    loss = F.cross_entropy(rows.logits["teacher"][0], rows.targets, reduction="none")
    return [
        _fidelity(opened, rows),
        _by_difficulty(opened, rows, DIFFICULTY, loss, "teacher's loss"),
        _by_difficulty(opened, rows, MARGIN, -margins(rows.logits["teacher"][0]), "falling margin"),
        _by_class(opened, rows),
    ]


def _fidelity(opened: OpenedRun, rows: ClassRows) -> Explanation:
    values, labels = rows.to_teacher(fidelity), opened.labels
    accuracy = OverSeeds(
        [float((t.argmax(1) == rows.targets).float().mean()) for t in distinct(rows.logits["teacher"])]
    )
    names = [name for name in next(iter(values.values())) if name not in ("accuracy", "KL")]
    table = [["Accuracy", accuracy.percent(), *(v["accuracy"].percent() for v in values.values())]]
    table += [[name.capitalize(), "–", *(v[name].percent() for v in values.values())] for name in names]
    table.append(["KL(teacher ‖ student), nats", "–", *(v["KL"].text() for v in values.values())])
    head = ["", labels["teacher"], *(labels[role] for role in values)]
    shares = ", ".join(f"{labels[role].lower()} {v['agreement'].percent()}" for role, v in values.items())
    reading = f"Of {format_count(len(rows.targets))} test rows, agreement with the teacher: {shares}."
    return FIDELITY.as_table(head, table, {"teacher": {"accuracy": accuracy}, **values}, reading)


def _by_difficulty(opened: OpenedRun, rows: ClassRows, words: Words, hardness: Tensor, x: str) -> Explanation:
    groups = equal_groups(hardness, QUANTILES)
    values = {role: [_of_rows(rows, role, group) for group in groups] for role in rows.students}
    labels = opened.labels
    lines = [
        Line(role, labels[role], [(k + 1, group["agreement"].mean) for k, group in enumerate(of_role)])
        for role, of_role in values.items()
    ]
    drawing = draw_lines(words.title, lines, x=f"group by {x}, easy to hard", value_text=format_percent,
                         tick=format_percent)  # fmt: skip
    kinds = [(role, name) for role in values for name in ("agreement", "accuracy", "KL")]
    head = ["Group", *(f"{labels[role]}: {name}" for role, name in kinds)]
    table = [
        [str(k + 1),
         *((format_decimal if n == "KL" else format_percent)(values[role][k][n].mean) for role, n in kinds)]
        for k in range(len(groups))
    ]  # fmt: skip
    return words.as_chart(drawing, [(line.style, line.label) for line in lines], (head, table), values)


def _of_rows(rows: ClassRows, role: str, group: Tensor) -> dict[str, OverSeeds]:
    pairs = zip(rows.logits[role], rows.logits["teacher"], strict=True)
    per_seed: Sequence[dict[str, float]] = [fidelity(s[group], t[group], rows.targets[group]) for s, t in pairs]
    return {name: x for name, x in over_seeds(per_seed).items() if name in ("accuracy", "agreement", "KL")}


def _by_class(opened: OpenedRun, rows: ClassRows) -> Explanation:
    last, labels = rows.students[-1], opened.labels
    present = [int(c) for c in rows.targets.unique()]
    values = {
        opened.data.classes[c]: {
            role: _of_rows(rows, role, (rows.targets == c).nonzero()[:, 0]) for role in rows.students
        }
        for c in present
    }
    worst = sorted(values, key=lambda name: -values[name][last]["KL"].mean)[:CLASSES]
    head = ["Class", *(f"{labels[role]}: {name}" for role in rows.students for name in ("agreement", "KL"))]
    table = [
        [name, *(text for role in rows.students for text in (
            values[name][role]["agreement"].percent(), format_decimal(values[name][role]["KL"].mean)))]
        for name in worst
    ]  # fmt: skip
    shown = "" if len(worst) == len(values) else f"The {len(worst)} of {len(values)} classes with the largest KL."
    counts = torch.bincount(rows.targets, minlength=len(opened.data.classes)).tolist()
    by_class = {
        name: {"rows": counts[opened.data.classes.index(name)], **of_roles} for name, of_roles in values.items()
    }
    return BY_CLASS.as_table(head, table, by_class, shown)
