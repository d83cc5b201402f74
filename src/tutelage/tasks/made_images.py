"""The quality of images that a network makes, and the files that hold them."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tutelage.data.data_module import DataModule
from tutelage.models.serialization import read_card
from tutelage.tasks.frechet import frechet_distance, precision_and_recall
from tutelage.tasks.generation_checks import FEWEST, refuse_few_images
from tutelage.tasks.judge import Judge, real_images, refuse_judge
from tutelage.utils.files import write_atomically

JUDGE = "judge.safetensors"
"""The classifier's file in a phase's folder."""


class ImageQuality:
    """Compares images that networks make with those of a split, in the features of a classifier.

    The classifier is loaded or trained when it is first needed, and the features of a split are kept.

    Args:
        data: the data.
        judge: the classifier's run folder or name.
        samples: the largest number of images that are compared.
    Raises: ConfigError for too few images, without labels and a trained classifier, or for another network as judge.
    """

    def __init__(self, data: DataModule, judge: str, samples: int) -> None:
        refuse_few_images(data, samples)
        refuse_judge(judge, data)
        self.data, self.judge_name, self.samples = data, judge, samples
        self._judges: dict[str, Judge] = {}
        self._real: dict[tuple[str, str], Tensor] = {}

    def judge(self, data: DataModule) -> Judge:
        """Return the classifier for this data."""
        key = data.fingerprint
        if key not in self._judges:
            self._judges[key] = Judge.for_data(self.judge_name, data)
        return self._judges[key]

    def count(self, data: DataModule, split: str) -> int:
        """Return how many images are made to compare with a split: no more than it has, fewer during training."""
        most = self.samples if split == "test" else max(self.samples // 5, FEWEST)
        return min(most, len(getattr(data, split)))

    def measure(self, images: Tensor, data: DataModule, split: str) -> dict[str, float]:
        """Return the Fréchet distance, precision and recall of images in [−1, 1], and the judge's accuracy."""
        judge, key = self.judge(data), (data.fingerprint, split)
        if key not in self._real:
            self._real[key] = judge.features(real_images(data, split)[: 2 * self.samples])
        real, made = self._real[key], judge.features(images)
        precision, recall = precision_and_recall(real[: len(made)], made)
        known = {} if math.isnan(judge.accuracy) else {"judge_accuracy": judge.accuracy}
        return {"frechet": frechet_distance(real, made), "precision": precision, "recall": recall, **known}

    def with_judge_of(self, folder: Path) -> ImageQuality:
        """Return the same comparison by the classifier that a run's phase saved, if it is of this one's name."""
        files = [folder / JUDGE, *sorted(folder.glob(f"*/{JUDGE}"))]
        saved = next((file for file in files if file.is_file() and read_card(file).model == self.judge_name), None)
        return self if saved is None else ImageQuality(self.data, str(saved), self.samples)

    def save_judge(self, path: Path, data: DataModule) -> None:
        """Write the classifier."""
        judge = self.judge(data)
        judge.save(path, data)


def write_samples(path: Path, images: Tensor) -> None:
    """Write images in [−1, 1] as npz: samples (N, H, W, C) uint8, and index (N,), the number of each one's noise."""
    pixels = ((images + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    arrays: dict[str, Any] = {"index": np.arange(len(images)), "samples": pixels.numpy()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))
