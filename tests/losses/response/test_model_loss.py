"""The losses that a model computes itself, as terms of their own."""

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.response.kd import KD
from tutelage.losses.response.model_loss import ModelLoss
from tutelage.objective.terms import Terms

LOSSES = {"classification": torch.tensor(0.7), "boxes": torch.tensor(0.2)}


def test_it_is_the_models_own_loss():
    student = torch.zeros(2, 3)
    assert ModelLoss("boxes")(student, student_losses=LOSSES) == LOSSES["boxes"]
    assert ModelLoss()(student, student_losses=LOSSES).item() == pytest.approx(0.9)
    with pytest.raises(ConfigError, match="did you mean 'boxes'"):
        ModelLoss("boxs")(student, student_losses=LOSSES)


def test_each_of_them_becomes_a_term_of_its_weight():
    terms = Terms.from_method(2 * ModelLoss() + KD())
    terms.split_model_losses(list(LOSSES))
    assert list(terms) == ["classification", "boxes", "kd"]
    assert [terms[name].weight for name in LOSSES] == [2.0, 2.0]


def test_a_named_one_keeps_its_own_weight():
    terms = Terms.from_method(2 * ModelLoss() + 5 * ModelLoss("boxes"))
    terms.split_model_losses(list(LOSSES))
    assert {name: term.weight for name, term in terms.items()} == {"classification": 2.0, "boxes": 5.0}
    with pytest.raises(ConfigError, match="loss of the student's own 'mask'"):
        Terms.from_method(ModelLoss("mask")).split_model_losses(list(LOSSES))
