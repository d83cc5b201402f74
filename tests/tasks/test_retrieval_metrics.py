"""Metrics of embeddings against loops over all orders, pytorch-metric-learning and scikit-learn."""

from __future__ import annotations

from itertools import pairwise, permutations
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor
from torchmetrics import MetricCollection

from tutelage.errors import ConfigError, DataError
from tutelage.tasks import retrieval_metrics
from tutelage.tasks.retrieval_metrics import Retrieval, Verification, search


def compute(metric: type[Retrieval] | type[Verification], x: Tensor, y: Tensor, size: int = 7, **options: object):
    """Return the metrics of embeddings that arrive in batches."""
    metric = metric(**options)
    for batch in zip(x.split(size), y.split(size), strict=True):
        metric.update(*batch)
    return {name: pytest.approx(float(value), abs=1e-6) for name, value in metric.compute().items()}


def few_values(samples: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return embeddings of few different directions, so that many similarities are equal."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-1, 2, (samples, 2), generator=generator).float()
    return x, torch.randint(classes, (samples,), generator=generator)


def clustered(samples: int = 60, classes: int = 6, dim: int = 8) -> tuple[Tensor, Tensor]:
    y = torch.arange(samples) % classes
    return torch.randn(classes, dim)[y] + torch.randn(samples, dim), y


def rounded_cosines(x: Tensor) -> Tensor:
    unit = F.normalize(x.double(), dim=1)
    return (unit @ unit.T * 2**24).round() / 2**24


def slow_search(x: Tensor, y: Tensor, ranks: tuple[int, ...]) -> dict[str, float]:
    """Average over all orders of equally similar samples, query by query."""
    cosines = rounded_cosines(x)
    found: dict[str, list[float]] = {**{f"recall_at_{k}": [] for k in ranks}, "map_at_r": []}
    for query in range(len(x)):
        others = [i for i in range(len(x)) if i != query]
        right = int((y[others] == y[query]).sum())
        if not right:
            continue
        values = cosines[query].tolist()
        orders = [order for order in permutations(others) if is_sorted([-values[i] for i in order])]
        for name, per_query in found.items():
            scores = [score(name, [bool(y[i] == y[query]) for i in order], right) for order in orders]
            per_query.append(sum(scores) / len(scores))
    return {name: sum(scores) / len(scores) for name, scores in found.items()}


def is_sorted(values: list[float]) -> bool:
    return all(a <= b for a, b in pairwise(values))


def score(name: str, hits: list[bool], right: int) -> float:
    if name != "map_at_r":
        return float(any(hits[: int(name.rpartition("_")[2])]))
    return sum(sum(hits[: i + 1]) / (i + 1) for i in range(right) if hits[i]) / right


@pytest.mark.parametrize("seed", range(4))
def test_equal_similarities_count_as_the_mean_over_their_orders(seed: int) -> None:
    x, y = few_values(7, 3, seed)
    values = search(x, x, y, ranks=(1, 2, 5))
    assert {name: pytest.approx(float(value), abs=1e-6) for name, value in values.items()} == slow_search(
        x, y, (1, 2, 5)
    )


def library_metrics(x: Tensor, y: Tensor) -> Tensor:
    """Return precision at 1 and map_at_r by pytorch-metric-learning."""
    pytest.importorskip("pytorch_metric_learning")
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    names, knn, device = ("precision_at_1", "mean_average_precision_at_r"), CustomKNN(CosineSimilarity()), "cpu"
    calculator = AccuracyCalculator(names, k="max_bin_count", device=torch.device(device), knn_func=knn)
    values = calculator.get_accuracy(x, y)
    return torch.tensor([float(values[name]) for name in names])


def own_metrics(x: Tensor, y: Tensor) -> Tensor:
    values = search(x, x, y)
    return torch.stack([values["recall_at_1"], values["map_at_r"]])


def test_search_equals_pytorch_metric_learning() -> None:
    """Also with equal vectors of one class, single samples and a class of many."""
    x, y = clustered(90, 9)
    x[9:18], y[40:60], y[30:32] = x[:9], 3, torch.tensor([100, 101])
    torch.testing.assert_close(own_metrics(x, y), library_metrics(x, y), rtol=0, atol=1e-6)


def test_search_equals_pytorch_metric_learnings_mean_over_orders_where_classes_tie() -> None:
    x, y = torch.eye(3)[torch.randint(3, (24,))], torch.randint(4, (24,))
    orders = [torch.randperm(24) for _ in range(400)]
    mean = torch.stack([library_metrics(x[order], y[order]) for order in orders]).mean(0)
    torch.testing.assert_close(own_metrics(x, y), mean, rtol=0, atol=0.015)


def test_recall_is_one_where_all_samples_are_among_the_first() -> None:
    x, y = torch.randn(4, 3), torch.tensor([0, 0, 1, 1])
    assert compute(Retrieval, x, y)["recall_at_5"] == 1.0


def test_the_order_of_the_samples_and_the_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = few_values(60, 4)
    order = torch.randperm(60)
    for metric in (Retrieval, Verification):
        whole = compute(metric, x, y)
        monkeypatch.setattr(retrieval_metrics, "CHUNK", 150)
        assert {name: value.expected for name, value in compute(metric, x[order], y[order]).items()} == whole


def test_zero_vectors_are_similar_to_nothing() -> None:
    x, y = torch.tensor([[0.0, 0], [0, 0], [1, 0], [1, 0.1]]), torch.tensor([0, 0, 1, 1])
    assert compute(Retrieval, x, y)["map_at_r"] == (2 * 1 / 3 + 2) / 4  # a zero vector finds any other
    collapsed = compute(Retrieval, torch.zeros(20, 3), torch.arange(20) % 2)
    assert collapsed["recall_at_1"] == 9 / 19
    assert compute(Verification, torch.zeros(20, 3), torch.arange(20) % 2)["roc_auc"] == 0.5


def test_a_class_of_one_sample_is_no_query_but_is_found() -> None:
    x, y = torch.tensor([[1.0, 0], [1, 0.2], [1, 0.05]]), torch.tensor([0, 0, 1])
    assert compute(Retrieval, x, y)["recall_at_1"] == 0.0
    assert compute(Retrieval, x[:2], y[:2])["recall_at_1"] == 1.0


def test_the_gallery_may_be_of_another_model() -> None:
    x, y = clustered()
    same = search(x, x, y)
    scaled = search(x, 3 * x, y)
    assert {name: float(value) for name, value in scaled.items()} == {name: float(v) for name, v in same.items()}
    assert search(x, torch.randn(60, 8), y)["map_at_r"] < same["map_at_r"] / 2


def test_euclidean_distances_tie_where_vectors_are_equal() -> None:
    x = torch.randn(5, 3).repeat(2, 1) * 100
    x = torch.cat([x, 2 * x])  # of the same direction, far away
    y = torch.arange(20) % 10 // 5 + 2 * (torch.arange(20) // 10)
    values = compute(Retrieval, x, y, similarity="euclidean")
    assert values["recall_at_1"] == 0.0  # the nearest is the twin, of the other class
    assert compute(Verification, x, torch.arange(20) % 5, similarity="euclidean")["tar_at_far_1e-2"].expected >= 1 / 3
    assert compute(Retrieval, *clustered(), similarity="euclidean")["recall_at_1"] != 0.0


@pytest.mark.parametrize("ties", [False, True])
def test_verification_equals_scikit_learn(ties: bool) -> None:
    x, y = few_values(80, 5) if ties else clustered(120, 6)
    i, j = torch.triu_indices(len(x), len(x), 1)
    values, same = rounded_cosines(x)[i, j], y[i] == y[j]
    false_rate, true_rate, _ = roc_curve(same, values, drop_intermediate=False)
    equal = brentq(lambda rate: 1 - rate - np.interp(rate, false_rate, true_rate), 0, 1)
    assert compute(Verification, x, y) == {
        "roc_auc": roc_auc_score(same, values),
        "eer": equal,
        "tar_at_far_1e-2": true_rate[false_rate <= 1e-2].max(),
        "tar_at_far_1e-3": true_rate[false_rate <= 1e-3].max(),
    }


@pytest.mark.parametrize("total", [1, 7, 100, 300, 2900, 10_000])
def test_the_number_of_false_accepts_is_the_largest_within_the_rate(total: int) -> None:
    for rate in (1e-2, 1e-3):
        assert retrieval_metrics.count_accepted(rate, total) == max(k for k in range(total) if k / total <= rate)


def test_more_pairs_than_the_cap_are_those_of_some_samples_always_the_same() -> None:
    x, y = clustered(200, 5)
    similarities, same = retrieval_metrics.pairs(x, y, "cosine", 5000)
    assert len(similarities) == len(same) == 25 * 199 - 25 * 24 // 2  # those among the 25 count once
    whole, some = compute(Verification, x, y), compute(Verification, x, y, max_pairs=5000)
    assert some == {name: value.expected for name, value in compute(Verification, x, y, max_pairs=5000).items()}
    assert some["roc_auc"] != whole["roc_auc"].expected
    assert some["roc_auc"].expected == pytest.approx(whole["roc_auc"].expected, abs=0.05)


def test_the_states_of_a_collection_are_kept_once() -> None:
    x, y = clustered()
    metrics = MetricCollection([Retrieval(), Verification()], compute_groups=[["Retrieval", "Verification"]])
    metrics.update(x[:30], y[:30])
    metrics.update(x[30:], y[30:])
    values = {name: float(value) for name, value in metrics.compute().items()}
    assert values == compute(Retrieval, x, y) | compute(Verification, x, y)
    assert metrics.compute_groups == {0: ["Retrieval", "Verification"]}
    metrics.reset()
    assert not metrics["Retrieval"].embeddings


def test_refuses_what_has_no_metrics() -> None:
    with pytest.raises(DataError, match="none of the 3 samples shares its class"):
        compute(Retrieval, torch.randn(3, 2), torch.arange(3))
    with pytest.raises(DataError, match="0 pairs of one class and 3 of two classes"):
        compute(Verification, torch.randn(3, 2), torch.arange(3))
    with pytest.raises(DataError, match="3 pairs of one class and 0 of two"):
        compute(Verification, torch.randn(3, 2), torch.zeros(3))
    with pytest.raises(ConfigError, match="unknown similarity 'cosin'"):
        Retrieval("cosin")
    with pytest.raises(ConfigError, match=r"embeddings \(3, 2, 4\) and labels \(3,\)"):
        Retrieval().update(torch.randn(3, 2, 4), torch.arange(3))


def in_process(rank: int, folder: str) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = clustered(61)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    metrics = MetricCollection(
        {"retrieval": Retrieval(sync_on_compute=True), "verification": Verification(sync_on_compute=True)},
        compute_groups=[["retrieval", "verification"]],
    )
    metrics.update(x[rank::2], y[rank::2])
    torch.save({name: float(value) for name, value in metrics.compute().items()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_processes_with_different_numbers_of_samples_find_the_metrics_of_all(tmp_path: Path) -> None:
    context = get_context("fork")
    processes = [context.Process(target=in_process, args=(rank, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    x, y = (torch.manual_seed(0), clustered(61))[1]
    expected = compute(Retrieval, x, y) | compute(Verification, x, y)
    assert [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)] == [expected, expected]
