"""Policies in terms, alone and in trainings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from small import net

import tutelage
from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.losses.response.dist import DIST
from tutelage.losses.response.dkd import DKD
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.spec import term_from_spec, term_spec
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.policies.sample_weight.student_gap import StudentGap
from tutelage.policies.schedule.ramp import Ramp
from tutelage.policies.temperature.dynamic import Dynamic
from tutelage.policies.temperature.standardised import Standardised, standardise_logits
from tutelage.policies.weight.gradient_ratio import GradientRatio
from tutelage.structures import Batch, Outputs
from tutelage.tasks.classification import Classification
from tutelage.teachers.frozen import Frozen
from tutelage.utils import registry

BATCH = Batch(torch.randn(6, 1, 8, 8), torch.arange(6), torch.arange(6), epoch=1.5)


def wired(method: object, truth: bool = True) -> tuple[Player, Outputs]:
    task = Classification()
    teacher = Frozen(net("cnn4", 2).eval(), task)
    player = Player(net("cnn2", 1), Terms.from_method(method, task.task_loss() if truth else None), task)
    player.wire(teacher.profile(BATCH), BATCH, samples=20)
    return player, teacher(BATCH, player.terms.layers("teacher"))


@pytest.mark.parametrize("loss", [KD(), DKD()])
def test_a_temperature_of_each_sample_is_that_samples_loss_at_its_temperature(loss: Loss) -> None:
    player, told = wired(Term(type(loss)(temperature=1.0), 2.0, temperature=Dynamic()), truth=False)
    said = player.forward_student(BATCH)
    values = player.compare(said, told, BATCH)
    tau = Dynamic()(said.response, told.response)
    by_hand = []
    for i, t in enumerate(tau.tolist()):
        one = type(loss)(temperature=t)
        asked = {"targets": BATCH.targets[i : i + 1]} if one.required_inputs() else {}
        value = one(said.response[i : i + 1], told.response[i : i + 1], **asked)
        by_hand.append(sum(v.sum() for v in value.values()) if isinstance(value, dict) else value.sum())
    torch.testing.assert_close(next(iter(values.values())), 2 * torch.stack(by_hand).mean())


def test_samples_count_as_the_policy_says() -> None:
    player, told = wired(Term(KD(3.0), 1.0, samples=StudentGap()), truth=False)
    said = player.forward_student(BATCH)
    values = KD(3.0)(said.response, told.response) * StudentGap()(said.response, told.response, targets=BATCH.targets)
    torch.testing.assert_close(player.compare(said, told, BATCH)["kd"], values.mean())


def test_masked_positions_have_no_policy() -> None:
    said, told = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    mask = torch.rand(2, 3, 3) > 0.5
    term = Term(KD(1.0), 1.0, temperature=Dynamic(), samples=StudentGap())
    targets = torch.randint(4, (2, 3, 3))
    found = term(Outputs(said), Outputs(told), Batch(torch.zeros(2, 1), targets), mask)
    s, t, y = (x.movedim(1, -1)[mask] if x.dim() == 4 else x[mask] for x in (said, told, targets))
    torch.testing.assert_close(found, term(Outputs(s), Outputs(t), Batch(s, y)))


def test_a_policy_of_samples_is_refused_where_values_are_not_of_samples() -> None:
    for policies in ({"samples": StudentGap()}, {"temperature": Dynamic()}):
        with pytest.raises(ConfigError, match="not one for each of the"):
            wired(Term(DIST(), **policies))
    wired(Term(DIST(), temperature=Standardised()))  # the same for all


def test_every_response_loss_takes_a_temperature_or_says_why_not() -> None:
    taken = []
    for entry in registry.catalogue("losses").values():
        if entry.group != "response":
            continue
        try:
            player, told = wired(Term(entry.load()(), temperature=Standardised()))
        except ConfigError:
            continue
        assert all(value.isfinite() for value in player(BATCH, told).values())
        taken.append(entry.name)
    assert {"kd", "dkd", "dist", "nkd", "logit_mse", "wsld", "mlkd", "ttm", "wkd_l"} <= set(taken)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "at", "temperature": {"name": "dynamic"}}, "compares no logits"),
        ({"name": "ce", "temperature": {"name": "dynamic"}}, "and there is none"),
        ({"name": "kd", "samples": {"name": "dynamic"}}, "expected a number or a sample weight policy"),
        ({"name": "kd", "weight": {"name": "worse"}}, "schedule or a weight policy"),
    ],
)
def test_a_policy_out_of_place_is_refused(spec: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wired(spec)


def test_a_weight_by_the_truth_wants_one() -> None:
    with pytest.raises(ConfigError, match="is balanced against a supervised term"):
        wired(Term(KD(), GradientRatio()), truth=False)


def test_a_spec_with_policies_survives() -> None:
    spec = {
        "name": "kd",
        "temperature": {"name": "learned", "t_end": 5.0},
        "weight": {"name": "ramp", "end": 0.9, "epochs": 3},
        "samples": {"name": "easiest", "start": 0.3},
    }
    told = term_spec(term_from_spec(spec))
    assert told == term_spec(term_from_spec(told))
    assert told["temperature"]["t_end"] == 5.0
    assert told["weight"] == {"name": "ramp", "start": 0.0, "end": 0.9, "epochs": 3, "begin": 0.0, "shape": "linear"}


def test_a_weight_follows_its_schedule() -> None:
    said, told = Outputs(torch.randn(6, 4)), Outputs(torch.randn(6, 4))
    whole = Term(KD(), 1.0)(said, told, BATCH)
    assert torch.allclose(Term(KD(), Ramp(1, 3, epochs=3))(said, told, BATCH), 2 * whole)


METHOD = [
    {"name": "ce"},
    {"name": "kd", "temperature": {"name": "learned", "ramp": 1}, "samples": {"name": "geometry"}},
    {"name": "at", "weight": {"name": "gradient_ratio", "ratio": 0.5}},
    {"name": "dist", "weight": {"name": "value_ratio", "ratio": 0.1}},
    {"name": "logit_mse", "weight": {"name": "uncertainty"}},
]


def test_a_training_balances_shows_it_and_learns_what_is_learned(tmp_path: Path) -> None:
    run = tutelage.distill("cnn2", "cnn4", data="digits", method=METHOD, epochs=2, teacher_epochs=2, limit=200,
                           baseline=False, out=str(tmp_path / "run"))  # fmt: skip
    rows = [json.loads(line) for line in (run.folder / "student-0" / "metrics.jsonl").read_text().splitlines()]
    norms = [row for row in rows if row["kind"] == "norms"]
    assert len(norms) == 2
    for row in norms:
        assert row["weights"]["at"] > 0
        assert row["norms"]["at"] == pytest.approx(0.5 * row["norms"]["ce"], rel=1e-3)
    page = (run.folder / "report.html").read_text()
    assert "ratio=0.5)" in page
    assert "Last weight" in page


def test_lskd_is_kd_of_standardised_logits() -> None:
    player, told = wired(Term(KD(1.0), 9.0, temperature=Standardised(2.0)), truth=False)
    said = player.forward_student(BATCH)
    s, t = (F.log_softmax(standardise_logits(z) / 2, dim=1) for z in (said.response, told.response))
    by_hand = 9 * 4 * F.kl_div(s, t, reduction="batchmean", log_target=True)
    torch.testing.assert_close(player.compare(said, told, BATCH)["kd"], by_hand)
