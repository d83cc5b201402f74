import math

import pytest
import torch
from scipy import stats

from tutelage.explanation import dark_knowledge
from tutelage.explanation.agreement import divergence


def tables(ties=False):
    x, y = torch.randn(9, 6, dtype=torch.float64), torch.randn(9, 6, dtype=torch.float64)
    return (x.round(), y.round()) if ties else (x, y)


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlations_are_scipy_s(ties):
    x, y = tables(ties)
    for a, b, tau, rho in zip(x, y, dark_knowledge.kendall(x, y), dark_knowledge.spearman(x, y), strict=True):
        assert float(tau) == pytest.approx(stats.kendalltau(a, b).statistic, abs=1e-12)
        assert float(rho) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)


def test_chunks_give_the_same(monkeypatch):
    x, y = tables()
    whole = dark_knowledge.kendall(x, y)
    monkeypatch.setattr(dark_knowledge, "PAIRS", 72)
    assert torch.equal(dark_knowledge.kendall(x, y), whole)


def test_a_constant_side_has_no_rank_agreement():
    x = torch.ones(2, 4, dtype=torch.float64)
    y = torch.randn(2, 4, dtype=torch.float64)
    assert dark_knowledge.kendall(x, y).abs().max() == 0
    assert dark_knowledge.spearman(x, y).abs().max() < 1e-6


def test_parts_add_up_to_the_divergence():
    s, t, y = torch.randn(50, 8), torch.randn(50, 8), torch.arange(50) % 8
    values = dark_knowledge.parts(s, t, y)
    whole = float(divergence(s.double(), t.double()).mean())
    assert values["KL of the label"] + values["KL of the others, weighed"] == pytest.approx(whole, abs=1e-9)


def test_softness_of_even_outputs():
    values = dark_knowledge.softness(torch.zeros(3, 4), torch.arange(3))
    assert values["entropy, nats"] == pytest.approx(math.log(4))
    assert values["effective classes"] == pytest.approx(4)
    assert values["effective classes among the others"] == pytest.approx(3)
    assert values["probability of the label"] == pytest.approx(0.25)
    assert values["margin"] == 0


def test_figures_have_every_role(figures):
    made = figures(dark_knowledge)
    assert set(made["softness"].values) == {"teacher", "baseline", "student"}
    assert set(made["ranks"].values) == {"baseline", "student"}
    assert all(-1 <= x <= 1 for x in made["ranks"].values["student"]["Kendall's tau"].values)
