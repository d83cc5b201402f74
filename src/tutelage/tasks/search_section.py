"""The report's section of search: each model's queries in its own gallery, and the students' in the teacher's."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import numpy as np

from tutelage.report.components import Figure, MissingDataError, Section, Table, format_percent
from tutelage.report.run_record import ROLES, RunRecord
from tutelage.report.svg_charts import draw_bars

METRICS = {"recall_at_1": "Recall at 1", "recall_at_5": "at 5", "recall_at_10": "at 10", "map_at_r": "mAP@R"}

LEAD = (
    "Each sample of the split is a query, all others are the gallery; means over seeds. A teacher's gallery spares "
    "computing a large collection again for the student, which then computes only queries: this requires a student "
    "whose vectors are close to the teacher's own, which logit_mse teaches."
)


def search_results(run: RunRecord) -> Section:
    """Show the recall of each model's search, and of the students' queries among the teacher's vectors."""
    vectors = {role: _vectors(run, role) for role in ROLES}
    pairs = [(role, role) for role in ROLES if vectors[role]]
    pairs += [(role, "teacher") for role in ROLES[1:] if vectors[role] and vectors["teacher"]]
    if not pairs:
        raise MissingDataError("it needs predictions.npz with targets and embeddings")
    rows: list[list[str]] = []
    bars: list[tuple[str, float]] = []
    for queries, gallery in pairs:
        names, values = [run.label(queries), run.label(gallery)], _mean_metrics(vectors[queries], vectors[gallery])
        rows.append([*names, *(format_percent(values[name]) if values else "other length" for name in METRICS)])
        bars += [(" in ".join(names), values["recall_at_1"])] if values else []
    table = Table(f"Search on the {run.judged_on} split", ["Queries by", "Gallery by", *METRICS.values()], rows)
    drawing = draw_bars(
        "Recall at 1 of each model's queries in its own gallery, or in the teacher's", bars, format_percent
    )
    return Section("Search", LEAD, [Figure("Recall at 1, queries in gallery", drawing, "", (), table)])


def _vectors(run: RunRecord, role: str) -> list[Mapping[str, Any]]:
    """Return a role's predictions, one of each seed, that have vectors."""
    predictions = [phase.predictions for phase in run.phases_with_role(role)]
    return [arrays for arrays in predictions if {"index", "targets", "embeddings"} <= {*arrays}]


def _mean_metrics(queries: list[Mapping[str, Any]], galleries: list[Mapping[str, Any]]) -> dict[str, float]:
    """Return the mean metrics over the seeds, each seed's queries in its own gallery or in the only one.

    Empty if the vectors have different lengths.
    """
    import torch

    from tutelage.tasks.retrieval_metrics import search

    values = []
    for number, query in enumerate(queries):
        gallery = galleries[number % len(galleries)]
        _, i, j = np.intersect1d(query["index"], gallery["index"], return_indices=True)
        x, x_gallery, y = (
            torch.as_tensor(array) for array in (query["embeddings"][i], gallery["embeddings"][j], query["targets"][i])
        )
        if x.shape[1] != x_gallery.shape[1]:
            return {}
        values.append(search(x, x_gallery, y))
    return {name: fmean(float(value[name]) for value in values) for name in METRICS}
