"""Peers and critics: AFD, by hand and as a run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from small import Plain, digest, digits, fit, net
from torch import nn

import tutelage
from tutelage.errors import ConfigError, ModelError
from tutelage.losses.functional.divergence import softened_kl
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.objective.terms import Terms
from tutelage.schemes.mutual_adversarial import MapPlayer, MutualAdversarial
from tutelage.tasks.classification import Classification


def afd(networks, weight=0.5) -> MutualAdversarial:
    peers = (MapPlayer(m, Terms.from_method(CE() + 1.0 * KD(3.0)), Classification()) for m in networks)
    return MutualAdversarial({f"peer{k}": peer for k, peer in enumerate(peers)}, weight)


def plain(k: int, width: int = 4) -> Plain:
    torch.manual_seed(k)
    return Plain(width=width)


def wired(networks, **options):
    scheme, batch = afd(networks, **options), next(digits(32).batches("train", 8))
    scheme.wire(batch, 32)
    return scheme.train(), batch


def maps(model: Plain, x: torch.Tensor) -> torch.Tensor:
    return model.layer2(model.layer1(x))


def test_its_training_is_a_loop_written_by_hand():
    data, start = digits(48), [plain(k) for k in range(3)]
    scheme = afd([plain(k) for k in range(3)])
    fit(scheme, data, lr=0.1, momentum=0.0, weight_decay=0.0, schedule="constant")

    torch.manual_seed(3)
    by_hand_scheme = afd(start)
    by_hand_scheme.wire(next(data.batches("train", 16)), 48)
    critics = list(by_hand_scheme.players["critics"].critics.values())
    optimisers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (*start, nn.ModuleList(critics))]
    for batch in data.batches("train", 16):
        f = [maps(model, batch.inputs) for model in start]
        z = [model.fc(x.mean((2, 3))) for model, x in zip(start, f, strict=True)]
        for opt in optimisers:
            opt.zero_grad()
        for i in range(3):
            kl = sum(softened_kl(z[i], z[j].detach(), 3.0).mean() for j in range(3) if j != i) / 2
            fooled = (1 - critics[i](f[i])).square().mean()
            (F.cross_entropy(z[i], batch.targets) + kl + 0.5 * fooled).backward()
        for opt in optimisers[:3]:
            opt.step()
        optimisers[3].zero_grad()
        for i, critic in enumerate(critics):
            real, fake = critic(f[(i + 1) % 3].detach()), critic(f[i].detach())
            ((1 - real).square().mean() + fake.square().mean()).backward()
        optimisers[3].step()
    trained = [*(student.model for student in scheme.students().values()), *scheme.players["critics"].critics.values()]
    for actual, hand in zip(trained, (*start, *critics), strict=True):
        for p, q in zip(actual.parameters(), hand.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_each_turn_reaches_its_own_alone():
    scheme, batch = wired([plain(0), plain(1)])
    seen = []
    for student in scheme.students().values():
        student.model.register_forward_pre_hook(lambda m, args: seen.append(len(args[0])))

    def reached():
        modules = {**scheme.students(), "critics": scheme.players["critics"]}
        return [name for name, m in modules.items() if any(p.grad is not None for p in m.parameters())]

    for name, losses in scheme.turns(batch, 0):
        for term, value in losses.items():
            scheme.zero_grad()
            value.backward(retain_graph=True)
            assert reached() == (["critics"] if name == "critics" else [term.partition("/")[0]])
    assert {*losses} == {"peer0", "peer1"}
    assert seen == [8, 8]


def test_maps_of_several_shapes_meet_in_the_smallest():
    scheme, batch = wired([plain(0), plain(1, width=6)])
    peers, critics = scheme.players["peers"].map_players(), scheme.players["critics"].critics
    assert isinstance(peers["peer0"].transfer, nn.Identity)
    (_, losses), _ = scheme.turns(batch, 0)
    x = peers["peer1"].transfer(maps(peers["peer1"].student.model, batch.inputs))
    assert x.shape == (8, 8, 4, 4)
    by_hand = 0.5 * (1 - critics["peer1"](x)).square().mean()
    assert losses["peer1/adversarial"].item() == pytest.approx(by_hand.item(), rel=1e-5)
    losses["peer1/adversarial"].backward()
    assert all(p.grad is not None for p in peers["peer1"].transfer.parameters())


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="at least two peers, got 1"):
        afd([plain(0)])
    with pytest.raises(ConfigError, match=r"weight=0: expected a number above 0"):
        afd([plain(0), plain(1)], weight=0)
    with pytest.raises(ConfigError, match="critics can't be sharded over devices; use strategy=ddp"):
        MutualAdversarial.from_context(SimpleNamespace(settings=SimpleNamespace(sharded=True)))
    with pytest.raises(ModelError, match="Sequential has no stage, whose map the critics need"):
        wired([nn.Sequential(nn.Flatten(), nn.Linear(64, 10)) for _ in range(2)])


def test_one_word_ends_in_plain_students_of_any_width(tmp_path):
    run = tutelage.distill(
        data="digits", method="afd_online", peers=["cnn2", "cnn4"], epochs=2, limit=100, out=str(tmp_path / "r"),
        device="cpu",
    )  # fmt: skip
    files = {path.stem: tutelage.load(path) for path in (run.folder / "student-0").glob("*.safetensors")}
    assert {name: set(network.state_dict()) for name, network in files.items()} == {
        "model": set(net("cnn2").state_dict()),
        "peer1": set(net("cnn4").state_dict()),
    }
    assert digest(tutelage.load(run.folder)) == digest(files["model"])
    rows = (run.folder / "student-0" / "metrics.jsonl").read_text()
    assert "peer1/adversarial" in rows
    assert "critics/peer0" in rows
