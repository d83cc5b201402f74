"""A student whose outputs for mixed samples and whose mixed outputs teach each other (MixSKD)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.nn.feature_extractor import FeatureExtractor, to_float32
from tutelage.nn.heads import ConcatClassifier
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.objective.pairing import layer_list
from tutelage.objective.terms import request_unless_named
from tutelage.schemes.base import SchemeContext, SelfTaught, Turn
from tutelage.schemes.multi_exit import MultiExitPlayer, sum_by_name, with_exits
from tutelage.structures import Batch, Outputs
from tutelage.utils.options import Layers, Positive


class MixupSelf(SelfTaught):
    """The outputs for x̃ = λx + (1 − λ)x' and the mixed outputs for x and x' teach each other, at exits too.

    x' is the batch in another order, λ ~ Beta(α, α), both drawn for each step. Heads classify at the ends of all stages
    except the last, and a self-teacher classifies the aggregated features of the heads and the last stage; the exported
    student has neither.
    Terms without a teacher are summed over the logits of every classifier for x, and, with both labels weighted by λ
    and 1 − λ, over the logits for x̃ and both outputs of the self-teacher. Response terms are summed over these pairs:
    every head's mixed logits learn from its logits for x̃, and these from the mixed logits; the student's mixed logits
    learn from the self-teacher's logits for x̃, and the student's logits for x̃ from the self-teacher's logits for mixed
    features; the teachers are detached. Feature terms compare the mixed features, exit0, exit1, … and the last stage's,
    with those of x̃, both with gradient.
    x and x̃ go through the student as one batch.

    Args:
        alpha: α.
        layers: the layers that get a head; "auto": the end of every stage except the last.
    Paper: Yang, An, Zhou, Cai, Zhi, Wu, Xu, Zhang. ECCV 2022. arXiv:2208.05768 (MixSKD).
    Raises: ConfigError if α isn't above 0.
    """

    name = "mixed"
    makes_inputs = True

    def __init__(self, player: MixupPlayer, alpha: Positive = 0.4, seed: int = 0) -> None:
        super().__init__(player)
        self.alpha, self.seed = float(alpha), seed

    @classmethod
    def from_context(cls, context: SchemeContext, alpha: Positive = 0.4, layers: Layers = "auto") -> MixupSelf:
        """Build the student."""
        return cls(
            MixupPlayer(context.network(), context.terms(), context.task, layer_list(layers)), alpha, context.seed
        )

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Yield the student's turn."""
        mix_lambda, order = draw_mix(self.alpha, len(batch), self.seed, step)
        yield "student", self.players["student"](batch, mix_lambda, order)


def draw_mix(alpha: float, count: int, seed: int, step: int) -> tuple[float, Tensor]:
    """Draw λ ~ Beta(α, α) and a permutation of `count` samples, both determined by the arguments."""
    generator = np.random.default_rng((seed, step))
    return float(generator.beta(alpha, alpha)), torch.from_numpy(generator.permutation(count))


class MixupPlayer(MultiExitPlayer):
    """A student with heads on middle layers and a self-teacher on their features, which mixes its batches."""

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Find the layers, build the heads and the self-teacher, and wire the terms to their features.

        Raises: ModelError if there is no layer to put a head on; ConfigError if the student's logits have positions,
        its inputs can't be mixed, or a term requires an input of which a mixture has two.
        """
        self._check_inputs(batch)
        profile = profile_model(self.student.model, batch)
        student_outputs = self.build_heads(profile)
        exits = {f"exit{k}": feature for k, (feature, _) in enumerate(student_outputs)}
        self.names = [*exits, self.deepest]
        exits_profile = with_exits(profile, exits)
        self.self_teacher = ConcatClassifier(
            [exits_profile.feature(name) for name in self.names], profile.response.shape[1]
        )
        self.metadata = profile.metadata
        requests = request_unless_named(self.names, self.names)
        self.terms.wire(exits_profile, exits_profile, batch, samples, provides, requests)
        layers = {*self.terms.layers("student"), *self.terms.layers("teacher")} - {*self.names}
        self.set_captured_layers([*self.exits, self.deepest, *sorted(layers)])

    def set_captured_layers(self, captured: Sequence[str] = ()) -> None:
        """Capture exactly these layers: some of the terms' layers are exits, not layers of the student."""
        self.student = FeatureExtractor(self.student.close(), captured)

    def _check_inputs(self, batch: Batch) -> None:
        if not isinstance(batch.inputs, Tensor) or not batch.inputs.is_floating_point():
            raise ConfigError("scheme=mixed mixes inputs: expected one floating-point tensor; use another scheme.")
        for name, term in self.terms.named_terms().items():
            ambiguous = {"index", "targets"} if term.loss.needs_teacher else {"index"}
            required = {name for inputs in term.loss_inputs.values() for name in inputs}
            if faults := sorted(ambiguous & required):
                raise ConfigError(
                    f"scheme=mixed: {name} requires the {' and '.join(faults)} of each sample, but a mixture consists "
                    "of two samples; use a loss that doesn't require it (kd)."
                )

    def forward(  # type: ignore[override]
        self, batch: Batch, mix_lambda: float, order: Tensor
    ) -> dict[str, Tensor]:
        """Run one forward on the samples and their mixtures, and return the weighted terms.

        Args:
            batch: the samples x.
            mix_lambda: λ.
            order: the permutation (B,) that makes x' of x.
        """
        assert isinstance(batch.inputs, Tensor)
        assert batch.targets is not None
        if batch.streams:
            raise ConfigError("scheme=mixed mixes samples with their labels, and streams have samples without any.")
        order = order.to(batch.inputs.device)

        def mix(x: Tensor) -> Tensor:
            return mix_lambda * x + (1 - mix_lambda) * x[order]

        student_outputs = self.forward_student(replace(batch, inputs=torch.cat([batch.inputs, mix(batch.inputs)])))
        plain, mixture = (
            map_outputs(student_outputs, lambda x: x.chunk(2)[0]),
            map_outputs(student_outputs, lambda x: x.chunk(2)[1]),
        )
        mixed = map_outputs(plain, mix)
        self_teacher_outputs = [
            Outputs(to_float32(self.self_teacher([x[name] for name in self.names]))) for x in (mixed, mixture)
        ]
        with torch.autocast(order.device.type, enabled=False):
            mixture_outputs = [*mixture.member_outputs, *self_teacher_outputs]
            permuted = replace(batch, targets=batch.targets[order])
            supervised = sum_by_name([
                self._supervised_losses(plain.member_outputs, batch),
                self._supervised_losses(mixture_outputs, batch, mix_lambda),
                self._supervised_losses(mixture_outputs, permuted, 1 - mix_lambda),
            ])  # fmt: skip
            return supervised | self._distillation_losses(mixed, mixture, self_teacher_outputs, batch, supervised)

    def forward_student(self, batch: Batch) -> Outputs:
        """Return the student's outputs with the heads' features, and as members the heads' logits and its own."""
        student_outputs = super().forward_student(batch)
        exits = [head(student_outputs[layer]) for head, layer in zip(self.heads, self.exits, strict=True)]
        features = student_outputs.features | {f"exit{k}": to_float32(feature) for k, (feature, _) in enumerate(exits)}
        members = [
            Outputs(to_float32(logits), metadata=self.metadata)
            for logits in (*(z for _, z in exits), student_outputs.response)
        ]
        return Outputs(student_outputs.response, features, self.metadata, members)

    def _supervised_losses(self, outputs: Sequence[Outputs], batch: Batch, factor: float = 1.0) -> dict[str, Tensor]:
        """Return `factor` times the terms that need no teacher, summed over several outputs."""
        mask = self.task.stream_mask(batch)
        losses = sum_by_name([self.terms.supervised_terms(x, x.detach(), batch, mask) for x in outputs])
        return {name: factor * value for name, value in losses.items()}

    def _distillation_losses(
        self,
        mixed: Outputs,
        mixture: Outputs,
        self_teacher_outputs: Sequence[Outputs],
        batch: Batch,
        supervised: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Return the terms that need a teacher.

        self_teacher_outputs: for the mixed features, then for the mixture's features.
        """
        heads = list(zip(mixed.member_outputs[:-1], mixture.member_outputs[:-1], strict=True))
        last = [
            (mixed.member_outputs[-1], self_teacher_outputs[1]),
            (mixture.member_outputs[-1], self_teacher_outputs[0]),
        ]
        responses = [(a, b.detach()) for a, b in (*heads, *((b, a) for a, b in heads), *last)]
        task_loss = torch.stack([value.detach() for value in supervised.values()]).sum() if supervised else None
        losses = {}
        for name, term in self.terms.named_terms().items():
            if term.loss.needs_teacher:
                pairs = responses if term.compares == "response" else [(mixed, mixture)]
                losses[name] = torch.stack([term(a, b, batch, None, task_loss) for a, b in pairs]).sum()
        return losses


def map_outputs(student_outputs: Outputs, change: Callable[[Tensor], Tensor]) -> Outputs:
    """Return the outputs with each tensor changed, and the same metadata."""
    features = {name: change(x) for name, x in student_outputs.features.items()}
    return Outputs(
        change(student_outputs.response),
        features,
        student_outputs.metadata,
        [map_outputs(member, change) for member in student_outputs.member_outputs],
    )
