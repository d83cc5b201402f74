"""Graph networks for nodes and for graphs, of PyG's layers, and a multilayer perceptron of a node's own features."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError, ModelError
from tutelage.models.zoo.base import ZooNetwork

HEADS = 8
"""The heads of an attention layer."""
DROPOUT = 0.5


def geometric() -> Any:
    """Return PyG's layers.

    Raises: ModelError if it isn't installed.
    """
    try:
        import torch_geometric.nn as layers
    except ImportError as error:
        raise ModelError("graph networks need PyG: pip install 'tutelage[graph]'.") from error
    return layers


def convolution(kind: str, inputs: int, outputs: int) -> nn.Module:
    """Build a layer of that kind."""
    layers = geometric()
    if kind == "gcn":
        return layers.GCNConv(inputs, outputs)
    if kind == "sage":
        return layers.SAGEConv(inputs, outputs)
    if kind == "gat":
        return layers.GATConv(inputs, outputs // HEADS, heads=HEADS)
    perceptron = nn.Sequential(
        nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Linear(outputs, outputs)
    )
    return layers.GINConv(perceptron)


class Convolutions(nn.Module):
    """Graph convolutions conv1 …, each with dropout before it and ReLU after it."""

    def __init__(self, kind: str, channels: int, depth: int, width: int, dropout: float) -> None:
        super().__init__()
        if min(depth, width) < 1 or (kind == "gat" and width % HEADS):
            raise ConfigError(f"{kind}-{depth}-{width}: expected numbers of 1 or more, a gat's width times {HEADS}.")
        self.depth, self.dropout = depth, dropout
        for number in range(depth):
            self.add_module(f"conv{number + 1}", convolution(kind, width if number else channels, width))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return all nodes' embeddings, (N, D) → (N, width)."""
        for number in range(self.depth):
            x = F.dropout(x, self.dropout, self.training)
            x = self.get_submodule(f"conv{number + 1}")(x, edge_index).relu()
        return x


def parse_kind(groups: dict[str, str | None]) -> dict[str, Any]:
    """Return the kind of layers, depth and width."""
    return {"kind": groups["kind"], **{key: int(str(groups[key])) for key in ("depth", "width")}}


class NodeNetwork(ZooNetwork):
    """A graph network for nodes: D layers of GCN, GraphSAGE or GAT of width W, dropout 0.5, and a linear classifier.

    Its layers body.conv1 … output all nodes, of which losses get the samples'. Shapes: x (N, channels), edge_index (2,
    E), nodes (B,) → (B, classes). Papers: Kipf, Welling. ICLR 2017; Hamilton, Ying, Leskovec. NIPS 2017; Veličković,
    Cucurull, Casanova, Romero, Liò, Bengio. ICLR 2018.
    Raises: ConfigError for numbers below 1, or a GAT's width that isn't a multiple of 8.
    """

    pattern = r"(?P<kind>gcn|sage|gat)_(?P<depth>\d+)_(?P<width>\d+)"
    name_form = "gcn-D-W, sage-D-W, gat-D-W"
    examples = ("gcn-2-64", "sage-2-128", "gat-2-64")
    task = "node_classification"
    dimensions = 0

    def __init__(self, classes: int, channels: int = 8, kind: str = "gcn", depth: int = 2, width: int = 64) -> None:
        super().__init__()
        self.body = Convolutions(kind, channels, depth, width, DROPOUT)
        self.fc = nn.Linear(width, classes)

    @classmethod
    def parse(cls, groups: dict[str, str | None]) -> dict[str, Any]:
        """Return the kind of layers, depth and width."""
        return parse_kind(groups)

    def forward(self, x: Tensor, edge_index: Tensor, nodes: Tensor) -> Tensor:
        """Return the logits of some nodes."""
        return self.fc(self.body(x, edge_index)[nodes])


class NodeMLP(ZooNetwork):
    """A multilayer perceptron of a node's own features: hidden layers layer1 … of these widths, dropout 0.5.

    Shapes: x (N, channels), edge_index, which isn't used, nodes (B,) → (B, classes). Paper: Zhang, Liu, Sun, Shah.
    ICLR 2022, the students of GLNN.
    Raises: ConfigError if a width isn't above 0.
    """

    pattern = r"node_mlp_(?P<widths>\d+(?:_\d+)*)"
    name_form = "node-mlp-W-W…"
    examples = ("node-mlp-64", "node-mlp-128-128")
    task = "node_classification"
    dimensions = 0

    def __init__(self, classes: int, channels: int = 8, widths: tuple[int, ...] = (64,)) -> None:
        super().__init__()
        if min(widths) < 1:
            raise ConfigError(f"node-mlp-{'-'.join(map(str, widths))}: expected widths of 1 or more.")
        self.depth, sizes = len(widths), (channels, *widths)
        for number in range(self.depth):
            layer = nn.Sequential(nn.Linear(sizes[number], sizes[number + 1]), nn.ReLU())
            self.add_module(f"layer{number + 1}", layer)
        self.fc = nn.Linear(sizes[-1], classes)

    @classmethod
    def parse(cls, groups: dict[str, str | None]) -> dict[str, Any]:
        """Return the widths."""
        return {"widths": tuple(map(int, str(groups["widths"]).split("_")))}

    def forward(self, x: Tensor, edge_index: Tensor, nodes: Tensor) -> Tensor:
        """Return the logits of some nodes, from their own features."""
        x = x[nodes]
        for number in range(self.depth):
            x = self.get_submodule(f"layer{number + 1}")(F.dropout(x, DROPOUT, self.training))
        return self.fc(F.dropout(x, DROPOUT, self.training))


class GraphNetwork(ZooNetwork):
    """A network for graphs: D layers of GIN or GCN of width W, the mean over each graph's nodes, a linear classifier.

    Its layers body.conv1 … output nodes, of which losses get each graph's mean. Shapes: x (N, channels), edge_index
    (2, E), batch (N,), ptr (B + 1,) → (B, classes). Paper: Xu, Hu, Leskovec, Jegelka. ICLR 2019.
    Raises: ConfigError for numbers below 1.
    """

    pattern = r"(?P<kind>gin|gcn)_(?P<depth>\d+)_(?P<width>\d+)_pool"
    name_form = "gin-D-W-pool, gcn-D-W-pool"
    examples = ("gin-3-32-pool", "gcn-3-32-pool")
    task = "graph_classification"
    dimensions = 0

    def __init__(self, classes: int, channels: int = 8, kind: str = "gin", depth: int = 3, width: int = 32) -> None:
        super().__init__()
        self.body = Convolutions(kind, channels, depth, width, dropout=0.0)
        self.fc = nn.Linear(width, classes)

    @classmethod
    def parse(cls, groups: dict[str, str | None]) -> dict[str, Any]:
        """Return the kind of layers, depth and width."""
        return parse_kind(groups)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor, ptr: Tensor) -> Tensor:
        """Return the logits of the graphs."""
        pooled = geometric().global_mean_pool(self.body(x, edge_index), batch, len(ptr) - 1)
        return self.fc(pooled)
