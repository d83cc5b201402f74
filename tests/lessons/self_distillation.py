"""Self-distillation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from saying import Gives, InOrder, Says, Split, beside, chosen, of, picking, says
from torch import Tensor, nn

from lessons.lesson import TASK, Lesson, offline, player, seen, wired
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.base import Turn
from tutelage.schemes.in_batch_ensemble import EmbeddingPlayer, InBatchEnsemble
from tutelage.schemes.intermediate_feature import IntermediateFeature, IntermediateFeaturePlayer
from tutelage.schemes.last_batch import LastBatch, RepeatedBatchPlayer
from tutelage.schemes.mixup_self import MixupPlayer, MixupSelf
from tutelage.schemes.multi_exit import MultiExit, MultiExitPlayer
from tutelage.schemes.offline import Offline
from tutelage.schemes.pyramid_self_teacher import PyramidPlayer, PyramidSelfTeacher
from tutelage.schemes.same_class import PairPlayer, SameClass
from tutelage.schemes.two_views import TwoViewPlayer, TwoViews
from tutelage.structures import Batch
from tutelage.teachers.frozen import Frozen
from tutelage.teachers.moving_average import MovingAverage
from tutelage.verify.vector import Vector


def bake(vector: Vector) -> Lesson:
    model = Says(vector.inputs["student_logits"], vector.inputs["student_features.0"])
    options = {"temperature": vector.hyper["temperature"], "omega": vector.hyper["omega"]}
    terms = {"name": "ce"}, {"name": "bake", "weight": vector.hyper["lamda"], **options}
    batch = seen(vector, 0, len(vector.inputs["target"]))
    scheme = wired(InBatchEnsemble(player(EmbeddingPlayer, model, *terms)), batch)
    return Lesson([(scheme, batch)], {"student_logits": of(model), "student_features.0": lambda: torch.zeros(())})


def byot(vector: Vector) -> Lesson:
    """An exit's layer outputs [feature, logits], of which its head picks the logits; the connector drops them."""
    alpha, beta, samples = vector.hyper["alpha"], vector.hyper["beta"], len(vector.inputs["target"])
    features, middle = vector.side("student_features"), vector.inputs["extra.middle_logits"]
    deepest = vector.inputs["extra.final_feature"]
    width, (classes, *_) = deepest.shape[1], middle.shape[2:]

    shallow = [beside(f, z) for f, z in zip(features, middle, strict=True)]
    model = Says(vector.inputs["student_logits"], *shallow, beside(deepest, torch.zeros_like(middle[0])))
    feature_alone = picking(
        nn.Conv2d(width + classes, width + classes, 1, bias=False),
        torch.diag(torch.cat([torch.ones(width), torch.zeros(classes)])),
    )
    hint = {"name": "byot_hint", "active": True, "weight": beta * samples, "connector": lambda s, t: feature_alone}
    soft_term = {"name": "byot", "weight": alpha, "temperature": vector.hyper["temperature"], "entropy": False}
    batch = seen(vector, 0, samples)
    terms = Terms.from_method([{"name": "ce", "weight": 1 - alpha}, soft_term, hint])
    layers = [f"layer{k}" for k in range(1, len(features) + 1)]
    scheme = wired(MultiExit(MultiExitPlayer(model, terms, TASK, layers)), batch)
    for head in scheme.players["student"].heads:
        head.bottleneck = nn.Identity()
        picking(head.fc, chosen(width + classes, width, classes))
    gradients = {f"student_features.{k}": of(model, layer) for k, layer in enumerate(layers)}
    arrive = {name: lambda grad=grad: grad()[:, :width] for name, grad in gradients.items()}
    logits = {"extra.middle_logits": lambda: torch.stack([g()[:, width:].sum((2, 3)) for g in gradients.values()])}
    return Lesson([(scheme, batch)], {"student_logits": of(model)} | arrive | logits)


def same_class(vector: Vector) -> Lesson:
    logits, companions = vector.inputs["student_logits"], vector.inputs["extra.pair_logits"]
    model, samples = Says(torch.cat([logits, companions])), len(logits)
    terms = {"name": "ce"}, {"name": "kd", "temperature": vector.hyper["temperature"], "weight": vector.hyper["lamda"]}
    batch = seen(vector, 0, 2 * samples, vector.inputs["target"].repeat(2))
    return Lesson(
        [(wired(SameClass(player(PairPlayer, model, *terms)), batch), batch)],
        {"student_logits": of(model, stop=samples), "companions": of(model, start=samples)},
    )


def two_views(vector: Vector) -> Lesson:
    model = Says(vector.inputs["student_logits"], vector.inputs["student_features.0"])
    both = {"name": "ddgsd", "global_mean": True, "temperature": vector.hyper["temperature"]}
    targets = vector.inputs["target"].repeat(2)
    batch = seen(vector, 0, len(targets), targets)
    scheme = wired(TwoViews(player(TwoViewPlayer, model, {"name": "ce", "weight": 0.5}, both)), batch)
    return Lesson([(scheme, batch)], {"student_logits": of(model), "student_features.0": of(model, "layer1")})


def last_batch(vector: Vector) -> Lesson:
    """The first batch outputs `previous_logits` for its new half; the same samples then get other logits."""
    again, now = vector.inputs["student_logits"], vector.inputs["extra.current_logits"]
    before, (old, new) = vector.inputs["extra.previous_logits"], (len(again), len(now))
    model = Says(torch.cat([before, before, again, now]))
    terms = {"name": "ce"}, {"name": "kd", "temperature": vector.hyper["temperature"], "weight": vector.hyper["alpha"]}
    first = seen(vector, 0, 2 * old, vector.inputs["target"].repeat(2), extras={"parts": (old, old)})
    targets = torch.cat([vector.inputs["target"], vector.inputs["extra.current_target"]])
    second = seen(vector, 2 * old, old + new, targets, extras={"parts": (old, new)})
    scheme = wired(LastBatch(player(RepeatedBatchPlayer, model, *terms)), first)
    list(scheme.turns(first, 0))
    arrive = {
        "student_logits": of(model, start=2 * old, stop=3 * old),
        "extra.current_logits": of(model, start=3 * old),
        "before": of(model, stop=2 * old),
    }
    return Lesson([(scheme, second)], arrive)


def mean_teacher(vector: Vector) -> Lesson:
    """The student output the teacher's logits one step ago, when the average began."""
    model = Says(vector.inputs["teacher_logits"])
    squared, weight = vector.hyper["consistency_type"] == "mse", vector.hyper["consistency_weight"]
    term = {"name": "consistency"} if squared else {"name": "kd", "temperature": 1.0}
    batch = seen(vector, 0, len(vector.inputs["student_logits"]))
    scheme = wired(Offline(player(Player, model, term | {"weight": weight}), MovingAverage(model, TASK)), batch)
    scheme.after_step()
    says(model, vector.inputs["student_logits"])
    return Lesson([(scheme, batch)], {"student_logits": of(model)})


def noisy_student(vector: Vector) -> Lesson:
    """Two losses on two data sets, hence two schemes with one student, whose losses are summed."""
    labelled, unlabelled = vector.inputs["student_logits"], vector.inputs["extra.unlabeled_logits"]
    smoothing, temperature = vector.hyper["label_smoothing"], vector.hyper["teacher_softmax_temp"]
    model, count = Says(torch.cat([labelled, unlabelled])), len(labelled)
    kind = {"hard": True} if temperature == -1 else {"temperature": temperature}
    pseudo = {"name": "noisy_student", "weight": vector.hyper["unlabel_ratio"], "smoothing": smoothing, **kind}
    teacher_logits = vector.inputs["extra.teacher_probs"].log()
    teacher = Frozen(Says(torch.cat([torch.zeros_like(labelled), teacher_logits])), TASK)
    first = seen(vector, 0, count)
    second = replace(seen(vector, count, len(unlabelled), torch.zeros(0)), targets=None)
    played = [
        (wired(Offline(player(Player, model, {"name": "ce", "smoothing": smoothing})), first), first),
        (wired(Offline(player(Player, model, pseudo), teacher), second), second),
    ]
    return Lesson(played, {"student_logits": of(model, stop=count), "extra.unlabeled_logits": of(model, start=count)})


def ps_kd(vector: Vector) -> Lesson:
    """The student output the previous predictions one epoch ago."""
    model, epoch = Says(vector.inputs["extra.previous_predictions"].log()), float(vector.hyper["epoch"])
    term = {"name": "ps_kd", "alpha": vector.hyper["alpha_T"], "epochs": vector.hyper["end_epoch"]}
    samples = len(vector.inputs["target"])
    before, now = (seen(vector, 0, samples, epoch=max(e, 0.0)) for e in (epoch - 1, epoch))
    scheme = wired(Offline(player(Player, model, term)), before)
    list(scheme.turns(before, 0))
    says(model, vector.inputs["student_logits"])
    return Lesson([(scheme, now)], {"student_logits": of(model)})


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
    soft_term = {"name": "kd", "temperature": vector.hyper["temperature"], "weight": weight}
    teacher = Frozen(Says(vector.inputs["teacher_logits"]), TASK)
    return offline(vector, {"name": "ce", "weight": 1 - alpha}, soft_term, teacher=teacher)


def zipf_ls(vector: Vector) -> Lesson:
    return offline(vector, {"name": "zipf_ls", "power": vector.hyper["power"], "weight": 1.0})


def uskd(vector: Vector) -> Lesson:
    model = Says(vector.inputs["student_logits"], vector.inputs["student_features.0"])
    student = player(IntermediateFeaturePlayer, model, {"name": "uskd", "log_rank": True, **vector.hyper})
    student.layer = "layer1"
    batch = seen(vector, 0, len(vector.inputs["student_logits"]))
    scheme = wired(IntermediateFeature(student), batch)
    fc = student.terms["uskd"].loss.fc
    fc.load_state_dict({name: vector.inputs[f"parameters.fc.{name}"] for name in ("weight", "bias")})
    arrive = {"student_logits": of(model), "student_features.0": of(model, "layer1")}
    return Lesson(
        [(scheme, batch)], arrive | {f"parameters.fc.{n}": lambda p=p: p.grad for n, p in fc.named_parameters()}
    )


class Refines(nn.Module):
    """A pyramid that says given features and logits."""

    def __init__(self, features: list[Tensor], logits: Tensor) -> None:
        super().__init__()
        self.features, self.logits = nn.ParameterList([x.clone() for x in features]), nn.Parameter(logits.clone())

    def forward(self, heard: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        return list(self.features), self.logits


def frskd(vector: Vector) -> Lesson:
    """The pyramid says what the vector gives."""
    features, hyper = vector.side("student_features"), vector.hyper
    model, layers = Says(vector.inputs["student_logits"], *features), [f"layer{k + 1}" for k in range(len(features))]
    kd = {"name": "kd", "temperature": hyper["temperature"], "weight": hyper["alpha"]}
    terms = Terms.from_method([{"name": "ce"}, kd, {"name": "at", "weight": hyper["beta"]}])
    batch = seen(vector, 0, len(vector.inputs["target"]))
    scheme = wired(PyramidSelfTeacher(PyramidPlayer(model, terms, TASK, layers)), batch)
    pyramid = Refines(vector.side("teacher_features"), vector.inputs["teacher_logits"])
    scheme.players["student"].pyramid = pyramid
    arrive = {f"student_features.{k}": of(model, layer) for k, layer in enumerate(layers)}
    logits = {"student_logits": of(model), "teacher_logits": lambda: pyramid.logits.grad}
    return Lesson([(scheme, batch)], arrive | logits)


class FixedMixup(MixupSelf):
    """MixupSelf with a given λ and permutation."""

    mix: tuple[float, Tensor]

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        yield "student", self.players["student"](batch, *self.mix)


def mixed(
    vector: Vector, plain: list[Tensor], mixture: list[Tensor], logits: Tensor, mix: tuple[float, Tensor], *terms: Any
) -> tuple[FixedMixup, Batch, InOrder]:
    """The student outputs logits and features of the samples, then those of the mixtures; its heads split them.

    logits: (classifiers, samples and mixtures, classes). A first layer with larger maps makes the last the deepest.
    """
    features = [torch.cat(pair) for pair in zip(plain, mixture, strict=True)]
    shallow = [beside(x, z) for x, z in zip(features[:-1], logits, strict=False)]
    fine = features[0].new_zeros(len(features[0]), 1, *(2 * side for side in features[0].shape[2:]))
    model = InOrder(logits[-1], fine, *shallow, features[-1])
    layers = [f"layer{k + 2}" for k in range(len(shallow))]
    samples = len(plain[0])
    batch = seen(vector, 0, samples, vector.inputs.get("target", torch.zeros(samples, dtype=torch.long)))
    scheme = wired(FixedMixup(MixupPlayer(model, Terms.from_method(terms), TASK, layers)), batch)
    scheme.mix = mix
    player = scheme.players["student"]
    player.heads = nn.ModuleList(Split(x.shape[1]) for x in plain[:-1])
    return scheme, batch, model


def feature_gradients(model: Says, channels: list[int], name: str, which: slice) -> dict[str, Callable[[], Tensor]]:
    """Return the gradients of the features that are concatenated with logits, for some of the samples."""
    return {
        f"{name}.{k}": lambda k=k, width=width: of(model, f"layer{k + 2}")()[which, :width]
        for k, width in enumerate(channels)
    }


def mixskd(vector: Vector) -> Lesson:
    plain, mixture = vector.side("student_features"), vector.side("extra.mixture_features")
    logits = torch.cat([vector.inputs["student_logits"], vector.inputs["extra.mixture_logits"]], dim=1)
    kd = {"name": "kd", "temperature": vector.hyper["temperature"], "weight": 1.0}
    squared_error = {"name": "fitnet", "weight": 1.0, "connector": "identity"}
    mix = vector.hyper["lam"], vector.inputs["extra.order"]
    scheme, batch, model = mixed(vector, plain, mixture, logits, mix, {"name": "ce"}, kd, squared_error)
    self_teacher_logits = [vector.inputs[f"extra.self_teacher_of_{name}"] for name in ("mixed", "mixture")]
    scheme.players["student"].self_teacher = teacher = Gives(*self_teacher_logits)
    samples, channels = len(batch), [x.shape[1] for x in plain]

    def logit_gradients(which: slice) -> Tensor:
        heads = [of(model, f"layer{k + 2}")()[which, w:].sum((2, 3)) for k, w in enumerate(channels[:-1])]
        return torch.stack([*heads, of(model)()[which]])

    arrive = {
        "student_logits": lambda: logit_gradients(slice(samples)),
        "extra.mixture_logits": lambda: logit_gradients(slice(samples, None)),
        "extra.self_teacher_of_mixed": lambda: teacher.said[0].grad,
        "extra.self_teacher_of_mixture": lambda: teacher.said[1].grad,
    }
    arrive |= feature_gradients(model, channels, "student_features", slice(samples))
    return Lesson(
        [(scheme, batch)], arrive | feature_gradients(model, channels, "extra.mixture_features", slice(samples, None))
    )


def mixskd_discriminator(vector: Vector) -> Lesson:
    """With the identity permutation, the mixed outputs are the outputs for the samples."""
    plain, mixture = vector.side("student_features"), vector.side("teacher_features")
    samples, weights = len(plain[0]), vector.under("parameters")
    mix = 0.3, torch.arange(samples)
    term = {"name": vector.method, "weight": 1.0, "connector": "identity", "reverse": vector.hyper["reverse"]}
    units = next(len(x) for name, x in weights.items() if name.startswith("0.0.weight"))
    logits = torch.zeros(len(plain), 2 * samples, 4, dtype=torch.float64)
    scheme, batch, model = mixed(vector, plain, mixture, logits, mix, term | {"hidden": units})
    scheme.players["student"].self_teacher = Gives(logits[0, :samples])
    loss = scheme.players["student"].terms[vector.method].loss
    loss.build(plain, mixture, 0)
    parameters = {name: loss.discriminators.get_parameter(re.sub(r"(weight|bias)\d+", r"\1", name)) for name in weights}
    for name, parameter in parameters.items():
        parameter.data.copy_(weights[name])
    channels = [x.shape[1] for x in plain]
    arrive = {f"parameters.{name}": lambda p=p: p.grad for name, p in parameters.items()}
    arrive |= feature_gradients(model, channels, "student_features", slice(samples))
    return Lesson(
        [(scheme, batch)], arrive | feature_gradients(model, channels, "teacher_features", slice(samples, None))
    )


def online_label_smoothing(vector: Vector) -> Lesson:
    """The student output the previous logits one epoch ago."""
    before, now = vector.inputs["extra.previous_epoch_logits"], vector.inputs["student_logits"]
    model, epoch = Says(torch.cat([before, now])), float(vector.hyper["epoch"])
    first = seen(vector, 0, len(before), vector.inputs["extra.previous_epoch_target"], epoch=epoch - 1)
    second = seen(vector, len(before), len(now), epoch=epoch)
    scheme = wired(Offline(player(Player, model, {"name": vector.method, "alpha": vector.hyper["alpha"]})), first)
    list(scheme.turns(first, 0))
    return Lesson([(scheme, second)], {"student_logits": of(model, start=len(before))})


LESSONS: dict[str, Callable[[Vector], Lesson]] = {
    "bake": bake,
    "byot": byot,
    "cs_kd": same_class,
    "ddgsd": two_views,
    "dlb": last_batch,
    "frskd": frskd,
    "mean_teacher": mean_teacher,
    "mixskd": mixskd,
    "mixskd_discriminator": mixskd_discriminator,
    "noisy_student": noisy_student,
    "online_label_smoothing": online_label_smoothing,
    "ps_kd": ps_kd,
    "tf_kd_reg": tf_kd_reg,
    "tf_kd_self": tf_kd_self,
    "uskd": uskd,
    "zipf_ls": zipf_ls,
}
