"""Graphs in .npz files: the nodes of one graph, or many graphs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tutelage.data.graph_files import GraphFile, in_both_directions, read_arrays
from tutelage.data.graph_splits import GraphSplit, NodeGraph, NodeSplit
from tutelage.data.listing import to_path
from tutelage.data.preparation import SourceData
from tutelage.data.scale import Scale, SourceScale
from tutelage.errors import ConfigError, plain

NAMES = {
    "graph:FILE": "a graph in a .npz: features x, edges, y of each node; train, val and test nodes",
    "graph-nodes:FILE": "all nodes of such a graph, without labels, for streams",
    "graphs:FILE": "many graphs in a .npz: nodes' features x, edges, sizes; y of each graph",
}
SHARED_WITH_LABELLED = ("graph-nodes",)
"""The names whose samples may be those of the labelled stream: a graph's nodes are all there when it is trained on."""

HOPS = 8
"""The most hops of a sampled neighbourhood."""


def suits(path: Path) -> bool:
    """Return False: an .npz file may be meant for several sources."""
    return False


def find(kind: str, where: str, size: tuple[int, int] | None, *, neighbours: Sequence[int] = ()) -> SourceData:
    """Read the file; neighbours: the most that are drawn in training for each node, by hop; none: the whole graph."""
    path = to_path(where)
    if size is not None:
        raise ConfigError(f"data {kind}:{plain(path)}: size={size}: graphs have no size; leave it out.")
    if neighbours and kind == "graphs":
        raise ConfigError(f"neighbours={list(neighbours)}: the graphs of {plain(path)} are passed whole: leave it out.")
    if len(neighbours) > HOPS or any(most < 1 for most in neighbours):
        raise ConfigError(f"neighbours={list(neighbours)}: expected up to {HOPS} numbers of 1 or more.")
    file = GraphFile(path, read_arrays(path))
    return _graphs(file) if kind == "graphs" else _nodes(file, kind, neighbours)


def _nodes(file: GraphFile, kind: str, neighbours: Sequence[int]) -> SourceData:
    x = file.features()
    edges, notes = in_both_directions(file.edges(len(x)), len(x), file.is_directed())
    graph = NodeGraph(x, edges)
    notes = [f"data {plain(file.path)}: {note}" for note in notes]
    if kind == "graph-nodes":
        everything = NodeSplit(graph, torch.arange(len(x)), None, neighbours)
        return SourceData("node_classification", (), (), "none", {"train": everything}, modality="node", target="none",
                          scale=unchanged(x.shape[1]))  # fmt: skip
    y, classes = file.labels(len(x))
    splits = {
        name: NodeSplit(graph, rows, y, neighbours if name == "train" else ()) for name, rows in file.splits(y).items()
    }
    more: dict[str, Any] = {"scale": unchanged(x.shape[1]), "modality": "node", "notes": notes}
    return SourceData("node_classification", classes, (), "none", splits, **more)


def _graphs(file: GraphFile) -> SourceData:
    x, sizes = file.features(), file.first("sizes")
    if sizes is None or sizes.ndim != 1 or sizes.dtype.kind not in "iu" or not len(sizes):
        raise file.fault(f"sizes is {'missing' if sizes is None else f'{sizes.dtype} {sizes.shape}'}: expected "
                         "integers (G,), each graph's number of nodes.")  # fmt: skip
    if (sizes < 1).any():
        row = int((sizes < 1).argmax())
        raise file.fault(f"sizes, row {row}: {sizes[row]}: expected graphs of one node or more.")
    if sizes.sum() != len(x):
        raise file.fault(f"sizes add up to {sizes.sum()} nodes, and x has {len(x)} rows: expected as many.")
    edges = file.edges(len(x))
    owner = np.searchsorted(np.cumsum(sizes), edges, side="right")
    if (across := owner[:, 0] != owner[:, 1]).any():
        row = int(across.argmax())
        raise file.fault(
            f"edges, row {row}: joins node {edges[row, 0]} of graph {owner[row, 0]} with node {edges[row, 1]} of graph "
            f"{owner[row, 1]}: expected numbers of one graph's nodes, counted over all graphs."
        )
    y, classes = file.labels(len(sizes), "graphs")
    ends, notes = in_both_directions(edges, len(x), file.is_directed())
    whole = GraphSplit(x, ends, torch.from_numpy(sizes.astype(np.int64)), y)
    splits = {name: whole.take(rows) for name, rows in file.splits(y).items()}
    more: dict[str, Any] = {"scale": unchanged(x.shape[1]), "modality": "graph"}
    more["notes"] = [f"data {plain(file.path)}: {note}" for note in notes]
    return SourceData("graph_classification", classes, (), "none", splits, **more)


def unchanged(channels: int) -> Scale:
    """Return the scale of features that models get as they are."""
    return Scale(SourceScale("normalised"), (0.0,) * channels, (1.0,) * channels)
