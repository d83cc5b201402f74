"""Each kind of part joins from another package: one file, named by an entry point, used from a configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from outside import installed
from safetensors.torch import load_file
from small import Crash, CrashAt
from typer.testing import CliRunner

import tutelage
from tutelage import cli
from tutelage import data as datasets
from tutelage.config.schema import check
from tutelage.errors import ConfigError

KEYS = {"teacher": "cnn4", "student": "cnn2", "teacher_epochs": 0, "epochs": 1, "limit": 100, "batch_size": 20}
FILES = {
    "losses": '''
        from torch import Tensor
        from tutelage.losses.base import Response

        class LargestGap(Response):
            """The largest difference of two logits, by sample."""

            name = "largest_gap"
            margin: float = 0.0

            def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
                return (student - teacher).abs().amax(1) + self.margin
        ''',
    "policies": '''
        from tutelage.policies.base import Schedule

        class Halving(Schedule):
            """1, 1/2, 1/4 … by epoch."""

            begin: float = 1.0

            def at(self, epoch: float) -> float:
                return self.begin * 0.5**epoch
        ''',
    "schemes": '''
        from tutelage.schemes.offline import Offline

        class EveryOther(Offline):
            """The student learns from every n-th batch alone."""

            every: int = 2

            @classmethod
            def from_context(cls, context, every: int = 2):
                made = super().from_context(context)
                made.every = every
                return made

            def turns(self, batch, step):
                if step % self.every == 0:
                    yield from super().turns(batch, step)
        ''',
    "data": '''
        import torch
        from tutelage.data.preparation import SourceData
        from tutelage.data.splits import InMemorySplit

        NAMES = {"noise:CLASSES": "images of noise in so many classes"}

        def find(kind, where, size):
            labels = torch.arange(60) % int(where)
            generator = torch.Generator().manual_seed(0)
            images = torch.randint(0, 256, (60, 1, 8, 8), dtype=torch.uint8, generator=generator)
            classes = tuple(f"class{k}" for k in range(int(where)))
            return SourceData("graded", classes, (8, 8), "none", {"train": InMemorySplit(images, labels)})
        ''',
    "tasks": '''
        import torch
        from torchmetrics import MetricCollection
        from torchmetrics.regression import MeanAbsoluteError
        from tutelage.losses.base import Response
        from tutelage.tasks.base import Task
        from tutelage.tasks.confusion import Confusion

        def grade(response):
            return response.softmax(1) @ torch.arange(response.shape[1], dtype=response.dtype)

        class GradeError(Response):
            """The squared error of the mean grade, by sample."""

            needs_teacher = False

            def forward(self, student, teacher=None, *, targets):
                return (grade(student) - targets).square()

        class Distance(MeanAbsoluteError):
            """The distance of the mean grade from the target."""

            def update(self, response, targets):
                super().update(grade(response), targets.to(response.dtype))

        class Graded(Task):
            """Classes in an order: the mean grade should be near the target."""

            metric = "distance"
            higher_is_better = False

            def task_loss(self):
                return GradeError()

            def metrics(self, classes, shared=False):
                metrics = {"distance": Distance(), "confusion": Confusion(classes)}
                return MetricCollection(metrics, compute_groups=False)
        ''',
    "models": '''
        from torch import Tensor, nn
        from tutelage.models.zoo.base import ZooNetwork

        class Tiny(ZooNetwork):
            """One convolution and a classifier."""

            pattern, name_form, examples = r"tiny(?P<width>\\d+)", "tinyW", ("tiny4",)

            def __init__(self, classes: int, channels: int = 3, width: int = 4) -> None:
                super().__init__()
                self.layer1 = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU())
                self.fc = nn.Linear(width, classes)

            def forward(self, x: Tensor) -> Tensor:
                return self.fc(self.layer1(x).mean((2, 3)))
        ''',
    "recipes": '''
        """Soft targets alone, twice as soft."""

        def recipe() -> dict:
            return {"method": [{"name": "kd", "temperature": 8.0, "weight": 1.0, "task_loss_weight": 0.0}]}
        ''',
    "commands": '''
        """Print a word."""

        import typer

        app = typer.Typer(add_completion=False)

        @app.command()
        def hello(word: str) -> None:
            """Print a word."""
            print(f"hello {word}")
        ''',
    "teachers": '''
        import csv
        import torch
        from tutelage.nn.model_profile import response_profile
        from tutelage.structures import Outputs
        from tutelage.teachers.base import Teacher

        class CsvLogits(Teacher):
            """Logits from a CSV file: a row a training sample, a column a class."""

            name = "csv_logits"

            def __init__(self, file: str) -> None:
                super().__init__()
                with open(file, newline="") as lines:
                    self.register_buffer("logits", torch.tensor([[float(x) for x in row] for row in csv.reader(lines)]))

            @classmethod
            def from_context(cls, context, file: str):
                return cls(file)

            def forward(self, batch, layers=()):
                return Outputs(self.logits[batch.index])

            def profile(self, batch):
                return response_profile(self(batch).response)
        ''',
}  # fmt: skip
NAMES = {"recipes": "twice_as_soft", "commands": "hello"}
"""The entry points whose names are those of their parts; the others' are not used."""


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    """A package with one module of each kind."""
    modules = {f"{kind}.{NAMES.get(kind, 'outside')}": source for kind, source in FILES.items()}
    with installed("outside", modules, tmp_path):
        yield tmp_path


def losses_of(run: tutelage.FinishedRun, phase: str = "student-0") -> set[str]:
    """The terms that a phase logged."""
    rows = [json.loads(line) for line in (Path(run.folder) / phase / "metrics.jsonl").read_text().splitlines()]
    return {name for row in rows if row["kind"] == "step" for name in row["losses"]}


def distill(**keys: object) -> tutelage.FinishedRun:
    return tutelage.distill(out="run", baseline=False, **KEYS | keys)


def test_a_loss(package):
    assert "largest_gap" in losses_of(distill(method=[{"name": "largest_gap", "margin": 0.5}]))
    with pytest.raises(ConfigError, match="margin"):
        check(KEYS | {"method": [{"name": "largest_gap", "margin": "wide"}]})


def test_a_policy(package):
    assert "kd" in losses_of(distill(method=[{"name": "kd", "weight": {"name": "halving", "begin": 0.5}}]))


def test_a_scheme(package):
    distill(scheme={"name": "everyother", "every": 3})
    with pytest.raises(ConfigError, match="every"):
        check(KEYS | {"scheme": {"name": "everyother", "each": 3}})


def test_data_and_a_task(package):
    run = distill(data="noise:3", task="graded")
    assert run.student.fc.out_features == 3
    with pytest.raises(ConfigError, match="graded"):
        distill(task="graded", data="digits")


OBJECTS = {
    "data.squares": """
        import torch
        from tutelage.data.preparation import SourceData
        from tutelage.data.splits import LazySplit

        NAMES = {"squares:IMAGES": "images of up to three squares, with a box for each"}

        class Squares(LazySplit):
            def __init__(self, rows):
                self.rows = rows

            def __len__(self):
                return len(self.rows)

            def take(self, rows):
                return Squares(self.rows[rows])

            def fingerprint(self):
                return str(self.rows.tolist())

            def item(self, number, augmentation):
                row, image = int(self.rows[number]), torch.zeros(1, 8, 8, dtype=torch.uint8)
                corners = torch.tensor([[0, 0], [4, 4], [0, 4]])[: row % 4]
                for x, y in corners.tolist():
                    image[:, y : y + 3, x : x + 3] = 255
                return image, {"boxes": torch.cat([corners, corners + 3], 1).float(), "labels": corners[:, 0] // 4}

        def find(kind, where, size):
            train = Squares(torch.arange(int(where)))
            return SourceData("counting", (), (8, 8), "none", {"train": train}, target="objects")
        """,
    "tasks.counting": '''
        import torch
        from torchmetrics import MetricCollection
        from torchmetrics.regression import MeanAbsoluteError
        from tutelage.losses.base import Response
        from tutelage.tasks.base import Task

        def count(objects):
            return torch.tensor([float(len(of_sample["boxes"])) for of_sample in objects])

        class CountError(Response):
            """The squared error of the number of objects, by sample."""

            needs_teacher, response_kinds = False, ("values",)

            def forward(self, student, teacher=None, *, objects):
                return (student[:, 0] - count(objects)).square()

        class Counting(Task):
            """The number of objects."""

            metric, higher_is_better, response_kind = "mae", False, "values"

            def outputs(self, data):
                return 1

            def task_loss(self):
                return CountError()

            def metrics(self, outputs, shared=False):
                return MetricCollection({"mae": MeanAbsoluteError()})

            def update(self, metrics, response, batch):
                metrics.update(response[:, 0], count(batch.objects))

            def predictions(self, response, batch):
                return {"counts": response[:, 0], "targets": count(batch.objects)}
        ''',
}


def test_samples_of_as_many_objects_as_they_have(tmp_path):
    """Ragged targets, a list of mappings, from a source to a task's loss, metrics and predictions."""
    keys = {"teacher": "cnn8", "student": "cnn4", "batch_size": 16, "lr": 0.02, "device": "cpu", "log_every": 1}
    with installed("squares", OBJECTS, tmp_path):
        run = tutelage.distill(data="squares:120", method="logit_mse", epochs=6, teacher_epochs=12, **keys, out="run")
        assert run.result["teacher"]["mae"] < 0.8  # of 0 to 3 objects, always 1.5 is 1 off
        assert tutelage.evaluate("run").values["mae"] == pytest.approx(run.result["student"]["mae"])
        assert set(np.load("run/student-0/predictions.npz")) >= {"counts", "targets"}
        (batch, *_) = datasets.load("squares:120").batches("train", 16)
        assert [len(of_sample["boxes"]) for of_sample in batch.objects] == [n % 4 for n in rows_of(batch)]
        assert batch.part(2, 5).objects == batch.objects[2:5]
        with pytest.raises(Crash):
            tutelage.train("cnn4", data="squares:120", epochs=2, **small(keys), out="cut", callbacks=[CrashAt(12)])
        whole = tutelage.train("cnn4", data="squares:120", epochs=2, **small(keys), out="whole")
        resumed = tutelage.resume("cut")
        one, two = (load_file(x.folder / "student.safetensors") for x in (whole, resumed))
        assert all(torch.equal(one[name], two[name]) for name in one)
        for refused, message in (({"mix": "mixup"}, "don't mix"), ({"augment": "erasing"}, "moves or hides pixels")):
            with pytest.raises(ConfigError, match=message):
                tutelage.train("cnn4", data="squares:120", epochs=1, **small(keys), **refused)


def small(keys):
    return {key: value for key, value in keys.items() if key not in ("teacher", "student")}


def rows_of(batch):
    """The numbers of the rows of a batch: an image of n squares has 9n bright pixels."""
    bright = (batch.inputs > batch.inputs.min()).flatten(1).sum(1)
    return (bright // 9).tolist()


def command(*words: str) -> str:
    """The output of a command that succeeds."""
    done = CliRunner().invoke(cli.app, list(words), env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.output


def run_from_file(folder: Path, **keys: object) -> Path:
    """Check and distill from a configuration file, and return the run folder."""
    (folder / "run.yaml").write_text(yaml.safe_dump(KEYS | {"baseline": False, "out": "run"} | keys))
    command("check", "run.yaml")
    command("distill", "run.yaml")
    return folder / "run"


def rows(run: Path, kind: str) -> list[dict]:
    lines = (run / "student-0" / "metrics.jsonl").read_text().splitlines()
    return [row for line in lines if (row := json.loads(line))["kind"] == kind]


def test_a_task_decides_the_loss_the_metrics_and_the_best_student(package):
    assert "the mean grade should be near the target" in command("list", "tasks", "graded")
    assert "graded: a task" in command("show", "graded")
    run = run_from_file(package, data="noise:3", epochs=4, method="kd", keep="best")
    assert all(set(row["losses"]) == {"gradeerror", "kd"} for row in rows(run, "step"))
    distances = [row["val"]["distance"] for row in rows(run, "epoch")]
    phase = json.loads((run / "student-0" / "phase.json").read_text())
    assert phase["val"] == {"distance": min(distances), "best_epoch": distances.index(min(distances)) + 1}
    result = json.loads((run / "result.json").read_text())
    assert (result["metric"], result["higher_is_better"]) == ("distance", False)


def test_a_loaded_student_is_evaluated_by_its_task(package):
    run = run_from_file(package, data="noise:3")
    student, data = tutelage.load(run), datasets.load("noise:3", augment="none")
    batch = next(data.batches("test", len(data.test)))
    with torch.no_grad():
        response = student(batch.inputs)
    grades = response.softmax(1) @ torch.arange(3.0)
    expected = (grades - batch.targets).abs().mean().item()
    assert tutelage.evaluate(run).values["distance"] == pytest.approx(expected, rel=1e-4)
    assert f"{expected:.4f}" in command("evaluate", str(run))


def test_a_model(package):
    assert type(distill(student="tiny4").student).__name__ == "Tiny"


def test_a_recipe(package):
    assert losses_of(distill(method="twice_as_soft")) == {"kd"}


def test_a_command(package):
    done = CliRunner().invoke(cli.app, ["hello", "there"])
    assert (done.exit_code, done.output) == (0, "hello there\n")
    assert "hello" in CliRunner().invoke(cli.app, ["--help"]).output


@pytest.fixture
def logits(package: Path) -> torch.Tensor:
    """The logits in a CSV file: class 3, more or less certainly, whatever the sample is."""
    logits = torch.linspace(4, 6, 2000)[:, None] * torch.eye(10)[3]
    (package / "logits.csv").write_text("\n".join(",".join(map(str, row)) for row in logits.tolist()))
    return logits


CSV_TEACHER = {"teacher": {"name": "csv_logits", "file": "logits.csv"}, "teacher_epochs": None}


def test_a_teacher_teaches_what_its_file_says(package, logits):
    assert "a row a training sample" in command("list", "teachers", "csv_logits")
    assert "file" in command("show", "csv_logits")
    keys = CSV_TEACHER | {"method": [{"name": "kd", "temperature": 1.0, "weight": 1.0, "task_loss_weight": 0.0}]}
    run = run_from_file(package, **keys, epochs=30, lr=0.1)
    losses = [row["losses"] for row in rows(run, "step")]
    assert all(set(row) == {"kd"} for row in losses)
    assert losses[-1]["kd"] < 0.1 * losses[0]["kd"]
    with torch.no_grad():
        assert set(tutelage.load(run)(torch.rand(20, 1, 8, 8)).argmax(1).tolist()) == {3}


def test_a_student_of_a_teacher_from_outside_is_loaded_and_evaluated(package, logits):
    run = run_from_file(package, **CSV_TEACHER, method="kd")
    assert tutelage.load(run).fc.out_features == 10
    values = tutelage.evaluate(run).values
    result = json.loads((run / "result.json").read_text())
    assert values["accuracy"] == pytest.approx(result["student"]["values"][0])
    assert f"{values['accuracy']:.4f}" in command("evaluate", str(run))


def test_a_teachers_options_are_checked(package, logits):
    with pytest.raises(ConfigError, match="file"):
        check(KEYS | {"teacher": {"name": "csv_logits", "folder": "."}})


@pytest.mark.parametrize(
    ("kind", "name"),
    {
        "losses": "largest_gap",
        "policies": "halving",
        "schemes": "everyother",
        "teachers": "csv_logits",
        "tasks": "graded",
        "recipes": "twice_as_soft",
        "models": "tinyW",
        "data": "noise:CLASSES",
    }.items(),
)
def test_it_is_listed(package, kind: str, name: str) -> None:
    assert name in command("list", kind)
