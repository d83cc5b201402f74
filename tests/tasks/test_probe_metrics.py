"""k-NN and linear accuracy against scikit-learn, and the spread of vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from tutelage.tasks.probe_metrics import Spread, knn_accuracy, probe_accuracy, vote_of_neighbours


def digits():
    x, y = load_digits(return_X_y=True)
    x, y = torch.from_numpy(x).float(), torch.from_numpy(y).long()
    return x[:600], y[:600], x[600:], y[600:]


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (20, 1.0), (200, 0.5)])
def test_neighbours_vote_as_scikit_learns(k, temperature):
    bank, labels, queries, targets = digits()
    reference = KNeighborsClassifier(k, metric="cosine", weights=lambda distance: np.exp(-distance / temperature))
    reference.fit(bank.double().numpy(), labels.numpy())
    votes = vote_of_neighbours(bank.double(), labels, queries.double(), 10, k, temperature)
    shares = votes / votes.sum(1, keepdim=True)
    np.testing.assert_allclose(shares.numpy(), reference.predict_proba(queries.double().numpy()), atol=1e-9)
    if (k, temperature) == (20, 0.07):
        score = reference.score(queries.double().numpy(), targets.numpy())
        assert knn_accuracy(bank.double(), labels, queries.double(), targets, 10) == pytest.approx(score)


def test_a_small_bank_and_absent_classes():
    bank = torch.eye(3)
    votes = vote_of_neighbours(bank, torch.tensor([0, 2, 2]), torch.tensor([[1.0, 0, 0], [0, 1, 1]]), 4)
    assert votes.argmax(1).tolist() == [0, 2]
    assert votes[:, [1, 3]].abs().sum() == 0
    assert vote_of_neighbours(bank, torch.tensor([1, 2, 3]), torch.zeros(1, 3), 4).isfinite().all()


def test_the_probe_is_a_logistic_regression():
    bank, labels, queries, targets = digits()
    scaler = StandardScaler().fit(bank.numpy())
    reference = LogisticRegression(max_iter=1000).fit(scaler.transform(bank.numpy()), labels.numpy())
    score = reference.score(scaler.transform(queries.numpy()), targets.numpy())
    assert probe_accuracy(bank, labels, queries, targets) == pytest.approx(score)


def test_spread_is_one_in_random_directions_and_zero_if_all_are_equal():
    x, metric = torch.randn(4000, 16), Spread()
    for part in x.split(700):
        metric.update(part)
    unit = torch.nn.functional.normalize(x, dim=1)
    assert float(metric.compute()) == pytest.approx(float(unit.std(0, correction=0).mean() * 4), rel=1e-5)
    assert float(metric.compute()) == pytest.approx(1, abs=0.02)
    metric.reset()
    metric.update(torch.ones(5, 7) * torch.arange(1, 6)[:, None])
    assert float(metric.compute()) == pytest.approx(0, abs=1e-6)
