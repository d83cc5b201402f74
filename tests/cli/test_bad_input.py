"""Bad input of every kind: right exit code, a message with the value and the mend, no file changed."""

from __future__ import annotations

import hashlib
import json
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from cli.networks import DIGITS, QUICK, network
from PIL import Image

NAN = float("nan")


@dataclass
class Bad:
    """A command line (`make` creates its files first), its exit code, and texts that the message must contain."""

    name: str
    arguments: list[str]
    texts: list[str]
    code: int = 2
    make: Callable[[Path], object] = lambda here: None


def distill(name: str, *arguments: str, texts: list[str], code: int = 2, make=lambda here: None) -> Bad:
    return Bad(name, ["distill", *QUICK, *arguments], texts, code, make)


def npz(**arrays) -> Callable[[Path], object]:
    def make(here: Path) -> None:
        images, labels = np.zeros((40, 8, 8), np.uint8), np.arange(40) % 4
        all_arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels} | arrays
        np.savez(here / "my.npz", **{k: v for k, v in all_arrays.items() if v is not None})

    return make


def photos(here: Path, classes: dict[str, int], root: str = "photos") -> None:
    for name, count in classes.items():
        folder = here / root / name
        folder.mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((8, 8, 3), 40 * i, np.uint8)).save(folder / f"{i}.png")


def corrupt(here: Path) -> None:
    photos(here, {"cat": 3, "dog": 3})
    (here / "photos/dog/1.png").write_bytes(b"no picture")


def split(here: Path) -> None:
    photos(here, {"cat": 3, "dog": 3}, "photos/train")
    photos(here, {"cat": 3, "cow": 3}, "photos/test")


def torn(path: Path, fraction: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])


def module(name: str, text: str) -> Callable[[Path], object]:
    return lambda here: (here / f"{name}.py").write_text(text)


def torch_file(here: Path) -> None:
    torch.save({"layer1.weight": torch.zeros(3)}, here / "other.pt")


def nothing_there(here: Path) -> None:
    (here / "empty").mkdir()


def full(here: Path) -> None:
    (here / "full").mkdir()
    (here / "full/precious.txt").write_text("keep me")


BAD = [
    # names
    distill("unknown loss", "method=dkdd", texts=["unknown method 'dkdd'", "did you mean 'dkd'", "Known:", "kd"]),
    distill("unknown recipe", "method=cifar-benchmrk", texts=["cifar_benchmark", "cifar-benchmrk"]),
    distill("no sum of losses", "method=kd+*at", texts=["method='kd+*at'", "kd+0.5*at"]),
    distill("unknown model", "student=resnet21x", texts=["unknown model 'resnet21x'", "resnet20"]),
    distill("unknown teacher", "teacher=movingaverage", texts=["unknown model 'movingaverage'", "Known:"]),
    distill(
        "unknown source of models", "student=tim:resnet18", texts=["source of models 'tim'", "did you mean 'timm'"]
    ),
    distill("unknown model of timm", "student=timm:resnet19", texts=["timm has no model 'resnet19'", "did you mean"]),
    distill("unknown data", "data=digit", texts=["unknown data 'digit'", "did you mean 'digits'"]),
    distill("data without its path", "data=folder", texts=["data 'folder'", "folder:PATH"]),
    distill("unknown key", "epoch=3", texts=["unknown key 'epoch'", "did you mean epochs", "--help"]),
    distill("unknown augmentation", "augment=flip", texts=["unknown augment 'flip'", "crop-flip"]),
    distill(
        "unknown layer", "method=[{name: at, student: layer9}]", texts=["term 'at'", "layer 'layer9'", "layer3"], code=1
    ),
    distill(
        "unknown option of a loss",
        "method=[{name: kd, temprature: 2}]",
        texts=["temprature", "did you mean 'temperature'"],
    ),
    distill("unknown connector", "method=[{name: fitnet, connector: conv}]", texts=["connector 'conv'", "conv1x1"]),
    distill("a term without a name", "method=[{weight: 2}]", texts=["needs a name", "{name: at, weight: 0.5}"]),
    distill(
        "unequal numbers of layers",
        "method=[{name: at, student: [layer1, layer2], teacher: layer1}]",
        texts=["2 student layers", "1 teacher layers", "as many on both sides"],
    ),
    Bad("unknown sub-command", ["distil"], ["unknown sub-command 'distil'", "did you mean 'distill'", "--help"]),
    Bad("unknown kind of list", ["list", "loses"], ["unknown kind 'loses'", "did you mean 'losses'"]),
    Bad("unknown part to show", ["show", "dkdd"], ["unknown part 'dkdd'", "did you mean 'dkd'"]),
    Bad("an option instead of key=value", ["distill", "--epochs", "3"], ["'--epochs'", "epochs=…"]),
    Bad("unknown key of layers", ["layers", "resnet20", "sise=3"], ["sise", "size="]),
    Bad("a missing argument", ["evaluate"], ["RUN_OR_FILE"]),
    # the file and the arguments
    Bad("missing file", ["distill", "nothere.yaml"], ["nothere.yaml", "No such file"]),
    Bad(
        "broken YAML",
        ["distill", "my.yaml"],
        ["my.yaml", "isn't valid YAML"],
        make=lambda here: (here / "my.yaml").write_text("epochs: [3\nlr: {"),
    ),
    Bad(
        "YAML that is a list",
        ["distill", "my.yaml"],
        ["my.yaml", "list", "expected keys and values"],
        make=lambda here: (here / "my.yaml").write_text("- epochs\n- 3\n"),
    ),
    Bad(
        "YAML that isn't text",
        ["distill", "my.yaml"],
        ["my.yaml", "isn't valid YAML"],
        make=lambda here: (here / "my.yaml").write_bytes(b"\xff\xfe\x00\x81"),
    ),
    Bad("a word without =", ["distill", "epochs"], ["'epochs'", "expected key=value"]),
    distill("a value that isn't YAML", "method=[kd", texts=["method=[kd", "isn't valid YAML"]),
    # values out of range, contradictions
    distill("no epochs", "epochs=0", texts=["epochs=0", "greater than or equal to 1"]),
    distill("negative lr", "lr=-1", texts=["lr=-1", "greater than 0", "learning rate"]),
    distill("lr in words", "lr=fast", texts=["lr='fast'", "valid number"]),
    distill("no batch", "batch_size=0", texts=["batch_size=0", "greater than or equal to 1"]),
    distill("val too large", "val=0.9", texts=["val=0.9", "less than or equal to 0.5"]),
    distill("no seeds", "seeds=0", texts=["seeds=0", "greater than or equal to 1"]),
    distill("negative temperature", "method=[{name: kd, temperature: -1}]", texts=["temperature=-1", "above 0"]),
    distill("temperature in words", "method=[{name: kd, temperature: hot}]", texts=["kd", "temperature", "'hot'"]),
    distill("warm-up beyond the epochs", "lr_warmup=5", "epochs=3", texts=["lr_warmup=5", "epochs=3", "shorter"]),
    distill(
        "a term's warm-up beyond the epochs", "method=[{name: kd, warmup: 9}]", texts=["warmup=9", "kd", "epochs=1"]
    ),
    distill("fp16 on the CPU", "precision=16", texts=["precision=16", "needs a GPU", "precision=32"]),
    distill("no GPU", "device=cuda", texts=["device=cuda", "cpu"]),
    distill("unknown device", "device=gpuu", texts=["device=gpuu", "cpu"]),
    distill("batches that can't be spread", "devices=3", texts=["batch_size=64", "devices=3", "multiple"]),
    distill("accumulating beyond the epoch", "accumulate=99", texts=["accumulate=99", "smaller"]),
    distill("mutual with a teacher", "scheme=mutual", texts=["teacher='cnn2'", "scheme=mutual", "leave it out"]),
    distill("kd without a teacher", "teacher=none", texts=["method='kd'", "needs a teacher", "tutelage train"]),
    Bad("train with a teacher", ["train", "teacher=cnn4"], ["teacher=cnn4", "tutelage distill"]),
    Bad("no student", ["distill", "data=npz:my.npz", "teacher=cnn2"], ["no student", "student=resnet20"]),
    distill("another task", "task=segmentation", texts=["segmentation", "classification", "digits"]),
    distill(
        "several faults at once",
        "epochs=0",
        "lr=-1",
        "sed=3",
        "val=2",
        texts=["epochs=0", "lr=-1", "unknown key 'sed'", "seed", "val=2"],
    ),
    # data
    distill("limit below the classes", "limit=4", texts=["limit=4", "10 classes", "labels_per_class"]),
    distill("a missing npz", "data=npz:none.npz", code=1, texts=["none.npz", "no such file", "x_train"]),
    distill("npz without keys", "data=npz:my.npz", code=1, make=npz(x_train=None), texts=["my.npz", "x_train"]),
    distill(
        "npz of unequal lengths",
        "data=npz:my.npz",
        code=1,
        make=npz(y_train=np.arange(7) % 4),
        texts=["40 samples in x_train, 7 targets"],
    ),
    distill(
        "npz of objects",
        "data=npz:my.npz",
        code=1,
        make=npz(y_train=np.array([{}] * 40, object)),
        texts=["my.npz", "without objects"],
    ),
    distill(
        "labels out of range", "data=npz:my.npz", code=1, make=npz(y_test=np.arange(40)), texts=["label 39", "classes"]
    ),
    distill(
        "NaN pixels", "data=npz:my.npz", code=1, make=npz(x_train=np.full((40, 8, 8), NAN)), texts=["x_train", "NaN"]
    ),
    distill("a missing folder", "data=folder:photos", code=1, texts=["photos"]),
    distill(
        "folder without classes",
        "data=folder:empty",
        code=1,
        make=nothing_there,
        texts=["empty", "one folder of images"],
    ),
    distill(
        "empty class folder",
        "data=folder:photos",
        code=1,
        make=lambda h: photos(h, {"cat": 3, "dog": 0}),
        texts=["dog", "no images", "remove the folder"],
    ),
    distill("corrupt image", "data=folder:photos", code=1, make=corrupt, texts=["dog/1.png"]),
    distill(
        "train and test of other classes",
        "data=folder:photos",
        code=1,
        make=split,
        texts=["dog", "cow", "same in each"],
    ),
    # models
    distill(
        "teacher of other classes",
        "teacher=t.safetensors",
        "teacher_epochs=0",
        make=lambda h: network(h / "t.safetensors", ("a", "b", "c")),
        texts=["t.safetensors", "of other classes", "a, b, c"],
    ),
    distill(
        "teacher of another class order",
        "teacher=t.safetensors",
        "teacher_epochs=0",
        make=lambda h: network(h / "t.safetensors", DIGITS[::-1]),
        texts=["in another order", "same order"],
    ),
    distill(
        "teacher with NaN weights",
        "teacher=t.safetensors",
        "teacher_epochs=0",
        code=1,
        make=lambda h: network(h / "t.safetensors", scale=NAN),
        texts=["t.safetensors", "NaN", "weights"],
    ),
    distill(
        "a torn teacher",
        "teacher=t.safetensors",
        "teacher_epochs=0",
        code=1,
        make=lambda h: torn(network(h / "t.safetensors")),
        texts=["t.safetensors", "torn"],
    ),
    distill("missing module", "student=python:not_there:small", texts=["not_there", "PYTHONPATH"]),
    distill(
        "module without that name", "student=python:bad_none:big", make=module("bad_none", "x = 1"), texts=["no 'big'"]
    ),
    distill(
        "callable that makes no module",
        "student=python:bad_type:f",
        code=1,
        make=module("bad_type", "def f(**k):\n    return 3\n"),
        texts=["returned int", "torch.nn.Module"],
    ),
    distill(
        "callable that fails",
        "student=python:bad_luck:g",
        code=1,
        make=module("bad_luck", "def g(**k):\n    raise OSError('no luck')\n"),
        texts=["python:bad_luck:g", "no luck"],
    ),
    distill(
        "model with other classes",
        "student=python:bad_head:h",
        code=1,
        make=module(
            "bad_head", "from torch import nn\ndef h(**k):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))\n"
        ),
        texts=["python:bad_head:h", "10 classes"],
    ),
    distill("missing weights", "teacher_weights=none.pt", code=1, texts=["none.pt", ".safetensors"]),
    distill(
        "weights of another network",
        "teacher_weights=other.pt",
        code=1,
        make=torch_file,
        texts=["other.pt", "doesn't fit", "same architecture"],
    ),
    distill(
        "images too small for the model",
        "student=vgg8",
        "size=2",
        code=1,
        texts=["VGG", "8×8 pixels or more", "(2, 2)"],
    ),
    distill(
        "a segmenter for a classification", "student=seg16", texts=["seg16", "segmentation", "not for classification"]
    ),
    # the output folder
    distill(
        "a folder that isn't empty", "out=full", make=full, texts=["out=full", "isn't empty", "tutelage resume full"]
    ),
    distill("a folder that can't be made", "out=/proc/tutelage", code=1, texts=["out=/proc/tutelage", "may write"]),
    distill(
        "a folder under a file", "out=full/precious.txt/run", code=1, make=full, texts=["precious.txt", "may write"]
    ),
    # runs
    Bad("resume what is no run", ["resume", "empty"], ["empty", "no run folder", "config.yaml"], 1, nothing_there),
    Bad("report on what is no run", ["report", "empty"], ["empty", "result.json"], 1, nothing_there),
    Bad("evaluate what is no run", ["evaluate", "empty"], ["empty", "student.safetensors"], 1, nothing_there),
    Bad(
        "evaluate on data of other classes",
        ["evaluate", "t.safetensors"],
        ["10", "t.safetensors", "same classes"],
        2,
        lambda h: network(h / "t.safetensors", ("a", "b", "c")),
    ),
    Bad(
        "evaluate on unknown data",
        ["evaluate", "t.safetensors", "data=digit"],
        ["did you mean 'digits'"],
        2,
        lambda h: network(h / "t.safetensors"),
    ),
    Bad("layers of an unknown model", ["layers", "resnet21x"], ["unknown model 'resnet21x'"]),
]


def contents(here: Path) -> dict[Path, str]:
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in here.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_is_refused_clearly(bad, tutelage, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    bad.make(tmp_path)
    before = contents(tmp_path)
    code, output = tutelage(*bad.arguments)
    assert code == bad.code, output
    for text in bad.texts:
        assert text in output
    assert "Traceback" not in output
    assert "unexpected" not in output
    assert contents(tmp_path) == before


def test_each_fault_is_on_its_own_line(tutelage):
    _, output = tutelage("distill", "epochs=0", "lr=-1", "sed=3")
    assert [line.split()[1] for line in output.splitlines() if line.startswith("error:")] == [
        "epochs=0:",
        "lr=-1:",
        "unknown",
    ]


@pytest.mark.parametrize(
    ("file", "fraction", "texts"),
    [
        ("config.yaml", 0.5, ["config.yaml", "torn", "new run"]),
        ("config.yaml", 0.0, ["config.yaml", "torn"]),
        ("environment.json", 0.5, ["environment.json", "was altered", "SHA256SUMS"]),
        ("student-0/phase.json", 0.5, ["phase.json", "was altered", "SHA256SUMS"]),
    ],
)
def test_a_torn_run_isnt_resumed(tutelage, finished, file, fraction, texts):
    torn(finished / file, fraction)
    code, output = tutelage("resume", str(finished))
    assert code == 1, output
    assert all(text in output for text in texts), output
    assert "Traceback" not in output


def test_a_torn_student_is_named(tutelage, finished):
    for fraction in (0.9, 0.01):
        torn(finished / "student.safetensors", fraction)
        code, output = tutelage("evaluate", str(finished))
        assert code == 1
        assert "student.safetensors" in output
        assert "torn" in output


def test_a_run_whose_data_was_edited_isnt_resumed(tutelage, finished):
    text = (finished / "config.yaml").read_text()
    (finished / "config.yaml").write_text(text.replace("limit: 64", "limit: 65"))
    code, output = tutelage("resume", str(finished))
    assert code == 2
    assert "limit=65: the run was begun with limit=64" in output


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["student=cnn4"], ["student='cnn4'", "student='cnn2'", "epochs"]),
        (["epochs=0"], ["epochs=0"]),
        (["--epochs", "3"], ["epochs=…"]),
        (["epochs"], ["expected key=value"]),
        (["epoch=3"], ["did you mean epochs"]),
        (["callbacks=3"], ["unknown key 'callbacks'"]),
    ],
)
def test_a_key_that_may_not_change_on_resume_is_refused(tutelage, finished, arguments, texts):
    code, output = tutelage("resume", str(finished), *arguments)
    assert code == 2, output
    assert all(text in output for text in texts), output


def test_a_finished_run_can_get_more_epochs(tutelage, finished):
    code, output = tutelage("resume", str(finished), "epochs=2", "workers=0")
    assert code == 0, output
    assert [
        json.loads((finished / f"{name}-0/phase.json").read_text())["epochs"] for name in ("baseline", "student")
    ] == [
        2,
        2,
    ]


def test_a_torn_checkpoint_is_named_and_the_one_before_is_used(tutelage, stopped):
    newest = sorted(stopped.glob("student-0/checkpoints/*.pt"))[-1]
    torn(newest)
    code, output = tutelage("resume", str(stopped))
    assert code == 0, output
    assert f"{newest.name} is torn" in output
    assert "the one before it is used" in output
    assert (stopped / "student.safetensors").exists()


def test_if_all_checkpoints_are_torn_nothing_is_trained(tutelage, stopped):
    for path in stopped.glob("student-0/checkpoints/*.pt"):
        torn(path)
    before = contents(stopped / "student-0" / "checkpoints")
    code, output = tutelage("resume", str(stopped))
    assert code == 1
    assert "all checkpoints" in output
    assert "Delete them to begin this part again" in output
    assert contents(stopped / "student-0" / "checkpoints") == before


def test_a_full_disk_keeps_what_was_saved(tutelage, stopped):
    before = contents(stopped / "student-0" / "checkpoints")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        code, output = tutelage("resume", str(stopped))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1, output
    assert "can't be written" in output
    assert "Free some space" in output
    assert "Traceback" not in output
    assert contents(stopped / "student-0" / "checkpoints") == before
    code, output = tutelage("resume", str(stopped))
    assert code == 0, output
