"""Meta-learning through lookahead steps: gradients by hand, what a turn doesn't change, and complete runs."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from small import Plain, digest, digits, fit, net, offline
from torch import Tensor, nn

from tutelage.config.schema import check
from tutelage.data.preparation import split_off
from tutelage.errors import ConfigError
from tutelage.losses.feature import distpro, l2t_ww
from tutelage.losses.multi_teacher.hydra import HydraKL
from tutelage.losses.response.ce import CE
from tutelage.losses.response.kd import KD
from tutelage.objective.player import Player
from tutelage.objective.term import Term
from tutelage.objective.terms import Terms
from tutelage.runs.builder import RunBuilder
from tutelage.runs.inputs import Provided, RunInputs
from tutelage.runs.networks import NetworkLoader
from tutelage.runs.phase import Phase
from tutelage.runs.plan import RunPlan
from tutelage.runs.scheme_context import RunSchemeContext
from tutelage.runs.storage import DryStorage
from tutelage.schemes.distpro import DistProScheme
from tutelage.schemes.l2t_ww import L2TWWScheme
from tutelage.schemes.lookahead import LookaheadStudent, MetaBatches, detach_except
from tutelage.schemes.metadistil import MetaDistil
from tutelage.schemes.metadistiller import MetaDistiller, SoftTargetPlayer
from tutelage.settings import TrainerSettings
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers.frozen import Frozen
from tutelage.training.optimizers import create_optimiser

TASK = Classification()
RATE = 0.2
PHASE = Phase("student-0", "student", 0)


def parted(count: int = 64):
    """Return the data without a quarter of its training samples, and data with only this quarter."""
    data = digits(count)
    stay, out = split_off("digits", "held-out samples", data.train, 0.25, 0)
    return replace(data, train=stay), replace(data, train=out)


def meta_scheme(name: str, student=None, teacher=None, quiz=None, **options):
    student = student or net("cnn2", 2)
    frozen = Frozen(teacher or net("cnn4", 1), TASK)
    quiz = quiz or MetaBatches(parted()[1], 16)

    def rate(step: int) -> float:
        return RATE

    if name == "metadistil":
        return MetaDistil(Player(student, Terms.from_method(KD(), CE()), TASK), frozen, quiz, rate, **options)
    if name == "l2t_ww":
        return L2TWWScheme(Player(student, Terms.from_method(l2t_ww.L2TWW(), CE()), TASK), frozen, rate, **options)
    if name == "metadistiller":
        return MetaDistiller(
            SoftTargetPlayer(student, Terms.from_method(CE() + HydraKL()), TASK), quiz, rate, **options
        )
    return DistProScheme(
        Player(student, Terms.from_method(distpro.DistPro(), CE()), TASK), frozen, quiz, rate, **options
    )


LEARNED = {"metadistil": "teacher", "l2t_ww": "weights", "distpro": "weights", "metadistiller": "generator"}
every = pytest.mark.parametrize("name", LEARNED)


def wired(name: str, **options):
    scheme = meta_scheme(name, **options)
    batch = next(parted()[0].batches("train", 8))
    torch.manual_seed(5)
    scheme.wire(batch, 48)
    return scheme.train(), batch


# the gradient through the step is that of finite differences, in float64


def doubled(name: str):
    """Return a wired scheme of networks without batch norm, its batch and its quiz."""
    torch.manual_seed(1)
    rest, held = (next(data.batches("train", 6)) for data in parted())
    batch, quiz = (replace(b, inputs=b.inputs.double()) for b in (rest, held))
    if name == "metadistil":
        student, teacher = (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double() for _ in range(2))
    else:
        student, teacher = Plain(width=2).double(), Plain(width=3).double()
    scheme = meta_scheme(name, student, teacher, SimpleNamespace(batch=lambda step, like: quiz))
    scheme.wire(batch, 48)
    if name != "metadistil":
        with torch.no_grad():
            for p in scheme.players[LEARNED[name]].parameters():
                p.add_(0.1 * torch.randn_like(p))
    return scheme, batch, quiz


def metadistil_by_hand(scheme: MetaDistil, batch: Batch, quiz: Batch) -> Tensor:
    x, y = batch.inputs.flatten(1), batch.targets
    teacher = scheme.players["teacher"].teacher.unfolded[0][1]
    w, b = (p.detach().requires_grad_() for p in scheme.players["student"].student.model[1].parameters())
    s, t = x @ w.T + b, (x @ teacher.weight.T + teacher.bias).detach()
    kd = 16 * F.kl_div((s / 4).log_softmax(1), (t / 4).softmax(1), reduction="batchmean")
    dw, db = torch.autograd.grad(0.9 * kd + 0.1 * F.cross_entropy(s, y), (w, b))
    return F.cross_entropy(quiz.inputs.flatten(1) @ (w - RATE * dw).T + b - RATE * db, quiz.targets)


def stepped(player: Player, loss) -> None:
    gradients = torch.autograd.grad(loss(player), list(player.parameters()), allow_unused=True)
    with torch.no_grad():
        for p, g in zip(player.parameters(), gradients, strict=True):
            if g is not None:
                p.sub_(RATE * g)


def pooled(scheme, batch: Batch) -> list[Tensor]:
    teacher = scheme.teacher.unfolded[0]
    first = teacher.layer1(batch.inputs)
    return [x.mean((2, 3)).detach() for x in (first, teacher.layer2(first))]


def l2t_ww_by_hand(scheme: L2TWWScheme, batch: Batch, quiz: Batch) -> Tensor:
    nets, features = scheme.players["weights"], pooled(scheme, batch)
    pairs = torch.stack([F.linear(f, n.weight, n.bias) for n, f in zip(nets.pairs, features, strict=True)], 2)
    channels = [n(f).reshape(6, 2, -1).softmax(2) for n, f in zip(nets.channels, features, strict=True)]
    extras = {"pair_weights": pairs.clamp(0, 6).detach(), "channel_weights": [c.detach() for c in channels]}
    player, teacher_outputs = copy.deepcopy(scheme.players["student"]), scheme.teacher(batch, scheme.layers)
    sgd = torch.optim.SGD(player.parameters(), lr=RATE, momentum=scheme.momentum, weight_decay=scheme.decay)

    def step(loss: Tensor) -> None:
        for p in player.parameters():
            p.grad = torch.zeros_like(p)
        loss.backward()
        sgd.step()

    for _ in range(2):
        step(player(replace(batch, extras=extras), teacher_outputs)["l2t_ww"])
    step(F.cross_entropy(player.student.model(batch.inputs), batch.targets))
    return F.cross_entropy(player.student.model(batch.inputs), batch.targets)


def distpro_by_hand(scheme: DistProScheme, batch: Batch, quiz: Batch) -> Tensor:
    a = scheme.players["weights"].logits.detach()
    shares = (a.exp() / a.exp().sum())[:4].reshape(1, 2, 2).repeat(6, 1, 1)
    player, teacher_outputs = copy.deepcopy(scheme.players["student"]), scheme.teacher(batch, scheme.layers)
    stepped(player, lambda p: sum(p(replace(batch, extras={"pair_weights": shares}), teacher_outputs).values()))
    return F.cross_entropy(player.student.model(quiz.inputs), quiz.targets)


def metadistiller_by_hand(scheme: MetaDistiller, batch: Batch, quiz: Batch) -> Tensor:
    pyramid = scheme.players["generator"]

    def answers(player, inputs):
        model, (head,) = player.student.model, player.heads
        first = model.layer1(inputs)
        return first, model.layer2(first), [head(first)[1], model(inputs)]

    def loss(player):
        shallow, deep, logits = answers(player, batch.inputs)
        above = pyramid.lateral[1](deep.detach())
        below = pyramid.lateral[0](shallow.detach()) + F.interpolate(above, shallow.shape[2:], mode="bilinear")
        teacher_outputs = [fc(p.relu().mean((2, 3))) for fc, p in zip(pyramid.fc, (below, above), strict=True)]
        task_loss = sum(F.cross_entropy(z, batch.targets) for z in logits)
        pairs = zip(logits, teacher_outputs, strict=True)
        return (
            task_loss
            + sum(16 * F.kl_div((z / 4).log_softmax(1), (t / 4).softmax(1), None, None, "batchmean") for z, t in pairs)
            / 2
        )

    player = copy.deepcopy(scheme.players["student"])
    stepped(player, loss)
    return sum(F.cross_entropy(z, quiz.targets) for z in answers(player, quiz.inputs)[2])


BY_HAND = {
    "metadistil": metadistil_by_hand,
    "l2t_ww": l2t_ww_by_hand,
    "distpro": distpro_by_hand,
    "metadistiller": metadistiller_by_hand,
}


@every
def test_the_meta_gradient_is_that_of_finite_differences(name):
    scheme, batch, quiz = doubled(name)
    turns = scheme.turns(batch, 0)
    player, losses = next(turns)
    assert player == LEARNED[name]
    ((_, value),) = losses.items()
    assert value.item() == pytest.approx(BY_HAND[name](scheme, batch, quiz).item(), rel=1e-9)
    value.backward()
    parameters = [p for p in scheme.players[player].parameters() if p.grad is not None]
    assert parameters
    for seed in range(4):
        torch.manual_seed(seed)
        directions = [torch.randn_like(p) for p in parameters]
        ends = []
        for sign in (1e-7, -2e-7):
            with torch.no_grad():
                for p, d in zip(parameters, directions, strict=True):
                    p.add_(sign * d)
            ends.append(BY_HAND[name](scheme, batch, quiz).item())
        with torch.no_grad():
            for p, d in zip(parameters, directions, strict=True):
                p.add_(1e-7 * d)
        slope = sum((p.grad * d).sum() for p, d in zip(parameters, directions, strict=True)).item()
        assert abs(slope) > 1e-6
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-7, rel=1e-5)  # so small because of ReLUs


# what it leaves alone


@every
def test_nothing_of_it_reaches_the_students_own_step(name):
    scheme, batch = wired(name)
    before = digest(scheme.players["student"])
    turns = scheme.turns(batch, 0)
    next(turns)[1].popitem()[1].backward()
    learned = scheme.players[LEARNED[name]]
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in learned.parameters())
    assert all(p.grad is None for p in scheme.players["student"].parameters())
    assert digest(scheme.players["student"]) == before
    for p in learned.parameters():
        p.grad = None
    player, losses = next(turns)
    assert player == "student"
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in scheme.players["student"].parameters())
    assert all(p.grad is None for p in learned.parameters())
    assert next(turns, None) is None


@every
def test_the_student_learns_from_what_was_learned_before_its_turn(name):
    scheme, batch = wired(name)
    player = copy.deepcopy(scheme.players["student"])
    turns = scheme.turns(batch, 0)
    next(turns)
    learned = scheme.players[LEARNED[name]]
    with torch.no_grad():
        for p in learned.parameters():
            p.add_(0.1 * torch.randn_like(p))
    if name == "metadistiller":
        expected = player(batch, learned)
    else:
        expected = _told(name, scheme, player, batch)
    losses = next(turns)[1]
    assert losses.keys() == expected.keys()
    for term in losses:
        assert torch.equal(losses[term], expected[term])


@torch.no_grad()
def _told(name, scheme, player, batch):
    learned = scheme.players[LEARNED[name]]
    teacher_outputs = (learned if name == "metadistil" else scheme.teacher)(batch, scheme.layers)
    features = [teacher_outputs[layer].mean((2, 3)) for layer in scheme.layers]
    extras = {} if name == "metadistil" else learned(features)
    return player(replace(batch, extras=extras), teacher_outputs)


@pytest.mark.parametrize(
    ("name", "student", "teacher"), [("metadistil", 3, 2), ("l2t_ww", 5, 1), ("distpro", 3, 1), ("metadistiller", 3, 0)]
)
def test_forwards_of_a_batch(name, student, teacher):
    scheme, batch = wired(name)
    calls = {"student": 0, "teacher": 0}
    frozen = scheme.players["teacher"].teacher if name == "metadistil" else getattr(scheme, "teacher", None)
    trained = {"student": scheme.players["student"].student} | ({"teacher": frozen} if frozen else {})
    for who, network in trained.items():

        def count(*_, who=who) -> None:
            calls[who] += 1

        (network.feature_extractor if who == "teacher" else network).register_forward_pre_hook(count)
    list(scheme.turns(batch, 0))
    assert calls == {"student": student, "teacher": teacher}


def test_a_teacher_that_learns_nothing_leaves_plain_distillation_bit_by_bit():
    rest, held = parted()
    scheme = meta_scheme("metadistil", quiz=MetaBatches(held, 16), meta_lr=0.0)
    teacher = scheme.players["teacher"]
    before = digest(teacher)
    assert digest(fit(scheme, rest, epochs=2)) == digest(fit(offline(rest), rest, epochs=2))
    assert digest(teacher) == before


def test_a_teacher_that_learns_keeps_its_statistics():
    rest, held = parted()
    scheme = meta_scheme("metadistil", quiz=MetaBatches(held, 16), meta_lr=0.05)
    model = scheme.players["teacher"].teacher.unfolded[0]
    before = copy.deepcopy(model)
    fit(scheme, rest)
    assert all(torch.equal(x, y) for x, y in zip(model.buffers(), before.buffers(), strict=True))
    assert not any(torch.equal(x, y) for x, y in zip(model.parameters(), before.parameters(), strict=True))
    assert list(scheme.students()) == ["student"]


@pytest.mark.parametrize("name", ["l2t_ww", "distpro"])
def test_weights_that_learn_nothing_stay_alike(name):
    rest, held = parted()
    scheme = meta_scheme(name, quiz=MetaBatches(held, 16), meta_lr=0.0)
    fit(scheme, rest)
    features = [torch.rand(3, width) for width in (4, 8, 16)]
    extras = scheme.weight_network(features)
    even = 1 / 9 if name == "l2t_ww" else 1 / 10
    assert torch.allclose(extras["pair_weights"], torch.full((3, 3, 3), even))
    for width, channels in zip((4, 8, 16), extras.get("channel_weights", []), strict=False):
        assert torch.allclose(channels, torch.full((3, 3, width), 1 / width))


def test_an_attention_can_be_differentiated_through_the_step():
    class Attentive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.fc = nn.Linear(8, 24), nn.Linear(8, 10)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x[:, 0]).chunk(3, dim=2)
            return self.fc(F.scaled_dot_product_attention(q, k, v).mean(1))

    scheme, batch = wired("metadistil", student=Attentive())
    next(scheme.turns(batch, 0))[1]["quiz"].backward()
    assert all(p.grad.isfinite().all() for p in scheme.players["teacher"].parameters())


def test_only_says_where_nothing_depends():
    p = nn.Parameter(torch.ones(3))
    value = detach_except((p * torch.arange(3.0)).sum(), [p])
    value.backward()
    assert value.item() == 3
    assert torch.equal(p.grad, torch.arange(3.0))
    with pytest.raises(ConfigError, match="don't depend"):
        detach_except(torch.ones(()), [p])


def test_a_step_without_a_graph_moves_no_weight_that_it_does_not_reach():
    player = Player(net("cnn2", 1), Terms.from_method(CE()), TASK)
    virtual = LookaheadStudent(player)
    names = [name for name in virtual.weights if "fc" in name]
    virtual.step(sum(virtual.weights[name].pow(2).sum() for name in names), 0.5)
    for name, p in player.named_parameters():
        expected = torch.zeros_like(p) if "fc" in name else p
        assert torch.allclose(virtual.weights[f"player.{name}"], expected)


# the quiz


def test_the_quiz_is_a_function_of_the_step_and_no_training_sample():
    data = digits(64)
    config = check({"method": "metadistil", "limit": 64, "augment": "none"})
    inputs = RunInputs.load(config, Provided(data=data))
    context = RunSchemeContext(RunBuilder(NetworkLoader(inputs, RunPlan(inputs), DryStorage())), PHASE)
    context.network()
    held = context.hold_out(0.25)
    assert (len(held.train), len(context.data.train)) == (16, 48)
    rows = {part: set(of.train.rows.tolist()) for part, of in (("held", held), ("rest", context.data))}
    assert not rows["held"] & rows["rest"]
    assert rows["held"] | rows["rest"] == set(data.train.rows.tolist())
    quiz, like = MetaBatches(held, 5, seed=1), Batch(torch.zeros(2, 1, 8, 8), epoch=1.5)
    assert quiz.steps == 3
    batches = [quiz.batch(step, like) for step in range(6)]
    assert all(torch.equal(quiz.batch(step, like).index, b.index) for step, b in enumerate(batches))
    assert {b.epoch for b in batches} == {1.5}
    epochs = [torch.cat([b.index for b in batches[k : k + 3]]) for k in (0, 3)]
    assert [sorted(e.tolist()) for e in epochs] == [[*e.sort().values.unique().tolist()] for e in epochs]
    assert not torch.equal(*epochs)


@pytest.mark.parametrize(("name", "lr", "beta"), [("distpro", 0.1, 0.5), ("l2t_ww", 1e-4, 0.9)])
def test_the_weights_learn_by_the_authors_adam(name, lr, beta):
    (group,) = create_optimiser(wired(name)[0].players["weights"], TrainerSettings()).param_groups
    assert (group["lr"], group["betas"][0], group["weight_decay"]) == (lr, beta, 0.0)


def test_distpro_compares_from_before_the_relu_where_inputs_are_named():
    """The input of a layer has the negative values that its ReLU removes, on both sides."""
    lowest = {}
    for layers in (["layer1", "layer2"], ["layer1.2:in", "layer2.2:in"]):
        term = Term(distpro.DistPro(), student=layers, teacher=layers)
        scheme = DistProScheme(
            Player(net("cnn2", 2), Terms.from_method([term, CE()]), TASK), Frozen(net("cnn4", 1), TASK),
            MetaBatches(parted()[1], 16), lambda step: RATE,
        )  # fmt: skip
        batch = next(parted()[0].batches("train", 8))
        scheme.wire(batch, 48)
        sides = scheme.teacher(batch, scheme.layers), scheme.players["student"].forward_student(batch)
        lowest[layers[0]] = [min(side[layer].min().item() for layer in layers) for side in sides]
        assert all(losses for _, losses in scheme.train().turns(batch, 0))
    assert lowest["layer1"] == [0, 0]
    assert max(lowest["layer1.2:in"]) < 0
