"""A generator of the teacher's features and the student in turns (generative feature distillation)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.losses.feature.gfkd import GFKD
from tutelage.nn.connectors import as_map
from tutelage.nn.model_profile import ModelProfile, pair_stages, profile_model
from tutelage.objective.player import AuxiliaryPlayer, Player
from tutelage.schemes.base import SchemeContext, Turn, unwrap
from tutelage.schemes.offline import Offline
from tutelage.structures import Batch, Outputs
from tutelage.teachers.base import Teacher
from tutelage.utils.options import EpochsOrZero, NonNegative, Positive, Width


class Generative(Offline):
    """A conditional VAE learns to generate the teacher's last map from the student's; the student learns through it.

    First turn: the VAE minimises its reconstruction and divergence, the student's map s constant. Second turn: the
    student minimises terms + weight · min(epoch/warmup, 1) · (D(0, s) − t)², D the VAE's decoder, constant (`GFKD`).
    The student is run once.

    Args:
        student, teacher: the player, and its teacher.
        weight, warmup: of the student's loss by the VAE, and the epochs in which the weight rises to it; 0: none.
        latent, divergence: as in `GFKD`.
    Paper: Wang, Zhao, Shi, Zhao, Yang. AAAI 2024. arXiv:2312.08644: weight and warmup as there.
    Raises: ConfigError without a teacher, or for an option out of range; ModelError if a network has no stage.
    """

    name = "generative"

    def __init__(
        self,
        student: LastMapPlayer,
        teacher: Teacher | None,
        weight: Positive = 0.5,
        warmup: EpochsOrZero = 20,
        latent: Width = 16,
        divergence: NonNegative = 0.01,
    ) -> None:
        super().__init__(student, teacher)
        if teacher is None:
            raise ConfigError("scheme=generative needs a teacher, whose features are generated: set teacher=….")
        self.players["generator"] = FeatureGenerator(GFKD(latent, divergence))
        self.weight, self.warmup = weight, warmup

    @classmethod
    def from_context(
        cls,
        context: SchemeContext,
        weight: Positive = 0.5,
        warmup: EpochsOrZero = 20,
        latent: Width = 16,
        divergence: NonNegative = 0.01,
    ) -> Generative:
        """Build the student, its teacher and the VAE."""
        if context.settings.sharded:
            raise ConfigError("scheme=generative: its VAE can't be sharded over devices; use strategy=ddp.")
        network = context.network()
        player = LastMapPlayer(network, context.terms(), context.task)
        return cls(player, context.teacher(network), weight, warmup, latent, divergence)

    def wire(self, batch: Batch, samples: int) -> None:
        """Pair the last maps, wire the terms, and size the VAE."""
        assert self.teacher is not None
        player: LastMapPlayer = unwrap(self.players["student"])
        profile = self.teacher.profile(batch)
        player.wire(profile, batch, samples, self.provides)
        self.layers = player.teacher_layers()
        averaged = [layer for layer in self.layers if layer not in player.ends and player.terms.averages_layer(layer)]
        self.teacher.prepare_for(self.layers, averaged, player.terms.needs_member_outputs())
        self.teacher(batch, self.layers)
        unwrap(self.players["generator"]).loss.build(*player.examples, samples)

    def turns(self, batch: Batch, step: int) -> Iterator[Turn]:
        """Yield the generator's turn, then the student's."""
        assert self.teacher is not None
        losses, own, goal = self.players["student"](batch, self.teacher(batch, self.layers))
        yield "generator", self.players["generator"](own.detach(), goal)
        weight = self.weight * (min(batch.epoch / self.warmup, 1) if self.warmup else 1)
        generation = unwrap(self.players["generator"]).loss.generate(own, goal).mean()
        yield "student", losses | {"generation": weight * generation}


class LastMapPlayer(Player):
    """A student whose forward returns, beside its losses, its last map and the paired one of the teacher."""

    ends: tuple[str, str]
    examples: tuple[Tensor, Tensor]

    def wire(self, teacher: ModelProfile | None, batch: Batch, samples: int, provides: Sequence[str] = ()) -> None:
        """Pair the last stages, and wire the terms."""
        assert teacher is not None
        profile = profile_model(self.student.model, self.student.select(batch))
        own, goal = pair_stages(profile.stages, teacher.stages)[-1]
        self.ends = profile.name_with_form(own.name, "map"), teacher.name_with_form(goal.name, "map")
        self.examples = as_map(profile.feature(self.ends[0])), as_map(teacher.feature(self.ends[1]))
        if self.examples[0].dim() != self.examples[1].dim():
            raise ConfigError(
                f"scheme=generative: the student's last map {tuple(self.examples[0].shape)} and the teacher's "
                f"{tuple(self.examples[1].shape)} have other numbers of dimensions: use networks of one kind."
            )
        super().wire(teacher, batch, samples, provides)

    def set_captured_layers(self, captured: Sequence[str] = ()) -> None:
        """Capture the last map in addition to the terms' layers."""
        super().set_captured_layers([*captured, self.ends[0]])

    def teacher_layers(self) -> tuple[str, ...]:
        """Return the layers of the terms, and the one of the last map."""
        return tuple(dict.fromkeys([*super().teacher_layers(), self.ends[1]]))

    def forward(  # type: ignore[override]
        self, batch: Batch, teacher_outputs: Outputs
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Run one forward of the student."""
        outputs = self.forward_student(batch)
        maps = as_map(outputs[self.ends[0]]), as_map(teacher_outputs[self.ends[1]])
        return self.compare(outputs, teacher_outputs, batch), *maps


class FeatureGenerator(AuxiliaryPlayer):
    """The conditional VAE; forward(student's map, teacher's map) → its losses."""

    def __init__(self, loss: GFKD) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, own: Tensor, goal: Tensor) -> dict[str, Tensor]:
        """Return the means of the VAE's losses."""
        return {name: values.mean() for name, values in self.loss.learn(own, goal).items()}
