"""The classifier in whose features generated images are compared with real ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage import models
from tutelage.data.data_module import DataModule
from tutelage.errors import ConfigError
from tutelage.models import serialization
from tutelage.nn.feature_extractor import FeatureExtractor, compute_response, eval_no_grad
from tutelage.nn.maps import average_positions
from tutelage.nn.model_profile import profile_model
from tutelage.structures import Outputs

EPOCHS, BATCH, LEARNING_RATE, SEED = 4, 64, 3e-3, 0
CHUNK = 500


@dataclass(frozen=True)
class Judge:
    """A trained classifier, its model's name, the layer of its features, its accuracy, and the scale of its inputs.

    accuracy: on the validation samples; NaN if they have no labels.
    """

    name: str
    network: FeatureExtractor
    layer: str
    accuracy: float
    mean: Tensor
    std: Tensor

    @classmethod
    def for_data(cls, name: str, data: DataModule) -> Judge:
        """Return the classifier of a run folder or file, or train a network by name on the data's labels.

        The training is a function of the data and the name.
        Raises: ConfigError if the data has no labels to train it by, or the saved one takes other images.
        """
        data = as_labelled(data)
        if serialization.is_run(name):
            return cls._loaded(name, data)
        with torch.random.fork_rng(devices=[]):
            network = make_network(name, data)
            _train(network, data)
        return cls._of(name, network, data, torch.tensor(data.mean), torch.tensor(data.std))

    @classmethod
    def _loaded(cls, path: str, data: DataModule) -> Judge:
        card = read_card(path, data)
        return cls._of(card.model, serialization.load(path), data, torch.tensor(card.mean), torch.tensor(card.std))

    @classmethod
    def _of(cls, name: str, network: nn.Module, data: DataModule, mean: Tensor, std: Tensor) -> Judge:
        layer = profile_model(network, data.example(2)).embedding
        judge = cls(name, FeatureExtractor(network, [layer]).eval(), layer, float("nan"), mean, std)
        if data.val.labels is None:
            return judge
        hits = [judge._outputs(x).response.argmax(1) == y for x, y in _images(data, "val") if y is not None]
        return replace(judge, accuracy=float(torch.cat(hits).double().mean()))

    def features(self, images: Tensor) -> Tensor:
        """Return the features (N, D) of images (N, C, H, W) in [−1, 1]."""
        parts = [self._outputs(part)[self.layer] for part in images.split(CHUNK)]
        return torch.cat([x if x.dim() == 2 else average_positions(x) for x in parts])

    def _outputs(self, images: Tensor) -> Outputs:
        shape = (1, -1, 1, 1)
        pixels = (images.cpu() + 1) / 2
        with eval_no_grad(self.network):
            outputs: Outputs = self.network((pixels - self.mean.view(shape)) / self.std.view(shape))
        return outputs

    def save(self, path: Path, data: DataModule) -> None:
        """Write the classifier as a saved network."""
        outputs = self._outputs(data.kind.example(data.channels, data.size)).response.shape[1]
        mean, std = tuple(self.mean.tolist()), tuple(self.std.tolist())
        labelled = replace(as_labelled(data), classes=tuple(map(str, range(outputs))), mean=mean, std=std)
        card = serialization.make_card(self.name, labelled, outputs)
        serialization.save(path, self.network.model, card)


def refuse_judge(name: str, data: DataModule) -> None:
    """Refuse a classifier that can't be trained on the data's images, or was trained on other ones.

    Raises: ConfigError; ModelError if a network by name can't be made.
    """
    if serialization.is_run(name):
        read_card(name, data)
        return
    with torch.random.fork_rng(devices=[]):
        make_network(name, as_labelled(data))


def read_card(path: str, data: DataModule) -> serialization.ModelCard:
    """Return the card of a saved classifier.

    Raises: ConfigError if it is for other images or another task.
    """
    card = serialization.read_card(path)
    if card.task != "classification":
        raise ConfigError(f"task: judge={path} was trained for {card.task}: expected a classifier.")
    if (card.channels, tuple(card.size), card.modality) != (data.channels, data.size, data.modality):
        raise ConfigError(
            f"task: judge={path} takes {card.channels} channels of {card.size}, and {data.name} has "
            f"{data.channels} of {data.size}: use a classifier of the same images."
        )
    return card


def make_network(name: str, data: DataModule) -> nn.Module:
    """Return a network by name for the data's labels, with weights of a fixed seed.

    Raises: ConfigError if the data has no labels, or the name is no classifier's.
    """
    if data.train.labels is None:
        raise ConfigError(
            f"task: judge={name} is trained on labels, and {data.name} has none: give the run folder of a classifier "
            "(task={name: …, judge: runs/…})."
        )
    classes = int(data.train.labels.max()) + 1
    torch.manual_seed(SEED)
    return models.create(name, classes=classes, channels=data.channels, size=data.size).model


def as_labelled(data: DataModule) -> DataModule:
    """Return the images in [−1, 1] with their labels, of data whose inputs are derived from them."""
    return replace(data, derivation=None, task="classification", target="label", augment="none", source_options={})


def real_images(data: DataModule, split: str) -> Tensor:
    """Return a split's images in [−1, 1]."""
    return torch.cat([x for x, _ in _images(as_labelled(data), split)])


def _images(data: DataModule, split: str) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield the images and labels of a split, in chunks."""
    for batch in data.batches(split, CHUNK, train=False):
        assert isinstance(batch.inputs, Tensor)
        yield batch.inputs, batch.targets


def _train(network: nn.Module, data: DataModule) -> None:
    """Train the classifier."""
    optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    network.train()
    for epoch in range(EPOCHS):
        for batch in data.batches("train", BATCH, seed=SEED, epoch=epoch):
            assert batch.targets is not None
            loss = F.cross_entropy(compute_response(network, batch.inputs), batch.targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
