"""Numbers as floats of 32 bits, as networks get them."""

from __future__ import annotations

from typing import Any

import numpy as np

LARGEST = float(np.finfo(np.float32).max)
"""The largest number that 32 bits hold."""


def to_float32(numbers: Any) -> Any:
    """Return an array's numbers as float32, infinite where they are beyond `LARGEST`."""
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)
