"""Distillation by hand: `train` is plain PyTorch, and its student is bitwise identical to Tutelage's.

The toolkit's loop does the same with `method=kd`: cross-entropy and KL divergence at a temperature, SGD with clipped
gradients, a short warm-up of the learning rate, then a cosine schedule. Data and networks come from Tutelage, so that
both start from the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tutelage
from tutelage import data, models


def train(
    student: nn.Module,
    teacher: nn.Module,
    batches: Callable[[int], Iterable[tuple[Tensor, Tensor]]],
    epochs: int,
    lr: float = 0.1,
    temperature: float = 4.0,
) -> nn.Module:
    """Minimise L = 0.1 · cross-entropy + 0.9 · T² · KL(teacher ‖ student); batches(epoch) yields (images, classes)."""
    student = student.to(memory_format=torch.channels_last).train()
    teacher = teacher.to(memory_format=torch.channels_last).eval()
    optimizer = torch.optim.SGD(student.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=True)
    step, steps = 0, epochs * len(list(batches(0)))
    warmup = steps / 20
    for epoch in range(epochs):
        for x, y in batches(epoch):
            cosine = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
            optimizer.param_groups[0]["lr"] = lr * ((step + 1) / (warmup + 1) if step < warmup else cosine)
            x = x.contiguous(memory_format=torch.channels_last)
            with torch.no_grad():
                teacher_log_probs = F.log_softmax(teacher(x) / temperature, dim=1)
            logits = student(x)
            log_probs = F.log_softmax(logits / temperature, dim=1)
            kd = F.kl_div(log_probs, teacher_log_probs, reduction="none", log_target=True).sum(1) * temperature**2
            loss = 0.1 * F.cross_entropy(logits, y) + 0.9 * kd.mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 5.0)
            optimizer.step()
            step += 1
    return student.eval()


def main(epochs: int = 3) -> tuple[nn.Module, nn.Module]:
    """Return the student trained by `train`, and the one trained by `tutelage.distill`."""
    settings = {"epochs": epochs, "lr": 0.1, "seed": 0}
    teacher = tutelage.train("cnn8", "digits", **settings)
    run = tutelage.distill("cnn2", str(teacher.folder), "digits", "kd", baseline=False, **settings)

    digits = data.load("digits")
    torch.manual_seed(0)
    student = models.create("cnn2", classes=10, channels=1).model

    def batches(epoch: int) -> list[tuple[Tensor, Tensor]]:
        return [(batch.inputs, batch.targets) for batch in digits.batches("train", 64, seed=0, epoch=epoch)]

    return train(student, teacher.student, batches, epochs), run.student


if __name__ == "__main__":
    by_hand, by_toolkit = (network.state_dict() for network in main())
    print("bitwise identical:", all(torch.equal(by_hand[name], by_toolkit[name]) for name in by_toolkit))
