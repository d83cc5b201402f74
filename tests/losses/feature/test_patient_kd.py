"""PatientKD against its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses.feature.patient_kd import PatientKD


def test_equals_the_formula() -> None:
    student, teacher = torch.randn(3, 4, 5).double(), torch.randn(3, 4, 5).double()
    for s, t, value in zip(student.numpy(), teacher.numpy(), PatientKD()(student, teacher), strict=True):
        cosine = s[0] @ t[0] / np.linalg.norm(s[0]) / np.linalg.norm(t[0])
        assert value.item() == pytest.approx(2 - 2 * cosine)


def test_compares_only_the_class_token() -> None:
    student, teacher = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    changed = torch.cat([student[:, :1], torch.randn(3, 3, 5)], dim=1)
    assert torch.equal(PatientKD()(student, teacher), PatientKD()(changed, teacher))
    with pytest.raises(ConfigError, match="expected equal shapes"):
        PatientKD()(student, teacher[..., :3])
