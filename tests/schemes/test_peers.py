"""Players that teach each other."""

import pytest
import torch
from small import Plain, net

from tutelage.errors import ConfigError
from tutelage.losses.feature.at import AT
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.peers import Peers
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification

BATCH = Batch(torch.randn(6, 1, 8, 8), torch.arange(6), torch.arange(6))


def player(seed: int, method) -> Player:
    return Player(net("cnn2", seed), Terms.from_method(method, CE()), Classification())


def test_three_peers_learn_from_the_mean_over_the_others():
    peers = Peers({f"p{k}": player(k, CE() + 1.0 * KD(1.0)) for k in range(3)})
    peers.wire(BATCH, 6)
    losses = peers(BATCH)
    responses = [p.student(BATCH.inputs).response for p in peers.players.values()]
    by_hand = (KD(1.0)(responses[0], responses[1]).mean() + KD(1.0)(responses[0], responses[2]).mean()) / 2
    assert torch.allclose(losses["p0/kd"], by_hand)
    assert set(losses) == {f"p{k}/{term}" for k in range(3) for term in ("ce", "kd")}
    assert list(peers.students()) == list(peers.optimised_modules()) == ["p0", "p1", "p2"]


def test_a_peers_loss_pulls_at_that_peer_alone():
    peers = Peers({f"p{k}": player(k, CE() + 1.0 * KD(1.0) + AT()) for k in range(2)})
    peers.wire(BATCH, 6)
    losses = peers(BATCH)
    torch.stack([v for name, v in losses.items() if name.startswith("p0/")]).sum().backward()
    assert any(p.grad is not None for p in peers.players["p0"].parameters())
    assert all(p.grad is None for p in peers.players["p1"].parameters())


def test_peers_of_different_make_compare_each_others_layers():
    term = {"name": "at", "student": "layer1", "teacher": "layer2"}
    peers = Peers({"a": player(1, [term]), "b": Player(Plain(), Terms.from_method([term], CE()), Classification())})
    peers.wire(BATCH, 6)
    assert {"a/at", "b/at"} < set(peers(BATCH))


def test_other_classes_between_peers_are_refused():
    peers = Peers({"a": player(1, "kd"), "b": Player(Plain(7), Terms.from_method("kd", CE()), Classification())})
    with pytest.raises(ConfigError, match="compares class by class"):
        peers.wire(BATCH, 6)
