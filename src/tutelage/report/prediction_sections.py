"""The sections that compare models sample by sample and class by class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from tutelage.report.components import (
    Block,
    Figure,
    ImageBlock,
    Missing,
    Section,
    Table,
    WideFigure,
    WideTable,
    decimal,
    mean,
    share,
)
from tutelage.report.masks import masks, picture
from tutelage.report.metrics import (
    Array,
    agreement,
    calibration_error,
    divergence,
    errors,
    largest,
    log_loss,
    outcomes,
    overlap,
    recall,
    reliability,
)
from tutelage.report.run_record import ROLES, Predictions, RunRecord
from tutelage.report.svg_charts import bars, diagonal, heat, stacked

CLASSES, PAIRS, EXAMPLES, PIXELS, LONG = 20, 15, 15, 96, 18
STYLES = {
    "both right": "both",
    "only the student right": "student",
    "only the teacher right": "teacher",
    "both wrong": "wrong",
}
SAID = ("Same class", "KL(teacher ‖ student), nats", *(name.capitalize() for name in STYLES))


def told(run: RunRecord, role: str) -> list[Predictions]:
    """The predictions of a role, by seed."""
    return [phase.predictions for phase in run.phases_with_role(role) if phase.predictions is not None]


def aligned(one: Predictions, other: Predictions) -> tuple[Array, Array, Any]:
    """Both models' probabilities and the targets, for the samples that both have seen."""
    _, i, j = np.intersect1d(one.index, other.index, return_indices=True)
    if len(i) == 0 or one.probabilities.shape[1] != other.probabilities.shape[1]:
        raise Missing("the models' predictions are of different samples or classes")
    return one.probabilities[i], other.probabilities[j], one.targets[i]


def agreeing(run: RunRecord) -> Section:
    """How far each student says what the teacher says."""
    teachers = told(run, "teacher")
    roles = [role for role in ("alone", "student") if told(run, role)]
    if not teachers or not roles:
        raise Missing("it needs predictions.npz of the teacher and of a student")
    rows, bands = [], []
    for role in roles:
        pairs = [aligned(said, teachers[0]) for said in told(run, role)]
        shares = {name: mean([outcomes(*pair)[name] for pair in pairs]) or 0.0 for name in STYLES}
        label = run.label(role)
        same, apart = mean([agreement(s, t) for s, t, _ in pairs]), mean([divergence(s, t) for s, t, _ in pairs])
        rows.append([label, share(same), decimal(apart), *(share(value) for value in shares.values())])
        bands.append((label, [(STYLES[name], name, value) for name, value in shares.items()]))
    table = Table(
        "Agreement with the teacher",
        ["", *(row[0] for row in rows)],
        [[name, *values] for name, *values in zip(SAID, *(row[1:] for row in rows), strict=True)],
    )
    drawing = stacked("who is right, by share of test samples", bands)
    figure = WideFigure(
        "Who is right",
        drawing,
        "Shares of the test samples, mean over seeds.",
        [(s, n) for n, s in STYLES.items()],
        table,
    )
    lead = "Same class: the share of test samples whose most probable class is the teacher's."
    return Section("Agreement with the teacher", lead, [figure])


def calibration(run: RunRecord) -> Section:
    """Whether a model that is 80 % sure is right 80 % of the time."""
    said = {role: told(run, role) for role in ROLES if told(run, role)}
    if not said:
        raise Missing("it needs predictions.npz")
    figures: list[Block] = []
    rows = []
    for role, seeds in said.items():
        label = run.label(role)
        pooled = np.concatenate([p.probabilities for p in seeds]), np.concatenate([p.targets for p in seeds])
        bins = reliability(*pooled)
        detail = Table(
            f"Reliability, {label}",
            ["Confidence", "Samples", "Mean confidence", "Accuracy"],
            [[f"{b.low:.2f}–{b.high:.2f}", b.count, f"{b.confidence:.3f}", f"{b.accuracy:.3f}"] for b in bins],
        )
        figures.append(
            Figure(label, diagonal(f"reliability diagram, {label}", role, bins), "Accuracy by confidence.", (), detail)
        )
        ece, nll = ([f(p.probabilities, p.targets) for p in seeds] for f in (calibration_error, log_loss))
        rows.append([label, share(mean(ece)), decimal(mean(nll))])
    table = Table("Calibration", ["Model", "ECE, 15 bins", "NLL, nats"], rows)
    lead = "Bars below the dashed diagonal: more confident than right. Diagrams pool the seeds; ECE and NLL are means."
    return Section("Calibration", lead, [*figures, table])


def confusion(run: RunRecord, role: str) -> csr_array | None:
    """The mean confusion of a role over its seeds."""
    tables = [phase.confusion for phase in run.phases_with_role(role)]
    known = [table for table in tables if table is not None]
    return sum(known[1:], known[0]) / len(known) if known else None


def classes(run: RunRecord) -> Section:
    """What teaching changed, class by class."""
    alone, taught = confusion(run, "alone"), confusion(run, "student")
    if alone is None or taught is None:
        raise Missing("it needs the confusions of the student alone and taught")
    segments = run.result.get("task") == "segmentation"
    measure: Callable[[csr_array], Array] = overlap if segments else recall
    what = "IoU" if segments else "accuracy"
    before, after = measure(alone), measure(taught)
    gains = after - before
    known = [i for i in range(len(gains)) if np.isfinite(gains[i])]
    shown = sorted(known, key=lambda i: -abs(gains[i]))[:CLASSES]
    shown.sort(key=lambda i: -gains[i])
    rows = [[run.class_name(i), share(before[i]), share(after[i]), _points(gains[i])] for i in shown]
    table = Table(f"{what[0].upper() + what[1:]} by class", ["Class", "Alone", "Taught", "Gain, points"], rows)
    drawing = bars(f"gain in {what} by class", [(run.class_name(i), float(gains[i])) for i in shown], _points)
    some = f" The {CLASSES} largest changes of {len(known)} classes." if len(known) > CLASSES else ""
    lead = (
        f"{what[0].upper() + what[1:]} of each class, taught minus alone, in percentage points; mean over seeds.{some}"
    )
    kind = Figure if has_long_names(run, len(gains)) else WideFigure  # long names make a table far higher than the bars
    return Section("Gain by class", lead, [kind(f"Gain in {what}", drawing, table=table)])


def has_long_names(run: RunRecord, classes: int) -> bool:
    """Whether a class's name takes more than a narrow column."""
    return any(len(run.class_name(i)) > LONG for i in range(classes))


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def confusions(run: RunRecord) -> Section:
    """What is taken for what, and what teaching changed there."""
    role = next((r for r in ("student", "alone", "teacher") if confusion(run, r) is not None), None)
    if role is None:
        raise Missing("no phase holds a confusion")
    table = confusion(run, role)
    assert table is not None
    label, wrong = run.label(role), errors(table)
    pairs = [
        [run.class_name(t), run.class_name(p), share(v), decimal(table[t, p])] for t, p, v in largest(wrong, PAIRS)
    ]
    head = ["True class", "Taken for", "of the class", "Samples"]
    kind = WideTable if has_long_names(run, table.shape[0]) else Table
    confused = kind(f"Most confused, {label.lower()}", head, pairs)
    blocks: list[Block] = [confused]
    count: int = table.shape[0]
    if count <= CLASSES:
        names = [run.class_name(i) for i in range(count)]
        shares = wrong.toarray() + np.diag(np.nan_to_num(recall(table)))
        caption = "Rows: truth. Columns: prediction. Per cent of each row; errors are coloured on a scale of their own."
        drawing = heat(f"confusion of the model: {label.lower()}", shares, names)
        blocks = [
            Figure(f"Confusion, {label.lower()}", drawing, caption, [("hit", "right"), ("miss", "wrong")], confused)
        ]
    alone = confusion(run, "alone")
    if role == "student" and alone is not None:
        before = errors(alone)
        changed = [
            [run.class_name(t), run.class_name(p), share(before[t, p]), share(wrong[t, p]), _points(v)]
            for t, p, v in largest(wrong - before, PAIRS)
        ]
        blocks.append(kind("Largest changes", ["True class", "Taken for", "Alone", "Taught", "Points"], changed))
    return Section("Confusions", "Means over seeds.", blocks)


def examples(run: RunRecord) -> Section:
    """Test images on which the teacher and the student say different things; masks, where there are such."""
    if run.result.get("task") == "segmentation":
        return masks(run)
    if run.examples is None:
        raise Missing("the folder holds no examples.npz")
    models = [(role, run.label(role), told(run, role)[0]) for role in ROLES if told(run, role)]
    if not models:
        raise Missing("it needs predictions.npz")
    pictures = []
    for index, image in zip(run.examples.index[:EXAMPLES], run.examples.images[:EXAMPLES], strict=True):
        found = [
            (role, label, said, int(np.flatnonzero(said.index == index)[0]))
            for role, label, said in models
            if index in said.index
        ]
        if not found:
            continue
        truth = int(found[0][2].targets[found[0][3]])
        answers = [(role, label, *_answer(run, said, at, truth)) for role, label, said, at in found]
        name = run.class_name(truth)
        pictures.append(ImageBlock(picture(image, PIXELS), f"test sample {int(index)}, of class {name}", name, answers))
    if not pictures:
        raise Missing("none of the example images is among the predictions")
    return Section(
        "Where teacher and student differ",
        "Test samples, with each model's class and its probability (first seed)." + run.examples.said,
        pictures,
    )


def _answer(run: RunRecord, said: Predictions, at: int, truth: int) -> tuple[str, str, bool]:
    best = int(said.probabilities[at].argmax())
    return run.class_name(best), share(said.probabilities[at, best].item()), best == truth
