"""Splits of graph data: nodes of one graph, whole or with sampled neighbourhoods, and lists of graphs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from tutelage.data.augment import random_bits
from tutelage.data.graph_inputs import GraphInputs, NodeInputs
from tutelage.data.splits import Sample, Split, ViewSeed


@dataclass(frozen=True, eq=False)
class NodeGraph:
    """A graph: x (N, D) features, edge_index (2, E), sorted by the node that an edge leads to."""

    x: Tensor
    edge_index: Tensor
    starts: Tensor = field(init=False)

    def __post_init__(self) -> None:
        counts = torch.bincount(self.edge_index[1], minlength=len(self.x))
        object.__setattr__(self, "starts", torch.cat([counts.new_zeros(1), counts.cumsum(0)]))

    def sampled(self, nodes: Tensor, neighbours: Sequence[int], address: ViewSeed) -> NodeInputs:
        """Return the nodes with at most so many neighbours of each, by hop, drawn at (seed, edge, view).

        An edge's number tells the node that it leads to, so that a node has the same neighbours in any batch.
        """
        seen, frontier, edges = nodes, nodes, []
        for hop, most in enumerate(neighbours):
            chosen = self._draw(frontier, most, address, hop)
            edges.append(chosen)
            sources = self.edge_index[0, chosen].unique()
            frontier = sources[~torch.isin(sources, seen)]
            seen = torch.cat([seen, frontier])
        place = torch.empty(len(self.x), dtype=torch.int64)
        place[seen] = torch.arange(len(seen))
        kept = torch.cat(edges).unique()
        return NodeInputs.of(self.x[seen], place[self.edge_index[:, kept]], torch.arange(len(nodes)))

    def _draw(self, nodes: Tensor, most: int, address: ViewSeed, hop: int) -> Tensor:
        """Return the numbers of at most so many edges to each node."""
        counts = self.starts[nodes + 1] - self.starts[nodes]
        owner = torch.arange(len(nodes)).repeat_interleave(counts)
        first = counts.cumsum(0) - counts
        edges = self.starts[nodes][owner] + torch.arange(len(owner)) - first[owner]
        keys = random_bits(address.seed, edges, address.view * 64 + hop, 1)[:, 0]
        order = keys.argsort(stable=True)
        order = order[owner[order].argsort(stable=True)]
        rank = torch.arange(len(order)) - first[owner[order]]
        return edges[order[rank < most]]


class NodeSplit(Split):
    """Nodes of a graph; neighbours: the most that are drawn for each node, by hop; none: batches have the graph."""

    def __init__(self, graph: NodeGraph, nodes: Tensor, targets: Tensor | None, neighbours: Sequence[int] = ()) -> None:
        self.graph, self.nodes, self.targets, self.neighbours = graph, nodes, targets, tuple(neighbours)
        self.labels = None if targets is None else targets[nodes]
        self.is_random = bool(neighbours)

    def __len__(self) -> int:
        return len(self.nodes)

    def take(self, rows: Tensor) -> Self:
        """Select some of the nodes; the graph stays whole."""
        return type(self)(self.graph, self.nodes[rows], self.targets, self.neighbours)

    def for_evaluation(self) -> Self:
        """Return the nodes with the whole graph."""
        return type(self)(self.graph, self.nodes, self.targets)

    def read(self, batches: Sequence[Tensor], augmentation: ViewSeed, workers: int = 0) -> Iterator[Sample]:
        """Yield the nodes with their graph, which isn't copied; `workers` has no effect."""
        graph = self.graph
        for batch in batches:
            nodes = self.nodes[batch]
            inputs = (
                graph.sampled(nodes, self.neighbours, augmentation)
                if self.neighbours
                else NodeInputs.of(graph.x, graph.edge_index, nodes)
            )
            yield inputs, None if self.targets is None else self.targets[nodes]

    def fingerprint(self) -> str:
        """Hash the graph, the nodes and their targets."""
        tensors = [self.graph.x, self.graph.edge_index, self.nodes]
        tensors += [] if self.labels is None else [self.labels]
        return _hash(tensors, self.neighbours)


class GraphSplit(Split):
    """Graphs, one after the other: nodes' features x (N, D), edges (2, E) by node, sizes (G,); classes (G,)."""

    def __init__(
        self, x: Tensor, edge_index: Tensor, sizes: Tensor, targets: Tensor, rows: Tensor | None = None
    ) -> None:
        self.x, self.edge_index, self.sizes, self.targets = x, edge_index, sizes, targets
        self.rows = torch.arange(len(sizes)) if rows is None else rows
        self.labels = targets[self.rows]
        first = sizes.cumsum(0) - sizes
        owner = torch.bucketize(edge_index[0], sizes.cumsum(0), right=True)
        counts = torch.bincount(owner, minlength=len(sizes))
        self.first, self.edges, self.first_edge = first, counts, counts.cumsum(0) - counts
        self.order = owner.argsort(stable=True)
        self.own_edges = (edge_index - first[owner])[:, self.order]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Tensor) -> Self:
        """Select graphs; the memory is shared."""
        return type(self)(self.x, self.edge_index, self.sizes, self.targets, self.rows[rows])

    def read(self, batches: Sequence[Tensor], augmentation: ViewSeed, workers: int = 0) -> Iterator[Sample]:
        """Yield the graphs; `workers` has no effect."""
        for batch in batches:
            rows = self.rows[batch]
            sizes, counts = self.sizes[rows], self.edges[rows]
            nodes = _ranges(self.first[rows], sizes)
            shift = (sizes.cumsum(0) - sizes).repeat_interleave(counts)
            edges = self.own_edges[:, _ranges(self.first_edge[rows], counts)] + shift
            yield GraphInputs.of(self.x[nodes], edges, sizes), self.targets[rows]

    def fingerprint(self) -> str:
        """Hash the graphs and their classes."""
        return _hash([self.x, self.edge_index, self.sizes, self.rows, self.targets[self.rows]], ())


def _ranges(starts: Tensor, counts: Tensor) -> Tensor:
    """Return the numbers from each start, so many of each."""
    before = counts.cumsum(0) - counts
    return torch.arange(int(counts.sum())) + (starts - before).repeat_interleave(counts)


def _hash(tensors: Sequence[Tensor], numbers: Sequence[int]) -> str:
    digest = hashlib.sha256(str((numbers, [tuple(x.shape) for x in tensors])).encode())
    for x in tensors:
        digest.update(x.contiguous().numpy().data)
    return digest.hexdigest()
