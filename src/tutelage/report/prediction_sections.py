"""The sections that compare models sample by sample and class by class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from tutelage.report.components import (
    Block,
    Figure,
    ImageBlock,
    MissingDataError,
    Section,
    Table,
    WideFigure,
    WideTable,
    format_decimal,
    format_percent,
    mean,
)
from tutelage.report.masks import encode_png
from tutelage.report.metrics import (
    Array,
    agreement,
    calibration_error,
    divergence,
    error_rates,
    iou,
    largest,
    log_loss,
    outcomes,
    recall,
    reliability,
)
from tutelage.report.run_record import ROLES, RunRecord
from tutelage.report.svg_charts import draw_bars, draw_confusion, draw_reliability, draw_stacked_bars

CLASSES, PAIRS, EXAMPLES, PIXELS, LONG = 20, 15, 15, 96, 18
STYLES = {
    "both right": "both",
    "only the student right": "student",
    "only the teacher right": "teacher",
    "both wrong": "wrong",
}
AGREEMENT_ROWS = ("Same class", "KL(teacher ‖ student), nats", *(name.capitalize() for name in STYLES))


@dataclass(frozen=True)
class Predictions:
    """A classifier's predictions on the split that judges: index (N,), targets (N,), probabilities (N, C)."""

    index: Any
    targets: Any
    probabilities: Any

    def __post_init__(self) -> None:
        if self.probabilities.ndim != 2:
            raise MissingDataError(f"probabilities have the shape {self.probabilities.shape}")
        outside = (self.targets < 0) | (self.targets >= self.probabilities.shape[1])
        if outside.any():
            raise MissingDataError(f"{int(outside.sum())} targets aren't class numbers")


def predictions_of(run: RunRecord, role: str) -> list[Predictions]:
    """Return the predictions of a role, one per seed."""
    arrays = [phase.predictions for phase in run.phases_with_role(role)]
    known = [x for x in arrays if {"targets", "probabilities"} <= {*x}]
    return [Predictions(x["index"], x["targets"], x["probabilities"]) for x in known]


def align_samples(a: Predictions, b: Predictions) -> tuple[Array, Array, Any]:
    """Return both models' probabilities and the targets of the samples that both models have predicted."""
    _, i, j = np.intersect1d(a.index, b.index, return_indices=True)
    if len(i) == 0 or a.probabilities.shape[1] != b.probabilities.shape[1]:
        raise MissingDataError("the models' predictions have different samples or classes")
    return a.probabilities[i], b.probabilities[j], a.targets[i]


def teacher_agreement(run: RunRecord) -> Section:
    """Compare each student's predictions with the teacher's."""
    teachers = predictions_of(run, "teacher")
    roles = [role for role in ("baseline", "student") if predictions_of(run, role)]
    if not teachers or not roles:
        raise MissingDataError("it needs predictions.npz of the teacher and of a student")
    rows, bands = [], []
    for role in roles:
        pairs = [align_samples(predictions, teachers[0]) for predictions in predictions_of(run, role)]
        fractions = {name: mean([outcomes(*pair)[name] for pair in pairs]) or 0.0 for name in STYLES}
        label = run.label(role)
        same, kl = mean([agreement(s, t) for s, t, _ in pairs]), mean([divergence(s, t) for s, t, _ in pairs])
        rows.append(
            [label, format_percent(same), format_decimal(kl), *(format_percent(value) for value in fractions.values())]
        )
        bands.append((label, [(STYLES[name], name, value) for name, value in fractions.items()]))
    table = Table(
        "Agreement with the teacher",
        ["", *(row[0] for row in rows)],
        [[name, *values] for name, *values in zip(AGREEMENT_ROWS, *(row[1:] for row in rows), strict=True)],
    )
    drawing = draw_stacked_bars(f"correct predictions, by fraction of {run.judged_on} samples", bands)
    figure = WideFigure(
        "Correct predictions",
        drawing,
        f"Fractions of the {run.judged_on} samples, mean over seeds.",
        [(s, n) for n, s in STYLES.items()],
        table,
    )
    lead = f"Same class: the fraction of {run.judged_on} samples with the same most probable class as the teacher."
    return Section("Agreement with the teacher", lead, [figure])


def calibration(run: RunRecord) -> Section:
    """Show whether a model that is 80 % confident is right 80 % of the time."""
    by_role = {role: predictions_of(run, role) for role in ROLES if predictions_of(run, role)}
    if not by_role:
        raise MissingDataError("it needs predictions.npz")
    figures: list[Block] = []
    rows = []
    for role, seeds in by_role.items():
        label = run.label(role)
        pooled = np.concatenate([p.probabilities for p in seeds]), np.concatenate([p.targets for p in seeds])
        bins = reliability(*pooled)
        detail = Table(
            f"Reliability, {label}",
            ["Confidence", "Samples", "Mean confidence", "Accuracy"],
            [[f"{b.low:.2f}–{b.high:.2f}", b.count, f"{b.confidence:.3f}", f"{b.accuracy:.3f}"] for b in bins],
        )
        figures.append(
            Figure(
                label,
                draw_reliability(f"reliability diagram, {label}", role, bins),
                "Accuracy by confidence.",
                (),
                detail,
            )
        )
        ece, nll = ([f(p.probabilities, p.targets) for p in seeds] for f in (calibration_error, log_loss))
        rows.append([label, format_percent(mean(ece)), format_decimal(mean(nll))])
    table = Table("Calibration", ["Model", "ECE, 15 bins", "NLL, nats"], rows)
    lead = "Bars below the dashed diagonal: overconfident. Diagrams pool the seeds; ECE and NLL are means over seeds."
    return Section("Calibration", lead, [*figures, table])


def confusion(run: RunRecord, role: str) -> csr_array | None:
    """Return the mean confusion matrix (C, C) of a role over its seeds; rows are true classes."""
    count = len(run.data.get("classes") or [])
    counts = [phase.tables["confusion"] for phase in run.phases_with_role(role) if "confusion" in phase.tables]
    tables = [csr_array((x[2].astype(np.float64), (x[0], x[1])), (count, count)) for x in counts]
    return sum(tables[1:], tables[0]) / len(tables) if tables else None


def classes(run: RunRecord) -> Section:
    """Compare the accuracy of the student alone and taught by class."""
    return _gain_by_class(run, recall, "accuracy")


def gain_in_iou(run: RunRecord) -> Section:
    """Compare the intersection over union of the student alone and taught by class."""
    return _gain_by_class(run, iou, "IoU")


def _gain_by_class(run: RunRecord, measure: Callable[[csr_array], Array], name: str) -> Section:
    """Compare a measure of the student alone and taught by class."""
    baseline, taught = confusion(run, "baseline"), confusion(run, "student")
    if baseline is None or taught is None:
        raise MissingDataError("it needs tables.npz of the student alone and of the student taught")
    before, after = measure(baseline), measure(taught)
    gains = after - before
    known = [i for i in range(len(gains)) if np.isfinite(gains[i])]
    shown = sorted(known, key=lambda i: -abs(gains[i]))[:CLASSES]
    shown.sort(key=lambda i: -gains[i])
    rows = [[run.class_name(i), format_percent(before[i]), format_percent(after[i]), _points(gains[i])] for i in shown]
    title = name[0].upper() + name[1:]
    table = Table(f"{title} by class", ["Class", "Alone", "Taught", "Gain, points"], rows)
    drawing = draw_bars(f"gain in {name} by class", [(run.class_name(i), float(gains[i])) for i in shown], _points)
    selection = f" The {CLASSES} largest changes of {len(known)} classes." if len(known) > CLASSES else ""
    lead = f"{title} of each class, taught minus alone, in percentage points; mean over seeds.{selection}"
    # long names make a table much taller than the bars
    kind = Figure if has_long_names(run, len(gains)) else WideFigure
    return Section("Gain by class", lead, [kind(f"Gain in {name}", drawing, table=table)])


def has_long_names(run: RunRecord, classes: int) -> bool:
    """Return whether a class name is too long for a narrow column."""
    return any(len(run.class_name(i)) > LONG for i in range(classes))


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def confusions(run: RunRecord) -> Section:
    """Show the most frequent confusions, and their changes between the student alone and taught."""
    role = next((r for r in ("student", "baseline", "teacher") if confusion(run, r) is not None), None)
    if role is None:
        raise MissingDataError("no phase has a tables.npz with a confusion")
    table = confusion(run, role)
    assert table is not None
    label, wrong = run.label(role), error_rates(table)
    pairs = [
        [run.class_name(t), run.class_name(p), format_percent(v), format_decimal(table[t, p])]
        for t, p, v in largest(wrong, PAIRS)
    ]
    head = ["True class", "Predicted as", "of the class", "Samples"]
    kind = WideTable if has_long_names(run, table.shape[0]) else Table
    confused = kind(f"Most confused, {label.lower()}", head, pairs)
    blocks: list[Block] = [confused]
    count: int = table.shape[0]
    if count <= CLASSES:
        names = [run.class_name(i) for i in range(count)]
        fractions = wrong.toarray() + np.diag(np.nan_to_num(recall(table)))
        caption = "Rows: true class. Columns: prediction. Percent of each row; errors have their own colour scale."
        drawing = draw_confusion(f"confusion matrix of the model: {label.lower()}", fractions, names)
        blocks = [
            Figure(f"Confusion, {label.lower()}", drawing, caption, [("hit", "right"), ("miss", "wrong")], confused)
        ]
    baseline = confusion(run, "baseline")
    if role == "student" and baseline is not None:
        before = error_rates(baseline)
        changed = [
            [
                run.class_name(t),
                run.class_name(p),
                format_percent(before[t, p]),
                format_percent(wrong[t, p]),
                _points(v),
            ]
            for t, p, v in largest(wrong - before, PAIRS)
        ]
        blocks.append(kind("Largest changes", ["True class", "Predicted as", "Alone", "Taught", "Points"], changed))
    return Section("Confusions", "Means over seeds.", blocks)


def examples(run: RunRecord) -> Section:
    """Show images whose predictions differ between teacher and student."""
    if run.examples is None:
        raise MissingDataError("the folder has no examples.npz")
    models = [(role, run.label(role), predictions_of(run, role)[0]) for role in ROLES if predictions_of(run, role)]
    if not models:
        raise MissingDataError("it needs predictions.npz")
    images = []
    for index, image in zip(run.examples.index[:EXAMPLES], run.examples.images[:EXAMPLES], strict=True):
        rows = [
            (role, label, predictions, int(np.flatnonzero(predictions.index == index)[0]))
            for role, label, predictions in models
            if index in predictions.index
        ]
        if not rows:
            continue
        target = int(rows[0][2].targets[rows[0][3]])
        texts = [(role, label, *_prediction(run, predictions, i, target)) for role, label, predictions, i in rows]
        name = run.class_name(target)
        images.append(
            ImageBlock(encode_png(image, PIXELS), f"{run.judged_on} sample {int(index)}, of class {name}", name, texts)
        )
    if not images:
        raise MissingDataError("predictions.npz contains none of the example images")
    return Section(
        "Where teacher and student differ",
        f"{run.judged_on.capitalize()} samples with each model's predicted class and its probability (first seed)."
        + run.examples.note,
        images,
    )


def _prediction(run: RunRecord, predictions: Predictions, i: int, target: int) -> tuple[str, str, bool]:
    best = int(predictions.probabilities[i].argmax())
    return run.class_name(best), format_percent(predictions.probabilities[i, best].item()), best == target
