"""Deep mutual learning."""

import pytest
import torch
import torch.nn.functional as F
from small import digest, digits, fit, net

import tutelage
from tutelage.errors import ConfigError
from tutelage.losses.online.dml import DML
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.mutual import Mutual
from tutelage.tasks.classification import Classification


def peers(count: int = 2, method=None, sequential: bool = False, names=("cnn2",)) -> Mutual:
    method = method or (CE() + 1.0 * KD(1.0))
    players = {
        k: Player(net(names[k % len(names)], k), Terms.from_method(method), Classification()) for k in range(count)
    }
    return Mutual({f"peer{k}": player for k, player in players.items()}, sequential)


def test_it_is_deep_mutual_learning_written_by_hand():
    data = digits(48)
    scheme = peers()
    fit(scheme, data, lr=0.1, schedule="constant", weight_decay=0.0)

    a, b = net("cnn2", 0).train(), net("cnn2", 1).train()
    optimisers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, nesterov=True) for m in (a, b)]
    for batch in data.batches("train", 16):
        za, zb = a(batch.inputs), b(batch.inputs)
        for z, other, opt in ((za, zb.detach(), optimisers[0]), (zb, za.detach(), optimisers[1])):
            kl = F.kl_div(z.log_softmax(1), other.softmax(1), reduction="batchmean")
            opt.zero_grad()
            (F.cross_entropy(z, batch.targets) + kl).backward()
        for opt in optimisers:
            opt.step()
    for student, by_hand in zip(scheme.students().values(), (a, b), strict=True):
        for p, q in zip(student.model.parameters(), by_hand.parameters(), strict=True):
            assert torch.allclose(p, q, atol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_sequential_peers_are_algorithm_1_written_by_hand(count):
    data = digits(48)
    scheme = peers(count, sequential=True)
    fit(scheme, data, lr=0.1, schedule="constant", weight_decay=0.0)

    nets = [net("cnn2", k).train() for k in range(count)]
    optimisers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, nesterov=True) for m in nets]
    for batch in data.batches("train", 16):
        for i, (model, opt) in enumerate(zip(nets, optimisers, strict=True)):
            with torch.no_grad():
                targets = [other(batch.inputs).softmax(1) for j, other in enumerate(nets) if j != i]
            z = model(batch.inputs)
            kls = [F.kl_div(z.log_softmax(1), t, reduction="batchmean") for t in targets]
            opt.zero_grad()
            (F.cross_entropy(z, batch.targets) + torch.stack(kls).mean()).backward()
            opt.step()
    for student, by_hand in zip(scheme.students().values(), nets, strict=True):
        for p, q in zip(student.model.parameters(), by_hand.parameters(), strict=True):
            assert torch.allclose(p, q, atol=1e-6)


@pytest.mark.parametrize(("sequential", "forwards"), [(False, [1, 1, 1]), (True, [2, 3, 2])])
def test_what_a_batch_costs_in_forwards(sequential, forwards):
    batch = next(digits(16).batches("train", 16))
    scheme = peers(3, sequential=sequential)
    scheme.wire(batch, 16)
    counts = dict.fromkeys(scheme.students(), 0)
    for name, student in scheme.students().items():
        student.model.register_forward_hook(lambda *_, name=name: counts.update({name: counts[name] + 1}))
    names = [name for name, _ in scheme.turns(batch, 0)]
    assert list(counts.values()) == forwards
    assert names == (["peer0", "peer1", "peer2"] if sequential else ["peers"])


@pytest.mark.parametrize("sequential", [False, True])
def test_no_gradient_reaches_the_peers_that_teach(sequential):
    batch = next(digits(16).batches("train", 16))
    scheme = peers(3, 1.0 * KD(1.0), sequential)
    scheme.wire(batch, 16)
    for name, losses in scheme.turns(batch, 0):
        for term, value in losses.items():
            scheme.zero_grad()
            value.backward(retain_graph=True)
            learner = name if sequential else term.partition("/")[0]
            reached = {n for n, s in scheme.students().items() if any(p.grad is not None for p in s.parameters())}
            assert reached == {learner}


def test_the_order_of_the_others_does_not_matter():
    batch = next(digits(16).batches("train", 16))
    losses_by_order = []
    for order in ((0, 1, 2), (2, 0, 1)):
        players = {
            f"peer{k}": Player(net("cnn2", k), Terms.from_method(CE() + 1.0 * DML()), Classification()) for k in order
        }
        scheme = Mutual(players)
        scheme.wire(batch, 16)
        ((_, losses),) = scheme.turns(batch, 0)
        losses_by_order.append({name: value.item() for name, value in losses.items()})
    assert losses_by_order[0] == pytest.approx(losses_by_order[1], rel=1e-5)


def test_the_loss_of_all_others_at_once_is_the_mean_of_the_divergences():
    batch = next(digits(16).batches("train", 16))
    values = []
    for method in (CE() + 1.0 * DML(), CE() + 1.0 * KD(1.0)):
        scheme = peers(3, method)
        scheme.wire(batch, 16)
        ((_, losses),) = scheme.turns(batch, 0)
        values.append([value.item() for value in losses.values()])
    assert values[0] == pytest.approx(values[1], rel=1e-5)


@pytest.mark.parametrize("sequential", [False, True])
def test_peers_of_different_architectures_end_each_in_its_file(tmp_path, sequential):
    run = tutelage.distill(
        method="dml", peers=["cnn2", "cnn4"], scheme={"name": "mutual", "sequential": sequential},
        epochs=1, limit=100, device="cpu", out=str(tmp_path / "r"),
    )  # fmt: skip
    files = {name: tutelage.load(run.folder / "student-0" / f"{name}.safetensors") for name in ("model", "peer1")}
    widths = {name: model.layer1[0].out_channels for name, model in files.items()}
    assert widths == {"model": 2, "peer1": 4}
    assert tutelage.load(run.folder).layer1[0].out_channels == 2
    assert run.result["baseline"]["model"] == run.result["student"]["model"] == "cnn2"


def test_clipping_is_by_peer():
    data = digits(16)
    scheme = peers()
    fit(scheme, data, clip=1e-3, lr=1.0, momentum=0.0, weight_decay=0.0, schedule="constant")
    for k, student in enumerate(scheme.students().values()):
        before = net("cnn2", k)
        moved = torch.cat(
            [(p - q).flatten() for p, q in zip(student.model.parameters(), before.parameters(), strict=True)]
        )
        assert torch.isclose(moved.norm(), torch.tensor(1e-3), rtol=1e-2)


def test_three_peers_end_as_three_networks():
    scheme = peers(3)
    fit(scheme, digits(32))
    assert len({digest(s.model) for s in scheme.students().values()}) == 3


def test_one_peer_is_refused():
    with pytest.raises(ConfigError, match="at least two peers, got 1"):
        peers(1)
