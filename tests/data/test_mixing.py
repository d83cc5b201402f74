"""Mixtures of samples and their targets: the formulas, and that the address is all that counts."""

from __future__ import annotations

import pytest
import torch

from tutelage.data.mixing import PARTNER, SHARE, Mixing, by_target, is_mixed
from tutelage.structures import Batch

ADDRESS = (0, 0, 0)


def batch_of(*sizes: int, targets: torch.Tensor | None = None, count: int = 8) -> Batch:
    """A batch of which all numbers of sample i are i."""
    numbers = torch.arange(float(count)).view(-1, 1, *[1] * len(sizes)).expand(count, 2, *sizes)
    return Batch(numbers.clone(), torch.arange(count) if targets is None else targets, torch.arange(count))


@pytest.mark.parametrize("sizes", [(), (9,), (8, 6), (4, 4, 4)])
def test_mixup_adds_the_share_of_each_sample(sizes):
    mixed = Mixing("mixup", alpha=1).mix(batch_of(*sizes), "label", ADDRESS)
    share, partner = mixed.extras[SHARE], mixed.extras[PARTNER]
    expected = share * torch.arange(8.0) + (1 - share) * partner
    assert torch.allclose(mixed.inputs, expected.view(-1, 1, *[1] * len(sizes)).expand_as(mixed.inputs))
    assert sorted(partner.tolist()) == list(range(8))
    assert mixed.targets.equal(torch.arange(8))
    assert mixed.index.equal(torch.arange(8))


@pytest.mark.parametrize("sizes", [(12,), (8, 6), (4, 5, 6)])
def test_cutmix_weighs_the_targets_by_the_positions(sizes):
    for number in range(20):
        mixed = Mixing("cutmix").mix(batch_of(*sizes), "label", (0, 0, number))
        own = torch.arange(8).view(-1, 1, *[1] * len(sizes))
        partner = mixed.extras[PARTNER].view_as(own)
        assert bool(((mixed.inputs == own) | (mixed.inputs == partner)).all())
        moved = mixed.extras[PARTNER] != torch.arange(8)
        kept = (mixed.inputs == own)[moved].float().mean().item()
        assert kept == pytest.approx(mixed.extras[SHARE], abs=1e-6)


def test_the_box_is_one_rectangle_of_the_drawn_size():
    cut = Mixing("cutmix").mix(batch_of(64, 64), "label", (0, 0, 1))
    i = int((cut.extras[PARTNER] != torch.arange(8)).nonzero()[0])
    rows, columns = (cut.inputs[i, 0] != i).any(1), (cut.inputs[i, 0] != i).any(0)
    assert int((cut.inputs[i, 0] != i).sum()) == int(rows.sum() * columns.sum()) > 0


def test_views_are_mixed_alike_at_their_own_size():
    batch = batch_of(16, 16)
    batch.views["teacher"] = batch_of(8, 8).inputs
    for name in ("mixup", "cutmix"):
        mixed = Mixing(name).mix(batch, "label", (0, 0, 1))
        assert torch.allclose(mixed.inputs.mean((1, 2, 3)), mixed.views["teacher"].mean((1, 2, 3)), atol=0.6)
    assert batch.inputs.equal(batch_of(16, 16).inputs)


def test_values_are_mixed_themselves():
    values = torch.randn(8, 2)
    mixed = Mixing("mixup", alpha=1).mix(batch_of(4, targets=values), "values", ADDRESS)
    plain = Mixing("mixup", alpha=1).mix(batch_of(4), "label", ADDRESS)
    share, partner = plain.extras[SHARE], plain.extras[PARTNER]
    assert torch.allclose(mixed.targets, share * values + (1 - share) * values[partner])
    assert not is_mixed(mixed)


def test_a_label_that_is_unknown_of_one_is_unknown_of_the_mixture():
    labels = torch.tensor([[1.0, 0, -1], [0, 1, 1], [1, 1, 0], [0, -1, 0]] * 2)
    mixed = Mixing("mixup", alpha=1).mix(batch_of(4, targets=labels), "label set", ADDRESS)
    plain = Mixing("mixup", alpha=1).mix(batch_of(4), "label", ADDRESS)
    share, other = plain.extras[SHARE], labels[plain.extras[PARTNER]]
    unknown = (labels < 0) | (other < 0)
    assert mixed.targets[unknown].eq(-1).all()
    assert torch.allclose(mixed.targets[~unknown], (share * labels + (1 - share) * other)[~unknown])


def test_without_targets_the_inputs_alone_are_mixed():
    batch = Batch(torch.randn(8, 1, 4, 4))
    mixed = Mixing("mixup", alpha=1).mix(batch, "none", ADDRESS)
    assert mixed.targets is None
    assert not mixed.inputs.equal(batch.inputs)
    assert mixed.extras == {}


def test_each_batch_draws_its_way_and_whether_it_is_mixed():
    batch, both = batch_of(8, 8), Mixing("mixup+cutmix", probability=0.5)
    kinds = []
    for number in range(200):
        mixed = both.mix(batch, "label", (0, 0, number))
        whole = bool((mixed.inputs == mixed.inputs.round()).all())
        kinds.append("cutmix" if whole and is_mixed(mixed) else "mixup" if is_mixed(mixed) else "none")
    assert all(kinds.count(kind) > at_least for kind, at_least in (("none", 70), ("mixup", 25), ("cutmix", 25)))


def test_an_address_has_its_own_mixtures_wherever_it_is_computed():
    torch.manual_seed(0)
    batch, mixing = batch_of(8, 8), Mixing("mixup+cutmix")
    first = {address: mixing.mix(batch, "label", address) for address in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))}
    torch.manual_seed(1)
    for address, mixed in first.items():
        again = mixing.mix(batch, "label", address)
        assert again.inputs.equal(mixed.inputs)
        assert again.extras[SHARE] == mixed.extras[SHARE]
        assert again.extras[PARTNER].equal(mixed.extras[PARTNER])
    assert len({mixed.extras[SHARE] for mixed in first.values()}) == 4


def test_the_memory_format_stays():
    batch = Batch(torch.randn(8, 3, 4, 4).to(memory_format=torch.channels_last), torch.arange(8))
    for name in ("mixup", "cutmix"):
        mixed = Mixing(name, alpha=1).mix(batch, "label", ADDRESS)
        assert mixed.inputs.is_contiguous(memory_format=torch.channels_last)


def test_both_targets_have_their_share():
    mixed = Mixing("mixup", alpha=1).mix(batch_of(4), "label", ADDRESS)
    (share, own), (rest, partner) = by_target(mixed)
    assert share + rest == 1
    assert own.targets.equal(torch.arange(8))
    assert partner.targets.equal(mixed.extras[PARTNER])


@pytest.mark.parametrize(
    ("mix", "words"),
    [
        ("mixup", "mixup (α 0.2)"),
        (
            {"name": "mixup+cutmix", "alpha": 0.8, "probability": 0.5},
            "mixup (α 0.8), cutmix (α 0.8), 50% of the batches",
        ),
    ],
)
def test_a_mixing_describes_itself(mix, words):
    assert Mixing.of(mix).describe() == words
