"""The layouts of features of a series: its map (B, C, T), or tokens (B, N, C); the model's modules decide."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

CHANNELS_FIRST = (nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d, nn.InstanceNorm1d, nn.GroupNorm)
CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.MultiheadAttention, nn.RNNBase)
OUTPUT_WIDTHS = ("out_channels", "num_features", "num_channels", "out_features", "embedding_dim", "embed_dim")
INPUT_WIDTHS = ("in_channels", "num_features", "num_channels", "in_features", "embed_dim", "input_size")


def is_series(model: nn.Module, name: str, shape: tuple[int, ...], of_input: bool = False) -> bool:
    """Return whether a module's output of this shape, without the batch, is the map (C, T) of a series.

    It is if the last convolution or batch norm of a series in the module, or else before it in the model's order, has
    C channels; a linear layer, a layer norm or attention that is as wide as the last dimension makes it tokens (N, C).

    Args:
        model: The network.
        name: The module's name.
        shape: The shape of its output, or of its input.
        of_input: True if the shape is its input's.
    """
    if len(shape) != 2:
        return False
    for module, width in _widths(model, name, of_input):
        if isinstance(module, CHANNELS_FIRST) and width == shape[0]:
            return True
        if isinstance(module, CHANNELS_LAST) and width == shape[1]:
            return False
    return False


def _widths(model: nn.Module, name: str, of_input: bool) -> Iterator[tuple[nn.Module, int]]:
    """Yield modules with their widths: those within the named one that touch the tensor first, then those before it."""
    modules = list(model.named_modules())
    begin = next(i for i, (other, _) in enumerate(modules) if other == name)
    end = max(i for i, (other, _) in enumerate(modules) if f"{other}.".startswith(f"{name}.")) + 1
    if of_input:
        yield from ((module, _width(module, INPUT_WIDTHS)) for _, module in modules[begin:end])
        end = begin
    yield from ((module, _width(module, OUTPUT_WIDTHS)) for _, module in reversed(modules[:end]))


def _width(module: nn.Module, names: tuple[str, ...]) -> int:
    """The number of channels that a module outputs, or takes; 0 if it is unknown."""
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return module.normalized_shape[-1]
    if isinstance(module, nn.RNNBase) and names is OUTPUT_WIDTHS:
        return (module.proj_size or module.hidden_size) * (2 if module.bidirectional else 1)
    return next(
        (width for width in (getattr(module, name, 0) for name in names) if isinstance(width, int) and width), 0
    )
