"""Properties that all policies share, and each policy against a plain reference implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.policies.base import SampleWeight, Schedule, ScheduledTemperature, Temperature, Weight
from tutelage.policies.parsing import describe_policy, parse_policy, policy_spec
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


def policies_of_kind(kind: type) -> list[type]:
    return [cls for entry in ENTRIES if issubclass(cls := entry.load(), kind)]


def logits(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, dict[str, object]]:
    s, t = torch.randn(shape).double() * 3, torch.randn(shape).double() * 5
    return s.requires_grad_(), t, {"targets": torch.randint(shape[1], shape[:1] + shape[2:]), "epoch": 2.5}


def required(policy: SampleWeight | Temperature, inputs: dict[str, object]) -> dict[str, object]:
    return {name: inputs[name] for name in (*policy.required_inputs(), *policy.required_inputs(True))}


@pytest.mark.parametrize("shape", BATCHES)
@pytest.mark.parametrize("cls", policies_of_kind(Temperature))
def test_a_temperature_is_above_zero_and_softens_both_sides(cls: type[Temperature], shape: tuple[int, ...]) -> None:
    s, t, inputs = logits(shape)
    policy = cls()
    policy.build(s, t)
    tau = policy(s, t, **required(policy, inputs))
    assert (tau > 0).all()
    assert tau.numel() == 1 or tau.shape == shape[:1] + shape[2:]
    softer, soft_teacher, factor = policy.soften(s, t, **required(policy, inputs))
    assert softer.shape == soft_teacher.shape == s.shape
    assert softer.isfinite().all()
    torch.testing.assert_close(factor.squeeze(), tau.squeeze() ** 2)


@pytest.mark.parametrize("shape", BATCHES)
@pytest.mark.parametrize("cls", policies_of_kind(SampleWeight))
def test_sample_weights_are_not_negative_and_have_no_gradient_to_the_student(
    cls: type[SampleWeight], shape: tuple[int, ...]
) -> None:
    s, t, inputs = logits(shape)
    policy = cls()
    policy.build(s, t)
    weights = policy(s, t, **required(policy, inputs))
    assert weights.shape == shape[:1] + shape[2:]
    assert (weights >= 0).all()
    assert not weights.requires_grad or torch.autograd.grad(weights.sum(), s, allow_unused=True)[0] is None


@pytest.mark.parametrize("cls", policies_of_kind(Weight))
def test_a_weight_passes_the_gradient_on_to_the_term_alone(cls: type[Weight]) -> None:
    value, task_loss = torch.tensor(3.0, requires_grad=True), torch.tensor(2.0)
    weighted = cls()(value, task_loss)
    (grad,) = torch.autograd.grad(weighted, value)
    assert weighted.isfinite()
    assert grad > 0


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_policy_survives_its_specification(entry: registry.CatalogueEntry) -> None:
    policy = entry.load()()
    restored = parse_policy("option", policy_spec(policy), Schedule, Temperature, Weight, SampleWeight)
    assert type(restored) is type(policy)
    assert restored.options() == policy.options()
    assert describe_policy(policy).startswith(entry.name)


def test_a_ramp_has_its_ends_and_its_shape() -> None:
    assert [Ramp(1, 3, epochs=4).at(e) for e in (0, 1, 4, 9)] == [1, 1.5, 3, 3]
    assert [Ramp(1, 0, begin=20).at(e) for e in (0, 19.9, 20, 30)] == [1, 1, 0, 0]
    assert Ramp(epochs=4, begin=2, shape="cosine").at(3) == pytest.approx((1 - math.cos(math.pi / 4)) / 2)
    assert Ramp(epochs=10, shape="sigmoid").at(4) == pytest.approx(math.exp(-5 * 0.6**2))
    assert Ramp(epochs=10, shape="sigmoid").at(0) == 0


@pytest.mark.parametrize("by", ["disagreement", "doubt"])
def test_dynamic_equals_the_formula(by: str) -> None:
    s, t, _ = logits((6, 5))
    tau = Dynamic(base=6.0, beta=3.0, gamma=2.0, by=by)(s, t)
    omega = []
    for a, b in zip(s.detach().numpy(), t.numpy(), strict=True):
        cosine = (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)
        omega.append((1 - cosine) ** 2 if by == "disagreement" else 1 / softmax(a).max())
    expected = [max(6 + 3 * (np.mean(omega) - w), 0.5) for w in omega]
    torch.testing.assert_close(tau, torch.tensor(expected).double())


def test_standardised_ignores_shift_and_scale() -> None:
    s, t, _ = logits((6, 5))
    policy = Standardised(base=3.0)
    softer, _, factor = policy.soften(s, t)
    scaled, _, _ = policy.soften(7 * s + 2, t)
    by_hand = [(row - row.mean()) / (row.std(ddof=1) + 1e-7) / 3 for row in s.detach().numpy()]
    torch.testing.assert_close(softer.detach(), torch.tensor(np.stack(by_hand)))
    torch.testing.assert_close(softer, scaled, rtol=1e-6, atol=1e-7)
    assert factor == 9


def test_a_learned_temperature_by_sample_is_trained_to_rise() -> None:
    s, t, _ = logits((6, 5))
    policy = LearnedTemperature(by_sample=True)
    policy.build(s, t)
    tau = policy(s, t)
    assert tau.shape == (6,)
    (grad,) = torch.autograd.grad(tau.sum(), policy.net[2].bias)
    assert grad < 0  # gradient descent on the reversed gradient raises τ


def test_student_gap_and_low_entropy_equal_their_formulas() -> None:
    s, t, inputs = logits((6, 5))
    y = inputs["targets"]
    assert isinstance(y, Tensor)
    p, q = softmax(s.detach().numpy(), 1), softmax(t.numpy(), 1)
    student_ce, teacher_ce = -np.log(p[range(6), y]), -np.log(q[range(6), y])
    torch.testing.assert_close(
        StudentGap()(s, t, targets=y), torch.tensor(1 - np.exp(-student_ce / (teacher_ce + 1e-7)))
    )
    sure = 1 + (q * np.log(q)).sum(1) / np.log(5)
    torch.testing.assert_close(LowEntropy()(s, t), torch.tensor(sure))
    torch.testing.assert_close(LowEntropy(right=True)(s, t, targets=y), torch.tensor(sure * (q.argmax(1) == y.numpy())))


def test_the_easiest_samples_come_first_and_finally_all() -> None:
    s, t, inputs = logits((8, 5))
    y = inputs["targets"]
    assert isinstance(y, Tensor)
    policy = Easiest(start=0.25, epochs=10)
    difficulty = torch.nn.functional.cross_entropy(t, y, reduction="none")
    first = policy(s, t, targets=y, epoch=0.0)
    assert first.tolist() == [4.0 if h <= difficulty.sort().values[1] else 0.0 for h in difficulty]
    assert policy(s, t, targets=y, epoch=10.0).tolist() == [1.0] * 8


def test_balanced_weights_hold_their_ratio() -> None:
    value, task_loss = torch.tensor(3.0, requires_grad=True), torch.tensor(2.0)
    assert ValueRatio(0.5)(value, task_loss).item() == pytest.approx(1.0)
    policy = GradientRatio(0.5)
    policy.balance(norm=8.0, task_norm=2.0)
    assert policy.current_factor() == pytest.approx(0.125)
    policy.balance(norm=1.0, task_norm=2.0)  # norms of the weighted term
    assert policy.current_factor() == pytest.approx(0.125)
    policy.balance(norm=0.0, task_norm=2.0)
    assert policy.current_factor() == pytest.approx(0.125)


def test_a_learned_weight_falls_for_a_large_value() -> None:
    policy = Uncertainty()
    policy(torch.tensor(3.0), torch.tensor(0.0)).backward()
    assert policy.s.grad == pytest.approx(-3.0 + 0.5)


@pytest.mark.parametrize(
    ("value", "message"),
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
def test_a_faulty_policy_raises(value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_policy("temperature", value, Schedule, Temperature)


def test_a_scheduled_temperature_stays_above_zero() -> None:
    with pytest.raises(ConfigError, match="above 0"):
        ScheduledTemperature(Ramp(4, 0, epochs=3))
    assert ScheduledTemperature(Ramp(4, 1, epochs=3))(*logits((2, 3))[:2], epoch=1.0) == 3
