"""Compare ways to distil a diffusion model: one teacher, a small student alone, and that student taught in each way.

    python bench/generation.py --data fashion-mnist:PATH --out runs/generation

Writes generation.md below --out; runs are kept there. All students have the same number of epochs, seeds and DDIM
steps, and the same noise. Gains are over the student alone, paired by seed. Milliseconds are process time of
one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch

import tutelage
from tutelage.nn.diffusion import sample
from tutelage.nn.feature_extractor import eval_no_grad
from tutelage.training.callbacks import Callback
from tutelage.training.events import StepEnd
from tutelage.utils.intervals import confidence_interval, verdict

Keys = dict[str, Any]


class StepTime(Callback):
    """Keeps the process time of a step between log points of one epoch."""

    def __init__(self) -> None:
        self.last: tuple[int, float] = (0, 0.0)
        self.seconds: list[float] = []

    def on_step_end(self, event: StepEnd) -> None:
        """Keep the time since the last log point, unless an epoch or a training ended there."""
        step, now = event.step, time.process_time()
        if 0 < step - self.last[0] == 10:
            self.seconds.append((now - self.last[1]) / 10)
        self.last = step, now


@dataclass(frozen=True)
class Way:
    """A way to teach the student: its keys, given the teacher's folder and the epochs."""

    label: str
    keys: Callable[[str, int], Keys]


def halving(teacher: str, epochs: int, steps: int) -> Keys:
    """Return the keys of two stages with half the epochs each."""
    return {
        "stages": [
            {"name": "first", "teacher": teacher, "scheme": {"name": "progressive", "steps": 2 * steps},
             "epochs": epochs - epochs // 2},
            {"name": "student", "teacher": "stage:first", "student_weights": "stage:first", "epochs": epochs // 2,
             "scheme": {"name": "progressive", "steps": steps}},
        ]
    }  # fmt: skip


def from_teacher(teacher: str, network: str, steps: int) -> Keys:
    """Return the keys of a student of the teacher's own architecture, which begins with its weights."""
    own = {"student": network, "student_weights": f"{teacher}/student.safetensors", "teacher": teacher}
    return own | {"scheme": {"name": "progressive", "steps": steps}, "epochs": 3, "lr": 0.0005, "ema": None, "seeds": 1}


def ways(steps: int, network: str) -> list[Way]:
    """Return the ways to teach."""
    return [
        Way("output (`logit_mse`)", lambda teacher, epochs: {"teacher": teacher}),
        Way("output and features (`logit_mse+0.1*fitnet`)", lambda teacher, epochs: {
            "teacher": teacher, "method": "logit_mse+0.1*fitnet"}),
        Way(f"progressive, {4 * steps} → {2 * steps} → {steps} steps", lambda teacher, epochs: {
            "teacher": teacher, **halving(teacher, epochs, steps)}),
        Way("consistency, 18 times", lambda teacher, epochs: {"teacher": teacher, "scheme": "consistency"}),
        Way(f"{network} from the teacher's weights, progressive to {steps} steps, 3 epochs, one seed",
            lambda teacher, epochs: from_teacher(teacher, network, steps)),
    ]  # fmt: skip


def finished(folder: Path, keys: Keys) -> dict[str, Any]:
    """Train, unless the folder holds the finished run; return its result, and a step's milliseconds as `process_ms`."""
    file = folder / "process.json"
    if not file.exists():
        timer = StepTime()
        tutelage.distill(**keys, out=str(folder), progress=False, log_every=10, callbacks=[timer])
        file.write_text(json.dumps({"process_ms": 1000 * median(timer.seconds)}))
    return json.loads((folder / "result.json").read_text()) | json.loads(file.read_text())


def values(folder: Path, role: str, figure: str) -> list[float]:
    """Return a figure of the test split for each seed."""
    return [json.loads(path.read_text())["figures"][figure] for path in sorted(folder.glob(f"{role}-*/phase.json"))]


def sampling_seconds(folder: Path, steps: int, images: int = 256) -> float:
    """Return the process time in which a run's student makes images; the least of three."""
    network: Any = tutelage.load(folder)
    noise, times = torch.randn(images, network.card.channels, *network.card.size), []
    with eval_no_grad(network):
        for _ in range(3):
            start = time.process_time()
            sample(network, noise, steps)
            times.append(time.process_time() - start)
    return min(times)


def row(label: str, steps: int, frechet: list[float], alone: list[float], *cells: str) -> str:
    """Return a line of the table."""
    interval = confidence_interval(frechet) if len(frechet) > 1 else None
    half = f" ± {(interval[1] - interval[0]) / 2:.2f}" if interval else ""
    gains = [a - b for a, b in zip(alone, frechet, strict=True)] if len(frechet) == len(alone) > 1 else []
    gained = f"{fmean(gains):+.2f}, {verdict(gains)}" if gains and frechet != alone else ""
    return f"| {label} | {steps} | {fmean(frechet):.2f}{half} | {gained} | {' | '.join(cells)} |"


def main() -> None:
    """Train everything, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/generation"))
    parser.add_argument("--teacher", default="timed-unet12")
    parser.add_argument("--student", default="timed-unet4")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--teacher-epochs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    common: Keys = {"data": args.data, "size": 16, "limit": 2000, "batch_size": 64, "optimizer": "adamw", "lr": 0.003,
                    "ema": 0.98, "device": "cpu"}  # fmt: skip
    teacher, task = args.out / "teacher", {"name": "denoising", "steps": 2 * args.steps}
    long = common | {"task": task, "student": args.teacher, "teacher": None, "method": None, "baseline": False}
    finished(teacher, long | {"epochs": args.teacher_epochs})
    task = task | {"steps": args.steps, "judge": str(teacher / "student-0" / "judge.safetensors")}
    keys = common | {"task": task, "student": args.student, "seeds": args.seeds, "epochs": args.epochs}
    alone_folder = args.out / "alone"
    alone_result = finished(alone_folder, keys | {"teacher": None, "method": None, "baseline": False})
    alone = values(alone_folder, "student", "frechet")
    judged = {
        n: [tutelage.evaluate(teacher, task=task | {"steps": n}, data=args.data, size=16).values["frechet"]]
        for n in (args.steps, 4 * args.steps)
    }
    lines = [
        row(f"teacher, {args.teacher}", n, frechet, alone, "", f"{sampling_seconds(teacher, n):.2f}")
        for n, frechet in judged.items()
    ]
    cost = f"{sampling_seconds(alone_folder, args.steps):.2f}"
    lines.append(row(f"{args.student} alone", args.steps, alone, alone, f"{alone_result['process_ms']:.0f}", cost))
    for number, way in enumerate(ways(args.steps, args.teacher)):
        folder = args.out / f"way-{number}"
        of_way = {"method": "logit_mse", "baseline": False} | way.keys(str(teacher), args.epochs)
        result = finished(folder, keys | of_way)
        frechet = values(folder, "student", "frechet")
        lines.append(row(way.label, args.steps, frechet, alone, f"{result['process_ms']:.0f}", cost))
        print(lines[-1], flush=True)
    head = [
        "| | steps | Fréchet distance | gain over alone | ms a step | s for 256 images |",
        "|---|---:|---:|---|---:|---:|",
    ]
    (args.out / "generation.md").write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
