"""One of several teachers at a time."""

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
    """Several teachers of which one answers each batch, drawn anew: all have the same chance.

    With `epochs` the draw moves from the first to the last within so many: at x = (M − 1)·min(epoch/epochs, 1) it is
    member ⌊x⌋ or the one after it, this with the chance x − ⌊x⌋. The draw is a function of the seed and of where
    training is, so that all processes and a resumed run draw alike. Layers go by their bare names and are the drawn
    member's, so that members must be of one architecture if features are compared. Batches whose samples have no number
    (a figure of the teacher itself) get the mean.
    Paper: Shen, He, Xue. AAAI 2019. arXiv:1812.02425 (MEAL), a random teacher for each batch; the move is ours.
    Raises: ConfigError without a member, if members answer different classes or have different layers, or if epochs
    isn't above 0.
    """

    name = "random_teacher"

    def __init__(self, members: Sequence[Teacher], seed: int = 0, epochs: Epochs | None = None) -> None:
        super().__init__(members)
        self.seed, self.epochs = seed, epochs
        self.profiles: list[ModelProfile] = []

    def drawn(self, epoch: float) -> int:
        """The member that teaches when training is so many epochs far."""
        chance = random.Random(f"{self.seed} {epoch!r}").random()
        if self.epochs is None:
            return int(chance * len(self.members))
        where = (len(self.members) - 1) * min(epoch / self.epochs, 1.0)
        return int(where) + (chance < where % 1)

    def forward(self, batch: Batch, layers: Sequence[str] = ()) -> Outputs:
        """What the drawn member says."""
        if batch.index is None:
            return super().forward(batch)
        return self.teachers()[self.drawn(batch.epoch)](batch, layers)

    def identity(self) -> None:
        """None: which one answers changes in training."""

    def profile(self, batch: Batch) -> ModelProfile:
        """The first member's."""
        self.profiles = [teacher.profile(batch) for teacher in self.teachers()]
        self._mean([profile.response for profile in self.profiles])  # refuses different classes
        return self.profiles[0]

    def prepare_for(self, layers: Sequence[str], vectors: Sequence[str] = (), members: bool = False) -> None:
        """Tell the members; refuse layers that they don't share."""
        for layer in layers:
            shapes = [tuple(profile.feature(layer).shape[1:]) for profile in self.profiles]
            if len(set(shapes)) > 1:
                raise ConfigError(
                    f"layer {layer} is {', '.join(map(str, shapes))} in the teachers, of which one answers at a time: "
                    "take teachers of one architecture, or compare responses alone."
                )
        self.profiles = []
        for teacher in self.teachers():
            teacher.prepare_for(layers, vectors, members)

    def changes(self) -> bool:
        """Whether training changes a member."""
        return any(member.changes() for member in self.teachers())
