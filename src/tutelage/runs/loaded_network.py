"""A network as it was loaded or made, and the images that it expects."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.jit import ScriptModule
from torch.nn.parameter import UninitializedParameter

from tutelage.data.data_module import DataModule
from tutelage.errors import ModelError
from tutelage.models import serialization


@dataclass
class LoadedNetwork:
    """A network and what it wants of its images, and the classes that it knows; None: the data's own.

    known: whether mean and std are of pixels in [0, 1]; if not, it wants floats as its own data had them.
    untrained: which of its layers nobody has trained although it came trained, in words.
    """

    model: nn.Module
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    classes: tuple[str, ...] | None = None
    known: bool = True
    untrained: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.model, ScriptModule):
            raise ModelError("a scripted network can't be looked into: give the module that it was made from.")
        parameters = list(self.model.parameters())
        if not parameters or any(isinstance(p, UninitializedParameter) for p in parameters):
            what = "has no parameters" if not parameters else "has parameters without a shape (a lazy layer)"
            raise ModelError(
                f"{type(self.model).__name__} {what}: expected a network with weights"
                + (", called once on an example." if parameters else ".")
            )

    def with_normalisation_of(self, data: DataModule) -> DataModule:
        """The data, normalised as the network wants it; as it is if it comes normalised and nobody knows by what.

        Raises: ConfigError if nobody said how the data comes.
        """
        return data if self.mean is None or self.std is None else data.normalised_by(self.mean, self.std, self.known)

    @classmethod
    def from_card(cls, model: nn.Module) -> LoadedNetwork:
        """Return a saved network with what its card records."""
        card: serialization.ModelCard = model.card  # type: ignore[assignment]
        return cls(model, card.mean, card.std, card.size, card.classes, card.known)
