"""Checks of embeddings: chance, raw inputs, and a teacher against both."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small import digits

from tutelage import data
from tutelage.data.splits import InMemorySplit
from tutelage.tasks.embedding_checks import chance_recall, check_classes_of_test, input_recall, judge_recall
from tutelage.tasks.retrieval_metrics import search


def test_chance_is_the_recall_of_equal_vectors() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    equal = torch.ones(6, 3)
    assert chance_recall(labels) == pytest.approx(float(search(equal, equal, labels)["recall_at_1"]))


def test_inputs_are_vectors_too() -> None:
    assert 0.9 < input_recall(digits(limit=None)) <= 1
    noise = InMemorySplit(torch.rand(200, 1, 8, 8), torch.arange(200) % 2)
    assert input_recall(replace(digits(), val=noise)) == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize(("recall", "level"), [(0.11, "error"), (0.5, "warning"), (0.99, "ok")])
def test_a_teacher_is_better_than_chance_and_than_its_inputs(recall: float, level: str) -> None:
    (finding,) = judge_recall(recall, digits(limit=None))
    assert finding.level == level
    assert f"{recall:.3f}; random vectors have 0.0" in finding.what


def test_test_has_new_classes_or_known_ones() -> None:
    assert [finding.level for finding in check_classes_of_test(data.load("digits", split="classes"))] == ["ok"]
    (finding,) = check_classes_of_test(digits())
    assert (finding.level, finding.mend) == (
        "warning", "if the student is to recognise new classes, set split=classes.",
    )  # fmt: skip
