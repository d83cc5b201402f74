"""Distillation without labels: the step against the same lines by hand, and against LightlyTrain on real images.

    python bench/label_free.py                                  the step
    python bench/label_free.py FOLDER [--lightly PYTHON]        FOLDER/train/CLASS, FOLDER/test/CLASS, as EuroSAT

The folder's training images are used without their labels; the labels judge the backbones (k-NN, k = 20). The teacher
is trained on them first. LightlyTrain runs as a program of its own, in the environment of PYTHON (pip install
lightly-train); nothing of it is imported here. Written to results/label_free_images.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import measure
import timm
import torch
import torch.nn.functional as F
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
from tutelage.tasks.probe_metrics import knn_accuracy
from tutelage.teachers.frozen import Frozen
from tutelage.training.trainer import Trainer

BATCH, SIDE = 64, 64
TEACHER, STUDENT = "resnet10t", "test_resnet"
LR, EPOCHS, SHORT = 1e-3, 10, 2
RESULTS = Path(__file__).parent / "results" / "label_free_images.md"
NORMALISATION = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}

LIGHTLY = """
import json, resource, sys, lightly_train
keys = json.loads(sys.argv[1])
if __name__ == "__main__":
    lightly_train.pretrain(**keys)
    print("SECONDS", sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
"""
OURS = """
import json, resource, sys, tutelage
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


def knn(weights: dict[str, torch.Tensor], name: str, folder: Path) -> float:
    """Return the k-NN accuracy of a network on the test images."""
    data = datasets.load(f"folder:{folder}", size=SIDE).normalised_by(*map(tuple, NORMALISATION.values()))
    network = timm.create_model(name, num_classes=0)
    network.load_state_dict(weights)
    bank, queries = (embed(network, data, split, 256) for split in ("train", "test"))
    return knn_accuracy(*bank, *queries, len(data.classes))


def seconds_of(python: str, program: str, keys: dict[str, object]) -> float:
    """Run a program with these keys, and return the seconds of CPU time that it used."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LIGHTLY_TRAIN_EVENTS_DISABLED": "1"}
    output = subprocess.run(
        [python, "-c", program, json.dumps(keys)], capture_output=True, text=True, check=False, env=environment
    )
    if "SECONDS" not in output.stdout:
        sys.exit(output.stdout[-2000:] + output.stderr[-4000:])
    return float(output.stdout.rpartition("SECONDS")[2])


def compare(folder: Path, lightly: str | None) -> list[tuple[str, float, float | None]]:
    """Return the rows of the table: name, k-NN accuracy, seconds a step."""
    work = Path(tempfile.mkdtemp())
    teacher_run = tutelage.train(
        f"timm:{TEACHER}", data=f"folder:{folder}", size=SIDE, epochs=15, batch_size=BATCH, out=str(work / "teacher"),
        device="cpu",
    )  # fmt: skip
    state = {k: x for k, x in load_file(teacher_run.folder / "student.safetensors").items() if not k.startswith("fc.")}
    torch.save(state, work / "teacher.pt")
    steps = len(list(folder.glob("train/*/*"))) // BATCH
    rows: list[tuple[str, float, float | None]] = [("teacher", knn(state, TEACHER, folder), None)]
    torch.manual_seed(0)
    rows.append(
        ("student, random weights", knn(timm.create_model(STUDENT, num_classes=0).state_dict(), STUDENT, folder), None)
    )
    pictures = work / "pictures"
    for split in ("train", "val", "test"):  # training sees all training images; the other splits only have to exist
        (pictures / split).parent.mkdir(parents=True, exist_ok=True)
        images = sorted((folder / "train").glob("*/*"))
        (pictures / split).mkdir()
        for number, image in enumerate(images if split == "train" else images[: BATCH // 2]):
            (pictures / split / f"{number}{image.suffix}").write_bytes(image.read_bytes())
    for method in ("embedding_cosine", "lightly_queue"):
        seconds = {}
        for epochs in (SHORT, EPOCHS):
            out = work / f"{method}-{epochs}"
            keys = {
                "student": f"timm:{STUDENT}", "teacher": f"timm:{TEACHER}", "teacher_weights": str(work / "teacher.pt"),
                "data": f"images:{pictures}", "task": "embedding", "method": method, "size": SIDE, "epochs": epochs,
                "batch_size": BATCH, "optimizer": "adamw", "lr": LR, "device": "cpu", "out": str(out),
                "augment": "crop-flip",
            }  # fmt: skip
            seconds[epochs] = seconds_of(sys.executable, OURS, keys)
        own_steps = (EPOCHS - SHORT) * -(-len(list((pictures / "train").iterdir())) // BATCH)
        step = (seconds[EPOCHS] - seconds[SHORT]) / own_steps
        rows.append((f"Tutelage, {method}", knn(load_file(out / "backbone.safetensors"), STUDENT, folder), step))
    if lightly is not None:
        rows.append(with_lightly(lightly, work, pictures / "train", steps, folder))
    return rows


def with_lightly(python: str, work: Path, pictures: Path, steps: int, folder: Path) -> tuple[str, float, float]:
    """Return LightlyTrain's row."""
    seconds = {}
    for epochs in (SHORT, EPOCHS):
        keys = {
            "out": str(work / f"lightly-{epochs}"), "data": str(pictures), "model": f"timm/{STUDENT}",
            "method": "distillationv1", "epochs": epochs, "batch_size": BATCH, "num_workers": 0, "devices": 1,
            "accelerator": "cpu", "precision": "32-true", "optim": "adamw", "optim_args": {"lr": LR},
            "method_args": {
                "teacher": f"timm/{TEACHER}", "teacher_weights": str(work / "teacher.pt"), "queue_size": 1024,
                "reference_batch_size": BATCH,
            },
            "transform_args": {"image_size": [SIDE, SIDE]},
        }  # fmt: skip
        seconds[epochs] = seconds_of(python, LIGHTLY, keys)
    exported = torch.load(work / f"lightly-{EPOCHS}" / "exported_models" / "exported_last.pt", weights_only=True)
    own = timm.create_model(STUDENT, num_classes=0).state_dict()
    state = {key: exported[key] for key in own}
    return (
        "LightlyTrain, distillationv1",
        knn(state, STUDENT, folder),
        (seconds[EPOCHS] - seconds[SHORT]) / ((EPOCHS - SHORT) * steps),
    )


def table(rows: list[tuple[str, float, float | None]]) -> str:
    """Return the rows as a table."""
    lines = ["| backbone | k-NN accuracy | CPU seconds a step |", "| --- | ---: | ---: |"]
    for name, accuracy, seconds in rows:
        lines.append(f"| {name} | {accuracy:.3f} | {'' if seconds is None else f'{seconds:.3f}'} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--lightly", default=None)
    arguments = parser.parse_args()
    if arguments.folder is None:
        measure.conclude([("label-free step, ours / by hand", measure_step(), 1.05)])
        return
    text = table(compare(arguments.folder, arguments.lightly))
    print(text)
    RESULTS.write_text(text + "\n")


if __name__ == "__main__":
    main()
