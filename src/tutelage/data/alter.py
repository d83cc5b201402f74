"""Augmentation policies applied after the crop, named and joined by "+": randaugment, python:MODULE:FUNCTION …

Their random numbers are drawn at the sample's address, so data/augment.py's guarantee holds for them too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tutelage.data.augment import seeded_generators
from tutelage.data.own_code import call_user_code, import_function
from tutelage.errors import ConfigError, DataError, unknown

IMAGE_CROPS = ("none", "shift", "crop-flip", "resized-crop")
TIME_CROP = "time-crop"
"""A crop in time, which another crop may follow."""
CROPS = (*IMAGE_CROPS, TIME_CROP, "subsample")
READ_CROPS = ("resized-crop", TIME_CROP, "subsample")
"""The crops that are drawn where a sample is read."""

SIZED_CROP = re.compile(r"crop-flip-([1-9]\d{0,3})(?:x([1-9]\d{0,3}))?")
"""A crop of a size of its own: crop-flip-SIDE or crop-flip-HEIGHTxWIDTH."""

EFFECTS = ("gain", "noise", "time-mask", "band-mask", "rotate", "jitter", "scale", "point-dropout")
"""The augmentations of whole batches that follow a crop (`Modality.effects`)."""
FUNCTION = "python:"


class Policy(NamedTuple):
    """A torchvision transform and its arguments; masked: whether it moves no pixels, as data with masks requires."""

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


def is_crop(word: str) -> bool:
    """Return whether a word names a crop."""
    return word in CROPS or SIZED_CROP.fullmatch(word) is not None


def sized_crop(words: Iterable[str]) -> tuple[int, int] | None:
    """Return the height and width of the crop of a size of its own among these words; None without one."""
    sizes = [(int(match[1]), int(match[2] or match[1])) for word in words if (match := SIZED_CROP.fullmatch(word))]
    return sizes[0] if sizes else None


def parse_augment(augment: str) -> list[str]:
    """Split a sum such as "crop-flip+randaugment" into its words.

    Raises: ConfigError for an unknown word, a repeated word or several crops.
    """
    words = [word.strip() for word in augment.split("+")]
    for word in words:
        if not is_crop(word) and word not in (*POLICIES, *EFFECTS) and not word.startswith(FUNCTION):
            names = [*CROPS, "crop-flip-SIDE", *POLICIES, *EFFECTS, f"{FUNCTION}MODULE:FUNCTION"]
            raise ConfigError(unknown("augment", word, names))
    crops = [word for word in words if is_crop(word) and word != TIME_CROP]
    if len(crops) > 1 or len({*words}) < len(words):
        raise ConfigError(f"augment={augment!r}: expected one of {', '.join(CROPS)} at most, and each word once.")
    return words


def with_crop(augment: str | None, default: str) -> str:
    """Return `augment`, preceded by the data's default crop if it names none; if it is None, the data's default."""
    if augment is None:
        return default
    return augment if any(map(is_crop, parse_augment(augment))) else f"{parse_augment(default)[0]}+{augment}"


def refuse_moving(name: str, policies: list[str], target: str) -> None:
    """Reject policies that move pixels: they would leave the masks or maps unchanged.

    Raises: ConfigError.
    """
    moving = [word for word in policies if word in POLICIES and not POLICIES[word].masked]
    if moving:
        allowed = ", ".join(word for word, policy in POLICIES.items() if policy.masked)
        raise ConfigError(
            f"data {name!r}: augment={'+'.join(moving)} moves or hides pixels of the images but not of the {target}s: "
            f"with {target}s use {allowed}, resized-crop or crop-flip, and with masks also crop-flip-SIDE."
        )


def refuse_unsuitable(name: str, augment: str, target: str, several: bool, can_crop: bool) -> None:
    """Refuse an augmentation that data can't have.

    target: the kind of targets. several: whether samples have several inputs. can_crop: whether images are read from
    files.
    Raises: ConfigError.
    """
    policies = parse_augment(augment)
    single = [word for word in policies if word not in (*CROPS, *EFFECTS)]
    if several and single:
        raise ConfigError(
            f"data {name!r}: augment={'+'.join(single)} is for a single input, and its samples have several: use shift "
            "or crop-flip, or augment in the Dataset."
        )
    for policy in policies:
        check_importable(policy)
    if target in ("mask", "map", "objects"):
        refuse_moving(name, policies, target)
    if target in ("map", "objects") and sized_crop(policies) is not None:
        raise ConfigError(f"data {name!r}: augment={augment} cuts the images but not the {target}: use crop-flip.")
    if "resized-crop" in policies and not can_crop:
        raise ConfigError(
            f"augment='resized-crop' is for photos read from files, which {name!r} isn't: use augment=crop-flip or "
            "shift."
        )
    if "time-crop" in policies and not can_crop:
        raise ConfigError(f"augment='time-crop' is for recordings and clips, which {name!r} isn't: use augment=shift.")
    if "subsample" in policies and not can_crop:
        raise ConfigError(f"augment='subsample' is for data=points:PATH, which {name!r} isn't: use augment=none.")


def check_importable(word: str) -> None:
    """Import the user's function, if the word names one, so that a missing one is reported early."""
    if word.startswith(FUNCTION):
        transform_for(word)


@cache
def transform_for(word: str) -> Callable[[Tensor], Any]:
    """Return the function that a word applies to an image (C, H, W), or a clip (C, T, H, W), its frames alike."""
    if word.startswith(FUNCTION):
        return import_function("augment", word.removeprefix(FUNCTION))
    from torchvision.transforms import v2

    policy = POLICIES[word]
    transform = getattr(v2, policy.name)(**policy.options)
    return lambda x: transform(x.movedim(0, -3)).movedim(-3, 0)  # of a clip the frames come first there


def apply_policies(x: Tensor, policies: tuple[str, ...], address: tuple[int, int, int]) -> Tensor:
    """Apply these policies to an image (C, H, W); address: seed, sample number and view.

    Raises: DataError if a policy doesn't support the image, or if the user's function raises or returns something else.
    """
    with seeded_generators(*address, stream=1):
        for word in policies:
            if word in POLICIES and (x.dtype != torch.uint8 or len(x) not in (1, 3)):
                raise DataError(f"augment={word} requires 8-bit images of 1 or 3 channels, got {x.dtype} of {len(x)}.")
            result = call_user_code(f"augment {word!r}: the function", transform_for(word), x)
            if not isinstance(result, Tensor) or result.shape != x.shape or result.dtype != x.dtype:
                got = f"{result.dtype} {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
                raise DataError(
                    f"augment {word!r}: the function returned {got} for {x.dtype} {tuple(x.shape)}: expected an image "
                    "of the same dtype and shape."
                )
            x = result
    return x
