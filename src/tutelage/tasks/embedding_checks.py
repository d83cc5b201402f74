"""Checks of embeddings: searches that can find something, new classes in test, and a teacher against raw inputs."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tutelage.data.class_split import shared_classes
from tutelage.data.data_module import DataModule
from tutelage.errors import DataError
from tutelage.tasks.class_checks import judge_level, small_inputs, spread_part
from tutelage.utils.finding import Finding, list_first


def refuse_unsearchable(data: DataModule) -> None:
    """Refuse data whose labels aren't known, and splits in which a search or a verification has no meaning.

    Raises: DataError.
    """
    labels = {split: getattr(data, split).labels for split in data.splits}
    if missing := [split for split, numbers in labels.items() if numbers is None or bool((numbers < 0).any())]:
        raise DataError(
            f"data {data.name!r}: task=embedding requires a single class of each sample, which {missing[0]} doesn't "
            "have for all; label them, or leave them out (a Dataset has an attribute `targets`)."
        )
    for split in data.splits[1:]:
        counts = torch.bincount(labels[split], minlength=len(data.classes))
        if int((counts > 0).sum()) < 2 or not bool((counts > 1).any()):
            raise DataError(
                f"data {data.name!r}: {split} has {len(labels[split])} sample(s) of {int((counts > 0).sum())} "
                "class(es), expected two or more classes, and several samples of one."
            )
    single = [data.classes[number] for number in (counts == 1).nonzero()[:, 0].tolist()]
    if single and data.judged_on == "test":
        raise DataError(
            f"data {data.name!r}: the test split has a single sample of {list_first(single)}, which no search can find "
            "by its class: give another sample, or leave these classes out (classes=…)."
        )


def check_classes_of_test(data: DataModule) -> list[Finding]:
    """Check whether test has classes that training hasn't."""
    shared = shared_classes(data)
    if not shared:
        return [Finding("ok", "no class is in more than one split")]
    what = f"classes of test are also in train or val: {list_first(shared)}"
    return [Finding("warning", what, "if the student is to recognise new classes, set split=classes.")]


def judge_recall(recall: float, data: DataModule) -> list[Finding]:
    """Compare a trained teacher's recall at 1 on the validation split with chance, and with that of small inputs."""
    assert data.val.labels is not None
    least, chance = input_recall(data), chance_recall(data.val.labels)
    what = f"the teacher's recall at 1 on the validation split is {recall:.3f}; random vectors have {chance:.3f}"
    mend = "is it trained, with this normalisation? Set teacher_epochs to train it first."
    simple = f"the inputs, averaged down to a few positions, {least:.3f}"
    return judge_level(what, recall < min(1.2 * chance, (1 + chance) / 2), mend, recall < least, simple)


def chance_recall(labels: Tensor) -> float:
    """Return the expected recall at 1 of a search in random order."""
    counts = torch.bincount(labels)
    counts = counts[counts > 1].double()
    return float((counts * (counts - 1)).sum() / counts.sum() / (len(labels) - 1))


def input_recall(data: DataModule) -> float:
    """Return the recall at 1 of the validation split's small inputs, compared by their cosine."""
    from tutelage.tasks.retrieval_metrics import search

    x, y = small_inputs(replace(data, val=spread_part(data.val)), "val")
    return float(search(x, x, y)["recall_at_1"])
