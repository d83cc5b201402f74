"""The batches of a training, with their time in it."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from small import digits

from tutelage.settings import TrainerSettings
from tutelage.training.batches import TrainingBatches


def test_the_time_in_the_training_is_written_into_new_batches(monkeypatch):
    data = digits(32)
    loaded = list(data.batches("train", 16))
    monkeypatch.setattr(type(data), "batches", lambda *args, **options: iter(loaded))
    fabric = SimpleNamespace(world_size=1, global_rank=0, device=torch.device("cpu"))
    batches = TrainingBatches(data, TrainerSettings(batch_size=16, epochs=3), fabric, {})
    trained = list(batches.train(2))
    assert [(batch.epoch, batch.extras) for batch in trained] == [(2.0, {"epochs": 3}), (2.5, {"epochs": 3})]
    assert [(batch.epoch, batch.extras) for batch in loaded] == [(0.0, {}), (0.0, {})]
