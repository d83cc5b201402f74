"""A student that says the same of mixed samples as it says of the samples, mixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.nn.feature_extractor import FeatureExtractor, to_float32
from tutelage.nn.heads import Aggregate
from tutelage.nn.model_profile import ModelProfile, profile_model
from tutelage.objective.pairing import layer_list
from tutelage.objective.terms import unless_named
from tutelage.schemes.base import SchemeContext, SelfTaught, Turn
from tutelage.schemes.multi_exit import MultiExitPlayer, added, with_exits
from tutelage.structures import Batch, Outputs
from tutelage.utils.options import Layers, Positive


class MixupSelf(SelfTaught):
    """What is said of x̃ = λx + (1 − λ)x' and the mix of what is said of x and x' teach each other, at exits too.

    x' is the batch in another order, λ ~ Beta(α, α), both drawn for each step. Heads classify at the ends of the stages
    but the last, and a self-teacher classifies what all of them and the last stage make together; the student is
    exported without them.
    Terms without a teacher are added up over every classifier's answers to x, and, of both labels in the proportion of
    λ, to x̃ and for both of the self-teacher's. Terms of responses are added up over the pairs: every head's mix learns
    from its answer to x̃, and that from the mix; the student's mix learns from the self-teacher's answer to x̃, and its
    answer to x̃ from what the self-teacher makes of mixed features; the teachers are without gradient. Terms of
    features compare mixed features, exit0, exit1, … and the last stage's, with those of x̃, both with gradient.
    x and x̃ go through the student as one batch.
    alpha: α. layers: where the heads are.
    Paper: Yang, An, Zhou, Cai, Zhi, Wu, Xu, Zhang. ECCV 2022. arXiv:2208.05768 (MixSKD).
    Raises: ConfigError if α isn't above 0.
    """

    name = "mixed"

    def __init__(self, player: MixupPlayer, alpha: Positive = 0.4, seed: int = 0) -> None:
        super().__init__(player)
        self.alpha, self.seed = float(alpha), seed

    @classmethod
    def from_context(cls, parts: SchemeContext, alpha: Positive = 0.4, layers: Layers = "auto") -> MixupSelf:
        """The student."""
        return cls(MixupPlayer(parts.network(), parts.terms(), parts.task, layer_list(layers)), alpha, parts.seed)

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """One turn."""
        share, order = drawn(self.alpha, len(batch), self.seed, step)
        yield "student", self.players["student"](batch, share, order)


def drawn(alpha: float, count: int, seed: int, step: int) -> tuple[float, Tensor]:
    """λ ~ Beta(α, α) and an order of so many samples: a function of the arguments."""
    chance = np.random.default_rng((seed, step))
    return float(chance.beta(alpha, alpha)), torch.from_numpy(chance.permutation(count))


class MixupPlayer(MultiExitPlayer):
    """A student with heads on middle layers and a self-teacher on all of them; mixes its batches."""

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Find the layers, make the heads and the self-teacher, and wire the terms to their features.

        Raises: ModelError if there is no layer to put a head on; ConfigError if the student answers by position, its
        inputs can't be mixed, or a term asks what a mixture has two of.
        """
        self._refuse(batch)
        profile = profile_model(self.student.model, batch)
        student_outputs = self.grow(profile)
        exits = {f"exit{k}": feature for k, (feature, _) in enumerate(student_outputs)}
        self.names = [*exits, self.deepest]
        ours = with_exits(profile, exits)
        self.self_teacher = Aggregate([ours.feature(name) for name in self.names], profile.response.shape[1])
        self.metadata = profile.metadata
        self.terms.wire(ours, ours, batch, samples, provides, unless_named(self.names, self.names))
        asked = {*self.terms.layers("student"), *self.terms.layers("teacher")} - {*self.names}
        self.set_captured_layers([*self.exits, self.deepest, *sorted(asked)])

    def set_captured_layers(self, captured: Sequence[str] = ()) -> None:
        """Capture just what is heard: the terms' layers aren't all the student's."""
        self.student = FeatureExtractor(self.student.close(), captured)

    def _refuse(self, batch: Batch) -> None:
        if not isinstance(batch.inputs, Tensor) or not batch.inputs.is_floating_point():
            raise ConfigError("scheme=mixed mixes inputs: expected one tensor of floats.")
        for name, term in self.terms.named().items():
            double = {"index", "targets"} if term.loss.needs_teacher else {"index"}
            asked = sorted(double & {ask for asks in term.loss_inputs.values() for ask in asks})
            if asked:
                raise ConfigError(
                    f"scheme=mixed: {name} asks for {' and '.join(asked)} of a sample, and a mixture is of two; use a "
                    "loss that doesn't (kd)."
                )

    def forward(  # type: ignore[override]
        self, batch: Batch, share: float, order: Tensor
    ) -> dict[str, Tensor]:
        """The terms of one forward of the samples and their mixtures."""
        assert isinstance(batch.inputs, Tensor)
        assert batch.targets is not None
        order = order.to(batch.inputs.device)

        def mix(x: Tensor) -> Tensor:
            return share * x + (1 - share) * x[order]

        student_outputs = self.forward_student(replace(batch, inputs=torch.cat([batch.inputs, mix(batch.inputs)])))
        plain, mixture = (
            mapped(student_outputs, lambda x: x.chunk(2)[0]),
            mapped(student_outputs, lambda x: x.chunk(2)[1]),
        )
        mixed = mapped(plain, mix)
        above = [
            Outputs(to_float32(self.self_teacher([each[name] for name in self.names]))) for each in (mixed, mixture)
        ]
        with torch.autocast(order.device.type, enabled=False):
            answers = [*mixture.members, *above]
            other = replace(batch, targets=batch.targets[order])
            truths = added([
                self._truths(plain.members, batch), self._truths(answers, batch, share),
                self._truths(answers, other, 1 - share),
            ])  # fmt: skip
            return truths | self._taught(mixed, mixture, above, batch, truths)

    def forward_student(self, batch: Batch) -> Outputs:
        """What the student says of a batch, with the heads' features; members: the heads' answers, then its own."""
        student_outputs = super().forward_student(batch)
        exits = [head(student_outputs[layer]) for head, layer in zip(self.heads, self.exits, strict=True)]
        features = student_outputs.features | {f"exit{k}": to_float32(feature) for k, (feature, _) in enumerate(exits)}
        members = [
            Outputs(to_float32(logits), metadata=self.metadata)
            for logits in (*(z for _, z in exits), student_outputs.response)
        ]
        return Outputs(student_outputs.response, features, self.metadata, members)

    def _truths(self, answers: Sequence[Outputs], batch: Batch, share: float = 1.0) -> dict[str, Tensor]:
        """The terms that need no teacher, added up over several answers."""
        mask = self.task.mask(batch)
        found = added([self.terms.supervised_terms(one, one.detach(), batch, mask) for one in answers])
        return {name: share * value for name, value in found.items()}

    def _taught(
        self, mixed: Outputs, mixture: Outputs, above: Sequence[Outputs], batch: Batch, truths: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The other terms; above: what the self-teacher says of the mixed features and of the mixture's."""
        heads = list(zip(mixed.members[:-1], mixture.members[:-1], strict=True))
        own = [(mixed.members[-1], above[1]), (mixture.members[-1], above[0])]
        answers = [(a, b.detach()) for a, b in (*heads, *((b, a) for a, b in heads), *own)]
        truth = torch.stack([value.detach() for value in truths.values()]).sum() if truths else None
        losses = {}
        for name, term in self.terms.named().items():
            if term.loss.needs_teacher:
                pairs = answers if term.compares == "response" else [(mixed, mixture)]
                losses[name] = torch.stack([term(a, b, batch, None, truth) for a, b in pairs]).sum()
        return losses


def mapped(student_outputs: Outputs, change: Callable[[Tensor], Tensor]) -> Outputs:
    """The same facts, all else changed."""
    features = {name: change(x) for name, x in student_outputs.features.items()}
    return Outputs(
        change(student_outputs.response),
        features,
        student_outputs.metadata,
        [mapped(one, change) for one in student_outputs.members],
    )
