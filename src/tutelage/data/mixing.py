"""Mixed training batches: each sample is a mixture of two, by mixup or CutMix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tutelage.structures import Batch

PARTNER, SHARE = "partner_targets", "mix_share"
"""The names, in a batch's extras, of the second targets of mixed samples and of the first ones' share λ."""

ALPHAS = {"mixup": 0.2, "cutmix": 1.0}
"""The α of each way, as in its paper on ImageNet."""


@dataclass(frozen=True)
class Mixing:
    """Mixes each sample x of a batch with another sample x' of it: λ of x, 1 − λ of x'; λ ~ Beta(α, α).

    λ and x' are a function of the address alone, so that a resumed training gets the same mixtures. torchvision's and
    timm's classes draw from the global generators, and take 4-D images of one class only; these lines take any inputs
    and targets.

    Args:
        name: "mixup" (λx + (1 − λ)x'), "cutmix" (x with a box from x', whose share of the positions is 1 − λ), or
            both joined by "+": one of them for each batch.
        alpha: α; None: the paper's.
        probability: the share of the batches that are mixed.
    Paper: Zhang, Cisse, Dauphin, Lopez-Paz. ICLR 2018. arXiv:1710.09412 (mixup); Yun, Han, Oh, Chun, Choe, Yoo. ICCV
    2019. arXiv:1905.04899 (CutMix).
    """

    name: str
    alpha: float | None = None
    probability: float = 1.0

    @classmethod
    def of(cls, mix: str | Mapping[str, Any] | None) -> Self | None:
        """Return the mixing that the key `mix` describes; None if there is none."""
        return None if mix is None else cls(mix) if isinstance(mix, str) else cls(**mix)

    @property
    def ways(self) -> list[str]:
        """The ways of mixing among which each batch draws."""
        return self.name.split("+")

    def describe(self) -> str:
        """Return the ways with their α in words."""
        alphas = ", ".join(f"{way} (α {ALPHAS[way] if self.alpha is None else self.alpha:g})" for way in self.ways)
        return alphas if self.probability == 1 else f"{alphas}, {self.probability:.0%} of the batches"

    def mix(self, batch: Batch, target: str, address: tuple[int, int, int]) -> Batch:
        """Return the batch with its inputs mixed, and those of its views alike.

        Values and label sets are mixed too, λy + (1 − λ)y'; a label that isn't known of x or x' isn't of the mixture.
        Of classes, both y and y' are kept, for the losses to weigh (`by_target`).

        Args:
            batch: the batch.
            target: the kind of targets (`DataModule.target`).
            address: the seed, the epoch, and the batch's number in it.
        """
        generator = np.random.default_rng(address)
        if generator.random() >= self.probability:
            return batch
        way = self.ways[generator.integers(len(self.ways))]
        alpha = ALPHAS[way] if self.alpha is None else self.alpha
        share, centre = float(generator.beta(alpha, alpha)), generator.random(3).tolist()
        order = torch.from_numpy(generator.permutation(len(batch)))
        assert isinstance(batch.inputs, Tensor)
        order = order.to(batch.inputs.device)

        def join(x: Tensor) -> Tensor:
            if way == "mixup":
                return torch.lerp(x, x[order], 1 - share)
            box, cut = (slice(None), slice(None), *_box(x.shape[2:], share, centre)), x.clone()
            cut[box] = x[order][box]
            return cut

        views = {name: join(x) for name, x in batch.views.items()}
        mixed = replace(batch, inputs=join(batch.inputs), views=views)
        if way == "cutmix":
            share = _share_around(batch.inputs.shape[2:], _box(batch.inputs.shape[2:], share, centre))
        return _with_targets(mixed, order, share, target)


def _box(sizes: Sequence[int], share: float, centre: Sequence[float]) -> list[slice]:
    """Return the box around a centre that takes 1 − share of the positions, cut off at the edges."""
    side = (1 - share) ** (1 / len(sizes))
    edges = [(place - side / 2, place + side / 2) for place in centre[: len(sizes)]]
    return [
        slice(round(max(low, 0) * size), round(min(high, 1) * size))
        for (low, high), size in zip(edges, sizes, strict=True)
    ]


def _share_around(sizes: Sequence[int], box: Sequence[slice]) -> float:
    """Return the share of the positions that lie outside a box."""
    return 1 - math.prod(part.stop - part.start for part in box) / math.prod(sizes)


def _with_targets(batch: Batch, order: Tensor, share: float, target: str) -> Batch:
    """Return the batch with the targets of its mixtures."""
    if batch.targets is None:
        return batch
    partner = batch.targets[order]
    if not batch.targets.is_floating_point():
        return replace(batch, extras=batch.extras | {PARTNER: partner, SHARE: share})
    mixed = torch.lerp(batch.targets, partner, 1 - share)
    if target == "label set":
        mixed = torch.where((batch.targets < 0) | (partner < 0), -1, mixed)
    return replace(batch, targets=mixed)


def is_mixed(batch: Batch) -> bool:
    """Return whether each sample has the classes of two."""
    return PARTNER in batch.extras


def by_target(batch: Batch) -> list[tuple[float, Batch]]:
    """Return a mixed batch with the first targets and with the second ones, each with their share."""
    share, partner = batch.extras[SHARE], batch.extras[PARTNER]
    return [(share, batch), (1 - share, replace(batch, targets=partner))]
