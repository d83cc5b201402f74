"""Ensembles of teachers."""

import pytest
import torch
import torch.nn.functional as F
from small import Plain, digits, fit, net, offline

from tutelage.errors import ConfigError
from tutelage.losses.feature.at import AT
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen

BATCH = Batch(torch.randn(5, 1, 8, 8))


def members(*networks) -> list[Frozen]:
    return [Frozen(network, Classification()) for network in networks]


def test_the_mean_of_logits_and_of_probabilities():
    networks = [net("cnn4", k).eval() for k in range(3)]
    logits = torch.stack([network(BATCH.inputs) for network in networks])
    assert torch.allclose(Ensemble(members(*networks))(BATCH).response, logits.mean(0))
    outputs = Ensemble(members(*networks), average="probabilities")(BATCH).response
    assert torch.allclose(F.softmax(outputs, 1), F.softmax(logits, 2).mean(0), atol=1e-6)


def test_features_are_the_members_own():
    networks = [net("cnn4", 1).eval(), net("cnn2", 2).eval()]
    outputs = Ensemble(members(*networks))(BATCH, ["0.layer1", "1.layer1", "1.fc:in"])
    assert torch.equal(outputs["1.layer1"], networks[1].layer1(BATCH.inputs))
    assert outputs["0.layer1"].shape[1] == 4
    assert outputs["1.fc:in"].shape == (5, 8)


def test_looking_shows_all_layers_and_the_firsts_stages():
    profile = Ensemble(members(net("cnn4", 1), net("cnn2", 2))).profile(BATCH)
    assert [x.name for x in profile.stages] == ["0.layer1", "0.layer2", "0.layer3"]
    assert profile.embedding == "0.fc:in"
    assert profile.feature("1.layer1").shape[1] == 2
    assert profile.feature("0.layer1").shape[1] == 4
    assert {"0.layer1.0", "1.layer1.0"} <= {x.name for x in profile.layers}


def test_it_teaches_by_response_and_by_features():
    data = digits(32)
    teacher = Ensemble(members(net("cnn4", 1), net("cnn4", 2)))
    player = Player(net("cnn2", 3), Terms.from_method(KD() + AT(), Classification().task_loss()), Classification())
    fit(Offline(player, teacher), data)
    assert player.terms["at"].teacher_layers == ("0.layer1", "0.layer2", "0.layer3")


@pytest.mark.parametrize(
    ("networks", "average", "message"),
    [([], "logits", "at least one teacher"), ([Plain()], "votes", "expected 'logits' or 'probabilities'")],
)
def test_faulty_ensembles_are_refused(networks, average, message):
    with pytest.raises(ConfigError, match=message):
        Ensemble(members(*networks), average)


def test_members_of_other_classes_are_refused_before_training():
    data = digits(16)
    scheme = offline(data)
    scheme.teacher = Ensemble(members(Plain(10), Plain(7)))
    with pytest.raises(ConfigError, match="differ in shape"):
        fit(scheme, data)
