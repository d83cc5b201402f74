"""A student whose blocks learn side by side, each from what the teacher's block before it gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.nn.feature_extractor import channels_come_last, norm_widths
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.nn.shared_trunk import order, parents
from tutelage.nn.token_grid import split
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.base import Scheme, SchemeContext
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch, Inputs, Outputs
from tutelage.tasks.base import Task


class Blockwise(Offline, Scheme):  # the registry looks for Scheme by name
    """Each block of the student learns from the teacher's block before it, and all of them from the student's answer.

    s_k = S_k(t_{k−1}), t_k = T_k(t_{k−1}), which terms of features compare; blocks end at the layers that these compare
    (`lit`: at the stages' ends). The teacher's features have no gradient, so there each block learns by itself, and one
    forward serves them all. Terms of responses get the answer of the student's own forward, and train every block.
    copy: what comes before the first block and after the last (the stem with its norm, the classifier) is the
    teacher's: copied, and neither trained nor in training mode.
    Paper: Koratana, Kang, Bailis, Zaharia. ICML 2019. arXiv:1810.01937 (LIT), as the authors' code does it.
    """

    @classmethod
    def from_context(cls, parts: SchemeContext, copy: bool = True) -> Blockwise:
        """The student and its teacher."""
        settings = parts.settings
        if settings.compile or settings.recompute or settings.sharded:
            raise ConfigError(
                "scheme=blockwise replaces features within the student's forward, which can't be compiled, recomputed "
                "or divided: leave compile, recompute and strategy out."
            )
        network = parts.network()
        return cls(BlockwisePlayer(network, parts.terms(), parts.task, copy), parts.teacher(network))


class BlockwisePlayer(Player):
    """A student that says its answer, and what its layers give where each block gets the teacher's feature.

    Raises: ConfigError if no term compares layers, if two that it compares differ in shape, or if the teacher lacks
    what is to be copied.
    """

    def __init__(self, model: nn.Module, terms: Terms, task: Task, copy: bool = True) -> None:
        super().__init__(model, terms, task)
        self.copy = copy
        self.copied: list[str] = []

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Choose layers as every player does, and see that they can stand for each other."""
        super().wire(teacher, batch, samples, provides)
        terms = self.terms.named().values()
        pairs = [
            (split(ours)[0], split(theirs)[0])
            for term in terms
            for ours, theirs in zip(term.student_layers, term.teacher_layers, strict=True)
        ]
        if teacher is None or not pairs:
            raise ConfigError("scheme=blockwise has blocks where a term compares layers: add one (method=lit).")
        profile = profile_model(self.student.model, batch)
        for ours, theirs in pairs:
            mine, other = (tuple(x.shape[1:]) for x in (profile.feature(ours), teacher.feature(theirs)))
            if mine != other:
                raise ConfigError(
                    f"scheme=blockwise: the student's {ours} gives {mine} and the teacher's {theirs} {other}, and the "
                    "next block takes either, so they must be alike: use a student as wide as its teacher and less "
                    "deep, such as resnet8 of resnet20."
                )
        ran = [layer.name for layer in profile.layers]
        last = max((ours for ours, _ in pairs), key=ran.index)
        self.fed = {ours: theirs for ours, theirs in pairs if ours != last}
        if self.copy:
            self.copied = around(
                self.student.model,
                profile.inputs,
                [*(ours for ours, _ in pairs), *(stage.name for stage in profile.stages)],
            )
            first = teacher.members[0] if teacher.members else teacher  # of several the first one's stages are compared
            self._take_over(first.model)

    def teacher_layers(self) -> tuple[str, ...]:
        """What feeds its blocks too, with all tokens."""
        return (*super().teacher_layers(), *self.fed.values())

    def _take_over(self, teacher: nn.Module) -> None:
        theirs = teacher.state_dict()
        for name in self.copied:
            module = self.student.model.get_submodule(name)
            for key, own in module.state_dict(prefix=f"{name}.").items():
                if key not in theirs or theirs[key].shape != own.shape:
                    raise ConfigError(
                        f"scheme=blockwise takes what is around the blocks from the teacher, whose {key} is "
                        f"{tuple(theirs[key].shape) if key in theirs else 'missing'}, and the student's is "
                        f"{tuple(own.shape)}; use two of one family, or let the student have its own "
                        "(scheme={name: blockwise, copy: false})."
                    )
                own.copy_(theirs[key])
            module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> BlockwisePlayer:
        """All but what was copied."""
        super().train(mode)
        for name in self.copied:
            self.student.model.get_submodule(name).eval()
        return self

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """Its own forward, and one in which each block but the first begins at the teacher's feature."""
        assert isinstance(teacher_outputs, Outputs)
        student_outputs = self.forward_student(batch)
        with replaced(self.student.model, {ours: teacher_outputs[theirs] for ours, theirs in self.fed.items()}):
            fed = self.forward_student(batch)
        return self.compare(replace(student_outputs, features=fed.features), teacher_outputs, batch)


def around(model: nn.Module, inputs: Inputs, blocks: Sequence[str]) -> list[str]:
    """The modules with parameters of their own that run before the first block or after the last.

    blocks: the modules that are blocks, or end them. Where they are items of a list, all its items are blocks. What
    only ends the first block tells nothing of where it begins, so that nothing comes before it.
    """
    begin, end = order(model, inputs)
    home = max(set.intersection(*map(parents, blocks)), key=len, default="")
    items = model.get_submodule(home)
    if isinstance(items, nn.Sequential | nn.ModuleList):
        blocks = [f"{home}.{name}".lstrip(".") for name, _ in items.named_children()]
    ran = sorted((name for name in blocks if name in begin), key=lambda name: begin[name][0])
    whole = any(list(child.parameters()) for child in model.get_submodule(ran[0]).children())
    first, last = begin[ran[0]][0] if whole else 0, max(end[name][-1] for name in ran)
    owners = [name for name, module in model.named_modules() if name in begin and module._parameters]
    return [name for name in owners if end[name][-1] < first or begin[name][0] > last]


@contextmanager
def replaced(model: nn.Module, features: Mapping[str, Tensor]) -> Iterator[None]:
    """While it lasts, these layers' outputs are noted by whoever listened before, and go on as these features."""
    widths = norm_widths(model)
    handles = [
        model.get_submodule(layer).register_forward_hook(partial(_instead, feature, widths))
        for layer, feature in features.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _instead(feature: Tensor, widths: set[int], module: nn.Module, args: Any, out: Any) -> Any:
    own = out[0] if isinstance(out, tuple | list) else out
    given = feature.permute(0, 2, 3, 1) if channels_come_last(own.shape[1:], widths) else feature
    given = given.to(own.dtype, copy=True)  # what follows may write in place
    return type(out)([given, *out[1:]]) if isinstance(out, tuple | list) else given
