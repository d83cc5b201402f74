"""A network as it was loaded or made, and the images that it expects."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.jit import ScriptModule
from torch.nn.parameter import UninitializedParameter

from tutelage.data.data_module import DataModule
from tutelage.data.value_targets import ValueTargets
from tutelage.errors import ModelError
from tutelage.models import serialization
from tutelage.models.estimators.adapted import AdaptedEstimator
from tutelage.models.front_ends import refuse_other_rate


@dataclass
class LoadedNetwork:
    """A network, the images that it expects, and the classes that it knows; None: as the data has them.

    known: whether mean and std are of pixels in [0, 1]; if not, the network expects floats as its own data had them.
    values: the scale of the values that it estimates, if it was trained on others than the data's.
    untrained: a sentence that names the layers that are newly initialised although the network came trained.
    """

    model: nn.Module
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, ...] | None = None
    classes: tuple[str, ...] | None = None
    known: bool = True
    untrained: str = ""
    values: ValueTargets | None = None

    def __post_init__(self) -> None:
        if isinstance(self.model, ScriptModule):
            raise ModelError("features can't be captured in a scripted network: give the module that it was made from.")
        parameters = list(self.model.parameters())
        if isinstance(self.model, AdaptedEstimator):  # some have no tensors
            return
        if not parameters or any(isinstance(p, UninitializedParameter) for p in parameters):
            fault = "has no parameters" if not parameters else "has parameters without a shape (a lazy layer)"
            raise ModelError(
                f"{type(self.model).__name__} {fault}: expected a network with weights"
                + (", called once on an example." if parameters else ".")
            )

    def with_normalisation_of(self, data: DataModule) -> DataModule:
        """Return the data, normalised as the network expects it; unchanged if its own normalisation isn't known.

        Raises: ConfigError if it isn't configured whether the data comes normalised, or recordings have another rate.
        """
        if data.judged.rate is not None:
            refuse_other_rate(self.model, data.name, data.judged.rate)
        return data if self.mean is None or self.std is None else data.normalised_by(self.mean, self.std, self.known)

    @classmethod
    def from_card(cls, model: nn.Module) -> LoadedNetwork:
        """Return a saved network with what its card records."""
        card: serialization.ModelCard = model.card  # type: ignore[assignment]
        return cls(model, card.mean, card.std, card.size, card.classes, card.known, values=card.value_targets)
