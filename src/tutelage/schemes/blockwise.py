"""A student whose blocks learn in parallel, each from the output of the teacher's previous block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.nn.feature_extractor import is_channels_last, layer_norm_widths, refuse_parts
from tutelage.nn.model_profile import ModelProfile, profile_model, record_call_times
from tutelage.nn.stages import parent_names
from tutelage.nn.token_grid import split_layer_name
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.base import SchemeContext
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch, Inputs, Outputs
from tutelage.tasks.base import Task
from tutelage.utils.compat import parameters_of


class Blockwise(Offline):
    """Each block of the student gets the teacher's previous feature, and all blocks learn from the student's logits.

    s_k = S_k(t_{k−1}), t_k = T_k(t_{k−1}), which feature terms compare; blocks end at the layers that these terms
    compare (`lit`: at the ends of the stages). The teacher's features have no gradient, so each block learns
    separately, and one forward suffices for all of them. Response terms compare the logits of the student's ordinary
    forward, and train every block.

    Args:
        copy: copy the modules before the first block and after the last (the stem with its norm, the classifier) from
            the teacher; the copies are not trained and stay in eval mode.
    Paper: Koratana, Kang, Bailis, Zaharia. ICML 2019. arXiv:1810.01937 (LIT), as in the authors' code.
    """

    @classmethod
    def from_context(cls, context: SchemeContext, copy: bool = True) -> Blockwise:
        """Build the student and its teacher."""
        settings = context.settings
        if settings.compile or settings.recompute or settings.sharded:
            raise ConfigError(
                "scheme=blockwise replaces features within the student's forward, which can't be compiled, recomputed "
                "or sharded: remove compile, recompute and strategy."
            )
        network = context.network()
        return cls(BlockwisePlayer(network, context.terms(), context.task, copy), context.teacher(network))


class BlockwisePlayer(Player):
    """A student that is run twice: ordinarily for its logits, and with the teacher's features as its blocks' inputs.

    Raises: ConfigError if no term compares layers, if two compared layers differ in shape, or if the teacher lacks a
    module that is to be copied.
    """

    def __init__(self, model: nn.Module, terms: Terms, task: Task, copy: bool = True) -> None:
        super().__init__(model, terms, task)
        self.copy = copy
        self.copied: list[str] = []

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Choose the layers, check that the paired ones have equal shapes, and copy modules from the teacher."""
        super().wire(teacher, batch, samples, provides)
        terms = self.terms.named_terms().values()
        pairs = [
            (split_layer_name(student_layer)[0], split_layer_name(teacher_layer)[0])
            for term in terms
            for student_layer, teacher_layer in zip(term.student_layers, term.teacher_layers, strict=True)
        ]
        if teacher is None or not pairs:
            raise ConfigError(
                "scheme=blockwise needs a term that compares layers, at which blocks end: use method=lit."
            )
        profile = profile_model(self.student.model, batch)
        for model in (profile.model, teacher.model):
            refuse_parts(model, "scheme=blockwise")
        for student_layer, teacher_layer in pairs:
            student_shape, teacher_shape = (
                tuple(x.shape[1:]) for x in (profile.feature(student_layer), teacher.feature(teacher_layer))
            )
            if student_shape != teacher_shape:
                raise ConfigError(
                    f"scheme=blockwise: the student's {student_layer} outputs {student_shape} and the teacher's "
                    f"{teacher_layer} {teacher_shape}; the next block takes either as its input, so the shapes must be "
                    "equal: use a student as wide as its teacher but shallower, such as resnet8 of resnet20."
                )
        execution_order = [layer.name for layer in profile.layers]
        last = max((student_layer for student_layer, _ in pairs), key=execution_order.index)
        self.block_inputs = {student: teacher for student, teacher in pairs if student != last}
        if self.copy:
            self.copied = modules_around(
                self.student.model,
                profile.inputs,
                [*(student_layer for student_layer, _ in pairs), *(stage.name for stage in profile.stages)],
            )
            # an ensemble's stages are its first member's
            first = teacher.member_profiles[0] if teacher.member_profiles else teacher
            self._copy_from(first.model)

    def teacher_layers(self) -> tuple[str, ...]:
        """Return the layers of the terms, and those whose features are the blocks' inputs (with all tokens)."""
        return (*super().teacher_layers(), *self.block_inputs.values())

    def _copy_from(self, teacher: nn.Module) -> None:
        weights = teacher.state_dict()
        for name in self.copied:
            module = self.student.model.get_submodule(name)
            for key, tensor in module.state_dict(prefix=f"{name}.").items():
                if key not in weights or weights[key].shape != tensor.shape:
                    raise ConfigError(
                        f"scheme=blockwise copies the modules around the blocks from the teacher, whose {key} is "
                        f"{tuple(weights[key].shape) if key in weights else 'missing'}; the student's is "
                        f"{tuple(tensor.shape)}. Use two models of one family, or keep the student's own modules "
                        "(scheme={name: blockwise, copy: false})."
                    )
                tensor.copy_(weights[key])
            module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> BlockwisePlayer:
        """Set the mode of all modules except the copied ones, which stay in eval mode."""
        super().train(mode)
        for name in self.copied:
            self.student.model.get_submodule(name).eval()
        return self

    def forward(self, batch: Batch, teacher_outputs: Outputs | list[Outputs] | None = None) -> dict[str, Tensor]:
        """Run the student ordinarily and with the teacher's features as block inputs; return the weighted terms."""
        assert isinstance(teacher_outputs, Outputs)
        student_outputs = self.forward_student(batch)
        features = {student: teacher_outputs[teacher] for student, teacher in self.block_inputs.items()}
        with replaced_outputs(self.student.model, features):
            block_outputs = self.forward_student(batch)
        return self.compare(replace(student_outputs, features=block_outputs.features), teacher_outputs, batch)


def modules_around(model: nn.Module, inputs: Inputs, blocks: Sequence[str]) -> list[str]:
    """Return the modules with parameters of their own that run before the first block or after the last.

    blocks: the modules that are blocks, or end them. If they are items of a module list, all its items are blocks. A
    module that merely ends the first block doesn't show where that block begins; then no module runs before it.
    """
    begin, end = record_call_times(model, inputs)
    container = max(set.intersection(*map(parent_names, blocks)), key=len, default="")
    items = model.get_submodule(container)
    if isinstance(items, nn.Sequential | nn.ModuleList):
        blocks = [f"{container}.{name}".lstrip(".") for name, _ in items.named_children()]
    ordered = sorted((name for name in blocks if name in begin), key=lambda name: begin[name][0])
    is_container = any(list(child.parameters()) for child in model.get_submodule(ordered[0]).children())
    first, last = begin[ordered[0]][0] if is_container else 0, max(end[name][-1] for name in ordered)
    owners = [name for name, module in model.named_modules() if name in begin and parameters_of(module)]
    return [name for name in owners if end[name][-1] < first or begin[name][0] > last]


@contextmanager
def replaced_outputs(model: nn.Module, features: Mapping[str, Tensor]) -> Iterator[None]:
    """Replace the outputs of layers by features; hooks registered earlier still see the original outputs."""
    widths = layer_norm_widths(model)
    handles = [
        model.get_submodule(layer).register_forward_hook(partial(_replace_output, feature, widths))
        for layer, feature in features.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _replace_output(feature: Tensor, widths: set[int], module: nn.Module, args: Any, out: Any) -> Any:
    original = out[0] if isinstance(out, tuple | list) else out
    replacement = feature.movedim(1, -1) if is_channels_last(original.shape[1:], widths) else feature
    replacement = replacement.to(original.dtype, copy=True)  # the next module may write in place
    return type(out)([replacement, *out[1:]]) if isinstance(out, tuple | list) else replacement
