"""Numbers of published code through whole schemes: networks that say what a vector gives, and what one turn leaves.

Every vector of the kinds online, self and multi-teacher has its lesson here: the scheme, the teacher and the terms as a
run has them, with the vector's numbers. The sum of a turn's losses is the vector's loss, and the gradients that arrive
at the networks' numbers are the vector's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from saying import Reads, Says, chosen, of, picking, says, stacked
from torch import Tensor, nn

from tutelage.losses.multi_teacher.camkd import CAMKDFeature
from tutelage.player import Player
from tutelage.schemes.base import Scheme
from tutelage.schemes.batch_ensemble import BatchEnsemble, Embedding
from tutelage.schemes.codistillation import Codistillation
from tutelage.schemes.ensembles import named
from tutelage.schemes.exits import Exits, WithExits
from tutelage.schemes.group import Group
from tutelage.schemes.last_batch import LastBatch, Repeated
from tutelage.schemes.middle_feature import MiddleFeature, WithMiddle
from tutelage.schemes.mutual import Mutual
from tutelage.schemes.offline import Offline
from tutelage.schemes.same_class import Paired, SameClass
from tutelage.schemes.together import Together
from tutelage.schemes.two_views import TwoViews, Viewed
from tutelage.tasks.classification import Classification
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.frozen import Frozen
from tutelage.teachers.moving_average import MovingAverage
from tutelage.term import Term
from tutelage.terms import Terms
from tutelage.values import Batch
from tutelage.verify.judge import GRADIENT_TOLERANCE, LOSS_TOLERANCE
from tutelage.verify.vector import Vector, read

KINDS = ("online", "self", "multi-teacher")
VECTORS = {path.stem: read(path) for path in sorted((Path(__file__).parents[1] / "vectors").glob("*.json"))}
OURS = {name: vector for name, vector in VECTORS.items() if vector.kind in KINDS}
TASK = Classification()


def player(kind: type[Player], model: nn.Module, *terms: dict[str, Any]) -> Any:
    return kind(model, Terms.of(terms), TASK)


@dataclass
class Lesson:
    """What is played, and the numbers at which the vector's gradients arrive.

    counts: the losses, as "player/term", that are the vector's.
    """

    played: list[tuple[Scheme, Batch]]
    arrive: Mapping[str, Callable[[], Tensor]] = field(default_factory=dict)
    counts: Callable[[str], bool] = lambda name: True


def seen(vector: Vector, first: int, count: int, targets: Tensor | None = None, **known: Any) -> Batch:
    """The samples of these numbers, with the vector's targets."""
    number = torch.arange(first, first + count)
    return Batch(number[:, None].double(), vector.get("target") if targets is None else targets, number, **known)


def wired(scheme: Any, batch: Batch) -> Any:
    scheme.wire(batch, 64)
    return scheme.train()


def mutual(vector: Vector, kind: Callable[[dict[str, Player]], Scheme] = Mutual) -> Lesson:
    """The published code sums over the others, the paper takes their mean."""
    others = vector.inputs["extra.peer_logits"]
    terms = {"name": "ce"}, {"name": "dml", "eps": 1e-8, "weight": len(others)}
    models = {f"peer{k}": Says(z) for k, z in enumerate([vector.inputs["student_logits"], *others])}
    batch = seen(vector, 0, others.shape[1])
    scheme = wired(kind({name: player(Player, model, *terms) for name, model in models.items()}), batch)
    return Lesson([(scheme, batch)], {"student_logits": of(models["peer0"])}, lambda name: "peer0/" in name)


def together(vector: Vector, models: dict[str, Says], ensemble: str = "none", **options: Any) -> tuple[Any, Batch]:
    batch = seen(vector, 0, len(vector.inputs["target"]))
    terms = Terms.of({"name": vector.method, **options})
    return wired(Together(Group(models, terms, TASK, named(ensemble))), batch), batch


def apart(logits: Tensor, *features: Tensor) -> dict[str, Says]:
    """A network for each of several answers, and of several features."""
    return {f"peer{k}": Says(*said) for k, said in enumerate(zip(logits, *features, strict=True))}


def dml_joint(vector: Vector) -> Lesson:
    """What teaches has a gradient too: a loss of the whole group, so it goes through `together`, not `mutual`."""
    models = apart(vector.inputs["student_logits"])
    return Lesson([together(vector, models, **vector.hyper, eps=1e-7)], {"student_logits": stacked(models)})


def kdcl(vector: Vector) -> Lesson:
    options = {"strength" if name == "lambda" else name: value for name, value in vector.hyper.items()}
    models = apart(vector.inputs["student_logits"])
    return Lesson([together(vector, models, **options)], {"student_logits": stacked(models)})


def one(vector: Vector) -> Lesson:
    """The ensemble's answer is any here, which no gate of these branches gives; a classifier of their features does."""
    logits, spoken = vector.inputs["student_logits"], vector.inputs["extra.ensemble_logits"]
    models = apart(logits, torch.stack([spoken, *torch.zeros_like(logits[1:])]))
    scheme, batch = together(vector, models, "fusion", **vector.hyper, eps=1e-7)
    classes = spoken.shape[1]
    picking(scheme.players["peers"].ensemble.classifier, chosen(len(models) * classes, 0, classes))
    arrive = {"student_logits": stacked(models), "extra.ensemble_logits": of(models["peer0"], "layer1")}
    return Lesson([(scheme, batch)], arrive)


def okddip(vector: Vector) -> Lesson:
    """The features are [query, key, 0 …], of which the projections pick their own."""
    leader, peers = vector.inputs["student_logits"], vector.inputs["extra.peer_logits"]
    query, key = vector.inputs["extra.query"], vector.inputs["extra.key"]
    size = query.shape[2]
    features = torch.cat([query, key, key.new_zeros(*key.shape[:2], 6 * size)], dim=2).transpose(0, 1)
    models = apart(torch.stack([leader, *peers]), torch.stack([torch.zeros_like(features[0]), *features]))
    alpha = vector.hyper["alpha"] * vector.hyper["consistency_weight"]
    how = {"temperature": vector.hyper["temperature"], "alpha": alpha, "eps": 1e-7}
    scheme, batch = together(vector, models, "attention", **how)
    ensemble, others = scheme.players["peers"].ensemble, {n: m for n, m in models.items() if n != "peer0"}
    picking(ensemble.query, chosen(8 * size, 0, size))
    picking(ensemble.key, chosen(8 * size, size, size))
    embedded = stacked(others, "layer1")
    arrive = {
        "student_logits": of(models["peer0"]),
        "extra.peer_logits": stacked(others),
        "extra.query": lambda: embedded().transpose(0, 1)[..., :size],
        "extra.key": lambda: embedded().transpose(0, 1)[..., size : 2 * size],
    }
    return Lesson([(scheme, batch)], arrive)


def bake(vector: Vector) -> Lesson:
    model = Says(vector.inputs["student_logits"], vector.inputs["student_features.0"])
    how = {"temperature": vector.hyper["temperature"], "omega": vector.hyper["omega"]}
    terms = {"name": "ce"}, {"name": "bake", "weight": vector.hyper["lamda"], **how}
    batch = seen(vector, 0, len(vector.inputs["target"]))
    scheme = wired(BatchEnsemble(player(Embedding, model, *terms)), batch)
    return Lesson([(scheme, batch)], {"student_logits": of(model), "student_features.0": lambda: torch.zeros(())})


def byot(vector: Vector) -> Lesson:
    """An exit's layer says [feature, logits], of which its head picks; the connector leaves the logits out."""
    alpha, beta, samples = vector.hyper["alpha"], vector.hyper["beta"], len(vector.inputs["target"])
    features, middle = vector.side("student_features"), vector.inputs["extra.middle_logits"]
    deepest = vector.inputs["extra.final_feature"]
    width, (classes, *_) = deepest.shape[1], middle.shape[2:]

    def beside(feature: Tensor, logits: Tensor) -> Tensor:
        return torch.cat([feature, logits[..., None, None].expand(*logits.shape, *feature.shape[2:])], dim=1)

    shallow = [beside(f, z) for f, z in zip(features, middle, strict=True)]
    model = Says(vector.inputs["student_logits"], *shallow, beside(deepest, torch.zeros_like(middle[0])))
    feature_alone = picking(
        nn.Conv2d(width + classes, width + classes, 1, bias=False),
        torch.diag(torch.cat([torch.ones(width), torch.zeros(classes)])),
    )
    hint = {"name": "byot_hint", "active": True, "weight": beta * samples, "connector": lambda s, t: feature_alone}
    told = {"name": "byot", "weight": alpha, "temperature": vector.hyper["temperature"], "entropy": False}
    batch = seen(vector, 0, samples)
    terms = Terms.of([{"name": "ce", "weight": 1 - alpha}, told, hint])
    layers = [f"layer{k}" for k in range(1, len(features) + 1)]
    scheme = wired(Exits(WithExits(model, terms, TASK, layers)), batch)
    for head in scheme.players["student"].heads:
        head.bottleneck = nn.Identity()
        picking(head.fc, chosen(width + classes, width, classes))
    found = {f"student_features.{k}": of(model, layer) for k, layer in enumerate(layers)}
    arrive = {name: lambda grad=grad: grad()[:, :width] for name, grad in found.items()}
    logits = {"extra.middle_logits": lambda: torch.stack([grad()[:, width:].sum((2, 3)) for grad in found.values()])}
    return Lesson([(scheme, batch)], {"student_logits": of(model)} | arrive | logits)


def same_class(vector: Vector) -> Lesson:
    logits, companions = vector.inputs["student_logits"], vector.inputs["extra.pair_logits"]
    model, samples = Says(torch.cat([logits, companions])), len(logits)
    terms = {"name": "ce"}, {"name": "kd", "temperature": vector.hyper["temperature"], "weight": vector.hyper["lamda"]}
    batch = seen(vector, 0, 2 * samples, vector.inputs["target"].repeat(2))
    return Lesson(
        [(wired(SameClass(player(Paired, model, *terms)), batch), batch)],
        {"student_logits": of(model, stop=samples), "companions": of(model, start=samples)},
    )


def two_views(vector: Vector) -> Lesson:
    model = Says(vector.inputs["student_logits"], vector.inputs["student_features.0"])
    both = {"name": "ddgsd", "global_mean": True, "temperature": vector.hyper["temperature"]}
    targets = vector.inputs["target"].repeat(2)
    batch = seen(vector, 0, len(targets), targets)
    scheme = wired(TwoViews(player(Viewed, model, {"name": "ce", "weight": 0.5}, both)), batch)
    return Lesson([(scheme, batch)], {"student_logits": of(model), "student_features.0": of(model, "layer1")})


def last_batch(vector: Vector) -> Lesson:
    """A first batch says `previous_logits` of its new half; then the same samples come again and say something else."""
    again, now = vector.inputs["student_logits"], vector.inputs["extra.current_logits"]
    before, (old, new) = vector.inputs["extra.previous_logits"], (len(again), len(now))
    model = Says(torch.cat([before, before, again, now]))
    terms = {"name": "ce"}, {"name": "kd", "temperature": vector.hyper["temperature"], "weight": vector.hyper["alpha"]}
    first = seen(vector, 0, 2 * old, vector.inputs["target"].repeat(2), asks={"parts": (old, old)})
    targets = torch.cat([vector.inputs["target"], vector.inputs["extra.current_target"]])
    second = seen(vector, 2 * old, old + new, targets, asks={"parts": (old, new)})
    scheme = wired(LastBatch(player(Repeated, model, *terms)), first)
    list(scheme.turns(first, 0))
    arrive = {
        "student_logits": of(model, start=2 * old, stop=3 * old),
        "extra.current_logits": of(model, start=3 * old),
        "before": of(model, stop=2 * old),
    }
    return Lesson([(scheme, second)], arrive)


def mean_teacher(vector: Vector) -> Lesson:
    """The student said the teacher's logits a step ago, when the average began."""
    model = Says(vector.inputs["teacher_logits"])
    squared, weight = vector.hyper["consistency_type"] == "mse", vector.hyper["consistency_weight"]
    term = {"name": "consistency"} if squared else {"name": "kd", "temperature": 1.0}
    batch = seen(vector, 0, len(vector.inputs["student_logits"]))
    scheme = wired(Offline(player(Player, model, term | {"weight": weight}), MovingAverage(model, TASK)), batch)
    scheme.after_step()
    says(model, vector.inputs["student_logits"])
    return Lesson([(scheme, batch)], {"student_logits": of(model)})


def noisy_student(vector: Vector) -> Lesson:
    """Two losses of two data sets, so two schemes of one student, whose turns are added up."""
    labelled, others = vector.inputs["student_logits"], vector.inputs["extra.unlabeled_logits"]
    smoothing, temperature = vector.hyper["label_smoothing"], vector.hyper["teacher_softmax_temp"]
    model, count = Says(torch.cat([labelled, others])), len(labelled)
    kind = {"hard": True} if temperature == -1 else {"temperature": temperature}
    pseudo = {"name": "noisy_student", "weight": vector.hyper["unlabel_ratio"], "smoothing": smoothing, **kind}
    told = vector.inputs["extra.teacher_probs"].log()
    teacher = Frozen(Says(torch.cat([torch.zeros_like(labelled), told])), TASK)
    first, second = seen(vector, 0, count), seen(vector, count, len(others), torch.zeros(0))
    second.targets = None
    played = [
        (wired(Offline(player(Player, model, {"name": "ce", "smoothing": smoothing})), first), first),
        (wired(Offline(player(Player, model, pseudo), teacher), second), second),
    ]
    return Lesson(played, {"student_logits": of(model, stop=count), "extra.unlabeled_logits": of(model, start=count)})


def ps_kd(vector: Vector) -> Lesson:
    """An epoch ago the student said the previous predictions."""
    model, epoch = Says(vector.inputs["extra.previous_predictions"].log()), float(vector.hyper["epoch"])
    term = {"name": "ps_kd", "alpha": vector.hyper["alpha_T"], "epochs": vector.hyper["end_epoch"]}
    samples = len(vector.inputs["target"])
    before, now = (seen(vector, 0, samples, epoch=max(e, 0.0)) for e in (epoch - 1, epoch))
    scheme = wired(Offline(player(Player, model, term)), before)
    list(scheme.turns(before, 0))
    says(model, vector.inputs["student_logits"])
    return Lesson([(scheme, now)], {"student_logits": of(model)})


def offline(vector: Vector, *terms: dict[str, Any], teacher: Any = None) -> Lesson:
    model, batch = Says(vector.inputs["student_logits"]), seen(vector, 0, len(vector.inputs["student_logits"]))
    return Lesson(
        [(wired(Offline(player(Player, model, *terms), teacher), batch), batch)], {"student_logits": of(model)}
    )


def tf_kd_reg(vector: Vector) -> Lesson:
    """The published code averages over classes too."""
    alpha, classes = vector.hyper["reg_alpha"], vector.inputs["student_logits"].shape[1]
    weight, temperature = alpha * vector.hyper["multiplier"] / classes, vector.hyper["reg_temperature"]
    virtual = {"name": "tf_kd_reg", "weight": weight, "temperature": temperature, "of_probabilities": True}
    return offline(vector, {"name": "ce", "weight": 1 - alpha}, virtual)


def tf_kd_self(vector: Vector) -> Lesson:
    """The published code averages over classes too."""
    alpha, classes = vector.hyper["alpha"], vector.inputs["student_logits"].shape[1]
    weight = alpha * vector.hyper["multiplier"] / classes
    told = {"name": "kd", "temperature": vector.hyper["temperature"], "weight": weight}
    teacher = Frozen(Says(vector.inputs["teacher_logits"]), TASK)
    return offline(vector, {"name": "ce", "weight": 1 - alpha}, told, teacher=teacher)


def uskd(vector: Vector) -> Lesson:
    model = Says(vector.inputs["student_logits"], vector.inputs["student_features.0"])
    taught = player(WithMiddle, model, {"name": "uskd", "log_rank": True, **vector.hyper})
    taught.layer = "layer1"
    batch = seen(vector, 0, len(vector.inputs["student_logits"]))
    scheme = wired(MiddleFeature(taught), batch)
    fc = taught.terms["uskd"].loss.fc
    fc.load_state_dict({name: vector.inputs[f"parameters.fc.{name}"] for name in ("weight", "bias")})
    arrive = {"student_logits": of(model), "student_features.0": of(model, "layer1")}
    return Lesson(
        [(scheme, batch)], arrive | {f"parameters.fc.{n}": lambda p=p: p.grad for n, p in fc.named_parameters()}
    )


def several(name: str, **fields: str) -> Callable[[Vector], Lesson]:
    """A loss of several teachers' answers."""

    def lesson(vector: Vector) -> Lesson:
        options = {fields.get(key, key): value for key, value in vector.hyper.items()}
        teacher = Ensemble([Frozen(Says(z), TASK) for z in vector.inputs["teacher_logits"]])
        return offline(vector, {"name": name, **options}, teacher=teacher)

    return lesson


def camkd_feature(vector: Vector) -> Lesson:
    """What a teacher's classifier reads of the student's feature is given here, and so stands in channels of its own.

    Each feature has `rest` times as many of them as of the vector's, where both sides say the same, so that the mean
    square is 1 + rest times smaller.
    """
    ours, theirs = vector.side("student_features"), vector.side("teacher_features")
    read = vector.inputs["extra.teacher_head_logits"]
    classes = read.shape[2]
    rest = max(-(-classes // x.shape[1]) for x in ours)

    def beside(feature: Tensor, logits: Tensor) -> Tensor:
        spare = feature.new_zeros(*feature.shape[:1], rest * feature.shape[1] - classes, *feature.shape[2:])
        return torch.cat([feature, logits[..., None, None].expand(*logits.shape, *feature.shape[2:]), spare], dim=1)

    student, teachers = ([beside(x, z) for x, z in zip(side, read, strict=True)] for side in (ours, theirs))
    widths = [x.shape[1] for x in student]
    begins = [sum(widths[:m]) for m in range(len(widths))]
    model = Says(read[0], torch.cat(student, dim=1))
    picks = iter(
        picking(nn.Conv2d(sum(widths), width, 1, bias=False), chosen(sum(widths), begin, width))
        for begin, width in zip(begins, widths, strict=True)
    )
    term = Term(CAMKDFeature(), 1.0 + rest, connector=lambda s, t: next(picks))
    heads = [chosen(width, x.shape[1], classes) for width, x in zip(widths, ours, strict=True)]
    teacher = Ensemble([Frozen(Reads(x, head), TASK) for x, head in zip(teachers, heads, strict=True)])
    batch = seen(vector, 0, len(vector.inputs["target"]))
    scheme = wired(Offline(Player(model, Terms.of(term), TASK), teacher), batch)

    def part(m: int, first: int, count: int) -> Tensor:
        return of(model, "layer1")()[:, begins[m] + first : begins[m] + first + count]

    arrive = {f"student_features.{m}": lambda m=m, x=x: part(m, 0, x.shape[1]) for m, x in enumerate(ours)}
    logits = [lambda m=m, x=x: part(m, x.shape[1], classes).sum((2, 3)) for m, x in enumerate(ours)]
    return Lesson([(scheme, batch)], arrive | {"extra.teacher_head_logits": lambda: torch.stack([f() for f in logits])})


LESSONS: dict[str, Callable[[Vector], Lesson]] = {
    "dml": mutual,
    "dml_joint": dml_joint,
    "kdcl": kdcl,
    "okddip": okddip,
    "one": one,
    "bake": bake,
    "byot": byot,
    "cs_kd": same_class,
    "ddgsd": two_views,
    "dlb": last_batch,
    "mean_teacher": mean_teacher,
    "noisy_student": noisy_student,
    "ps_kd": ps_kd,
    "tf_kd_reg": tf_kd_reg,
    "tf_kd_self": tf_kd_self,
    "uskd": uskd,
    "aekd": several("aekd", svm_norm="normalise"),
    "aver": several("aver"),
    "camkd_feature": camkd_feature,
    "camkd_logit": several("camkd"),
    "ebkd": several("ebkd"),
}


def compare(vector: Vector, lesson: Lesson) -> None:
    """Play the lesson, and compare all that the vector expects."""
    total = 0.0
    for scheme, batch in lesson.played:
        for name, losses in scheme.turns(batch, 0):
            sum(losses.values()).backward()
            total += sum(value.item() for term, value in losses.items() if lesson.counts(f"{name}/{term}"))
        teacher = getattr(scheme, "teacher", None) or nn.Identity()
        assert all(p.grad is None for p in teacher.parameters())
    assert total == pytest.approx(vector.loss, rel=LOSS_TOLERANCE)
    arrived = {name: gradient() for name, gradient in lesson.arrive.items()}
    assert arrived.keys() >= vector.gradients.keys()
    for name, gradient in arrived.items():
        expected = vector.gradients.get(name, torch.zeros(()))  # what the vector says nothing of, learns nothing
        scale = 1.0 if name in vector.near_zero else expected.abs().max().item()
        assert (gradient - expected).abs().max().item() <= GRADIENT_TOLERANCE * scale + 1e-12, name


@pytest.mark.parametrize("name", OURS)
def test_a_turn_gives_the_published_loss_and_gradients(name: str) -> None:
    compare(OURS[name], LESSONS[OURS[name].method](OURS[name]))


@pytest.mark.parametrize(
    "kind", [lambda peers: Mutual(peers, sequential=True), Codistillation], ids=["turns", "copies"]
)
def test_other_peers_begin_with_the_same_step(kind: Any) -> None:
    """Before anyone has learned, what was just said, and what a copy says, is what is said at the same time."""
    compare(OURS["dml__case0"], mutual(OURS["dml__case0"], kind))


def test_there_is_a_vector_for_every_lesson() -> None:
    assert {vector.method for vector in OURS.values()} == set(LESSONS)
