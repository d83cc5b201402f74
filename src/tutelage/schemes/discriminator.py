"""The player that learns to tell real images from a student's, and how the student deceives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from tutelage.nn.discriminator import patch_discriminator
from tutelage.nn.feature_extractor import to_float32
from tutelage.objective.player import AuxiliaryPlayer
from tutelage.structures import Batch

BETAS = 0.5, 0.999
"""AdamW's betas of both players: Radford, Metz, Chintala. ICLR 2016."""


class Game(NamedTuple):
    """The two losses of a discriminator's logits.

    discriminate: of the real and the made images' logits, what the discriminator minimises; deceive: of the made
    ones', what the student minimises.
    """

    discriminate: Callable[[Tensor, Tensor], Tensor]
    deceive: Callable[[Tensor], Tensor]


GAMES = {
    "non_saturating": Game(lambda real, made: F.softplus(-real) + F.softplus(made), lambda made: F.softplus(-made)),
    "hinge": Game(lambda real, made: F.relu(1 - real) + F.relu(1 + made), lambda made: -made),
    "least_squares": Game(lambda real, made: (real - 1).square() + made.square(), lambda made: (made - 1).square()),
}
"""Goodfellow et al. NeurIPS 2014. arXiv:1406.2661; Lim, Ye. 2017. arXiv:1705.02894; Mao et al. ICCV 2017.
arXiv:1611.04076."""

GameName = Literal["non_saturating", "hinge", "least_squares"]


class Discriminator(AuxiliaryPlayer):
    """Tells real images from made ones; forward(batch, real, made) → {"discriminator": loss}.

    Args:
        game: the losses.
        width: of its network.
        lr: the learning rate of its AdamW.
    """

    own_betas = BETAS
    network: nn.Module

    def __init__(self, game: GameName, width: int, lr: float) -> None:
        super().__init__()
        self.game, self.width = GAMES[game], width
        self.own_settings: dict[str, Any] = {"optimizer": "adamw", "lr": lr, "weight_decay": 0.0, "dot": 0.0}

    def build(self, batch: Batch, images: Tensor) -> None:
        """Create the network for images of this shape."""
        pictures = self.seen(batch, images)
        self.network = patch_discriminator(pictures.shape[1], tuple(pictures.shape[2:]), self.width).to(images)

    def seen(self, batch: Batch, images: Tensor) -> Tensor:
        """Return what the network sees of a batch's real or made images (B, C, H, W)."""
        return images

    def forward(self, batch: Batch, real: Tensor, made: Tensor) -> dict[str, Tensor]:
        """Return the loss of the logits."""
        logits = [to_float32(self.network(self.seen(batch, images))) for images in (real, made)]
        return {"discriminator": self.game.discriminate(*logits).mean()}

    def deceived(self, batch: Batch, made: Tensor) -> Tensor:
        """Return the student's loss, with the network constant."""
        constant = {name: parameter.detach() for name, parameter in self.network.named_parameters()}
        logits: Tensor = functional_call(self.network, constant, (self.seen(batch, made),))
        return self.game.deceive(to_float32(logits)).mean()


class ConditionalDiscriminator(Discriminator):
    """Sees the input beside the image, made as large bicubically: is this the image of that input?"""

    def seen(self, batch: Batch, images: Tensor) -> Tensor:
        """Return the channels of input and image."""
        assert isinstance(batch.inputs, Tensor)
        inputs = F.interpolate(batch.inputs, images.shape[2:], mode="bicubic", align_corners=False)
        return torch.cat([inputs, images], 1)
