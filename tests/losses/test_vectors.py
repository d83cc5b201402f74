"""Losses and gradients equal the published implementations' (tests/vectors), in float64."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.verify.checker import check_vector

VECTORS = sorted((Path(__file__).parents[1] / "vectors").glob("*.json"))


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_equals_the_published_implementation(path: Path) -> None:
    assert check_vector(path).faults == ()


def test_there_are_vectors() -> None:
    assert len(VECTORS) >= 15
