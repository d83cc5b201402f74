"""Inputs of graph networks: nodes of one graph, or a batch of graphs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.structures import JoinedInputs


class NodeInputs(JoinedInputs):
    """Nodes of a graph, by number: x (N, D), all nodes' features; edge_index (2, E), from and to; nodes (B,).

    If all nodes are samples, they are renumbered in the samples' order: what a model computes of B = N nodes is then
    the samples' either way.
    """

    @classmethod
    def of(cls, x: Tensor, edge_index: Tensor, nodes: Tensor) -> Self:
        """Return the inputs of these nodes.

        Raises: ConfigError for as many samples as nodes of which some are repeated.
        """
        if len(nodes) == len(x) and not torch.equal(nodes, torch.arange(len(x), device=nodes.device)):
            place = torch.full_like(nodes, -1)
            place[nodes] = torch.arange(len(nodes), device=nodes.device)
            if (place < 0).any():
                raise ConfigError(
                    f"batch_size={len(nodes)}: the graph has as many nodes, and the streams' samples repeat some: use "
                    "another batch size."
                )
            x, edge_index, nodes = x[nodes], place[edge_index], torch.arange(len(nodes), device=nodes.device)
        return cls({"x": x, "edge_index": edge_index, "nodes": nodes})

    @property
    def samples(self) -> int:
        """The number of samples."""
        return len(self["nodes"])

    def part(self, start: int, stop: int) -> Self:
        """Return the inputs of the samples from `start` to `stop`, in the same graph."""
        return self.of(self["x"], self["edge_index"], self["nodes"][start:stop])

    def take(self, rows: Tensor) -> Self:
        """Return the inputs of these samples, in the same graph."""
        return self.of(self["x"], self["edge_index"], self["nodes"][rows])

    @classmethod
    def concatenate(cls, parts: Sequence[Any]) -> Self:
        """Return the nodes of all parts; parts of one graph share it, so that it is passed through once."""
        first = parts[0]
        if all(part["x"] is first["x"] and part["edge_index"] is first["edge_index"] for part in parts):
            return cls.of(first["x"], first["edge_index"], torch.cat([part["nodes"] for part in parts]))
        shifts = [0]
        for part in parts:
            shifts.append(shifts[-1] + len(part["x"]))
        pairs = list(zip(parts, shifts, strict=False))
        edges = torch.cat([part["edge_index"] + shift for part, shift in pairs], 1)
        nodes = torch.cat([part["nodes"] + shift for part, shift in pairs])
        return cls.of(torch.cat([part["x"] for part in parts]), edges, nodes)

    def of_samples(self, x: Tensor) -> Tensor | None:
        """Return the samples' rows."""
        if len(x) == self.samples:
            return x
        return x[self["nodes"]] if len(x) == len(self["x"]) else None

    def available(self) -> dict[str, Any]:
        """Return `adjacency` (B, B), sparse: which samples are neighbours."""
        return {"adjacency": self._adjacency}

    @cached_property
    def _adjacency(self) -> Tensor:
        nodes, count = self["nodes"], self.samples
        place = nodes.new_full((len(self["x"]),), -1)
        place[nodes] = torch.arange(count, device=nodes.device)
        ends = place[self["edge_index"]]
        ends = ends[:, (ends >= 0).all(0)]
        values = torch.ones(ends.shape[1], dtype=torch.bool, device=ends.device)
        return torch.sparse_coo_tensor(ends, values, (count, count), check_invariants=False)


class GraphInputs(JoinedInputs):
    """Graphs, as in PyG's Batch: x (N, D), edge_index (2, E), batch (N,), each node's graph; ptr (B + 1,), starts."""

    @classmethod
    def of(cls, x: Tensor, edge_index: Tensor, sizes: Tensor) -> Self:
        """Return the inputs of graphs of so many nodes, one after the other."""
        ptr = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        batch = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
        return cls({"x": x, "edge_index": edge_index, "batch": batch, "ptr": ptr})

    @property
    def samples(self) -> int:
        """The number of graphs."""
        return len(self["ptr"]) - 1

    def part(self, start: int, stop: int) -> Self:
        """Return the inputs of the graphs from `start` to `stop`."""
        ptr = self["ptr"][start : stop + 1]
        first, last = int(ptr[0]), int(ptr[-1])
        edges = self["edge_index"]
        inside = (edges[0] >= first) & (edges[0] < last)
        return self.of(self["x"][first:last], edges[:, inside] - first, ptr.diff())

    def take(self, rows: Tensor) -> Self:
        """Return the inputs of these graphs."""
        return self.concatenate([self.part(row, row + 1) for row in rows.tolist()])

    @classmethod
    def concatenate(cls, parts: Sequence[Any]) -> Self:
        """Return all parts' graphs."""
        shift, edges = 0, []
        for part in parts:
            edges.append(part["edge_index"] + shift)
            shift += len(part["x"])
        sizes = torch.cat([part["ptr"].diff() for part in parts])
        return cls.of(torch.cat([part["x"] for part in parts]), torch.cat(edges, 1), sizes)

    def of_samples(self, x: Tensor) -> Tensor | None:
        """Return the graphs' rows; of what was computed for each node, each graph's mean."""
        if len(x) == self.samples:
            return x
        if len(x) != len(self["batch"]):
            return None
        sums = x.new_zeros(self.samples, *x.shape[1:]).index_add(0, self["batch"], x)
        return sums / self["ptr"].diff().to(x.dtype).reshape(-1, *[1] * (x.dim() - 1))
