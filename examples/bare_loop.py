"""Your own PyTorch loop with a teacher: distillation only adds the lines that use Tutelage's classes."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tutelage
from tutelage import AT, KD, Batch, Classification, Frozen, Player, Terms


def loaders(batch_size: int = 64) -> tuple[DataLoader, DataLoader]:
    digits = load_digits()
    x = torch.from_numpy(digits.images).float()[:, None] / 8 - 1
    y = torch.from_numpy(digits.target)
    train, test = TensorDataset(x[:1400], y[:1400]), TensorDataset(x[1400:], y[1400:])
    return DataLoader(train, batch_size, shuffle=True), DataLoader(test, batch_size)


def network(width: int) -> nn.Module:
    """Return a small network; any module works."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
        nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU()),
        nn.Sequential(nn.Conv2d(2 * width, 4 * width, 3, 2, 1), nn.BatchNorm2d(4 * width), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, 10),
    )


def fit(model: nn.Module, train: DataLoader, epochs: int) -> None:
    """Train without a teacher: the original loop."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model.train()
    for _ in range(epochs):
        for x, y in train:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def distil(model: nn.Module, trained: nn.Module, train: DataLoader, epochs: int) -> nn.Module:
    """Train with a teacher: the same loop with distillation."""
    task = Classification()
    teacher = Frozen(trained, task)
    player = Player(model, Terms.from_method(KD() + 10 * AT(), task.task_loss()), task)
    example = Batch(*next(iter(train)))
    player.wire(teacher.profile(example), example, samples=len(train.dataset))
    layers = player.terms.layers("teacher")
    optimizer = torch.optim.SGD(player.parameters(), lr=0.05, momentum=0.9)
    player.train()
    for _ in range(epochs):
        for x, y in train:
            batch = Batch(x, y)
            loss = sum(player(batch, teacher(batch, layers)).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return player.student.close()


@torch.no_grad()
def accuracy(model: nn.Module, test: DataLoader) -> float:
    model.eval()
    right = sum((model(x).argmax(1) == y).sum().item() for x, y in test)
    return right / len(test.dataset)


def main(epochs: int = 5) -> dict[str, float]:
    torch.manual_seed(0)
    train, test = loaders()
    trained, student = network(16), network(4)
    fit(trained, train, epochs)
    before = accuracy(student, test)
    student = distil(student, trained, train, epochs)
    return {"teacher": accuracy(trained, test), "before": before, "student": accuracy(student, test)}


if __name__ == "__main__":
    print(f"tutelage {tutelage.__version__}:", main(epochs=20))
