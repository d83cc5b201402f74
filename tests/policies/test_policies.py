"""All policies by one measure, and each against a slow reading."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.policies import ScheduledTemperature, describe_policy, parse_policy, policy_spec
from tutelage.policies.base import SampleWeight, Schedule, Temperature, Weight
from tutelage.policies.sample_weight.easiest import Easiest
from tutelage.policies.sample_weight.low_entropy import LowEntropy
from tutelage.policies.sample_weight.student_gap import StudentGap
from tutelage.policies.schedule.ramp import Ramp
from tutelage.policies.temperature.dynamic import Dynamic
from tutelage.policies.temperature.learned import LearnedTemperature
from tutelage.policies.temperature.standardised import Standardised
from tutelage.policies.weight.gradient_ratio import GradientRatio
from tutelage.policies.weight.uncertainty import Uncertainty
from tutelage.policies.weight.value_ratio import ValueRatio
from tutelage.utils import registry

ENTRIES = registry.catalogue("policies").values()
BATCHES = [(6, 5), (1, 5), (4, 5, 3, 3)]


def of(kind: type) -> list[type]:
    return [cls for entry in ENTRIES if issubclass(cls := entry.load(), kind)]


def logits(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, dict[str, object]]:
    s, t = torch.randn(shape).double() * 3, torch.randn(shape).double() * 5
    return s.requires_grad_(), t, {"targets": torch.randint(shape[1], shape[:1] + shape[2:]), "epoch": 2.5}


def asked(part: SampleWeight | Temperature, there: dict[str, object]) -> dict[str, object]:
    return {name: there[name] for name in (*part.required_inputs(), *part.required_inputs(True))}


@pytest.mark.parametrize("shape", BATCHES)
@pytest.mark.parametrize("cls", of(Temperature))
def test_a_temperature_is_above_zero_and_softens_both_sides(cls: type[Temperature], shape: tuple[int, ...]) -> None:
    s, t, there = logits(shape)
    part = cls()
    part.build(s, t)
    tau = part(s, t, **asked(part, there))
    assert (tau > 0).all()
    assert tau.numel() == 1 or tau.shape == shape[:1] + shape[2:]
    softer, soft_teacher, factor = part.soften(s, t, **asked(part, there))
    assert softer.shape == soft_teacher.shape == s.shape
    assert softer.isfinite().all()
    torch.testing.assert_close(factor.squeeze(), tau.squeeze() ** 2)


@pytest.mark.parametrize("shape", BATCHES)
@pytest.mark.parametrize("cls", of(SampleWeight))
def test_what_samples_count_is_not_below_zero_and_no_matter_of_the_student(
    cls: type[SampleWeight], shape: tuple[int, ...]
) -> None:
    s, t, there = logits(shape)
    part = cls()
    part.build(s, t)
    counts = part(s, t, **asked(part, there))
    assert counts.shape == shape[:1] + shape[2:]
    assert (counts >= 0).all()
    assert not counts.requires_grad or torch.autograd.grad(counts.sum(), s, allow_unused=True)[0] is None


@pytest.mark.parametrize("cls", of(Weight))
def test_a_weight_passes_the_gradient_on_to_the_term_alone(cls: type[Weight]) -> None:
    value, truth = torch.tensor(3.0, requires_grad=True), torch.tensor(2.0)
    weighted = cls()(value, truth)
    (grad,) = torch.autograd.grad(weighted, value)
    assert weighted.isfinite()
    assert grad > 0


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_policy_survives_being_told(entry: registry.Entry) -> None:
    part = entry.load()()
    again = parse_policy("option", policy_spec(part), Schedule, Temperature, Weight, SampleWeight)
    assert type(again) is type(part)
    assert again.options() == part.options()
    assert describe_policy(part).startswith(entry.name)


def test_a_ramp_has_its_ends_and_its_shape() -> None:
    assert [Ramp(1, 3, epochs=4).at(e) for e in (0, 1, 4, 9)] == [1, 1.5, 3, 3]
    assert [Ramp(1, 0, begin=20).at(e) for e in (0, 19.9, 20, 30)] == [1, 1, 0, 0]
    assert Ramp(epochs=4, begin=2, shape="cosine").at(3) == pytest.approx((1 - math.cos(math.pi / 4)) / 2)
    assert Ramp(epochs=10, shape="sigmoid").at(4) == pytest.approx(math.exp(-5 * 0.6**2))
    assert Ramp(epochs=10, shape="sigmoid").at(0) == 0


@pytest.mark.parametrize("by", ["disagreement", "doubt"])
def test_dynamic_reads_like_the_paper(by: str) -> None:
    s, t, _ = logits((6, 5))
    found = Dynamic(base=6.0, beta=3.0, gamma=2.0, by=by)(s, t)
    omega = []
    for a, b in zip(s.detach().numpy(), t.numpy(), strict=True):
        cosine = (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)
        omega.append((1 - cosine) ** 2 if by == "disagreement" else 1 / softmax(a).max())
    expected = [max(6 + 3 * (np.mean(omega) - w), 0.5) for w in omega]
    torch.testing.assert_close(found, torch.tensor(expected).double())


def test_standardised_ignores_shift_and_scale() -> None:
    s, t, _ = logits((6, 5))
    part = Standardised(base=3.0)
    softer, _, factor = part.soften(s, t)
    again, _, _ = part.soften(7 * s + 2, t)
    by_hand = [(row - row.mean()) / (row.std(ddof=1) + 1e-7) / 3 for row in s.detach().numpy()]
    torch.testing.assert_close(softer.detach(), torch.tensor(np.stack(by_hand)))
    torch.testing.assert_close(softer, again, rtol=1e-6, atol=1e-7)
    assert factor == 9


def test_a_learned_temperature_of_each_sample_rises_with_the_loss() -> None:
    s, t, _ = logits((6, 5))
    part = LearnedTemperature(by_sample=True)
    part.build(s, t)
    tau = part(s, t)
    assert tau.shape == (6,)
    (turned,) = torch.autograd.grad(tau.sum(), part.net[2].bias)
    assert turned < 0  # descending climbs


def test_worse_and_sure_read_like_their_formulas() -> None:
    s, t, there = logits((6, 5))
    y = there["targets"]
    assert isinstance(y, Tensor)
    p, q = softmax(s.detach().numpy(), 1), softmax(t.numpy(), 1)
    ours, theirs = -np.log(p[range(6), y]), -np.log(q[range(6), y])
    torch.testing.assert_close(StudentGap()(s, t, targets=y), torch.tensor(1 - np.exp(-ours / (theirs + 1e-7))))
    sure = 1 + (q * np.log(q)).sum(1) / np.log(5)
    torch.testing.assert_close(LowEntropy()(s, t), torch.tensor(sure))
    torch.testing.assert_close(LowEntropy(right=True)(s, t, targets=y), torch.tensor(sure * (q.argmax(1) == y.numpy())))


def test_the_easiest_samples_come_first_and_in_the_end_all() -> None:
    s, t, there = logits((8, 5))
    y = there["targets"]
    assert isinstance(y, Tensor)
    part = Easiest(start=0.25, epochs=10)
    hard = torch.nn.functional.cross_entropy(t, y, reduction="none")
    first = part(s, t, targets=y, epoch=0.0)
    assert first.tolist() == [4.0 if h <= hard.sort().values[1] else 0.0 for h in hard]
    assert part(s, t, targets=y, epoch=10.0).tolist() == [1.0] * 8


def test_balanced_weights_hold_their_ratio() -> None:
    value, truth = torch.tensor(3.0, requires_grad=True), torch.tensor(2.0)
    assert ValueRatio(0.5)(value, truth).item() == pytest.approx(1.0)
    part = GradientRatio(0.5)
    part.balance(norm=8.0, truth=2.0)
    assert part.current() == pytest.approx(0.125)
    part.balance(norm=1.0, truth=2.0)  # of the weighted term
    assert part.current() == pytest.approx(0.125)
    part.balance(norm=0.0, truth=2.0)
    assert part.current() == pytest.approx(0.125)


def test_a_learned_weight_falls_for_a_large_value() -> None:
    part = Uncertainty()
    part(torch.tensor(3.0), torch.tensor(0.0)).backward()
    assert part.s.grad == pytest.approx(-3.0 + 0.5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 3}, "needs a name"),
        ({"name": "rampp"}, "unknown policy 'rampp': did you mean 'ramp'"),
        ({"name": "ramp", "epoch": 3}, "unknown option of ramp 'epoch': did you mean 'epochs'"),
        ({"name": "ramp", "epochs": "many"}, "ramp: epochs='many': expected a number"),
        ({"name": "ramp", "shape": "round"}, "shape='round'"),
        ({"name": "worse"}, "expected a number or a schedule or a temperature policy"),
        (3.5, "expected a number or a schedule or a temperature policy"),
    ],
)
def test_a_faulty_policy_is_refused(given: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_policy("temperature", given, Schedule, Temperature)


def test_a_scheduled_temperature_stays_above_zero() -> None:
    with pytest.raises(ConfigError, match="above 0"):
        ScheduledTemperature(Ramp(4, 0, epochs=3))
    assert ScheduledTemperature(Ramp(4, 1, epochs=3))(*logits((2, 3))[:2], epoch=1.0) == 3
