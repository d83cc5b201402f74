"""Tasks and their metrics."""

import pytest
import torch

from tutelage.losses.response.ce import CE
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.tasks.multi_task import MultiTask
from tutelage.tasks.segmentation import Segmentation
from tutelage.utils import registry


def figures(task, classes: int, *batches):
    metrics = task.metrics(classes)
    for response, targets in batches:
        task.update(metrics, response, Batch(response, targets))
    return metrics.compute()


def test_classification_counts_top_1_and_the_truth_is_in_rows():
    response = torch.eye(3)[[0, 2, 1, 1]]
    metrics = figures(Classification(), 3, (response[:3], torch.tensor([0, 1, 1])), (response[3:], torch.tensor([2])))
    assert metrics["accuracy"] == 0.5
    assert metrics["confusion"].T.tolist() == [[0, 0, 1], [1, 1, 1], [1, 2, 1], [2, 1, 1]]


def test_segmentation_is_the_mean_intersection_over_union_of_labelled_pixels():
    answers = torch.tensor([[0, 0, 1], [1, 2, 2]])
    targets = torch.tensor([[[0, 1, 1], [255, 2, 0]]])
    metrics = figures(Segmentation(), 3, (torch.eye(3)[answers].permute(2, 0, 1)[None], targets))
    assert metrics["miou"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    assert metrics["confusion"][2].sum() == 5


def test_label_columns_count_separately_under_any_name_without_missing_labels():
    batches = [
        (torch.eye(5)[[0, 1]] + torch.eye(5)[[2, 4]], torch.tensor([[0, 0], [0, -7]])),
        (torch.eye(5)[[1]] + torch.eye(5)[[3]], torch.tensor([[-1, 2]])),
    ]
    metrics = figures(MultiTask({"type": 2, "a.b": 3}), 5, *batches)
    assert {name: float(value) for name, value in metrics.items() if name != "confusion"} == {
        "accuracy": 0.5, "accuracy/type": 0.5, "accuracy/a.b": 0.5,
    }  # fmt: skip
    assert metrics["confusion"].T.tolist() == [[0, 0, 1], [0, 1, 1], [2, 2, 1], [4, 3, 1]]


def test_segmentation_resizes_answers_to_the_targets_and_masks_the_unlabelled():
    task, targets = Segmentation(), torch.randint(3, (2, 8, 8))
    targets[0, 0, 0] = 255
    batch = Batch(torch.zeros(2, 3, 8, 8), targets)
    small = torch.randn(2, 3, 4, 4)
    assert task.response(small, batch).shape == (2, 3, 8, 8)
    assert task.response(small, Batch(batch.inputs)).shape == (2, 3, 8, 8)
    assert task.response(vector := torch.randn(2, 3), batch) is vector
    assert (~task.mask(batch)).sum() == 1
    assert task.mask(Batch(batch.inputs)) is None


def test_the_truth_is_cross_entropy_and_the_figure_that_decides_is_named():
    for task, metric in ((Classification(), "accuracy"), (Segmentation(), "miou")):
        assert isinstance(task.task_loss(), CE)
        assert (task.metric, task.higher_is_better) == (metric, True)
        assert metric in figures(task, 2, (torch.randn(1, 2, 2, 2), torch.zeros(1, 2, 2).long()))
    assert Classification().mask(Batch(torch.zeros(1, 1))) is None


def test_a_task_is_named_as_data_name_it():
    for name, entry in registry.catalogue("tasks").items():
        assert entry.module.rpartition(".")[2] == name, "data of this task would refuse task=NAME"
