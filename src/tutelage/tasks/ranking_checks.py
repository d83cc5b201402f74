"""Checks of rankings: queries that teach nothing, documents in two splits, and a teacher against a random order."""

from __future__ import annotations

import torch

from tutelage.data.data_module import DataModule
from tutelage.data.splits import Split, ViewSeed
from tutelage.utils.finding import Finding

READ_AT_ONCE = 4096
"""The number of documents that are read at once."""


def check_queries(data: DataModule) -> list[Finding]:
    """Check each split for queries without a relevant or without an irrelevant document, and for repeated documents."""
    findings = [finding for split in data.splits for finding in _check_grades(split, getattr(data, split))]
    findings += _check_repeated(data)
    groups = data.train.groups
    count = 0 if groups is None else len(groups.unique())
    return findings or [Finding("ok", f"each of the {count} training queries has documents to rank")]


def _check_grades(split: str, samples: Split) -> list[Finding]:
    """Check the grades within each query."""
    if samples.groups is None:
        return []
    _, grades = _rows(samples)
    query, sizes = samples.groups.unique(return_inverse=True, return_counts=True)[1:]
    lowest, highest = (
        grades.new_zeros(len(sizes)).scatter_reduce_(0, query, grades, kind, include_self=False)
        for kind in ("amin", "amax")
    )
    findings = []
    if irrelevant := int((highest <= 0).sum()):
        what = f"{irrelevant} of {len(sizes)} queries of {split} have no relevant document"
        findings.append(Finding("warning", what, "nothing is learned from them, and metrics leave them out."))
    if equal := int(((lowest == highest) & (highest > 0)).sum()):
        what = f"all documents have the same grade in {equal} of {len(sizes)} queries of {split}"
        findings.append(Finding("warning", what, "any order of them is right, which raises the metrics: remove them."))
    return findings


def _check_repeated(data: DataModule) -> list[Finding]:
    """Check for documents of the training split that are in another one too, value by value."""
    train = {row.tobytes() for row in _rows(data.train)[0].numpy()}
    findings = []
    for split in data.splits[1:]:
        rows = _rows(getattr(data, split))[0].numpy()
        if repeated := sum(row.tobytes() in train for row in rows if row.any()):
            what = f"{repeated} of {len(rows)} documents of {split} have the same features as one of train"
            findings.append(Finding("warning", what, "if they are of the same queries, metrics are too good."))
    return findings


def _rows(samples: Split) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the inputs (N, D) and the grades (N,)."""
    batches = list(torch.arange(len(samples)).split(READ_AT_ONCE))
    inputs, grades = zip(*samples.read(batches, ViewSeed()), strict=True)
    return torch.cat(inputs), torch.cat(grades)


def judge_ndcg(ndcg: float, random: float) -> list[Finding]:
    """Compare a trained teacher's NDCG on the validation split with that of a random order."""
    what = f"the teacher's NDCG@10 on the validation split is {ndcg:.3f}; that of a random order is {random:.3f}"
    if ndcg < random + 0.1 * (1 - random):
        mend = "is it trained on these features, in this order, scaled as here? Set teacher_epochs to train it first."
        return [Finding("error", what, mend)]
    return [Finding("ok", what)]
