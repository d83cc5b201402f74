"""A synthetic run folder, in the format that a run writes, and a browser that opens its report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

CONFIG = {
    "teacher": "resnet32x4", "student": "resnet8x4", "data": "digits", "method": "kd", "task": "classification",
    "epochs": 12, "batch_size": 64, "lr": 0.05, "seed": 0, "seeds": 3, "augment": "shift",
}  # fmt: skip
ENVIRONMENT = {
    "tutelage": "0.1.0", "torch": "2.6.0", "python": "3.11.9", "platform": "Linux", "cpu": "8 cores", "threads": 8,
    "device": "cpu", "git": None, "started": "2025-03-14 15:09",
}  # fmt: skip
TERMS = [
    {"name": "ce", "formula": "CE(s, y)", "weight": 0.1, "paper": "", "options": {}},
    {
        "name": "kd",
        "formula": "T² · KL(softmax(t/T) ‖ softmax(s/T))",
        "weight": 0.9,
        "paper": "Hinton, Vinyals, Dean. NIPS-W 2014. arXiv:1503.02531",
        "options": {"temperature": 4.0},
    },
]
PAIRS = [["layer1 (32, 8, 8)", "layer1 (64, 8, 8)"], ["layer2 (64, 4, 4)", "layer2 (128, 4, 4)"]]
SKILL = {"teacher": 4.6, "baseline": 3.4}
TAUGHT = {"beats": 3.8, "undecided": 3.42, "worse": 3.0}


def write_run(
    path: Path,
    *,
    seeds: int = 3,
    classes: int = 10,
    samples: int = 500,
    verdict: str = "beats",
    roles: tuple[str, ...] = ("teacher", "baseline", "student"),
    task: str = "classification",
    examples: bool = True,
    name: str = "class {}",
) -> Path:
    """Write a complete run folder without a report, with these trained roles and this verdict."""
    path.mkdir(parents=True)
    random = np.random.default_rng(7)
    names = [str(i) if classes == 10 else name.format(i) for i in range(classes)]
    targets = np.arange(samples) % classes
    hard = random.normal(0, 1.4, (samples, classes))
    reached: dict[str, list[float]] = {}
    for role in roles:
        reached[role] = []
        for seed in range(1 if role == "teacher" else seeds):
            folder = path / (role if role == "teacher" else f"{role}-{seed}")
            folder.mkdir()
            probabilities = _probabilities(random, targets, hard, SKILL.get(role, TAUGHT[verdict]))
            reached[role].append(float((probabilities.argmax(1) == targets).mean()))
            if task == "classification":
                np.savez(
                    folder / "predictions.npz", index=np.arange(samples), targets=targets, probabilities=probabilities
                )
            else:
                masks = {"index": np.arange(3) * 5, "masks": random.integers(0, classes, (3, 12, 16)).astype(np.uint16)}
                np.savez(folder / "masks.npz", **masks)
            confusion = np.stack([targets, probabilities.argmax(1), np.ones(samples, int)])
            np.savez(folder / "tables.npz", confusion=confusion)
            _write(folder / "phase.json", _facts(role, seed, reached[role][-1]))
            (folder / "metrics.jsonl").write_text(
                "".join(f"{json.dumps(line)}\n" for line in _metrics(random, role, reached[role][-1])), "utf-8"
            )
    (path / "config.yaml").write_text(yaml.safe_dump(CONFIG | {"seeds": seeds, "task": task}, sort_keys=False), "utf-8")
    _write(path / "environment.json", ENVIRONMENT)
    _write(path / "result.json", _result(reached, names, samples, verdict, task))
    (path / "student.safetensors").write_bytes(b"weights" * 1000)
    if examples:
        images = random.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
        np.savez(path / "examples.npz", index=np.arange(6) * 3, images=images)
    if task == "segmentation":
        images, masks = random.integers(0, 256, (3, 12, 16, 3), dtype=np.uint8), np.zeros((3, 12, 16), np.uint16)
        masks[:, :6], masks[:, :, :3] = 2, 255
        np.savez(path / "examples.npz", index=np.arange(3) * 5, images=images, masks=masks)
    return path


def _probabilities(random: np.random.Generator, targets: Any, hard: Any, skill: float) -> Any:
    logits = hard + random.normal(0, 0.7, hard.shape)
    logits[np.arange(len(targets)), targets] += skill
    logits *= 1.5
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return (exponentials / exponentials.sum(1, keepdims=True)).astype(np.float32)


def _facts(role: str, seed: int, accuracy: float) -> dict[str, Any]:
    is_taught = role == "student"
    return {
        "name": role, "role": role, "seed": seed, "epochs": 12, "steps": 180, "metric": "accuracy",
        "figures": {"accuracy": accuracy, "loss": 0.31}, "val": {"accuracy": accuracy - 0.004, "loss": 0.33},
        "latency_ms": 0.4321,
        "parameters": 7_433_860 if role == "teacher" else 1_233_540,
        "macs": 1.083e9 if role == "teacher" else 1.774e8,
        "seconds": 184.2 if role == "teacher" else 41.5 + 12 * is_taught + seed,
        "step_ms": 61.0 if role == "teacher" else 14.2 + 5.1 * is_taught,
        "teacher_share": 0.31 if is_taught else None, "peak_memory_mb": None,
        "pairs": PAIRS if is_taught else [], "terms": TERMS if is_taught else TERMS[:1],
    }  # fmt: skip


def _metrics(random: np.random.Generator, role: str, top: float) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for step in range(0, 180, 5):
        noise = float(random.normal(1, 0.06))
        losses = {"ce": 2.3 * 0.985**step * noise}
        if role == "student":
            losses["kd"] = 30 * 0.97**step * noise
        lines.append({"kind": "step", "step": step, "epoch": step / 15, "losses": losses, "lr": 0.05})
    for step in (0, 60, 120):
        norms = {"ce": 0.2 * 0.99**step, "kd": 2.2 * 0.985**step} if role == "student" else {"ce": 1.0 * 0.99**step}
        lines.append({"kind": "norms", "step": step, "epoch": step / 15, "norms": norms})
    for epoch in range(1, 13):
        accuracy = top - 0.6 * 0.62**epoch + float(random.normal(0, 0.006))
        val = {"accuracy": accuracy, "loss": 2.6 * (1 - accuracy)}
        lines.append({"kind": "epoch", "epoch": epoch, "val": val, "seconds": 3.4})
    return lines


def _result(reached: dict[str, list[float]], names: list[str], samples: int, verdict: str, task: str) -> dict[str, Any]:
    def summary(role: str, key: str) -> dict[str, Any] | None:
        if role not in reached:
            return None
        values = reached[role]
        interval = None if len(values) < 2 else [min(values) - 0.006, max(values) + 0.006]
        facts = _facts(role, 0, 0.0)
        role_values = {"interval": interval} if role != "teacher" else {"macs": facts["macs"]}
        common = {"accuracy": sum(values) / len(values), "parameters": facts["parameters"], "seconds": facts["seconds"]}
        common["latency_ms"] = facts["latency_ms"]
        return {**common, key: values, **role_values}

    gain = None
    if {"baseline", "student"} <= reached.keys():
        differences = [b - a for a, b in zip(reached["baseline"], reached["student"], strict=True)]
        mean = sum(differences) / len(differences)
        bounds = None if len(differences) < 2 else [min(differences) - 0.003, max(differences) + 0.003]
        gain = {"mean": mean, "interval": bounds, "values": differences, "verdict": verdict}
    data = {"name": "digits", "train": 1000, "val": 200, "test": samples, "classes": names}
    return {
        "task": task, "metric": "accuracy", "higher_is_better": True, "data": data,
        "teacher": summary("teacher", "seeds"), "baseline": summary("baseline", "values"),
        "student": summary("student", "values"),
        "gain": gain, "chosen": "last epoch",
    }  # fmt: skip


def _write(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value), "utf-8")


@pytest.fixture
def make_run() -> Callable[..., Path]:
    """Writes a run folder: make_run(path, seeds=3, verdict="beats", …)."""
    return write_run


@pytest.fixture
def complete_run(tmp_path: Path) -> Path:
    """A complete run folder: a teacher, three seeds alone, three seeds taught, and example images."""
    return write_run(tmp_path / "run")
