"""Refusals of mixed batches (`mix`) where a training can't use them."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from tutelage.data.data_module import DataModule
from tutelage.data.mixing import Mixing
from tutelage.errors import ConfigError
from tutelage.losses.base import Loss
from tutelage.objective.player import Player
from tutelage.objective.term import Term
from tutelage.schemes.base import Scheme
from tutelage.settings import TrainerSettings
from tutelage.structures import JoinedInputs
from tutelage.tasks.base import Task
from tutelage.teachers.cached import Cached
from tutelage.utils.registry import catalogue_name


def refuse_unmixable(settings: TrainerSettings, scheme: Scheme, data: DataModule) -> None:
    """Refuse to mix the batches of data, tasks, schemes and losses for which a mixture means nothing.

    Raises: ConfigError with all reasons.
    """
    mixing = Mixing.of(settings.mix)
    if mixing is None:
        return
    faults = dict.fromkeys([*_of_data(data, "cutmix" in mixing.ways), *_of_modules(scheme, data)])
    if faults:
        raise ConfigError("\n".join(f"mix={mixing.name}: {fault}" for fault in faults))


def _of_data(data: DataModule, cuts: bool) -> Iterator[str]:
    if data.streams:
        yield (
            f"{data.name} has the streams {', '.join(stream.name for stream in data.streams)}, and a mixture would be "
            "of samples with labels and without: leave mix or the streams out."
        )
    if data.target == "objects":
        yield f"{data.name} has objects, which don't mix: leave mix out."
    if isinstance(data.example().inputs, JoinedInputs):
        yield f"{data.name} has {data.modality} inputs, which don't mix: leave mix out."
    elif cuts and len({len(data.size), *(len(other.size) for other in data.others.values())}) > 1:
        yield "cutmix takes the same box of all inputs, and these are of different kinds: use mixup."
    elif cuts and not data.size:
        yield f"cutmix takes a box of positions, and {data.name} has none (modality {data.modality}): use mixup."


def _of_modules(scheme: Scheme, data: DataModule) -> Iterator[str]:
    """Yield the faults of the scheme, its players' tasks and its teachers."""
    name = catalogue_name(type(scheme))
    if scheme.makes_inputs or scheme.batching:
        yield f"scheme={name}, with these options, makes up its batches itself: leave mix out, or use another scheme."
    for module in scheme.modules():
        if isinstance(module, Cached):
            yield "a cache has a teacher's outputs for samples, and each batch has new mixtures: use no cache."
        if isinstance(module, Player):
            yield from _of_task(module.task, data)
    for terms in scheme.terms().values():
        for term_name, term in terms.named_terms().items():
            yield from _of_term(term_name, term, data.target in ("label", "labels"))


def _of_task(task: Task, data: DataModule) -> Iterator[str]:
    name = catalogue_name(type(task))
    if task.response_kind in ("scores", "embedding"):
        yield f"task={name} compares samples with each other, and a mixture is of two: leave mix out."
    if task.positions or (type(task).mask is not Task.mask and data.target != "label set"):
        yield f"task={name} has targets of single positions, which don't mix: leave mix out."


def _of_term(name: str, term: Term, of_classes: bool) -> Iterator[str]:
    """Yield the fault of a term that requires the one sample or the one class that a mixture doesn't have."""
    kind = type(term.loss).__name__
    for key in ("index", "groups"):
        if term.uses(key):
            yield f"term {name!r}: {kind} takes each sample's {key}, and a mixture is of two samples: use another loss."
    if not (of_classes and term.uses("targets")):
        return
    if term.loss.needs_teacher:
        yield (
            f"term {name!r}: {kind} takes the class beside the teacher's outputs, and a mixture has two classes: use a "
            "loss that learns from the teacher alone, such as kd."
        )
    elif any(_learns(part) for part in term.loss_inputs):
        yield f"term {name!r}: {kind} keeps state for each class, and a mixture has two classes: use ce."


def _learns(part: nn.Module) -> bool:
    return isinstance(part, Loss) and type(part).build is not Loss.build
