"""FT against its formula; its paraphraser is trained separately from the student."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.feature.ft import FT


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("power", [0, 2, 3])
def test_factors_equal_the_formula(p: int, power: int) -> None:
    student, teacher = torch.randn(3, 4, 2, 2).double(), torch.randn(3, 4, 2, 2).double()
    values = FT(rate=0, power=power, p=p)(student, teacher)["factor"]
    for s, t, value in zip(student.numpy(), teacher.numpy(), values, strict=True):
        if power:
            s, t = (s**power).mean(0), (t**power).mean(0)
        s, t = s.ravel() / np.linalg.norm(s), t.ravel() / np.linalg.norm(t)
        np.testing.assert_allclose(value.numpy(), 500 * np.abs(s - t) ** p)


def test_each_part_trains_its_own_modules() -> None:
    student, teacher = torch.randn(3, 2, 4, 4), torch.randn(3, 6, 4, 4)
    loss = FT()
    loss.build(student, teacher, 0)
    parts = loss(student, teacher)
    assert loss.paraphraser(teacher).shape[1] == loss.translator(student).shape[1] == 3
    assert parts["reconstruction"].shape == teacher.shape
    (parts["factor"].mean()).backward(retain_graph=True)
    assert all(p.grad is not None for p in loss.translator.parameters())
    assert all(p.grad is None for p in (*loss.paraphraser.parameters(), *loss.decoder.parameters()))
    loss.zero_grad()
    parts["reconstruction"].mean().backward()
    assert all(p.grad is None for p in loss.translator.parameters())
    assert all(p.grad is not None for p in (*loss.paraphraser.parameters(), *loss.decoder.parameters()))


def test_raises_for_invalid_arguments() -> None:
    with pytest.raises(ConfigError, match="rate=-1"):
        FT(rate=-1)
    with pytest.raises(ConfigError, match="p=0"):
        FT(p=0)
    with pytest.raises(ConfigError, match="expected equal shapes"):
        FT(rate=0)(torch.zeros(2, 3, 2, 2), torch.zeros(2, 4, 2, 2))


def test_the_papers_stages_are_the_halves_of_both() -> None:
    student, teacher = torch.randn(3, 2, 4, 4), torch.randn(3, 6, 4, 4)
    both, first, then = (FT(trains=trains) for trains in ("both", "paraphraser", "translator"))
    for loss in (both, first, then):
        loss.build(student, teacher, 0)
        loss.load_state_dict(both.state_dict(), strict=False)
    parts = both(student, teacher)
    assert {n: x.tolist() for n, x in (first(student, teacher) | then(student, teacher)).items()} == {
        n: x.tolist() for n, x in parts.items()
    }
    assert set(first(student, teacher)) == {"reconstruction"}
    assert {name.partition(".")[0] for name, _ in first.named_parameters()} == {"paraphraser", "decoder"}
    assert {name.partition(".")[0] for name, p in then.named_parameters() if p.requires_grad} == {"translator"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trains": "all"}, "trains='all': expected 'both'"),
        ({"rate": 0, "trains": "paraphraser"}, "there is no paraphraser"),
    ],
)
def test_raises_for_invalid_stages(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        FT(**options)
