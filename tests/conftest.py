"""One seed and one thread for every test; `import small` for the smallest things that train."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)
os.fsync = lambda file: None  # no test cuts the power: nobody waits for the disk


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
