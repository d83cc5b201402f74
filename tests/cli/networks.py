"""Arguments and saved networks for the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import torch

from tutelage import models
from tutelage.models import serialization

DIGITS = tuple("0123456789")
QUICK = ["teacher=cnn2", "student=cnn2", "epochs=1", "teacher_epochs=1", "limit=64", "device=cpu"]


def network(path: Path, classes: tuple[str, ...] = DIGITS, scale: float = 1.0) -> Path:
    """Save a network for these classes, with its weights multiplied by `scale`."""
    torch.manual_seed(0)
    model = models.create("cnn2", classes=len(classes), channels=1).model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    serialization.save(
        path,
        model,
        serialization.ModelCard("cnn2", "classification", classes, 1, (8, 8), (0.3,), (0.4,), "digits", len(classes)),
    )
    return path
