"""Point clouds (N, C): their place and size, a number of their points, the visible ones, and grids of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.data.augment import random_bits
from tutelage.data.splits import ViewSeed

HIGHEST = math.pi / 4
"""The highest place that objects are seen from, as an angle above the horizon."""

STREAM = 9
"""The number of the draw of points among the draws of random numbers at a sample's address."""

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

    def placed(self, cloud: Tensor) -> Tensor:
        """Return a cloud with its upper axis last, and normalised if that is wanted."""
        cloud = cloud if self.up == "z" else torch.cat([cloud[:, list(AXES[self.up])], cloud[:, 3:]], 1)
        return self._normalised(cloud) if len(cloud) else cloud

    def inputs(self, cloud: Tensor, number: int, view: ViewSeed) -> dict[str, Tensor]:
        """Return a placed cloud's inputs by name: points (C, P), and if wanted grid (1, G, G, G) and visible (C, P).

        In a training view with augment=subsample the points and the place that they are seen from are drawn at the
        sample's address; otherwise they depend on the cloud's number of points alone.
        """
        seed, row, turn = (view.seed, number, view.view) if view.crop else (0, len(cloud), 0)
        address = int(random_bits(seed, torch.tensor([row]), turn, STREAM + 1)[0, STREAM])
        generator = torch.Generator().manual_seed(address % 2**63)
        order = torch.randperm(len(cloud), generator=generator)
        found = {"points": self._repeated(cloud[order[: self.points]])}
        if self.grid is not None:
            found["grid"] = occupancy(cloud[:, :3], self.grid)
        if self.visible is not None:
            azimuth, height = torch.rand(2, generator=generator).tolist()
            seen = visible_points(cloud[:, :3], self.visible, 2 * math.pi * azimuth, HIGHEST * height)
            found["visible"] = self._repeated(self._normalised(cloud[order[seen[order]]]))
        return found

    def _normalised(self, cloud: Tensor) -> Tensor:
        return torch.cat([to_unit_sphere(cloud[:, :3]), cloud[:, 3:]], 1) if self.normalise else cloud

    def _repeated(self, cloud: Tensor) -> Tensor:
        """Return the first points, (C, P); fewer ones come again."""
        return cloud[torch.arange(self.points) % len(cloud)].T.contiguous()


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
