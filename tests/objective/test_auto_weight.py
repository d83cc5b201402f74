"""Weights that hold the paper's share of the gradient."""

import json
import math

import pytest

import tutelage
from tutelage import AT, CE, CRD, DKD, KD, NORM, EmbeddingL2, Term, Terms
from tutelage.errors import ConfigError
from tutelage.losses.base import Dense
from tutelage.objective.auto_weight import PROTOCOL_STEPS, auto_weight, gradient_shares
from tutelage.objective.spec import term_from_spec
from tutelage.policies.weight.gradient_ratio import GradientRatio
from tutelage.runs.phase import describe_weight
from tutelage.training.callbacks import Callback
from tutelage.utils import registry


def settled(method, weight="auto", epochs=12):
    terms = Terms.from_method(method, CE(), full_task_loss=weight == "auto")
    terms.settle(weight, epochs, steps=PROTOCOL_STEPS)
    return terms.named_terms()


def test_losses_of_features_and_relations_have_a_measured_share():
    shares = gradient_shares()
    assert all(math.isfinite(share) and share > 0 for share in shares.values())
    assert {"at", "fitnet", "pkt", "rkd_distance", "reviewkd", "crd", "semckd", "nst"} <= shares.keys()
    kinds = [registry.catalogue("losses")[name].load() for name in shares]
    assert all(kind.compares != "response" or issubclass(kind, Dense) for kind in kinds)


def test_a_weight_that_is_left_open_follows_the_share_and_a_named_one_stays():
    assert auto_weight(KD(), 1000) == KD.default_weight
    open_, named = settled(AT())["at"], settled(2.0 * AT())["at"]
    assert isinstance(open_.weight, GradientRatio)
    assert open_.weight.ratio == min(gradient_shares()["at"], 1.0)
    assert auto_weight(AT(), PROTOCOL_STEPS // 64).ratio == pytest.approx(open_.weight.ratio / 2, rel=2e-3)
    assert auto_weight(AT(), 2 * PROTOCOL_STEPS).ratio == open_.weight.ratio
    assert named.weight == 2.0
    assert settled(AT(), "paper")["at"].weight == AT.default_weight
    assert settled(term_from_spec({"name": "at", "weight": "paper"}))["at"].weight == AT.default_weight
    assert isinstance(settled(term_from_spec({"name": "at", "weight": "auto"}), "paper")["at"].weight, GradientRatio)
    assert describe_weight(open_) == "auto: 1 × the task loss's gradient (paper: 1000)"
    assert describe_weight(named) == 2.0


def test_a_loss_that_learns_a_connector_fades_faster_in_short_trainings():
    for learned in (EmbeddingL2(), NORM(), CRD()):
        whole, short = (auto_weight(learned, PROTOCOL_STEPS // part).ratio for part in (1, 64))
        assert short == pytest.approx(whole / 4, rel=2e-2)


def test_without_a_supervised_term_the_published_weight_stays():
    terms = Terms.from_method(AT())
    terms.settle("auto", 12, 240)
    assert terms.named_terms()["at"].weight == AT.default_weight


def test_a_warm_up_has_the_papers_share_of_the_training():
    assert settled(DKD())["dkd"].warmup == pytest.approx(1.0)  # 20 of 240 epochs
    assert settled(DKD(), "paper", 240)["dkd"].warmup == pytest.approx(20.0)
    assert settled(Term(DKD(), warmup=3))["dkd"].warmup == 3.0
    assert settled(KD())["kd"].warmup == 0.0


def test_a_classifier_that_nothing_else_trains_gets_the_task_loss():
    assert list(settled(EmbeddingL2(), "paper")) == ["embedding_l2"]
    assert settled(EmbeddingL2())["ce"].weight == settled(NORM())["ce"].weight == 1.0
    assert settled(NORM(), "paper")["ce"].weight == 0.1
    assert list(settled(Term(EmbeddingL2(), task_loss_weight=0.0))) == ["embedding_l2"]
    assert list(settled([EmbeddingL2(), KD()])) == ["ce", "embedding_l2", "kd"]


class Norms(Callback):
    def __init__(self):
        self.shares, self.weights = [], []

    def on_gradient_norms(self, event):
        if "at" in event.norms:  # the teacher's training has none
            self.shares.append(event.norms["at"] / event.norms["ce"])
            self.weights.append(event.weights["at"])


def run(tmp_path, **keys):
    norms = Norms()
    finished = tutelage.distill(
        teacher="cnn4", student="cnn2", data="digits", limit=128, epochs=3, teacher_epochs=1, baseline=False,
        out=str(tmp_path / "run"), callbacks=[norms], progress=False, **keys,
    )  # fmt: skip
    return finished, norms


def test_in_a_run_the_share_is_held_and_told(tmp_path):
    finished, norms = run(tmp_path, method="at")
    share = auto_weight(AT(), 3 * 2).ratio
    assert norms.shares == pytest.approx([share] * 3, rel=1e-3)
    assert len(set(norms.weights)) == 3
    (told,) = [
        term["weight"]
        for term in json.loads((finished.folder / "student-0" / "phase.json").read_text())["terms"]
        if term["name"] == "at"
    ]
    assert told == f"auto: {share:g} × the task loss's gradient (paper: 1000)"
    assert "gradient (paper: 1000)" in finished.report.read_text()
    assert "weight: auto" in (finished.folder / "config.yaml").read_text()


def test_the_share_is_held_during_a_warm_up(tmp_path):
    _, norms = run(tmp_path, method=[{"name": "at", "warmup": 2.0}])
    share = auto_weight(AT(), 3 * 2).ratio
    assert norms.shares == pytest.approx([share * 1e-3 / 2, share / 2, share], rel=1e-2)


def test_an_own_loop_gets_the_published_weight_unless_it_asks():
    assert Terms.from_method(AT(), CE()).named_terms()["at"].weight == AT.default_weight
    with pytest.raises(ConfigError, match="weight='high'"):
        term_from_spec({"name": "at", "weight": "high"})
