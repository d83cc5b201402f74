"""Networks that say given numbers, sample by sample, so that what arrives at these numbers can be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Rows(nn.Module):
    """Of each sample, by its number, the row of a table; a map where rows are maps, or `side` positions alike."""

    def __init__(self, rows: Tensor, side: int = 0) -> None:
        super().__init__()
        self.rows, self.side = nn.Parameter(rows.clone()), side

    def forward(self, number: Tensor) -> Tensor:
        said = self.rows[number]
        return said[..., None, None].expand(*said.shape, self.side, self.side) if self.side else said


class Says(nn.Module):
    """Layers that say given features, vectors as maps of four equal positions, and an answer of given logits."""

    def __init__(self, logits: Tensor, *features: Tensor) -> None:
        super().__init__()
        for k, feature in enumerate(features, 1):
            self.add_module(f"layer{k}", Rows(feature, side=2 if feature.dim() == 2 else 0))
        self.answer = Rows(logits)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            said = layer(x[:, 0].long())
        return said


class InOrder(Says):
    """Says what is given for the first samples, whatever they are."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.arange(len(x), dtype=x.dtype)[:, None])


class Branch(nn.Module):
    """A trunk that says a given feature, and a branch on it with an answer of given logits."""

    def __init__(self, trunk: Tensor, logits: Tensor) -> None:
        super().__init__()
        self.layer1, self.answer = Rows(trunk), OnTop(logits)

    def forward(self, x: Tensor) -> Tensor:
        number = x[:, 0].long()
        return self.answer(self.layer1(number), number)


class OnTop(Rows):
    """The row of a sample, beside a feature that is heard here."""

    def forward(self, feature: Tensor, number: Tensor) -> Tensor:
        return super().forward(number)


class Split(nn.Module):
    """A head that says the first channels of a map as its feature, the mean of the others as its logits."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, : self.channels], x[:, self.channels :].mean((2, 3))


class Gives(nn.Module):
    """Says what is given, one thing after the other and then from the first on again, whatever it hears."""

    def __init__(self, *said: Tensor) -> None:
        super().__init__()
        self.said = nn.ParameterList([x.clone() for x in said])
        self.turn = 0

    def forward(self, *heard: Any) -> Tensor:
        self.turn += 1
        return self.said[(self.turn - 1) % len(self.said)]


class Reads(nn.Module):
    """One layer that says given features, and a linear classifier of their mean."""

    def __init__(self, feature: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.layer1 = Rows(feature)
        self.fc = picking(nn.Linear(weight.shape[1], weight.shape[0]), weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer1(x[:, 0].long()).mean((2, 3)))


def picking(layer: Any, weight: Tensor) -> Any:
    """A layer with those weights and without a bias."""
    layer.to(torch.float64)
    with torch.no_grad():
        layer.weight.copy_(weight.reshape(layer.weight.shape))
        if layer.bias is not None:
            layer.bias.zero_()
    return layer


def chosen(width: int, first: int, count: int) -> Tensor:
    """(count, width): `count` of `width` numbers, from the first on."""
    return torch.eye(width, dtype=torch.float64)[first : first + count]


def beside(feature: Tensor, logits: Tensor) -> Tensor:
    """A map with logits as further channels, the same at each position."""
    return torch.cat([feature, logits[..., None, None].expand(*logits.shape, *feature.shape[2:])], dim=1)


def of(model: nn.Module, layer: str = "answer", start: int = 0, stop: int | None = None) -> Callable[[], Tensor]:
    """The gradient of some of what a layer says."""
    return lambda: model.get_submodule(layer).rows.grad[start:stop]


def stacked(models: Mapping[str, nn.Module], layer: str = "answer", **where: int) -> Callable[[], Tensor]:
    """The gradients of several networks."""
    return lambda: torch.stack([of(model, layer, **where)() for model in models.values()])


@torch.no_grad()
def says(model: Says, logits: Tensor) -> None:
    """Let it say something else, as a step of an optimiser would."""
    model.answer.rows.copy_(logits)
