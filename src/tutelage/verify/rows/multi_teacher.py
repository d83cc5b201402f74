"""Several teachers."""

from __future__ import annotations

from tutelage.verify.row import Row
from tutelage.verify.sides import nobody
from tutelage.verify.vector import Vector

Weighted = list[tuple[float, Row]]


def dgkd(vector: Vector) -> Weighted:
    """The divergences averaged over classes and added over teachers, beside 1 − λ of the truth."""
    weight = vector.hyper["lambda"]
    taught = Row("aver", options={"class_mean": True})
    truth: Weighted = [(1 - weight, Row("ce", teacher_sides=nobody))] if vector.get("target") is not None else []
    return [*truth, (weight * len(vector.inputs["teacher_logits"]), taught)]


ROWS = {
    "aekd": Row(fields={"svm_norm": "normalise"}),
    "camkd_feature": Row(together=True),
    "camkd_logit": Row("camkd"),
    "dgkd": Row(combine=dgkd),
}
