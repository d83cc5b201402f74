"""Each kind of part joins from another package: one file, named by an entry point, used from a configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from outside import installed
from typer.testing import CliRunner

import tutelage
from tutelage import cli
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
            images = torch.randint(0, 256, (60, 1, 8, 8), dtype=torch.uint8)
            classes = tuple(f"class{k}" for k in range(int(where)))
            return SourceData("graded", classes, (8, 8), "none", {"train": InMemorySplit(images, labels)})
        ''',
    "tasks": '''
        from tutelage.tasks.classification import Classification

        class Graded(Classification):
            """Classification under another name."""
        ''',
    "models": '''
        from torch import Tensor, nn
        from tutelage.models.zoo.base import ZooNetwork

        class Tiny(ZooNetwork):
            """One convolution and a classifier."""

            pattern, form, examples = r"tiny(?P<width>\\d+)", "tinyW", ("tiny4",)

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


def losses_of(run: tutelage.Finished, phase: str = "student-0") -> set[str]:
    """The terms that a phase logged."""
    import json

    rows = [json.loads(line) for line in (Path(run.folder) / phase / "metrics.jsonl").read_text().splitlines()]
    return {name for row in rows if row["kind"] == "step" for name in row["losses"]}


def distill(**keys: object) -> tutelage.Finished:
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


def test_a_model(package):
    assert type(distill(student="tiny4").student).__name__ == "Tiny"


def test_a_recipe(package):
    assert losses_of(distill(method="twice_as_soft")) == {"kd"}


def test_a_command(package):
    done = CliRunner().invoke(cli.app, ["hello", "there"])
    assert (done.exit_code, done.output) == (0, "hello there\n")
    assert "hello" in CliRunner().invoke(cli.app, ["--help"]).output


def test_a_teacher(package):
    (package / "logits.csv").write_text(
        "\n".join(
            ",".join(str(i % 10 == k).replace("True", "5").replace("False", "0") for k in range(10))
            for i in range(2000)
        )
    )
    teacher = {"name": "csv_logits", "file": "logits.csv"}
    assert losses_of(distill(teacher=teacher, teacher_epochs=None, method="kd")) == {"ce", "kd"}
    with pytest.raises(ConfigError, match="file"):
        check(KEYS | {"teacher": {"name": "csv_logits", "folder": "."}})


def test_all_are_listed(package):
    for kind, word in (
        ("losses", "largest_gap"),
        ("policies", "halving"),
        ("teachers", "csv_logits"),
        ("models", "tinyW"),
    ):
        assert word in CliRunner().invoke(cli.app, ["list", kind]).output
