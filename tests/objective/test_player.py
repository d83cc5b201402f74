"""What optimisers train."""

import pytest
import torch
from small import Plain, net

from tutelage.errors import ConfigError
from tutelage.losses.feature.at import AT
from tutelage.losses.feature.fitnet import FitNet
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Peers, Player
from tutelage.objective.terms import Terms
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers.frozen import Frozen

BATCH = Batch(torch.randn(6, 1, 8, 8), torch.arange(6), torch.arange(6))


def player(seed: int, method, name: str = "cnn2") -> Player:
    return Player(net(name, seed), Terms.from_method(method, CE()), Classification())


def test_a_player_alone_says_its_weighted_losses():
    made = player(1, None)
    made.wire(None, BATCH, 6)
    assert made(BATCH).keys() == {"ce"}
    assert torch.allclose(
        made(BATCH)["ce"], torch.nn.functional.cross_entropy(made.student.model(BATCH.inputs), BATCH.targets)
    )


def test_only_the_student_and_its_connectors_are_optimised():
    made = player(1, FitNet())
    teacher = net("cnn4", 2)
    made.wire(Frozen(teacher, Classification()).profile(BATCH), BATCH, 6)
    mine = {id(p) for p in made.optimised()[""].parameters()}
    assert mine.isdisjoint(id(p) for p in teacher.parameters())
    assert mine.issuperset(id(p) for p in made.student.model.parameters())
    assert len(mine) > len(list(made.student.model.parameters()))


def test_three_peers_hear_the_mean_over_the_others():
    peers = Peers({f"p{k}": player(k, CE() + 1.0 * KD(1.0)) for k in range(3)})
    peers.wire(BATCH, 6)
    losses = peers(BATCH)
    said = [p.student(BATCH.inputs).response for p in peers.players.values()]
    by_hand = (KD(1.0)(said[0], said[1]).mean() + KD(1.0)(said[0], said[2]).mean()) / 2
    assert torch.allclose(losses["p0/kd"], by_hand)
    assert set(losses) == {f"p{k}/{term}" for k in range(3) for term in ("ce", "kd")}
    assert list(peers.students()) == list(peers.optimised()) == ["p0", "p1", "p2"]


def test_a_peers_loss_pulls_at_that_peer_alone():
    peers = Peers({f"p{k}": player(k, CE() + 1.0 * KD(1.0) + AT()) for k in range(2)})
    peers.wire(BATCH, 6)
    losses = peers(BATCH)
    torch.stack([v for name, v in losses.items() if name.startswith("p0/")]).sum().backward()
    assert any(p.grad is not None for p in peers.players["p0"].parameters())
    assert all(p.grad is None for p in peers.players["p1"].parameters())


def test_peers_of_different_make_hear_each_others_layers():
    term = {"name": "at", "student": "layer1", "teacher": "layer2"}
    peers = Peers({"a": player(1, [term]), "b": Player(Plain(), Terms.from_method([term], CE()), Classification())})
    peers.wire(BATCH, 6)
    assert {"a/at", "b/at"} < set(peers(BATCH))


def test_other_classes_between_peers_are_refused():
    peers = Peers({"a": player(1, "kd"), "b": Player(Plain(7), Terms.from_method("kd", CE()), Classification())})
    with pytest.raises(ConfigError, match="compares class by class"):
        peers.wire(BATCH, 6)
