"""Denoising: a diffusion model's network, judged by the images that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from tutelage.data.augment import addressed_noise
from tutelage.data.data_module import DataModule
from tutelage.data.derived import Noising, Predict
from tutelage.losses.base import Loss
from tutelage.losses.regression.mse import MSE
from tutelage.nn.diffusion import sample
from tutelage.tasks.generation_checks import as_pictures_in_range
from tutelage.tasks.image_generation import NOISE_SEED, ImageGeneration
from tutelage.utils.options import Count, Iterations


class Denoising(ImageGeneration):
    """Noisy images and their times to v (or the noise): the mean squared error, and the Fréchet distance of images.

    Any data of images becomes noisy images z = αx + σε, α = cos(πt/2), σ = sin(πt/2), with x in [−1, 1]; the response
    (B, C, H, W) is the estimate of v = αε − σx, or of ε. Noise and time are a function of the seed, the sample and the
    view. Images are made from noise of fixed seed by DDIM steps; they and the real ones are compared in the features
    of a classifier.

    Args:
        data: the data.
        predict: "v" or "noise"; noise determines no image at time 1, so that few steps need v.
        steps: the number of DDIM steps.
        samples: the number of images that are made to judge a network on the test split; a fifth of it after each
            epoch.
        judge: the classifier's run folder, or the name of one that is trained here on the data's labels.
    Paper: Ho, Jain, Abbeel. NeurIPS 2020. arXiv:2006.11239; v: Salimans, Ho. ICLR 2022. arXiv:2202.00512.
    """

    other_metrics: ClassVar[Mapping[str, bool]] = {"mse": False, **ImageGeneration.other_metrics}
    target = "noise"
    usage = "# tutelage.nn.diffusion.sample(model, torch.randn(16, channels, height, width), steps=10)"

    def __init__(self, data: DataModule, predict: Predict, steps: int, samples: int, judge: str) -> None:
        super().__init__(data, samples, judge)
        self.predict, self.steps = predict, steps

    @classmethod
    def adapt_data(cls, data: DataModule, options: Mapping[str, Any]) -> DataModule:
        """Return the data with noisy images, of values in [−1, 1] without noise.

        Raises: ConfigError if it has no images, or their range isn't known.
        """
        data = as_pictures_in_range(data, "denoising")
        return replace(data, target=cls.target, derivation=Noising(options.get("predict", "v")))

    @classmethod
    def from_data(
        cls,
        data: DataModule,
        predict: Predict = "v",
        steps: Iterations = 10,
        samples: Count = 1000,
        judge: str = "cnn8",
    ) -> Self:
        """Build the task for this data.

        Raises: ConfigError if it has too few images, or they have neither labels nor a trained judge.
        """
        return cls(data, predict, steps, samples, judge)

    def describe_outputs(self, outputs: int) -> str:
        """Return the outputs in words."""
        return f"an image of {outputs} channels for each noisy one"

    def task_loss(self) -> Loss:
        """Return the squared error."""
        return MSE()

    def metrics(self, outputs: int, shared: bool = False) -> Any:
        """Return the mean squared error of v or of the noise."""
        from torchmetrics import MeanSquaredError, MetricCollection

        return MetricCollection({"mse": MeanSquaredError(sync_on_compute=shared)})

    def update(self, metrics: Any, response: Tensor, batch: Any) -> None:
        """Add a batch to the metrics."""
        metrics.update(response.flatten(), batch.targets.flatten())

    def images_of(self, network: nn.Module, numbers: Tensor, data: DataModule) -> Tensor:
        """Return the images to which DDIM steps lead."""
        noise = addressed_noise(numbers, NOISE_SEED, 0, (data.channels, *data.size))
        return sample(network, noise, self.steps, self.predict)
