"""FAKD against loops over affinities."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.dense.fakd import FAKD


def affinity(vectors: np.ndarray) -> np.ndarray:
    """Return the cosines between rows."""
    n = len(vectors)
    lengths = [np.sqrt((v * v).sum()) for v in vectors]
    return np.array([[vectors[i] @ vectors[j] / (lengths[i] * lengths[j]) for j in range(n)] for i in range(n)])


@pytest.mark.parametrize("of", ["spatial", "channel"])
def test_equals_the_formula(of: str) -> None:
    channels = 3 if of == "channel" else 6
    s, t = torch.randn(2, 3, 2, 4).double(), torch.randn(2, channels, 2, 4).double()
    values = (FAKD() if of == "spatial" else FAKD(of))(s, t)
    for b in range(2):
        a, c = (x[b].flatten(1).numpy() for x in (s, t))
        a, c = (affinity(x.T if of == "spatial" else x) for x in (a, c))
        np.testing.assert_allclose(values[b].numpy(), np.abs(a - c).mean(1), rtol=1e-9)


def test_raises_for_an_unknown_affinity_and_unequal_channels() -> None:
    with pytest.raises(ConfigError, match="spatial"):
        FAKD("spatail")
    with pytest.raises(ConfigError, match=r"\(2, 3, 3\)"):
        FAKD("channel")(torch.randn(2, 3, 4, 4), torch.randn(2, 6, 4, 4))
