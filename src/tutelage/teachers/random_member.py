"""An ensemble of which one random member is run per batch."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tutelage.errors import ConfigError
from tutelage.nn.model_profile import ModelProfile
from tutelage.structures import Batch, Outputs
from tutelage.teachers.base import Teacher
from tutelage.teachers.ensemble import Ensemble
from tutelage.utils.options import Epochs


class RandomMember(Ensemble):
    """Several teachers of which one is drawn for each batch, all with equal probability.

    With `epochs` the draw moves from the first member to the last over that many epochs: at
    x = (M − 1)·min(epoch/epochs, 1) it is member ⌊x⌋, or the next one with probability x − ⌊x⌋. The draw is a function
    of the seed and the training progress, so that all processes and a resumed run draw the same member. Layer names
    have no member number, and features are the drawn member's, so that members must have one architecture if features
    are compared. For batches without sample indices (evaluation of the teacher itself) the response is the mean.

    Args:
        members: the teachers.
        seed: the seed of the draws.
        epochs: the number of epochs over which the draw moves to the last member; None: equal probabilities.
    Paper: Shen, He, Xue. AAAI 2019. arXiv:1812.02425 (MEAL), a random teacher for each batch; the move is ours.
    Raises: ConfigError without a member, if the members' responses or layers differ in shape, or if epochs isn't above
    0.
    """

    name = "random_teacher"

    def __init__(self, members: Sequence[Teacher], seed: int = 0, epochs: Epochs | None = None) -> None:
        super().__init__(members)
        self.seed, self.epochs = seed, epochs
        self.profiles: list[ModelProfile] = []

    def draw(self, epoch: float) -> int:
        """Return the number of the member that is drawn at this point of the training, in epochs."""
        chance = random.Random(f"{self.seed} {epoch!r}").random()
        if self.epochs is None:
            return int(chance * len(self.members))
        position = (len(self.members) - 1) * min(epoch / self.epochs, 1.0)
        return int(position) + (chance < position % 1)

    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """Return the drawn member's outputs."""
        if batch.index is None:
            return super().forward(batch)
        return self.member_teachers()[self.draw(batch.epoch)](batch, layers)

    def identity(self) -> None:
        """Return None: the drawn member changes in training."""

    def profile(self, batch: Batch) -> ModelProfile:
        """Return the first member's profile."""
        self.profiles = [teacher.profile(batch) for teacher in self.member_teachers()]
        self._mean([profile.response for profile in self.profiles])  # raises if the members' classes differ
        return self.profiles[0]

    def prepare_for(self, layers: Sequence[str], vectors: Sequence[str] = (), member_outputs: bool = False) -> None:
        """Prepare the members, and raise ConfigError if they differ in a layer's shape."""
        for layer in layers:
            shapes = [tuple(profile.feature(layer).shape[1:]) for profile in self.profiles]
            if len(set(shapes)) > 1:
                raise ConfigError(
                    f"layer {layer} has the shapes {', '.join(map(str, shapes))} in the teachers, of which one is "
                    "run at a time: use teachers of one architecture, or compare responses only."
                )
        self.profiles = []
        for teacher in self.member_teachers():
            teacher.prepare_for(layers, vectors, member_outputs)

    def changes_in_training(self) -> bool:
        """Return True if training changes a member."""
        return any(member.changes_in_training() for member in self.member_teachers())
