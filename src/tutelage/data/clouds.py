"""Point clouds (N, C): their place and size, a number of their points, the visible ones, and grids of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.data.augment import random_bits, to_uniform
from tutelage.data.splits import ViewSeed

HIGHEST = math.pi / 4
"""The highest place that objects are seen from, as an angle above the horizon."""

AXES = {"x": (1, 2, 0), "y": (2, 0, 1), "z": (0, 1, 2)}
"""The axis that is up, and the order of axes in which it is the last; the handedness stays."""


@dataclass(frozen=True)
class CloudForm:
    """The form that all clouds are brought to.

    points: the number of points of a sample. normalise: whether the points' mean becomes 0, and the largest distance
    from it 1. up: the axis that is up, which becomes the last. grid: the cells along each side of a grid of the whole
    cloud, if there is one. visible: the cells along each side of the depth buffer that tells the visible points, if
    there is one.
    """

    points: int = 1024
    normalise: bool = True
    up: str = "z"
    grid: int | None = None
    visible: int | None = None

    def inputs(self, cloud: Tensor, number: int, view: ViewSeed) -> dict[str, Tensor]:
        """Return a cloud's inputs by name: points (C, P), and if they are wanted grid (1, G, G, G) and visible (C, P).

        In a training view with augment=subsample the points and the place that they are seen from are drawn at the
        sample's address; otherwise they depend on the cloud's number of points alone.
        """
        cloud = torch.cat([cloud[:, list(AXES[self.up])], cloud[:, 3:]], 1)
        address = (view.seed, number, view.view) if view.crop else (0, len(cloud), 0)
        bits = random_bits(address[0], torch.tensor([address[1]]), address[2], len(cloud) + 2)[0]
        order = bits[2:].argsort()
        found = {"points": self._drawn(cloud, order)}
        if self.grid is not None:
            found["grid"] = occupancy(cloud[:, :3], self.grid)
        if self.visible is not None:
            azimuth, height = to_uniform(bits[:2]).tolist()
            seen = visible_points(cloud[:, :3], self.visible, 2 * math.pi * azimuth, HIGHEST * height)
            found["visible"] = self._drawn(cloud, order[seen[order]])
        return found

    def _drawn(self, cloud: Tensor, order: Tensor) -> Tensor:
        """Return the first points in this order, (C, P); fewer ones come again. They are normalised by themselves."""
        chosen = cloud[order]
        if self.normalise:
            chosen = torch.cat([to_unit_sphere(chosen[:, :3]), chosen[:, 3:]], 1)
        return chosen[torch.arange(self.points) % len(chosen)].T.contiguous()


def to_unit_sphere(points: Tensor) -> Tensor:
    """Move and scale points (N, 3) so that their mean is 0 and their largest distance from it is 1.

    A single point stays at 0.
    """
    centred = points - points.mean(0)
    return centred / centred.norm(dim=1).max().clamp(min=1e-12)


def cells_of(points: Tensor, cells: int) -> Tensor:
    """Return the numbers of the cells that coordinates in [-1, 1] are in, along each axis."""
    return ((points + 1) * (cells / 2)).long().clamp(0, cells - 1)


def occupancy(points: Tensor, cells: int) -> Tensor:
    """Return which cells of a cube around the normalised points (N, 3) have any: (1, G, G, G) of 0 and 1."""
    x, y, z = cells_of(to_unit_sphere(points), cells).T
    grid = torch.zeros(1, cells, cells, cells)
    grid[0, x, y, z] = 1
    return grid


def visible_points(points: Tensor, cells: int, azimuth: float, height: float) -> Tensor:
    """Return which points (N, 3) are seen from far away in a direction: (N,) of bool.

    A depth buffer of cells × cells covers the cloud's diameter; in each cell the points are visible that are at most
    the side of a cell behind the nearest one.

    Args:
        points: the points; the last axis is up.
        cells: the number of cells along each side.
        azimuth, height: the direction in which the viewer is, as angles around the last axis and above the horizon.
    """
    sin, cos = math.sin(azimuth), math.cos(azimuth)
    up, flat = math.sin(height), math.cos(height)
    axes = torch.tensor([[-sin, cos, 0], [-up * cos, -up * sin, flat], [flat * cos, flat * sin, up]])
    across, along, towards = (to_unit_sphere(points) @ axes.T).T
    cell = cells_of(across, cells) * cells + cells_of(along, cells)
    nearest = torch.full((cells * cells,), -math.inf).scatter_reduce(0, cell, towards, "amax")
    return towards >= nearest[cell] - 2 / cells
