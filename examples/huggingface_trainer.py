"""Hugging Face's Trainer with a player as its model: train, evaluate, save, and load with from_pretrained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    EvalPrediction,
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    default_data_collator,
    set_seed,
)

from tutelage import AT, KD, Batch, Classification, Frozen, Player, Terms, data


class DistilTrainer(Trainer):
    """A Trainer for a Player, which learns from `teacher`."""

    def __init__(self, *args: Any, teacher: Frozen, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.teacher = teacher.to(self.args.device)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, **kwargs: Any
    ) -> Any:
        batch = Batch({"pixel_values": inputs["pixel_values"]}, inputs["labels"])
        losses = model(batch, self.teacher(batch, self.model.terms.layers("teacher")))
        return sum(losses.values())

    def prediction_step(self, model: nn.Module, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad():
            outputs = self.model.student.model(**inputs)
        return outputs.loss, outputs.logits, inputs["labels"]

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        if _internal_call:  # a checkpoint for resuming: the whole player
            super().save_model(output_dir, _internal_call)
        else:
            self.model.student.model.save_pretrained(output_dir or self.args.output_dir)


def vit(width: int, depth: int) -> nn.Module:
    """Return a tiny vision transformer for the digits: 8×8 pixels in patches of 2×2."""
    config = ViTConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=2,
        intermediate_size=2 * width,
        image_size=8,
        patch_size=2,
        num_channels=1,
        num_labels=10,
    )
    return ViTForImageClassification(config)


def digits(split: str) -> list[dict[str, Tensor]]:
    batch = next(data.load("digits").batches(split, 2000, train=False))
    return [{"pixel_values": x, "labels": y} for x, y in zip(batch.inputs, batch.targets, strict=True)]


@torch.no_grad()
def accuracy(model: nn.Module, samples: list[dict[str, Tensor]]) -> float:
    x, y = (torch.stack([sample[key] for sample in samples]) for key in ("pixel_values", "labels"))
    return (model.eval()(pixel_values=x).logits.argmax(1) == y).float().mean().item()


def main(epochs: int = 5, folder: str = "huggingface") -> dict[str, float]:
    """Train a wide transformer without a teacher, then use it to train a narrow one; return their accuracies."""
    set_seed(0)
    train, test = digits("train"), digits("test")
    arguments = TrainingArguments(
        output_dir=folder,
        num_train_epochs=epochs,
        per_device_train_batch_size=64,
        learning_rate=3e-3,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    large, small = vit(32, depth=4), vit(16, depth=2)
    Trainer(large, arguments, train_dataset=train).train()

    task, example = Classification(), default_data_collator(train[:64])
    batch = Batch({"pixel_values": example["pixel_values"]}, example["labels"])
    teacher = Frozen(large, task)
    player = Player(small, Terms.from_method(KD() + 10 * AT(), task.task_loss()), task)
    player.wire(teacher.profile(batch), batch, samples=len(train))
    before = accuracy(small, test)
    trainer = DistilTrainer(
        player, arguments, train_dataset=train, eval_dataset=test, teacher=teacher, compute_metrics=metrics
    )
    trainer.train()
    evaluated = trainer.evaluate()["eval_accuracy"]
    trainer.save_model(folder)
    student = ViTForImageClassification.from_pretrained(folder)
    accuracies = {"teacher": accuracy(large, test), "before": before, "student": accuracy(student, test)}
    return accuracies | {"evaluated": evaluated}


def metrics(outputs: EvalPrediction) -> dict[str, float]:
    """Return the metrics of an evaluation."""
    return {"accuracy": float((outputs.predictions.argmax(1) == outputs.label_ids).mean())}


if __name__ == "__main__":
    print(main(epochs=20))
