"""Generation: a network that makes images of latent vectors, judged by these images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from torch import Tensor, nn

from tutelage.data.augment import addressed_noise
from tutelage.data.data_module import DataModule
from tutelage.data.derived import LATENTS, Latents
from tutelage.losses.base import Loss
from tutelage.losses.regression.mmd import MMD
from tutelage.nn.feature_extractor import compute_response
from tutelage.tasks.generation_checks import as_pictures_in_range
from tutelage.tasks.image_generation import NOISE_SEED, ImageGeneration
from tutelage.utils.options import Count, Width


class Generation(ImageGeneration):
    """Latent vectors to images: the discrepancy from the batch's images, and the Fréchet distance of images.

    Any data of images: a sample's input is a vector of standard normal latents, a function of the seed, the sample and
    the view; its target is its image x in [−1, 1], which belongs to the batch's distribution and not to these latents.
    The response (B, C, H, W) is an image. The task loss (mmd) needs no discriminator; scheme=gan trains with one
    in its place. Images are made of latents of fixed seed; they and the real ones are compared in the features of a
    classifier.

    Args:
        data: the data.
        latents: the number of latents.
        samples: the number of images that are made to judge a network on the test split; a fifth of it after each
            epoch.
        judge: the classifier's run folder, or the name of one that is trained here on the data's labels.
    Paper: Goodfellow et al. NeurIPS 2014. arXiv:1406.2661; the task loss: Li, Swersky, Zemel. ICML 2015.
    arXiv:1502.02761.
    """

    target = "image"
    usage = "# ((model(torch.randn(16, latents)) + 1) / 2).clamp(0, 1) are 16 new images"

    def __init__(self, data: DataModule, latents: int, samples: int, judge: str) -> None:
        super().__init__(data, samples, judge)
        self.latents = latents

    @classmethod
    def adapt_data(cls, data: DataModule, options: Mapping[str, Any]) -> DataModule:
        """Return the data with latents as inputs, and images in [−1, 1] as targets.

        Raises: ConfigError if it has no images, or their range isn't known.
        """
        data = as_pictures_in_range(data, "generation")
        return replace(data, target=cls.target, derivation=Latents(options.get("latents", LATENTS)))

    @classmethod
    def from_data(cls, data: DataModule, latents: Width = LATENTS, samples: Count = 1000, judge: str = "cnn8") -> Self:
        """Build the task for this data.

        Raises: ConfigError if it has too few images, or they have neither labels nor a trained judge.
        """
        return cls(data, latents, samples, judge)

    def describe_outputs(self, outputs: int) -> str:
        """Return the outputs in words."""
        return f"an image of {outputs} channels for each vector of {self.latents} latents"

    def task_loss(self) -> Loss:
        """Return the maximum mean discrepancy."""
        return MMD()

    def metrics(self, outputs: int, shared: bool = False) -> Any:
        """Return no metric of single images."""
        from torchmetrics import MetricCollection

        return MetricCollection({})

    def update(self, metrics: Any, response: Tensor, batch: Any) -> None:
        """Leave the metrics, since no image has a true one."""

    def images_of(self, network: nn.Module, numbers: Tensor, data: DataModule) -> Tensor:
        """Return the images of latents of fixed seed."""
        return compute_response(network, addressed_noise(numbers, NOISE_SEED, 0, (self.latents,)))
