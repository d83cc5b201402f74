"""Measure the loader of image batches, relative to torchvision's per-sample transforms.

    python bench/loader.py

Small images: both pad by 4, crop to 32×32, flip at random and normalise 64 uint8 images in memory.
Photos: both decode JPEGs of 1600×1200, torchvision by its ImageFolder with the usual transforms: for training, a random
resized crop of 224×224 with a random flip; for testing, the shorter side resized to 256 and a centre crop of 224×224.
The photos are noise whose spectrum falls with the frequency like that of photos. A whole photo can be decoded at a
quarter of its size, most crops only at half; entropy decoding, which takes half of the time, doesn't get faster with a
smaller size: hence the two bounds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import Figure, conclude, least_seconds
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tutelage.data.data_module import DataModule
from tutelage.data.image_files import ImageFileSplit
from tutelage.data.splits import InMemorySplit

BATCH, BATCHES = 64, 20
PHOTOS, HEIGHT, WIDTH = 32, 1200, 1600
MEAN, STD = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)


class Transformed(Dataset[Any]):
    """A Dataset that applies torchvision's transforms to one image at a time."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        from torchvision.transforms import v2

        self.images, self.labels = images, labels
        self.transform = v2.Compose(
            [
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images[number]), self.labels[number]

    def __len__(self) -> int:
        return len(self.images)


def drain(batches: Iterator[Any]) -> None:
    """Iterate over all batches."""
    for _ in batches:
        pass


def small_images() -> list[Figure]:
    """Time an epoch of 20 batches with each loader."""
    count = BATCH * BATCHES
    images, labels = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8), torch.randint(100, (count,))
    rows = InMemorySplit(images, labels)
    classes = tuple(map(str, range(100)))
    data = DataModule("random", "classification", classes, 3, (32, 32), MEAN, STD, rows, rows, rows, "crop-flip")
    loader = DataLoader(Transformed(images, labels), BATCH, shuffle=True)
    epochs = {
        "ours": lambda: drain(data.batches("train", BATCH)),
        "torchvision": lambda: drain(iter(loader)),
    }
    ms = {name: 1000 * value / BATCHES for name, value in least_seconds(epochs, 10).items()}
    for name, value in ms.items():
        print(f"{name:12} {value:7.2f} ms per batch")
    print()
    return [("loader_ms", ms["ours"], 5.0), ("loader/torchvision", ms["ours"] / ms["torchvision"], 0.2)]


def photo(generator: np.random.Generator) -> Image.Image:
    """Return noise whose amplitudes fall with the frequency to the power of 1.4, mostly in its brightness."""
    down, across = np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None]
    frequency = np.hypot(down, across).clip(1 / WIDTH)

    def noise() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        spectrum = np.fft.rfft2(generator.normal(size=(HEIGHT, WIDTH))) / frequency**1.4
        values = np.fft.irfft2(spectrum, (HEIGHT, WIDTH))
        return values / values.std()

    light = 128 + 50 * noise()
    return Image.fromarray(np.stack([light + 8 * noise() for _ in range(3)], axis=-1).clip(0, 255).astype(np.uint8))


def photos(root: Path) -> list[Figure]:
    """Time two epochs over 32 photos with each loader, for training and for testing."""
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    for number in range(PHOTOS):
        path = root / "train" / str(number % 2) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(np.random.default_rng(number)).save(path, quality=85)
    size = sum(path.stat().st_size for path in root.rglob("*.jpg")) / PHOTOS
    transforms_by_split = {
        "train": [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()],
        "test": [transforms.Resize(256), transforms.CenterCrop(224)],
    }
    labels = torch.arange(PHOTOS) * 2 // PHOTOS
    files = ImageFileSplit(sorted((root / "train").rglob("*.jpg")), 3, (224, 224), labels=labels)
    data = DataModule(
        "photos", "classification", ("0", "1"), 3, (224, 224), MEAN, STD, files, files, files, "resized-crop"
    )

    def run_tutelage(split: str) -> None:
        for epoch in range(2):
            drain(data.batches(split, PHOTOS, epoch=epoch))

    def run_image_folder(loader: DataLoader[Any]) -> None:
        for _ in range(2):
            drain(iter(loader))

    epochs: dict[str, Callable[[], None]] = {}
    for split, first in transforms_by_split.items():
        transform = transforms.Compose([*first, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
        loader = DataLoader(ImageFolder(root / "train", transform), PHOTOS, shuffle=split == "train")
        epochs |= {
            f"{split}, ours": partial(run_tutelage, split),
            f"{split}, ImageFolder": partial(run_image_folder, loader),
        }
    ms = {name: 1000 * value / (2 * PHOTOS) for name, value in least_seconds(epochs, 6).items()}
    for name, value in ms.items():
        print(f"{name:18} {value:7.2f} ms per photo of {size / 1e6:.2f} MB")
    print()
    ratio = {split: ms[f"{split}, ours"] / ms[f"{split}, ImageFolder"] for split in transforms_by_split}
    return [("test photos/ImageFolder", ratio["test"], 0.5), ("train photos/ImageFolder", ratio["train"], 0.7)]


def main() -> None:
    """Measure small images and photos."""
    torch.manual_seed(0)
    figures = small_images()
    with tempfile.TemporaryDirectory() as root:
        figures += photos(Path(root))
    conclude(figures)


if __name__ == "__main__":
    main()
