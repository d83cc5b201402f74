"""Where a vision transformer's tokens lie in its image: a grid of patches, and how many tokens come before it.

A layer's name may say what is to be made of its tokens: `NAME:map` (B, C, H, W) and `NAME:patches` (B, N, C), by the
grid that the network states for the images it gets, and `NAME:HxW+P`, a map of H × W patches after P tokens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.structures import Inputs

SAID = re.compile(r"(\d+)x(\d+)(?:\+(\d+))?")
PREFIX = ("cls_token", "class_token", "class_embedding", "dist_token", "distillation_token", "reg_token",
          "register_tokens")  # fmt: skip
"""What the parameters are called that go before the patches where a network doesn't tell their number."""

MEND = "LAYER:7x7+1, with its height, width and the number of tokens before the patches"


@dataclass(frozen=True)
class Grid:
    """Patches in rows, after a prefix of class, distillation and register tokens."""

    height: int
    width: int
    prefix: int = 0

    def __str__(self) -> str:
        return f"{self.height}x{self.width}+{self.prefix}"

    def patches(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, C) without the prefix.

        Raises: ConfigError if they aren't as many as the grid has.
        """
        if tokens.shape[1] != self.prefix + self.height * self.width:
            raise ConfigError(
                f"{tokens.shape[1]} tokens {tuple(tokens.shape)} don't lie on a grid of {self.height}x{self.width} "
                f"after {self.prefix} prefix tokens; name it as {MEND}."
            )
        return tokens[:, self.prefix :]

    def map(self, tokens: Tensor) -> Tensor:
        """The patches as a map (B, C, H, W)."""
        return self.patches(tokens).transpose(1, 2).unflatten(2, (self.height, self.width))


def split(layer: str) -> tuple[str, str]:
    """A layer's name, and what is to be made of its tokens, if it says so."""
    place, _, form = layer.rpartition(":")
    return (place, form) if place and (form in ("map", "patches") or SAID.fullmatch(form)) else (layer, "")


def module_of(layer: str) -> str:
    """The name of the module."""
    return split(layer)[0].removesuffix(":in")


def spelled(layer: str, form: str) -> str:
    """The layer in a form, unless its name says one already."""
    return layer if split(layer)[1] else f"{layer}:{form}"


def formed(feature: Tensor, layer: str, model: nn.Module, inputs: Inputs) -> Tensor:
    """A feature as its layer's name wants it; what isn't tokens stays as it is.

    Raises: ConfigError if the grid isn't known, or isn't that of the tokens.
    """
    place, form = split(layer)
    outputs = SAID.fullmatch(form)
    if feature.dim() != 3:
        if outputs:
            raise ConfigError(
                f"layer {place!r} gives {tuple(feature.shape)}, and {form} is a grid of tokens (B, N, C)."
            )
        return feature
    if not form:
        return feature
    grid = Grid(*(int(n or 0) for n in outputs.groups())) if outputs else stated(model, inputs)
    if grid is None:
        if form == "patches":
            return feature
        raise ConfigError(
            f"layer {place!r} gives tokens {tuple(feature.shape)}, and {type(model).__name__} doesn't state on what "
            f"grid they lie; name it as {MEND}."
        )
    try:
        return grid.patches(feature) if form == "patches" else grid.map(feature)
    except ConfigError as error:
        raise ConfigError(f"layer {place!r}: {error}") from error


def stated(model: nn.Module, inputs: Inputs) -> Grid | None:
    """The grid that a network states for images of this size; None if it states none, or there are no images."""
    images = [x for x in ([inputs] if isinstance(inputs, Tensor) else inputs.values()) if x.dim() == 4]
    if not images:
        return None
    size = (images[0].shape[2], images[0].shape[3])
    for module in model.modules():  # timm's tell both
        of_size = getattr(getattr(module, "patch_embed", None), "dynamic_feat_size", None)
        prefix: Any = getattr(module, "num_prefix_tokens", None)
        if of_size is not None and prefix is not None:
            height, width = of_size(size)
            return Grid(height, width, prefix)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == m.stride != (1, 1)]
    if not convs:
        return None
    named = {id(x): x.shape for name, x in model.named_parameters() if name.rpartition(".")[2] in PREFIX}
    prefix = sum(shape[-2] if len(shape) > 1 else 1 for shape in named.values())
    height, width = (side // step for side, step in zip(size, convs[0].stride, strict=True))
    return Grid(height, width, prefix)
