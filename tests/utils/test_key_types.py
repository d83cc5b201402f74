"""Keys from Python are as from YAML, whatever library made their numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tutelage.config import parsing
from tutelage.config.schema import check
from tutelage.study import settings
from tutelage.utils.key_types import to_plain


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float64(0.1), 0.1),
        (np.int32(3), 3),
        (np.bool_(True), True),
        (np.array([0.5, 0.25]), [0.5, 0.25]),
        (torch.tensor([1, 2]), [1, 2]),
        ({"lr": (np.float64(0.1), np.array([[1]]))}, {"lr": [0.1, [[1]]]}),
        ([Path("a/b"), np.str_("text"), None], ["a/b", "text", None]),
    ],
)
def test_values_are_in_yamls_types(value: Any, plain: Any) -> None:
    assert to_plain(value) == plain
    assert parsing.dump({"key": to_plain(value)}) == parsing.dump({"key": plain})


def test_runs_and_studies_take_numbers_of_numpy(tmp_path: Path) -> None:
    keys = {"epochs": np.int64(3), "lr": np.float64(0.1), "milestones": np.array([0.5])}
    config = check({**keys, "method": {"name": "kd", "temperature": np.float64(3)}})
    assert (config.epochs, config.lr, config.milestones) == (3, 0.1, [0.5])
    methods = [{"name": "x", "method": "kd", "lr": np.float64(0.2)}]
    own, of_runs = settings.read(values={**keys, "methods": methods, "seeds": np.int64(2), "out": tmp_path / "s"})
    assert (own.seeds, own.methods[0]["lr"], of_runs["epochs"]) == (2, 0.2, 3)
