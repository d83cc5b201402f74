"""How hard each term pulls at the student."""

import pytest
import torch
from small import digest, digits, offline

from tutelage.losses.feature.fitnet import FitNet
from tutelage.losses.relation.crd import CRD
from tutelage.losses.response.kd import KD
from tutelage.objective.term import Term
from tutelage.policies.weight.gradient_ratio import GradientRatio
from tutelage.training.gradient_norms import gradient_norms


def wired(method):
    data = digits(48)
    scheme = offline(data, method)
    batch = next(data.batches("train", 16))
    scheme.wire(batch, 48)
    scheme.train()
    return scheme, batch


def test_each_terms_norm_is_that_of_its_gradient_at_the_student():
    scheme, batch = wired(KD() + 3.0 * FitNet())
    norms = gradient_norms(scheme, batch, 0)
    assert set(norms) == {"student/ce", "student/kd", "student/fitnet"}
    for term, norm in norms.items():
        scheme.zero_grad()
        ((_, losses),) = scheme.turns(batch, 0)
        losses[term.removeprefix("student/")].backward()
        parameters = scheme.players["student"].student.parameters()
        by_hand = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]).norm().item()
        assert norm == pytest.approx(by_hand, rel=1e-4)


def test_measuring_leaves_no_trace():
    scheme, batch = wired(KD() + CRD(dim=4, negatives=8))
    before, state = digest(scheme), torch.get_rng_state()
    gradient_norms(scheme, batch, 0)
    assert digest(scheme) == before
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in scheme.parameters())


def test_norms_after_balancing_are_those_that_would_be_measured():
    scheme, batch = wired([Term(KD()), Term(FitNet(), weight=GradientRatio(ratio=0.3))])
    norms = scheme.balance(gradient_norms(scheme, batch, 0), batch.epoch)
    assert norms == pytest.approx(gradient_norms(scheme, batch, 0), rel=1e-5)
    assert norms["student/fitnet"] == pytest.approx(0.3 * norms["student/ce"], rel=1e-5)
