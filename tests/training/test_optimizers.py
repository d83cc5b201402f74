"""Optimisers and the learning rate's course."""

import copy
import math

import pytest
import torch
from small import net, settings
from torch import nn

from tutelage.config.schema import read
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.settings import TrainerSettings, lr_multiplier
from tutelage.training.optimizers import create_optimiser, create_scheduler, resolve_settings


def rates(steps: int = 10, **changes) -> list[float]:
    made = settings(epochs=4, **changes)
    return [lr_multiplier(made, steps)(step) for step in range(4 * steps + 1)]


def test_cosine_falls_to_zero_at_the_end():
    found = rates(schedule="cosine")
    assert found[0] == 1
    assert found[20] == pytest.approx(0.5)
    assert found[40] == pytest.approx(0)
    assert found[7] == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 40)))


def test_steps_cut_by_ten_at_the_milestones():
    found = rates(schedule="step", milestones=[0.5, 0.75])
    assert (found[19], found[20], found[29], found[30]) == pytest.approx((1, 0.1, 0.1, 0.01))


def test_constant_stays():
    assert set(rates(schedule="constant")) == {1.0}


def test_the_rise_goes_up_to_the_peak_and_the_course_takes_the_rest():
    found = rates(schedule="cosine", lr_warmup=1.0)
    assert found[:10] == sorted(found[:10])
    assert 0 < found[0] < 0.2
    assert found[10] == 1
    assert found[25] == pytest.approx(0.5)
    assert found[40] == pytest.approx(0)


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_the_optimiser_has_the_settings_numbers_and_only_what_is_trained(name, kind):
    model = net()
    model.fc.requires_grad_(False)
    made = create_optimiser(model, settings(optimizer=name, lr=0.3, weight_decay=0.2, momentum=0.5))
    assert isinstance(made, kind)
    (group,) = made.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.3, 0.2)
    assert not {id(p) for p in group["params"]} & {id(p) for p in model.fc.parameters()}
    if name == "sgd":
        assert (group["momentum"], group["nesterov"]) == (0.5, True)
    schedule = create_scheduler(made, settings(epochs=2, lr=0.3, schedule="step", milestones=[0.5]), 1)
    made.step()
    schedule.step()
    assert group["lr"] == pytest.approx(0.03)


def test_plain_momentum_is_torchs():
    (group,) = create_optimiser(net(), settings(nesterov=False)).param_groups
    assert (group["momentum"], group["nesterov"]) == (0.9, False)
    with pytest.raises(ValueError, match="nesterov=false is for sgd"):
        settings(nesterov=False, optimizer="adamw")


def test_without_momentum_sgd_is_plain():
    assert create_optimiser(net(), settings(momentum=0.0)).param_groups[0]["nesterov"] is False


def test_a_part_may_have_settings_of_its_own():
    part = net("cnn2")
    part.own_settings = {"lr": 0.3, "weight_decay": 0.0}
    (group,) = create_optimiser(part, settings(lr=0.1, momentum=0.8)).param_groups
    assert (group["lr"], group["weight_decay"], group["momentum"]) == (0.3, 0.0, 0.8)
    part.own_settings = {"optimizer": "adamw"}
    assert isinstance(create_optimiser(part, settings()), torch.optim.AdamW)


def attentive() -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, 16)


@pytest.mark.parametrize(
    ("module", "said", "expected"),
    [
        (net(), {}, ("sgd", 0.05, 5e-4)),
        (attentive(), {}, ("adamw", 1e-3, 0.05)),
        (nn.Sequential(FeatureExtractor(attentive()), nn.Linear(2, 2)), {}, ("adamw", 1e-3, 0.05)),
        (nn.Sequential(FeatureExtractor(net()), nn.LayerNorm(2)), {}, ("sgd", 0.05, 5e-4)),
        (attentive(), {"lr": 3e-4}, ("adamw", 3e-4, 0.05)),
        (attentive(), {"lr": 0.1}, ("sgd", 0.1, 5e-4)),
        (attentive(), {"optimizer": "sgd"}, ("sgd", 0.05, 5e-4)),
        (attentive(), {"dot": 0.05}, ("sgd", 0.05, 5e-4)),
        (net(), {"optimizer": "adamw", "weight_decay": 0}, ("adamw", 1e-3, 0)),
    ],
)
def test_what_isnt_said_suits_the_network(module, said, expected):
    assert resolve_settings(TrainerSettings(**said), module) == expected


@pytest.mark.parametrize(("epochs", "said", "rise"), [(10, None, 0.5), (300, None, 5), (10, 0, 0), (10, 2.5, 2.5)])
def test_the_rise_is_a_twentieth_unless_it_is_said(epochs, said, rise):
    assert TrainerSettings(epochs=epochs, lr_warmup=said).rise == rise


def test_clip_is_there_unless_it_is_said_that_it_isnt():
    assert TrainerSettings().clip == 5
    assert read(words=["clip=none"]).clip is None
    assert read(words=["clip=1"]).clip == 1


def test_a_gradient_that_comes_later_than_others_starts_its_own_momentum():
    """A term may join in a later epoch; fused SGD, which refuses such a mixture, equals plain SGD."""
    torch.manual_seed(0)
    first, late = nn.Linear(3, 3), nn.Linear(3, 3)
    twins = copy.deepcopy(nn.ModuleList([first, late]))
    fused = create_optimiser(nn.ModuleList([first, late]), settings(lr=0.1, momentum=0.9, weight_decay=0.01))
    plain = torch.optim.SGD(twins.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True, fused=False)
    assert fused.param_groups[0]["fused"]
    for step in range(4):
        x = torch.randn(5, 3)
        for (one, other), sgd in (((first, late), fused), (twins, plain)):
            sgd.zero_grad()
            (one(x) + (other(x) if step > 1 else 0)).pow(2).mean().backward()
            sgd.step()
    for actual, expected in zip((*first.parameters(), *late.parameters()), twins.parameters(), strict=True):
        torch.testing.assert_close(actual, expected)
