"""Connectors fit the student's feature to the teacher's, whatever their shapes."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.nn import connectors
from tutelage.nn.connectors import Conv1x1, Linear, Regressor, as_map, as_vector, build_connector
from tutelage.nn.token_grid import Grid


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def maps(student: tuple[int, ...], teacher: tuple[int, ...], size: int = 3) -> tuple[Tensor, Tensor]:
    return torch.randn(size, *student), torch.randn(size, *teacher)


@pytest.mark.parametrize(
    ("student", "teacher", "layer", "kernel"),
    [
        ((3, 8, 8), (5, 8, 8), nn.Conv2d, (1, 1)),
        ((3, 8, 8), (5, 4, 4), nn.Conv2d, (3, 3)),
        ((3, 4, 4), (5, 8, 8), nn.ConvTranspose2d, (4, 4)),
        ((3, 8, 7), (5, 6, 6), nn.Conv2d, (3, 2)),
        ((3, 14, 14), (5, 4, 4), nn.Conv2d, (1, 1)),
        ((3, 7, 7), (5, 8, 8), nn.Conv2d, (1, 1)),
        ((3, 8, 4), (5, 4, 8), nn.Conv2d, (1, 1)),
    ],
)
def test_regressor_takes_the_layer_that_fits(
    student: tuple[int, ...], teacher: tuple[int, ...], layer: type, kernel: tuple[int, int]
) -> None:
    s, t = maps(student, teacher)
    connector = build_connector("regressor", s, t)
    assert isinstance(connector.conv, layer)
    assert connector.conv.kernel_size == kernel
    out = connector(s)
    assert out.shape == t.shape
    assert out.min() == 0


def test_regressor_without_relu_is_normalised() -> None:
    s, t = maps((3, 4, 4), (5, 4, 4))
    out = build_connector(partial(Regressor, use_relu=False), s, t)(s)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var((0, 2, 3), correction=0), torch.ones(5), atol=1e-3, rtol=0)


def test_regressor_of_vectors() -> None:
    s, t = torch.randn(4, 6), torch.randn(4, 9)
    connector = build_connector("regressor", s, t)
    assert isinstance(connector.conv, nn.Linear)
    assert connector(s).shape == t.shape


@pytest.mark.parametrize("teacher", [(5, 8, 8), (5, 4, 4), (5, 12, 12), (5, 1, 1), (5, 4, 12)])
def test_conv1x1_resizes(teacher: tuple[int, ...]) -> None:
    s, t = maps((3, 8, 8), teacher)
    assert build_connector("conv1x1", s, t)(s).shape == t.shape


@pytest.mark.parametrize("student", [(6,), (6, 4, 4), (16, 6)])
@pytest.mark.parametrize("teacher", [(9,), (9, 7, 7), (50, 9)])
def test_linear_accepts_every_form(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    s, t = maps(student, teacher)
    assert build_connector("linear", s, t)(s).shape == as_vector(t).shape


def test_identity() -> None:
    s, t = maps((3, 4, 4), (5, 2, 2))
    assert build_connector("identity", s, t)(s) is s


@pytest.mark.parametrize("name", ["regressor", "conv1x1"])
def test_a_batch_of_one_value_per_channel(name: str) -> None:
    """Such a batch has no variance; training still works, and the statistics change on the next batch."""
    s, t = maps((3, 1, 1), (5, 1, 1), size=1)
    connector = build_connector(name, s, t)
    out = connector(s)
    out.sum().backward()
    assert out.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in connector.parameters())
    assert connector.bn.num_batches_tracked == 0
    connector(torch.randn(4, 3, 1, 1))
    assert connector.bn.num_batches_tracked == 1


def test_has_the_students_dtype() -> None:
    s, t = torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.randn(2, 5, 4, 4)
    assert build_connector("conv1x1", s, t)(s).dtype == torch.float64


def test_a_callable() -> None:
    s, t = maps((3, 4, 4), (5, 4, 4))
    assert build_connector(lambda a, b: nn.Conv2d(a.shape[1], b.shape[1], 1), s, t)(s).shape == t.shape


def test_refuses_an_unknown_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'regressor'"):
        build_connector("regresor", *maps((3, 4, 4), (5, 4, 4)))


@pytest.mark.parametrize("maker", [Regressor, Conv1x1])
def test_refuses_forms_that_do_not_match(maker: connectors.ConnectorFactory) -> None:
    with pytest.raises(ConfigError, match=r"\(3, 16, 6\) to the teacher's \(3, 5, 4, 4\): expected two maps"):
        build_connector(maker, *maps((16, 6), (5, 4, 4)))
    with pytest.raises(ConfigError, match=r"isn't a vector"):
        build_connector(Linear, *maps((2, 3, 4, 5, 6), (5,)))


@pytest.mark.parametrize("grid", [Grid(7, 7), Grid(14, 14, 1), Grid(14, 14, 5), Grid(3, 8), Grid(8, 3, 2)])
def test_tokens_become_a_map(grid: Grid) -> None:
    tokens = torch.randn(2, grid.prefix + grid.height * grid.width, 3)
    result = as_map(tokens, grid)
    assert result.shape == (2, 3, grid.height, grid.width)
    for row, column in ((0, 0), (0, grid.width - 1), (grid.height - 1, 0), (2, 2)):
        assert torch.equal(result[:, :, row, column], tokens[:, grid.prefix + row * grid.width + column])


def test_tokens_are_averaged() -> None:
    tokens = torch.randn(2, 17, 3)
    torch.testing.assert_close(as_vector(tokens), tokens.mean(1))


def test_maps_and_vectors_are_unchanged() -> None:
    s = torch.randn(2, 3, 4, 4)
    assert as_map(s) is s
    torch.testing.assert_close(as_vector(s), s.mean((2, 3)))
    assert as_vector(as_vector(s)).shape == (2, 3)


@pytest.mark.parametrize("sizes", [(7,), (7, 6), (7, 6, 5)])
def test_maps_of_every_dimension_are_unchanged(sizes: tuple[int, ...]) -> None:
    feature = torch.randn(2, 3, *sizes)
    assert as_map(feature) is feature


@pytest.mark.parametrize("name", ["regressor", "conv1x1"])
@pytest.mark.parametrize("teacher", [8, 4, 16, 5, 1, 12, 9])
@pytest.mark.parametrize("dimensions", [1, 3])
def test_connects_series_and_voxels(name: str, teacher: int, dimensions: int) -> None:
    s, t = maps((3, *[8] * dimensions), (5, *[teacher] * dimensions))
    connector = build_connector(name, s, t)
    assert connector(s).shape == t.shape
    assert type(connector.conv).__name__ in (f"Conv{dimensions}d", f"ConvTranspose{dimensions}d")


def test_linear_averages_voxels_and_the_tokens_of_a_series() -> None:
    s, t = torch.randn(4, 3, 2, 2, 2), torch.randn(4, 7, 5)
    assert build_connector("linear", s, t)(s).shape == (4, 5)
    torch.testing.assert_close(as_vector(s), s.flatten(2).mean(2))


@pytest.mark.parametrize("grid", [Grid(4, 4), Grid(2, 8), Grid(4, 4, 2), Grid(9, 9, 1)])
def test_refuses_tokens_of_another_grid(grid: Grid) -> None:
    with pytest.raises(ConfigError, match=f"17 tokens .* a grid of {grid.height}x{grid.width} after {grid.prefix}"):
        as_map(torch.randn(1, 17, 3), grid)


def test_a_vector_is_not_a_map() -> None:
    with pytest.raises(ConfigError, match=r"\(2, 3\) isn't a map"):
        as_map(torch.randn(2, 3))
