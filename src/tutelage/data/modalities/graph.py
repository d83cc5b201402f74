"""Graphs: nodes of one graph, or graphs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.data.graph_inputs import GraphInputs, NodeInputs
from tutelage.data.modalities.base import Modality

RING = 3
"""The number of nodes of an example's graphs."""


class Node(Modality):
    """Nodes of a graph; the channels are their features."""

    name = "node"
    positions = 0
    takes_functions = False

    def describe(self, channels: int, size: tuple[int, ...]) -> str:
        """Return the number of features."""
        return f"{channels} features of a node"

    def example(self, channels: int, size: tuple[int, ...], samples: int = 1) -> Any:
        """Return the first nodes of a ring."""
        count = samples + RING
        return NodeInputs.of(torch.zeros(count, channels), _ring(count), torch.arange(samples))


class Graph(Modality):
    """Graphs; the channels are their nodes' features."""

    name = "graph"
    positions = 0
    takes_functions = False

    def describe(self, channels: int, size: tuple[int, ...]) -> str:
        """Return the number of features."""
        return f"{channels} features of each node"

    def example(self, channels: int, size: tuple[int, ...], samples: int = 1) -> Any:
        """Return rings."""
        edges = torch.cat([_ring(RING) + RING * k for k in range(samples)], 1)
        return GraphInputs.of(torch.zeros(samples * RING, channels), edges, torch.full((samples,), RING))


def _ring(count: int) -> Tensor:
    ends = torch.stack([torch.arange(count), (torch.arange(count) + 1) % count])
    return torch.cat([ends, ends.flip(0)], 1)
