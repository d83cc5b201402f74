"""Small public image data sets, from the files that their authors published, read by torchvision."""

from __future__ import annotations

from typing import Any

import torch

from tutelage.data.listing import to_path
from tutelage.data.preparation import SourceData
from tutelage.data.splits import InMemorySplit
from tutelage.errors import DataError, plain

_IDX = "{train,t10k}-{images-idx3,labels-idx1}-ubyte"
_SETS = {  # name: (torchvision's class, augmentation, the files below PATH)
    "mnist": ("MNIST", "shift", f"MNIST/raw/{_IDX}"),
    "fashion-mnist": ("FashionMNIST", "crop-flip", f"FashionMNIST/raw/{_IDX}"),
    "cifar10": ("CIFAR10", "crop-flip", "cifar-10-batches-py/{data_batch_1 … data_batch_5,test_batch,batches.meta}"),
    "cifar100": ("CIFAR100", "crop-flip", "cifar-100-python/{train,test,meta}"),
}
NAMES = {f"{name}:PATH": f"{title}; needs PATH/{files}" for name, (title, _, files) in _SETS.items()}


def find(kind: str, where: str, size: tuple[int, int] | None) -> SourceData:
    """Load the published train and test splits."""
    import torchvision

    title, augment, files = _SETS[kind]
    path = to_path(where)
    try:
        train, test = (getattr(torchvision.datasets, title)(path, train=t, download=False) for t in (True, False))
    except Exception as error:  # on missing or altered files torchvision raises almost anything
        raise DataError(
            f"{plain(path)}: {title} can't be read ({str(error).partition(' You can')[0]}); "
            f"expected the published files {plain(path)}/{files}."
        ) from error
    splits = {"train": _stored(train), "test": _stored(test)}
    height, width = splits["train"].image_size or (0, 0)
    return SourceData("classification", tuple(train.classes), size or (height, width), augment, splits)


def _stored(dataset: Any) -> InMemorySplit:
    images = torch.as_tensor(dataset.data)
    images = images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2)
    return InMemorySplit(images.contiguous(), torch.as_tensor(dataset.targets))
