"""The losses of pytorch-metric-learning, by name: their values, learned vectors and refusals."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.losses.relation.metric_learning import PAIR_LOSSES, PROXY_LOSSES, MetricLearning
from tutelage.objective.reduction import mean
from tutelage.objective.term import Term

library = pytest.importorskip("pytorch_metric_learning.losses")
B, D, C = 12, 5, 4


def built(kind: str, **options: Any) -> MetricLearning:
    torch.manual_seed(1)
    loss = MetricLearning(kind=kind, classes=C if kind in PROXY_LOSSES else 0, **options)
    loss.build(torch.randn(2, D), None, 100)
    return loss


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(B, D), torch.arange(B) % 3  # class 3 isn't in the batch


@pytest.mark.parametrize("kind", [*PAIR_LOSSES, *PROXY_LOSSES])
@pytest.mark.parametrize("settings", [{}, {"margin": 0.3}])
def test_the_mean_equals_the_librarys_own(kind: str, settings: dict[str, float]) -> None:
    if kind in ("contrastive", "multi_similarity", "normalized_softmax"):
        settings = {name.replace("margin", "neg_margin"): 0.3 for name in settings if kind == "contrastive"}
    x, targets = batch()
    loss = built(kind, settings=settings)
    sizes = {"num_classes": C, "embedding_size": D} if kind in PROXY_LOSSES else {}
    reference = getattr(library, (PAIR_LOSSES | PROXY_LOSSES)[kind])(**sizes, **settings)
    reference.load_state_dict(loss.loss.state_dict())
    torch.testing.assert_close(mean(loss(x, targets=targets), shared=True), reference(x, targets))


@pytest.mark.parametrize("kind", PROXY_LOSSES)
def test_the_classes_vectors_are_trained_and_saved(kind: str) -> None:
    loss, (x, targets) = built(kind), batch()
    (vectors,) = loss.parameters()
    assert sorted(vectors.shape) == sorted((C, D))
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.05)
    before = mean(loss(x, targets=targets), shared=True).item()
    for _ in range(20):
        optimizer.zero_grad()
        mean(loss(x, targets=targets), shared=True).backward()
        optimizer.step()
    assert mean(loss(x, targets=targets), shared=True).item() < before
    twin = built(kind)
    twin.load_state_dict(loss.state_dict())
    assert torch.equal(next(iter(twin.parameters())), vectors)


@pytest.mark.parametrize("kind", [*PAIR_LOSSES, *PROXY_LOSSES])
def test_half_precision_leaves_the_parameters_single(kind: str) -> None:
    loss, (x, targets) = built(kind), batch()
    value = mean(loss(x.bfloat16(), targets=targets), shared=True)
    torch.testing.assert_close(value, mean(loss(x, targets=targets), shared=True), rtol=0.05, atol=0.05)
    assert all(parameter.dtype == torch.float32 for parameter in loss.parameters())


@pytest.mark.parametrize("kind", PAIR_LOSSES)
@pytest.mark.parametrize("targets", [torch.tensor([0]), torch.arange(3), torch.zeros(3, dtype=torch.int64)])
def test_a_batch_without_pairs_has_no_loss_but_a_gradient(kind: str, targets: Tensor) -> None:
    x = torch.randn(len(targets), D, requires_grad=True)
    value = mean(built(kind)(x, targets=targets), shared=True)
    value.backward()
    assert value.isfinite()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_a_term_needs_no_teacher() -> None:
    assert not Term(MetricLearning()).loss.needs_teacher
    assert isinstance(MetricLearning(), Loss)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match=r"kind='arcface'\) learns a vector for each class, and classes=0"):
        MetricLearning(kind="arcface")
    with pytest.raises(ConfigError, match="kind='arc': expected 'triplet', "):
        MetricLearning(kind="arc")
    with pytest.raises(
        ConfigError, match=r"unknown setting of MetricLearning\(triplet\) 'margn': did you mean 'margin'"
    ):
        MetricLearning(kind="triplet", settings={"margn": 0.1})
    with pytest.raises(ConfigError, match="settings="):
        MetricLearning(settings={"alpha": "2"})
    with pytest.raises(ConfigError, match=r"embeddings \(2, 5, 3\) and labels \(2,\)"):
        built("triplet")(torch.randn(2, 5, 3), targets=torch.arange(2))


def test_without_the_library_it_tells_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning.losses", None)
    with pytest.raises(ConfigError, match=r"pip install 'tutelage\[retrieval\]'"):
        MetricLearning()
