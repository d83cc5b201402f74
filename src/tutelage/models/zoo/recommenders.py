"""Recommenders: networks that score rows [user, item, items before it], numbered from 1, 0 for none."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError
from tutelage.models.zoo.base import ZooNetwork

COLUMNS = 3
"""The fewest columns: user, item, and an item before it."""


class MatrixFactorisation(ZooNetwork):
    """Generalised matrix factorisation: a weighted product of a user's and an item's embedding.

    The embeddings are the layers user and item. Shapes: (B, columns), of which user and item are used → (B, classes).
    Paper: He, Liao, Zhang, Nie, Hu, Chua. WWW 2017, GMF.
    Raises: ConfigError if a number isn't above 0; ModelError for numbers of users or items that are larger.
    """

    pattern = r"mf(?P<width>\d+)_(?P<users>\d+)x(?P<items>\d+)"
    name_form = "mfW-USERSxITEMS"
    examples = ("mf8-943x1682", "mf64-943x1682")
    task = "ranking"
    dimensions = 0

    def __init__(self, classes: int, channels: int = 12, width: int = 16, users: int = 943, items: int = 1682) -> None:
        super().__init__()
        if min(width, users, items) < 1:
            raise ConfigError(f"mf{width}-{users}x{items}: expected numbers of 1 or more.")
        self.user, self.item = embedding(users, width), embedding(items, width)
        self.fc = nn.Linear(width, classes)
        nn.init.ones_(self.fc.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, columns) → (B, classes)."""
        return self.fc(embed(self.user, x[:, 0], "users") * embed(self.item, x[:, 1], "items"))


class SequentialRecommender(ZooNetwork):
    """A small sequential recommender: a GRU over the items before, times the item's embedding.

    Shapes: (B, columns), of which the user isn't used → (B, classes).
    Paper: Hidasi, Karatzoglou, Baltrunas, Tikk. ICLR 2016 (GRU4Rec).
    Raises: ConfigError if a number isn't above 0; ModelError for numbers of items that are larger.
    """

    pattern = r"gru(?P<width>\d+)_(?P<items>\d+)"
    name_form = "gruW-ITEMS"
    examples = ("gru8-1682", "gru64-1682")
    task = "ranking"
    dimensions = 0

    def __init__(self, classes: int, channels: int = 12, width: int = 16, items: int = 1682) -> None:
        super().__init__()
        if min(width, items) < 1:
            raise ConfigError(f"gru{width}-{items}: expected numbers of 1 or more.")
        self.item, self.gru = embedding(items, width), nn.GRU(width, width, batch_first=True)
        self.fc = nn.Linear(width, classes)
        nn.init.ones_(self.fc.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, columns) → (B, classes); the documents of a query share their history, which is computed once."""
        if x.dim() != 2 or x.shape[1] < COLUMNS:
            raise ModelError(f"a recommender takes rows [user, item, items before it], got {tuple(x.shape)}.")
        histories, query = x[:, 2:].unique(dim=0, return_inverse=True)
        states = self.gru(embed(self.item, histories, "items"))[0][:, -1]
        return self.fc(states[query] * embed(self.item, x[:, 1], "items"))


def embedding(count: int, width: int) -> nn.Embedding:
    """Build the embeddings of the numbers 0, which stands for none, to `count`."""
    layer = nn.Embedding(count + 1, width, padding_idx=0)
    nn.init.normal_(layer.weight, std=width**-0.5)
    with torch.no_grad():
        layer.weight[0] = 0
    return layer


def embed(layer: nn.Embedding, numbers: Tensor, kind: str) -> Tensor:
    """Return the embeddings of numbers.

    Raises: ModelError for numbers beyond the table.
    """
    numbers = numbers.long()
    if numbers.numel() and not 0 <= int(numbers.min()) <= int(numbers.max()) < layer.num_embeddings:
        raise ModelError(
            f"the network has {layer.num_embeddings - 1} {kind}, and the data has the number {int(numbers.max())}: "
            f"name the network by the data's numbers."
        )
    return layer(numbers)
