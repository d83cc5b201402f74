"""What training does to an image beside its crop, by words added up: randaugment, python:MODULE:FUNCTION …

Whatever it draws is drawn at the sample's address, so the words change nothing of data/augment.py's promise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tutelage.data.augment import at_address
from tutelage.data.own_code import called, function_of
from tutelage.errors import ConfigError, DataError, unknown

CROPS = ("none", "shift", "crop-flip", "resized-crop")
OWN = "python:"


class Policy(NamedTuple):
    """A transform of torchvision, with its arguments; masked: whether it moves no pixel, as masks need it."""

    name: str
    options: dict[str, Any]
    masked: bool = False


POLICIES = {
    "randaugment": Policy("RandAugment", {}),
    "autoaugment": Policy("AutoAugment", {}),
    "trivialaugment": Policy("TrivialAugmentWide", {}),
    "augmix": Policy("AugMix", {}),
    "color-jitter": Policy("ColorJitter", {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4}, masked=True),
    "erasing": Policy("RandomErasing", {"p": 0.25}),
}


def words(augment: str) -> list[str]:
    """The words of a sum such as "crop-flip+randaugment".

    Raises: ConfigError for a word that isn't known, or several crops.
    """
    found = [word.strip() for word in augment.split("+")]
    for word in found:
        if word not in CROPS and word not in POLICIES and not word.startswith(OWN):
            raise ConfigError(unknown("augment", word, [*CROPS, *POLICIES, f"{OWN}MODULE:FUNCTION"]))
    crops = [word for word in found if word in CROPS]
    if len(crops) > 1 or len({*found}) < len(found):
        raise ConfigError(f"augment={augment!r}: expected one of {', '.join(CROPS)} at most, and each word once.")
    return found


def with_crop(augment: str | None, own: str) -> str:
    """What is asked, with the data's own crop before it if it names none; None: the data's own."""
    if augment is None:
        return own
    return augment if {*words(augment)} & {*CROPS} else f"{words(own)[0]}+{augment}"


def refuse_moving(name: str, asked: list[str]) -> None:
    """Refuse words that move pixels, for they would leave the masks where they are."""
    wrong = [word for word in asked if word in POLICIES and not POLICIES[word].masked]
    if wrong:
        still = ", ".join(word for word, policy in POLICIES.items() if policy.masked)
        raise ConfigError(
            f"data {name!r}: augment={'+'.join(wrong)} moves or hides pixels, but not the masks': with masks use "
            f"{still}, resized-crop or crop-flip."
        )


def known(word: str) -> None:
    """Refuse a function of the user's that isn't there."""
    if word.startswith(OWN):
        transform(word)


@cache
def transform(word: str) -> Callable[[Tensor], Any]:
    """What a word does to an image (C, H, W)."""
    if word.startswith(OWN):
        return function_of("augment", word.removeprefix(OWN))
    from torchvision.transforms import v2

    policy = POLICIES[word]
    return getattr(v2, policy.name)(**policy.options)


def altered(x: Tensor, asked: tuple[str, ...], address: tuple[int, int, int]) -> Tensor:
    """An image after these words; address: seed, sample number and view.

    Raises: DataError for images that a policy isn't for, and for what a function of the user's does wrong.
    """
    with at_address(*address, turn=1):
        for word in asked:
            if word in POLICIES and (x.dtype != torch.uint8 or len(x) not in (1, 3)):
                raise DataError(f"augment={word} is for 8-bit images of 1 or 3 channels, not {x.dtype} of {len(x)}.")
            made = called(f"augment {word!r}: it", transform(word), x)
            if not isinstance(made, Tensor) or made.shape != x.shape or made.dtype != x.dtype:
                got = f"{made.dtype} {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
                raise DataError(
                    f"augment {word!r}: it returned {got} for {x.dtype} {tuple(x.shape)}: expected an image of "
                    "the same kind and shape."
                )
            x = made
    return x
