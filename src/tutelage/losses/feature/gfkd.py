"""Wang, Zhao, Shi, Zhao, Yang: generative feature distillation for action recognition."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from tutelage.losses.base import Feature
from tutelage.nn.connectors import resize
from tutelage.nn.maps import conv, dimensions_of
from tutelage.utils.options import NonNegative, Width

LIMIT = 10.0
"""The largest logarithm of a variance, so that none is infinite."""


class ConditionalVAE(nn.Module):
    """A variational autoencoder of maps t (B, C', …), given maps s (B, C, …) of their size: 1×1 convolutions.

    Args:
        dimensions: the number of the maps' dimensions.
        condition: C. channels: C'. latent: the channels of z.
    """

    def __init__(self, dimensions: int, condition: int, channels: int, latent: int) -> None:
        super().__init__()
        hidden = max(channels, latent)
        self.encoder = nn.Sequential(
            conv(dimensions, channels + condition, hidden), nn.ReLU(), conv(dimensions, hidden, 2 * latent)
        )
        self.decoder = nn.Sequential(
            conv(dimensions, latent + condition, hidden), nn.ReLU(), conv(dimensions, hidden, channels)
        )
        self.latent = latent

    def encode(self, feature: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the logarithm of the variance of q(z | t, s), which is from −10 to 10."""
        mean, log_variance = self.encoder(torch.cat([feature, condition], 1)).chunk(2, 1)
        return mean, log_variance.clamp(-LIMIT, LIMIT)

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        """Return the map that z and the condition generate."""
        return self.decoder(torch.cat([z, condition], 1))


class GFKD(Feature):
    r"""A conditional VAE learns to generate the teacher's map from the student's, and the student to let it do so.

    L = mean (D̄(0, s) − t)² for the student, D̄ constant, and
    L = mean (D(z, s̄) − t)² + divergence · KL(q(z|t, s̄) ‖ N(0, 1)) for the VAE, z = μ + σ·ε drawn from q, s̄ constant.

    Both are minimised at once; scheme=generative gives each a turn and an optimiser of its own.
    latent: the channels of z. divergence: the weight of the KL divergence, a mean over elements.
    Shapes: student (B, C, …), teacher (B, C', …), maps of one, two or three dimensions; the student's is resized to the
    teacher's size. Returns (B,) each, under "generation", "reconstruction" and "divergence". noise (B, latent, …) gives
    ε instead of torch's generator.
    Paper: Wang, Zhao, Shi, Zhao, Yang. AAAI 2024. arXiv:2312.08644. There the condition is an attention map
    of the foreground; the student's map in its place, the networks and the weights are ours. No published numbers were
    compared.
    Raises: ConfigError if the latent isn't above 0, or the divergence is negative.
    """

    name = "gfkd"
    paper = "Wang, Zhao, Shi, Zhao, Yang. AAAI 2024. arXiv:2312.08644"
    compares = "last"
    zero_at_equal = False
    permutation_invariant = False
    default_weight = 0.5

    latent: Width = 16
    divergence: NonNegative = 0.01

    def build(self, student: Tensor, teacher: Tensor, samples: int) -> None:
        sizes = dimensions_of(teacher), student.shape[1], teacher.shape[1], self.latent
        self.vae = ConditionalVAE(*sizes).to(student)

    def forward(self, student: Tensor, teacher: Tensor, *, noise: Tensor | None = None) -> dict[str, Tensor]:
        learning = self.learn(student.detach(), teacher, noise)
        return {"generation": self.generate(student, teacher), **learning}

    def generate(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the student's loss, (B,)."""
        condition = resize(student, teacher.shape[2:])
        constant = {name: parameter.detach() for name, parameter in self.vae.named_parameters()}
        z = condition.new_zeros(len(condition), self.latent, *condition.shape[2:])
        generated: Tensor = functional_call(self.vae, constant, (z, condition))
        return mean_square(generated - teacher)

    def learn(self, student: Tensor, teacher: Tensor, noise: Tensor | None = None) -> dict[str, Tensor]:
        """Return the losses of the VAE, (B,) each."""
        condition = resize(student, teacher.shape[2:])
        mean, log_variance = self.vae.encode(teacher, condition)
        noise = torch.randn_like(mean) if noise is None else noise
        generated = self.vae(mean + (log_variance / 2).exp() * noise, condition)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).mean(1) / 2
        return {"reconstruction": mean_square(generated - teacher), "divergence": self.divergence * divergence}


def mean_square(x: Tensor) -> Tensor:
    """Return the mean square of each sample's elements, (B,)."""
    return F.mse_loss(x, torch.zeros_like(x), reduction="none").flatten(1).mean(1)
