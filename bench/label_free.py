"""Distillation without labels: the step against the same lines by hand; objectives, and LightlyTrain, on real images.

    python bench/label_free.py                                  the step
    python bench/label_free.py FOLDER [--lightly PYTHON]        FOLDER/train/CLASS, FOLDER/test/CLASS, as EuroSAT

The folder's training images are used without their labels; the labels judge the backbones (k-NN, k = 20, and a logistic
regression). The teacher is trained on them first, with their labels, since published weights of such a size aren't at
hand. LightlyTrain runs as a program of its own, in the environment of PYTHON (pip
install lightly-train); nothing of it is imported here. It takes DINO's teachers only: the function that creates them is
replaced by one that creates the same teacher. The table is written to label_free.md below --out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import measure
import timm
import torch
import torch.nn.functional as F
from real import percent
from safetensors.torch import load_file
from torch import nn

import tutelage
from tutelage import data as datasets
from tutelage.data.data_module import DataModule
from tutelage.data.splits import InMemorySplit
from tutelage.losses.relation.embedding_distance import EmbeddingCosine
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.schemes.offline import Offline
from tutelage.settings import TrainerSettings
from tutelage.tasks.backbone import Backbone, embed
from tutelage.tasks.probe_metrics import knn_accuracy, probe_accuracy
from tutelage.teachers.frozen import Frozen
from tutelage.training.trainer import Trainer
from tutelage.utils.intervals import confidence_interval

BATCH, SIDE, SMALL = 64, 64, 32
TEACHER, STUDENT = "resnet10t", "test_resnet"
LR, EPOCHS, TIMED_EPOCHS = 1e-3, 6, (1, 3)
TEACHER_EPOCHS, QUEUE, SEEDS = 15, 1024, range(3)
METHODS: list[Any] = [
    "embedding_cosine",
    "patch_cosine",
    "embedding_cosine+patch_cosine",
    {"name": "seed", "size": QUEUE},
    {"name": "lightly_queue", "size": QUEUE},
]
TIMED = METHODS[-1]
NORMALISATION = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}

LIGHTLY = """
import json, resource, sys, lightly_train, timm, torch
from lightly_train._methods.distillation import distillation

keys = json.loads(sys.argv[1])


def get_teacher(teacher_name, num_input_channels, teacher_weights):
    teacher = timm.create_model(teacher_name.removeprefix("timm/"), num_classes=0).eval().requires_grad_(False)
    teacher.load_state_dict(torch.load(teacher_weights, weights_only=True))
    teacher.embed_dim = teacher.num_features
    return teacher


distillation.get_teacher = get_teacher
if __name__ == "__main__":
    lightly_train.pretrain(**keys)
    print("SECONDS", sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
"""
OURS = """
import json, resource, sys, torch, tutelage
torch.set_num_threads(1)
tutelage.distill(**json.loads(sys.argv[1]))
print("SECONDS", sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
"""


def networks() -> tuple[nn.Module, nn.Module]:
    """Return a teacher and a student with random weights."""
    torch.manual_seed(0)
    return (timm.create_model(name, num_classes=0) for name in (TEACHER, STUDENT))  # type: ignore[return-value]


def by_hand(x: torch.Tensor) -> Callable[[], object]:
    """Return the step in plain PyTorch."""
    teacher, student = networks()
    teacher.eval().requires_grad_(False)
    projection = nn.Linear(student.num_features, teacher.num_features)  # type: ignore[arg-type]
    optimiser = torch.optim.SGD([*student.parameters(), *projection.parameters()], lr=0.05, momentum=0.9)

    def step() -> None:
        with torch.no_grad():
            t = teacher(x)
        loss = (1 - F.cosine_similarity(projection(student(x)), t)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def by_trainer(x: torch.Tensor) -> Callable[[], object]:
    """Return the Trainer's step."""
    (teacher, student), task = networks(), Backbone()
    rows = InMemorySplit(x, None)
    data = DataModule(
        "random", "backbone", (), 3, (SIDE, SIDE), (0.0,) * 3, (1.0,) * 3, rows, rows, rows, target="none"
    )
    scheme = Offline(Player(student, Terms.from_method(EmbeddingCosine()), task), Frozen(teacher, task))
    trainer = Trainer(
        TrainerSettings(
            epochs=1, batch_size=BATCH, optimizer="sgd", lr=0.05, device="cpu", clip=None, channels_last=False
        ),
        task,
    )
    state = trainer.prepare(scheme, data)
    batch = next(iter(state.batches.train(0)))

    def step() -> None:
        trainer._batch(state, batch)
        state.take_losses()

    return step


def measure_step() -> float:
    """Return the time of our step in multiples of the one by hand."""
    x = torch.randn(BATCH, 3, SIDE, SIDE)
    makers = {"by hand": by_hand, "ours": by_trainer}
    seconds = measure.least_of_instances(lambda name: makers[name](x), makers, rounds=6, instances=2)
    measure.show(seconds, "by hand")
    return seconds["ours"] / seconds["by hand"]


@dataclass(frozen=True)
class Row:
    """A backbone, the accuracies by seed (k-NN, linear), and the CPU seconds of a training step."""

    name: str
    accuracies: list[tuple[float, float]]
    seconds: float | None = None


def judge(weights: Mapping[str, torch.Tensor], name: str, folder: Path) -> tuple[float, float]:
    """Return the k-NN and the linear accuracy of a network on the test images."""
    data = datasets.load(f"folder:{folder}", size=SMALL).normalised_by(*map(tuple, NORMALISATION.values()))
    network = timm.create_model(name, num_classes=0)
    network.load_state_dict(weights)
    (bank, labels), (queries, targets) = (embed(network, data, split, 256) for split in ("train", "test"))
    knn = knn_accuracy(bank, labels, queries, targets, len(data.classes))
    return knn, probe_accuracy(bank, labels, queries, targets)


def seconds_of(python: str, program: str, keys: dict[str, object]) -> float:
    """Run a program with these keys, and return the seconds of CPU time that it used."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LIGHTLY_TRAIN_EVENTS_DISABLED": "1"}
    output = subprocess.run(
        [python, "-c", program, json.dumps(keys)], capture_output=True, text=True, check=False, env=environment
    )
    if "SECONDS" not in output.stdout:
        sys.exit(output.stdout[-2000:] + output.stderr[-4000:])
    return float(output.stdout.rpartition("SECONDS")[2])


def write_pictures(folder: Path, pictures: Path) -> Path:
    """Write the training images without classes, as many as fill batches; val and test only have to exist."""
    images = sorted((folder / "train").glob("*/*"))
    images = images[: len(images) // BATCH * BATCH]
    for split, part in {"train": images, "val": images[:BATCH], "test": images[:BATCH]}.items():
        (pictures / split).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(part):
            (pictures / split / f"{number}{image.suffix}").write_bytes(image.read_bytes())
    return pictures


def train_teacher(folder: Path, work: Path) -> dict[str, torch.Tensor]:
    """Train the teacher with labels, and write its weights without the classifier as teacher.pt."""
    file = work / "teacher" / "student.safetensors"
    if not file.exists():
        tutelage.train(
            f"timm:{TEACHER}", data=f"folder:{folder}", size=SMALL, epochs=TEACHER_EPOCHS, batch_size=BATCH,
            device="cpu", out=str(file.parent), progress=False,
        )  # fmt: skip
    state = {name: x for name, x in load_file(file).items() if not name.startswith("fc.")}
    torch.save(state, work / "teacher.pt")
    return state


def with_tutelage(method: Any, work: Path, pictures: Path, folder: Path, timed: bool) -> Row:
    """Return the row of a method; timed: also how long a step takes."""
    keys: dict[str, Any] = {
        "student": f"timm:{STUDENT}", "teacher": f"timm:{TEACHER}", "teacher_weights": str(work / "teacher.pt"),
        "data": f"images:{pictures}", "task": "embedding", "method": method, "size": SMALL, "batch_size": BATCH,
        "optimizer": "adamw", "lr": LR, "device": "cpu", "augment": "crop-flip", "progress": False,
    }  # fmt: skip
    name = re.sub(r"\W+", "-", str(method)).strip("-")
    accuracies = []
    for seed in SEEDS:
        out = work / f"{name}-{seed}"
        if not (out / "backbone.safetensors").exists():
            tutelage.distill(**keys, epochs=EPOCHS, seed=seed, out=str(out))
        accuracies.append(judge(load_file(out / "backbone.safetensors"), STUDENT, folder))
        print(f"{name}, seed {seed}: {accuracies[-1]}", flush=True)
    label = f"Tutelage, `{method if isinstance(method, str) else name}`"
    if not timed:
        return Row(label, accuracies)
    seconds = time_of(sys.executable, OURS, pictures, lambda n, out: keys | {"epochs": n, "out": out})
    return Row(label, accuracies, seconds)


def time_of(python: str, program: str, pictures: Path, keys: Callable[[int, str], dict[str, Any]]) -> float:
    """Return the CPU seconds of a step: the difference between two trainings of different length."""
    short, long = TIMED_EPOCHS
    with tempfile.TemporaryDirectory() as root:
        seconds = {n: seconds_of(python, program, keys(n, f"{root}/{n}")) for n in TIMED_EPOCHS}
    steps = len(list((pictures / "train").iterdir())) // BATCH
    return (seconds[long] - seconds[short]) / ((long - short) * steps)


def with_lightly(python: str, work: Path, pictures: Path, folder: Path) -> Row:
    """Return LightlyTrain's row."""
    keys: dict[str, Any] = {
        "data": str(pictures / "train"), "model": f"timm/{STUDENT}", "method": "distillationv1", "batch_size": BATCH,
        "num_workers": 0, "devices": 1, "accelerator": "cpu", "precision": "32-true", "optim": "adamw",
        "optim_args": {"lr": LR},
        "method_args": {
            "teacher": f"timm/{TEACHER}", "teacher_weights": str(work / "teacher.pt"), "queue_size": QUEUE,
            "reference_batch_size": BATCH,
        },
        "transform_args": {"image_size": [SMALL, SMALL]},
    }  # fmt: skip
    accuracies = []
    for seed in SEEDS:
        out = work / f"lightly-{seed}"
        exported = out / "exported_models" / "exported_last.pt"
        if not exported.exists():
            seconds_of(python, LIGHTLY, keys | {"epochs": EPOCHS, "seed": seed, "out": str(out)})
        weights = torch.load(exported, weights_only=True)
        state = {key: weights[key] for key in timm.create_model(STUDENT, num_classes=0).state_dict()}
        accuracies.append(judge(state, STUDENT, folder))
        print(f"LightlyTrain, seed {seed}: {accuracies[-1]}", flush=True)
    seconds = time_of(python, LIGHTLY, pictures, lambda n, out: keys | {"epochs": n, "out": out})
    return Row("LightlyTrain, distillationv1", accuracies, seconds)


def compare(folder: Path, lightly: str | None, work: Path) -> list[Row]:
    """Return the rows of the table."""
    teacher = train_teacher(folder, work)
    rows = [Row("teacher", [judge(teacher, TEACHER, folder)])]
    random = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        random.append(judge(timm.create_model(STUDENT, num_classes=0).state_dict(), STUDENT, folder))
    rows.append(Row("student, random weights", random))
    pictures = write_pictures(folder, work / "pictures")
    rows += [with_tutelage(method, work, pictures, folder, method == TIMED) for method in METHODS]
    return rows if lightly is None else [*rows, with_lightly(lightly, work, pictures, folder)]


def table(rows: list[Row]) -> str:
    """Return the rows as a table."""
    lines = ["| backbone | k-NN accuracy, % | linear accuracy, % | CPU ms a step |", "| --- | ---: | ---: | ---: |"]
    for row in rows:
        knn, linear = (percent(fmean(x), confidence_interval(x)) for x in map(list, zip(*row.accuracies, strict=True)))
        lines.append(f"| {row.name} | {knn} | {linear} | {f'{1000 * row.seconds:.0f}' if row.seconds else ''} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--lightly", default=None, help="the Python of an environment with lightly-train")
    parser.add_argument("--out", type=Path, default=Path("runs/label_free"), help="folder of the runs, which are kept")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.folder is None:
        measure.conclude([("label-free step, ours / by hand", measure_step(), 1.05)])
        return
    args.out.mkdir(parents=True, exist_ok=True)
    text = table(compare(args.folder, args.lightly, args.out.resolve()))
    print(text)
    (args.out / "label_free.md").write_text(f"{text}\n\n    {shlex.join(['python', *sys.argv])}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
