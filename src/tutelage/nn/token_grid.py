"""The layout of a vision transformer's tokens: a grid of patches after a number of prefix tokens.

A suffix of a layer's name converts its tokens: `NAME:map` to a map (B, C, H, W) and `NAME:patches` to the patches
(B, N, C), by the grid that the network declares for its images; `NAME:HxW+P` to a map of H × W patches after P prefix
tokens. The map of a series (B, C, T) is such a map already, and `NAME:patches` is its positions as tokens (B, T, C);
`NAME:map` of tokens (B, T, C), one for each step of a series, is their map (B, C, T).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.nn.layouts import is_series
from tutelage.structures import Inputs

GRID_PATTERN = re.compile(r"(\d+)x(\d+)(?:\+(\d+))?")
PREFIX_PARAMETERS = ("cls_token", "class_token", "class_embedding", "dist_token", "distillation_token", "reg_token",
          "register_tokens")  # fmt: skip
"""Names of the parameters of prefix tokens, for networks that don't declare their number."""

GRID_SYNTAX = "LAYER:7x7+1, with the grid's height, its width and the number of tokens before the patches"


@dataclass(frozen=True)
class Grid:
    """A grid of patches in row-major order, after `prefix` class, distillation and register tokens."""

    height: int
    width: int
    prefix: int = 0

    def __str__(self) -> str:
        return f"{self.height}x{self.width}+{self.prefix}"

    def patches(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, N, C) without the prefix tokens.

        Raises: ConfigError if N differs from the grid's number of tokens.
        """
        if tokens.shape[1] != self.prefix + self.height * self.width:
            raise ConfigError(
                f"{tokens.shape[1]} tokens {tuple(tokens.shape)} don't lie on a grid of {self.height}x{self.width} "
                f"after {self.prefix} prefix tokens; name the layer as {GRID_SYNTAX}."
            )
        return tokens[:, self.prefix :]

    def map(self, tokens: Tensor) -> Tensor:
        """Return the patches of tokens (B, N, C) as a map (B, C, H, W)."""
        return self.patches(tokens).transpose(1, 2).unflatten(2, (self.height, self.width))


def split_layer_name(layer: str) -> tuple[str, str]:
    """Split a layer's name into the name and the form of its tokens; the form is empty if the name has none."""
    name, _, form = layer.rpartition(":")
    return (name, form) if name and (form in ("map", "patches") or GRID_PATTERN.fullmatch(form)) else (layer, "")


def module_name(layer: str) -> str:
    """The name of a layer's module, without `:in`, the part and the call that are meant, and the form of its tokens."""
    return layer.partition(":")[0]


@dataclass(frozen=True)
class LayerCall:
    """A module's tensor that a layer's name means, without the form of its tokens: `fpn:0`, `head:call=2`, `fc:in`.

    is_input: the module's input, not its output. key: the name or number of the part of an output that is a mapping or
    a list; empty: the output itself. call: of a module that runs several times, which time, from 1; 0: it runs once.
    """

    module: str
    is_input: bool = False
    key: str = ""
    call: int = 0

    @classmethod
    def parse(cls, layer: str) -> LayerCall:
        """Return what a layer's name means.

        Raises: ConfigError if a part of it can't be understood.
        """
        module, *words = split_layer_name(layer)[0].split(":")
        calls = [word.removeprefix("call=") for word in words if word.startswith("call=")]
        keys = [word for word in words if word != "in" and not word.startswith("call=")]
        numbers = [int(call) for call in calls if call.isascii() and call.isdigit()]
        if len(keys) > 1 or len(calls) > 1 or len(numbers) < len(calls) or 0 in numbers:
            raise ConfigError(
                f"layer {layer!r}: expected MODULE, and after colons at most: in; the key or number of a part of its "
                "output; call=N, from 1; and a form of tokens (map, patches, HxW+P)."
            )
        return cls(module, "in" in words, keys[0] if keys else "", numbers[0] if numbers else 0)


def with_form(layer: str, form: str) -> str:
    """Append a form to a layer's name, unless the name already has one."""
    return layer if split_layer_name(layer)[1] else f"{layer}:{form}"


def convert_tokens(feature: Tensor, layer: str, model: nn.Module, inputs: Inputs) -> Tensor:
    """Convert a feature (B, N, C), or (B, C, T) of a series, to the form that its layer's name ends with.

    Tokens of the steps of a series input become a map (B, C, T).

    Other shapes are returned unchanged.

    Raises: ConfigError if the grid is unknown or doesn't match the number of tokens.
    """
    name, form = split_layer_name(layer)
    explicit = GRID_PATTERN.fullmatch(form)
    if feature.dim() != 3 or (form and is_series_feature(feature, layer, model)):
        if explicit:
            raise ConfigError(
                f"layer {name!r} outputs {tuple(feature.shape)}, and {form} is a grid of tokens (B, N, C): expected "
                f"tokens; name the layer without :{form}."
            )
        return feature.mT if feature.dim() == 3 and form == "patches" else feature
    if not form:
        return feature
    grid = Grid(*(int(n or 0) for n in explicit.groups())) if explicit else declared_grid(model, inputs)
    if grid is None:
        if form == "patches":
            return feature
        if feature.shape[1] in _steps(inputs):
            return feature.mT
        raise ConfigError(
            f"layer {name!r} outputs tokens {tuple(feature.shape)}, and {type(model).__name__} doesn't declare their "
            f"grid; name the layer as {GRID_SYNTAX}."
        )
    try:
        return grid.patches(feature) if form == "patches" else grid.map(feature)
    except ConfigError as error:
        raise ConfigError(f"layer {name!r}: {error}") from error


def _steps(inputs: Inputs) -> set[int]:
    """Return the lengths of the inputs that are series (B, C, T)."""
    return {x.shape[2] for x in ([inputs] if isinstance(inputs, Tensor) else inputs.values()) if x.dim() == 3}


def is_series_feature(feature: Tensor, layer: str, model: nn.Module) -> bool:
    """Return whether the feature of a layer, before any conversion, is the map (B, C, T) of a series."""
    of_input = split_layer_name(layer)[0].endswith(":in")
    return is_series(model, module_name(layer), tuple(feature.shape[1:]), of_input)


def declared_grid(model: nn.Module, inputs: Inputs) -> Grid | None:
    """The grid that a network declares for images of this size; None if it declares none, or there are no images."""
    images = [x for x in ([inputs] if isinstance(inputs, Tensor) else inputs.values()) if x.dim() == 4]
    if not images:
        return None
    size = (images[0].shape[2], images[0].shape[3])
    for module in model.modules():  # timm declares both
        grid_size = getattr(getattr(module, "patch_embed", None), "dynamic_feat_size", None)
        prefix: Any = getattr(module, "num_prefix_tokens", None)
        if grid_size is not None and prefix is not None:
            height, width = grid_size(size)
            return Grid(height, width, prefix)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == m.stride != (1, 1)]
    if not convs:
        return None
    shapes = {id(x): x.shape for name, x in model.named_parameters() if name.rpartition(".")[2] in PREFIX_PARAMETERS}
    prefix = sum(shape[-2] if len(shape) > 1 else 1 for shape in shapes.values())
    height, width = (side // step for side, step in zip(size, convs[0].stride, strict=True))
    return Grid(height, width, prefix)
