"""Peers with classifiers on middle layers: DCM, by hand and as a run."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small import digits, net

from tutelage.errors import ConfigError, ModelError
from tutelage.losses.functional.divergence import softened_kl
from tutelage.losses.online.dcm import DCM
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.cross_layer import CrossLayer, CrossLayerPlayer
from tutelage.schemes.mutual import Mutual
from tutelage.tasks.classification import Classification


def dcm(order=(0, 1), layers=()) -> CrossLayer:
    method, task = DCM(2.0, 3.0, 5.0, 1.5), Classification()
    return CrossLayer(
        {f"peer{k}": CrossLayerPlayer(net("cnn2", k), Terms.from_method(method), task, layers) for k in order}
    )


def wired(order=(0, 1), layers=()):
    scheme, batch = dcm(order, layers), next(digits(32).batches("train", 8))
    scheme.wire(batch, 32)
    for name, player in scheme.players["peers"].peers().items():  # the same heads, whatever the order
        torch.manual_seed(int(name[-1]))
        for p in player.heads.parameters():
            torch.nn.init.normal_(p, std=0.3)
    return scheme.train(), batch


def played(scheme, batch) -> dict[str, torch.Tensor]:
    ((name, losses),) = scheme.turns(batch, 0)
    assert name == "peers"
    return losses


def answers(player, batch) -> list[torch.Tensor]:
    """Compute the logits of all classifiers of a peer by hand."""
    model = player.student.model
    f1 = model.layer1(batch.inputs)
    f2 = model.layer2(f1)
    shallow = [head(f)[1] for head, f in zip(player.heads, (f1, f2), strict=True)]
    return [*shallow, model.fc(model.layer3(f2).mean((2, 3)))]


def test_it_is_dcm_written_by_hand():
    scheme, batch = wired()
    losses = played(scheme, batch)
    peers = scheme.players["peers"].peers()
    z = {name: answers(player, batch) for name, player in peers.items()}
    for name, peer in (("peer0", "peer1"), ("peer1", "peer0")):
        scheme.zero_grad()
        losses[f"{name}/dcm"].backward(retain_graph=True)
        reached = [n for n, player in peers.items() if any(p.grad is not None for p in player.parameters())]
        assert reached == [name]
        student = [p.grad.clone() for p in peers[name].parameters()]
        expected = sum(w * F.cross_entropy(a, batch.targets) for w, a in zip((2, 2, 1), z[name], strict=True))
        for q, a in enumerate(z[name]):
            for r, b in enumerate(z[peer]):
                expected = expected + (3.0 if q == r else 5.0) * softened_kl(a, b.detach(), 1.5).mean()
        assert losses[f"{name}/dcm"].item() == pytest.approx(expected.item(), rel=1e-5)
        by_hand = torch.autograd.grad(expected, list(peers[name].parameters()))
        for p, q in zip(student, by_hand, strict=True):
            torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-5)


def test_one_forward_serves_all_classifiers():
    scheme, batch = wired(order=(0, 1, 2))
    seen = []
    for student in scheme.students().values():
        student.model.register_forward_pre_hook(lambda m, args: seen.append(len(args[0])))
    played(scheme, batch)
    assert seen == [8, 8, 8]


def test_the_order_of_the_peers_does_not_matter():
    losses_by_order = [
        {name: value.item() for name, value in played(*wired(order=order)).items()} for order in ((0, 1, 2), (2, 0, 1))
    ]
    assert losses_by_order[0] == pytest.approx(losses_by_order[1], rel=1e-5)


def test_peers_may_be_of_other_networks_and_have_fewer_classifiers():
    batch, task = next(digits(32).batches("train", 8)), Classification()
    at = {"cnn2": [], "cnn4": ["layer2"]}
    players = {name: CrossLayerPlayer(net(name), Terms.from_method(DCM()), task, layers) for name, layers in at.items()}
    scheme = CrossLayer(players)
    scheme.wire(batch, 32)
    outputs = {name: player.forward_student(batch) for name, player in players.items()}
    assert {name: len(x.member_outputs) for name, x in outputs.items()} == {"cnn2": 3, "cnn4": 2}
    student, teacher = ([member.response for member in outputs[name].member_outputs] for name in at)
    expected = sum(part.mean() for part in DCM()(student, teacher, targets=batch.targets).values())
    assert played(scheme, batch)["cnn2/dcm"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_what_cannot_be_is_refused():
    with pytest.raises(ModelError, match="unknown layer 'layer9'"):
        wired(layers=["layer9"])
    plain = Mutual({f"peer{k}": Player(net("cnn2", k), Terms.from_method(DCM()), Classification()) for k in range(2)})
    with pytest.raises(ConfigError, match="DCM requires a list of student outputs"):
        plain.wire(next(digits(32).batches("train", 8)), 32)
