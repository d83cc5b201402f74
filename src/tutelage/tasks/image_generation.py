"""The base class of tasks whose networks make images, judged by their distance from real ones."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from tutelage.data.data_module import DataModule
from tutelage.nn.feature_extractor import eval_no_grad
from tutelage.report import picture_sections
from tutelage.tasks.base import Sections, Task
from tutelage.tasks.generation_checks import check_images
from tutelage.tasks.made_images import JUDGE, ImageQuality, write_samples
from tutelage.utils.finding import Finding

NOISE_SEED = 2
"""The seed of the noise of which every network makes its images."""


class ImageGeneration(Task):
    """Abstract: networks make images of noise; the Fréchet distance of these from the data's images decides.

    Made and real images are compared in the features of a classifier.

    Args:
        data: the data.
        samples: the number of images that are made to judge a network on the test split; a fifth of it after each
            epoch.
        judge: the classifier's run folder, or the name of one that is trained here on the data's labels.
    Raises: ConfigError if the data has too few images, or they have neither labels nor a trained judge.
    """

    metric = "frechet"
    higher_is_better = False
    other_metrics: ClassVar[Mapping[str, bool]] = {"precision": True, "recall": True}
    positions = 2
    response_kind = "values"
    augment = "none"

    def __init__(self, data: DataModule, samples: int, judge: str) -> None:
        self.quality = ImageQuality(data, judge, samples)

    @abstractmethod
    def images_of(self, network: nn.Module, numbers: Tensor, data: DataModule) -> Tensor:
        """Return the images (N, C, H, W) in [−1, 1] that a network makes of the noise of these numbers (N,)."""

    def outputs(self, data: DataModule) -> int:
        """Return the number of an image's channels."""
        return data.channels

    def measure(self, network: nn.Module, data: DataModule, split: str, batch_size: int) -> dict[str, float]:
        """Return the quality of images made of fixed noise."""
        count = self.quality.count(data, split)
        return self.quality.measure(self.make_images(network, data, count, batch_size), data, split)

    def make_images(self, network: nn.Module, data: DataModule, count: int, batch_size: int) -> Tensor:
        """Return images (N, C, H, W) in [−1, 1], of the same noise for every network."""
        numbers = torch.arange(count, device=next(network.parameters()).device)
        with eval_no_grad(network):
            parts = [self.images_of(network, part, data) for part in numbers.split(batch_size)]
        return torch.cat(parts).cpu()

    def write_files(self, folder: Path, network: nn.Module, data: DataModule) -> None:
        """Write predictions.npz, the first images, and judge.safetensors."""
        count = min(picture_sections.SHOWN, self.quality.samples)
        write_samples(folder / "predictions.npz", self.make_images(network, data, count, count))
        self.quality.save_judge(folder / JUDGE, data)

    def with_files(self, folder: Path) -> Self:
        """Return the task with the classifier that a run left in its folder, if it is of the same name."""
        task = copy.copy(self)
        task.quality = self.quality.with_judge_of(folder)
        return task

    def check_data(self, data: DataModule) -> list[Finding]:
        """Check that there are enough images, and that they differ."""
        return check_images(data, self.quality.samples)

    @classmethod
    def report_sections(cls) -> Sections:
        """Return the section of images."""
        return {"Images": picture_sections.pictures}
