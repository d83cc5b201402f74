"""Peers that learn from older copies of each other."""

import copy

import pytest
import torch
import torch.nn.functional as F
from small import digits, fit, net

from tutelage.errors import ConfigError
from tutelage.losses.feature.at import AT
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.codistillation import Codistillation
from tutelage.tasks.classification import Classification


def peers(every: int = 2, count: int = 2, method=None, names=("cnn2",)) -> Codistillation:
    method = method or (CE() + 1.0 * KD(1.0))
    players = {
        k: Player(net(names[k % len(names)], k), Terms.from_method(method), Classification()) for k in range(count)
    }
    return Codistillation({f"peer{k}": player for k, player in players.items()}, every)


@pytest.mark.parametrize("count", [2, 3])
def test_it_is_codistillation_written_by_hand(count):
    data = digits(64)
    scheme = peers(3, count)
    fit(scheme, data, lr=0.1, schedule="constant", weight_decay=0.0, epochs=2)

    nets = [net("cnn2", k).train() for k in range(count)]
    optimisers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, nesterov=True) for m in nets]
    batches = [batch for epoch in range(2) for batch in data.batches("train", 16, epoch=epoch)]
    for step, batch in enumerate(batches):
        if step % 3 == 0:
            stale = [copy.deepcopy(m).eval() for m in nets]
        with torch.no_grad():
            targets = [m(batch.inputs).softmax(1) for m in stale]
        for i, (model, opt) in enumerate(zip(nets, optimisers, strict=True)):
            z = model(batch.inputs).log_softmax(1)
            kls = [F.kl_div(z, t, reduction="batchmean") for j, t in enumerate(targets) if j != i]
            opt.zero_grad()
            (F.nll_loss(z, batch.targets) + torch.stack(kls).mean()).backward()
            opt.step()
    for student, by_hand in zip(scheme.students().values(), nets, strict=True):
        for p, q in zip(student.model.parameters(), by_hand.parameters(), strict=True):
            assert torch.allclose(p, q, atol=1e-5)


def test_the_copies_get_no_gradient_and_run_once_a_batch():
    batch = next(digits(16).batches("train", 16))
    scheme = peers(count=3)
    scheme.wire(batch, 16)
    calls = dict.fromkeys(scheme.copies, 0)
    for name, teacher in scheme.copies.items():
        teacher.feature_extractor.model.register_forward_hook(
            lambda *_, name=name: calls.update({name: calls[name] + 1})
        )
    for name, losses in scheme.turns(batch, 0):
        scheme.zero_grad()
        sum(losses.values()).backward()
        assert {n for n, p in scheme.players.items() if p.student.model.fc.weight.grad is not None} == {name}
    assert set(calls.values()) == {1}
    assert not any(p.requires_grad for p in scheme.copies.parameters())


def test_layers_of_other_architectures_are_heard():
    batch = next(digits(16).batches("train", 16))
    scheme = peers(method=CE() + 1.0 * AT(), names=("cnn2", "resnet8"))
    scheme.wire(batch, 16)
    assert [set(losses) for _, losses in scheme.turns(batch, 0)] == [{"ce", "at"}] * 2


def test_bad_numbers_are_refused():
    with pytest.raises(ConfigError, match="at least two peers, got 1"):
        peers(count=1)
    with pytest.raises(ConfigError, match="every=0"):
        peers(every=0)
