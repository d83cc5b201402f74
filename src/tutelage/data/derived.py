"""Inputs and targets that are made of samples, at the samples' addresses: noisy images, latents, outlines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from tutelage.data.augment import addressed_noise, addressed_uniform
from tutelage.data.splits import ViewSeed
from tutelage.errors import ConfigError, unknown
from tutelage.nn.diffusion import mix_noise, velocity
from tutelage.structures import Inputs

Predict = Literal["v", "noise"]
LATENTS = 64
"""The usual number of latents."""


class Derivation(ABC):
    """Abstract: makes a network's inputs and targets of a batch of samples.

    They are functions of the samples and their addresses, so that resumed trainings and caches get the same. Its repr
    belongs to the data's fingerprint.
    """

    is_random: bool = True
    """True if the inputs of a sample differ from view to view."""

    @abstractmethod
    def apply(self, samples: Tensor, index: Tensor, view: ViewSeed) -> tuple[Inputs, Tensor]:
        """Return the inputs and the targets.

        Args:
            samples: normalised samples (B, C, …).
            index: (B,) their numbers in the split.
            view: the address of their random numbers.
        """


@dataclass(frozen=True)
class Noising(Derivation):
    """Noisy images and their times (B,), both inputs; the targets are the v or the noise in them.

    The times are uniform in (0, 1].

    Args:
        predict: the kind of targets.
    Raises: ConfigError for another kind.
    """

    predict: Predict = "v"

    def __post_init__(self) -> None:
        if self.predict not in get_args(Predict):
            raise ConfigError(unknown("predict", str(self.predict), get_args(Predict)))

    def apply(self, samples: Tensor, index: Tensor, view: ViewSeed) -> tuple[Inputs, Tensor]:
        """Return {"noisy": z, "time": t}, and v or the noise."""
        noise = addressed_noise(index, view.seed, view.view, tuple(samples.shape[1:]))
        time = addressed_uniform(index, view.seed, view.view)
        noisy = mix_noise(samples, noise, time)
        return {"noisy": noisy, "time": time}, velocity(samples, noise, time) if self.predict == "v" else noise


@dataclass(frozen=True)
class Latents(Derivation):
    """Standard normal latents (B, count) as inputs; the targets are the samples.

    Args:
        count: the number of latents.
    Raises: ConfigError if it isn't a number above 0.
    """

    count: int = LATENTS

    def __post_init__(self) -> None:
        if type(self.count) is not int or self.count < 1:
            raise ConfigError(f"latents={self.count}: expected a whole number, 1 or more.")

    def apply(self, samples: Tensor, index: Tensor, view: ViewSeed) -> tuple[Inputs, Tensor]:
        """Return the latents and the samples."""
        return addressed_noise(index, view.seed, view.view, (self.count,)), samples
