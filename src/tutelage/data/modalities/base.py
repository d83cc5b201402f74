"""The base class of modalities: kinds of input fields, and how their items are augmented and sized."""

from __future__ import annotations

from abc import ABC
from collections.abc import Collection
from typing import ClassVar

import torch
from torch import Tensor

from tutelage.data import alter
from tutelage.data.augment import shift
from tutelage.data.splits import ViewSeed
from tutelage.errors import ConfigError
from tutelage.structures import Objects


class Modality(ABC):
    """Abstract: a kind of input, tensors (B, C, …) with `positions` dimensions after the channels.

    Attributes:
        name: its name.
        positions: the number of dimensions after the channels, whose lengths are the size.
        crops: the names of the augmentations that move a sample's values.
        effects: the names of the augmentations that follow, in any number.
        has_pictures: whether `pictures` is defined.
        picture_note: a sentence on how the pictures show an input.
        takes_policies: whether the policies of data/alter.py apply.
        takes_functions: whether a function of the user's may change a sample.
    """

    name: ClassVar[str]
    positions: ClassVar[int]
    crops: ClassVar[tuple[str, ...]] = ("none",)
    effects: ClassVar[tuple[str, ...]] = ()
    has_pictures: ClassVar[bool] = False
    picture_note: ClassVar[str] = ""
    takes_policies: ClassVar[bool] = False
    takes_functions: ClassVar[bool] = True

    def takes(self, word: str) -> bool:
        """Return whether an augmentation is defined for this modality."""
        return (
            word in (*self.crops, *self.effects)
            or (self.takes_policies and (word in alter.POLICIES or alter.SIZED_CROP.fullmatch(word) is not None))
            or (self.takes_functions and word.startswith(alter.FUNCTION))
        )

    def refuse_augment(self, data: str, words: Collection[str]) -> None:
        """Refuse augmentations that aren't defined for this modality.

        Raises: ConfigError.
        """
        other = [word for word in words if not self.takes(word)]
        if other:
            own = (f"{alter.FUNCTION}MODULE:FUNCTION",) if self.takes_functions else ()
            allowed = ", ".join((*self.crops, *self.effects, *own))
            raise ConfigError(f"data {data!r}: augment={'+'.join(other)} isn't for {self.name} data: use {allowed}.")

    def augment(
        self, x: Tensor, mask: Tensor | None, index: Tensor, view: ViewSeed, words: Collection[str]
    ) -> tuple[Tensor, Tensor | None]:
        """Augment inputs (B, C, …), and the mask (B, …) that moves with them, at the samples' addresses.

        augment=shift moves all dimensions after the channels by up to an eighth of the shortest.
        """
        return (shift(x, index, view.seed, view.view, min(x.shape[2:]) // 8) if "shift" in words else x), mask

    def move_objects(
        self, objects: Objects, size: tuple[int, ...], index: Tensor, view: ViewSeed, words: Collection[str]
    ) -> Objects:
        """Move the objects of inputs of that size as `augment` moves the inputs.

        Raises: ConfigError if an augmentation moves the inputs, and this modality's objects can't follow.
        """
        if moving := {*words} & {*self.crops} - {"none"}:
            raise ConfigError(f"augment={'+'.join(moving)} doesn't move the objects of {self.name} data: use none.")
        return objects

    def resize_objects(self, objects: Objects, size: tuple[int, ...], target: tuple[int, ...]) -> Objects:
        """Return the objects of inputs of a size that are resized to another."""
        return objects

    def resize(self, x: Tensor, mask: Tensor | None, size: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
        """Bring inputs and mask to that size."""
        return x, mask

    def resized(self, size: tuple[int, ...], sides: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the size of inputs of a size that are brought to that height and width; None if they can't be."""
        return None

    def cut(
        self, x: Tensor, mask: Tensor | None, index: Tensor, view: ViewSeed, words: Collection[str]
    ) -> tuple[Tensor, Tensor | None]:
        """Cut normalised inputs, and their mask, to the size that training sees, if that is another one."""
        return x, mask

    def variation_floor(self, mean: Tensor, top: float) -> Tensor:
        """Return the standard deviation per channel, of raw values, below which a channel is constant."""
        return 1e-7 * mean.abs()

    def pictures(self, x: Tensor) -> Tensor:
        """Return inputs (B, C, …) as pictures (B, 1 or 3, H, W) in [0, 1], for the report."""
        raise NotImplementedError

    def describe(self, channels: int, size: tuple[int, ...]) -> str:
        """Return the shape of a sample in words."""
        return " × ".join(map(str, (channels, *size)))

    def example(self, channels: int, size: tuple[int, ...], samples: int = 1) -> Tensor:
        """Return an input of zeros, to measure networks with."""
        return torch.zeros(samples, channels, *size)
