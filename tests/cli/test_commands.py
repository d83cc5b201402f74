from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli.networks import QUICK, network
from small import communities
from typer.testing import CliRunner

from tutelage import api, cli
from tutelage.cli import FOLDER
from tutelage.config.schema import Config
from tutelage.utils import registry

COMMANDS = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))


def process(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tutelage", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)


def test_help_needs_no_torch():
    script = (
        "import sys\nfrom tutelage.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'torch', 'pydantic', 'numpy', 'lightning', 'yaml'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for name in COMMANDS:
        assert re.search(rf"│ {name} ", done.stdout)


@pytest.mark.parametrize("arguments", [["distill", "--help"], ["list", "losses"], ["list", "recipes"], ["--version"]])
def test_these_need_no_torch_either(arguments):
    script = (
        "import sys\nfrom tutelage.cli import app\n"
        f"try:\n    app({arguments})\nexcept SystemExit as end:\n    assert not end.code\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_an_example(tutelage, name):
    code, output = tutelage(name, "--help")
    assert code == 0
    assert f"tutelage {name}" in output
    assert "Example" in output
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    bracketed = [
        word for line in re.findall(rf"^ +tutelage {name} .*", source, re.M) for word in line.split() if "[" in word
    ]
    assert all(word in output for word in bracketed)  # a list isn't taken for a style


def test_help_lists_every_key_with_default_and_range(tutelage):
    _, output = tutelage("distill", "--help")
    for key, field in Config.model_fields.items():
        line = next(line for line in output.splitlines() if re.match(rf"{key}\s", line))
        assert ("none" if field.default is None else str(field.default)) in line
    assert "≥ 1, ≤ 100,000" in output
    assert "sgd | adamw" in output


def test_no_arguments_show_the_help(tutelage):
    code, output = tutelage()
    assert code == 2
    assert "distill" in output


def test_distill_prints_a_summary_and_resume_and_report_repeat_it(tutelage, tmp_path):
    (tmp_path / "my.yaml").write_text("epochs: 3\nseeds: 2\nmethod:\n  - {name: at, weight: 2}\n  - kd\n")
    code, output = tutelage("distill", "my.yaml", *QUICK, "out=here")
    assert code == 0, output
    assert "at: student layer1 (2, 8, 8) ← teacher layer1 (2, 8, 8)" in output
    assert "baseline 2/2" in output
    assert "student 2/2: done" in output
    for row in ("teacher", "student alone", "student taught"):
        assert re.search(rf"^{row} +cnn2 +0\.\d{{4}}", output, re.MULTILINE)
    cost = r"[\d.]+ m?s, [\d,]+ MB"
    scope = "" if torch.cuda.is_available() else " of the process so far"
    line = f"^time per step and peak memory{scope}: teacher {cost}; student alone {cost}; student taught {cost}$"
    assert re.search(line, output, re.MULTILINE)
    gain = json.loads((tmp_path / "here/result.json").read_text())["gain"]
    begins = {"beats": "beats", "undecided": "Undecided", "worse": "is worse than"}[gain["verdict"]]
    assert begins in output
    assert f"{gain['mean']:+.4f}" in output
    assert 'tutelage.load("here")' in output
    assert json.loads((tmp_path / "here/result.json").read_text())["student"]["values"]
    assert "epochs: 1" in (tmp_path / "here/config.yaml").read_text()
    code, summary = tutelage("resume", "here")
    assert code == 0
    assert output.endswith(summary)
    (tmp_path / "here/report.html").unlink()
    code, output = tutelage("report", "here")
    assert (code, output.strip()) == (0, "here/report.html")
    assert (tmp_path / "here/report.html").exists()


def test_train_has_no_teacher_and_its_run_is_one(tutelage, tmp_path):
    code, output = tutelage("train", "student=cnn2", "epochs=1", "limit=64", "device=cpu", "out=big")
    assert code == 0, output
    assert "teacher" not in output
    code, output = tutelage("distill", *QUICK, "teacher=big", "teacher_epochs=null", "baseline=false", "out=small")
    assert code == 0, output
    assert "teacher: 1 epochs" not in output


def test_evaluate_gives_the_metrics_of_the_run(tutelage, finished):
    result = json.loads((finished / "result.json").read_text())
    code, output = tutelage("evaluate", str(finished))
    assert code == 0
    assert f"accuracy           {result['student']['accuracy']:.4f}" in output
    _, of_file = tutelage("evaluate", str(finished / "student.safetensors"), "data=digits")
    assert of_file == output


def test_layers_of_a_name_and_of_a_run(tutelage, finished):
    _, output = tutelage("layers", "resnet8", "size=16", "channels=1")
    assert re.search(r"layer2 +\w+ +32 × 8 × 8 +stage 2 +1", output)
    assert "conv1" not in output
    _, output = tutelage("layers", "resnet8", "--all")
    assert re.search(r"layer1\.0\.conv1 +Conv2d +16 × 32 × 32 +1", output)
    _, output = tutelage("layers", str(finished))
    assert "496 parameters, input 1 × 8 × 8" in output
    _, output = tutelage("layers", "cnn2", "data=digits")
    assert "496 parameters, input 1 × 8 × 8" in output


@pytest.mark.parametrize(
    ("name", "layer", "output"),
    [
        ("seg4", "layer4", "32 × 4 × 4"),
        ("unet4", "layer3", "16 × 8 × 8"),
        ("edsr4x16-x2", "upsample", "16 × 64 × 64"),
        ("timed-unet4", "layer2", "8 × 16 × 16"),
        ("tcn-2-4", "layer2", "4 × 32"),
        ("gcn-2-16", "body", "16"),
        ("gin-2-16-pool", "body", "16"),
        ("fcos-resnet10-32", "detector.backbone:0", "32 × 4 × 4"),
    ],
)
def test_layers_of_networks_of_every_task(tutelage, name, layer, output):
    code, text = tutelage("layers", name)
    assert code == 0, text
    assert re.search(rf"^{layer} +\w+ +{output} ", text, re.MULTILINE), text


def test_layers_of_a_run_on_a_graph(tutelage, tmp_path):
    data = communities(tmp_path / "small.npz")
    keys = {"epochs": 1, "device": "cpu", "out": str(tmp_path / "run")}
    run = api.train("gcn-2-8", data=data, **keys)
    assert re.search(r"body +\w+ +8 ", tutelage("layers", str(run.folder))[1])
    assert re.search(r"body +\w+ +8 ", tutelage("layers", "gcn-2-8", f"data={data}")[1])


def test_list_and_show_know_every_part(tutelage):
    for package in registry.KINDS:
        _, output = tutelage("list", package)
        for entry in registry.catalogue(package).values():
            assert re.search(rf"^{entry.name} ", output, re.MULTILINE)
            code, shown = tutelage("show", entry.name)
            assert code == 0
            assert entry.summary in shown
    _, output = tutelage("list", "losses")
    assert re.search(r"^kd +response .*\n? .*arXiv:1503.02531", output, re.MULTILINE)
    _, output = tutelage("show", "dkd")
    for text in (
        "β·T²·KL",
        "beta",
        "8.0",
        "arXiv:2203.08679",
        "weight: 1, with weight 1 of the task loss",
        "targets",
        "method=dkd",
    ):
        assert text in output


@pytest.mark.parametrize(
    ("kind", "word"),
    [("models", "resnetD"), ("data", "folder:PATH"), ("recipes", "dml"), ("protocols", "crd_cifar100_small")],
)
def test_list_the_rest(tutelage, kind, word):
    code, output = tutelage("list", kind)
    assert code == 0
    assert word in output


def test_list_everything(tutelage):
    code, output = tutelage("list")
    assert code == 0
    for word in ("losses", "frskd", "multi_task", "mutual_adversarial", "digits-tasks"):
        assert word in output


def test_show_a_protocol(tutelage):
    code, output = tutelage("show", "crd_cifar100")
    assert code == 0
    for text in ("arXiv:1910.10699", "epochs: 240", "lr: 0.01", "held out for validation", "resnet8x4", "73.33"):
        assert text in output


def test_show_a_recipe(tutelage):
    _, output = tutelage("show", "dml")
    assert "mutual" in output


def test_an_unexpected_error_is_one_line_and_a_file(tutelage, tmp_path, monkeypatch):
    monkeypatch.setattr("tutelage.models.serialization.load", lambda path: 1 / 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, output = tutelage("layers", "x.safetensors")
    assert code == 1
    assert "Traceback" not in output
    assert "unexpected ZeroDivisionError" in output
    (file,) = tmp_path.glob("tutelage-*.txt")
    assert str(file) in output
    assert "Traceback" in file.read_text()


@pytest.mark.parametrize("how", ["--debug", "after", "variable"])
def test_debug_shows_the_traceback(tutelage, monkeypatch, how):
    arguments = {"--debug": ["--debug", "show", "x"], "after": ["show", "x", "--debug"], "variable": ["show", "x"]}[how]
    if how == "variable":
        monkeypatch.setenv("TUTELAGE_DEBUG", "1")
    code, output = tutelage(*arguments)
    assert code == 2
    assert "Traceback" in output
    assert "unknown part 'x'" in output


@pytest.mark.parametrize(
    ("error", "texts"),
    [
        (MemoryError("can't allocate 3 GB"), ["out of memory", "3 GB", "batch_size"]),
        (RuntimeError("CUDA out of memory. Tried\nmore"), ["out of memory", "batch_size"]),
        (OSError(28, "No space left on device"), ["disk is full", "tutelage resume"]),
    ],
)
def test_missing_memory_or_disk_space_has_its_own_message(tutelage, monkeypatch, error, texts):
    def load(path):
        raise error

    monkeypatch.setattr("tutelage.models.serialization.load", load)
    code, output = tutelage("layers", "x.safetensors")
    assert code == 1
    assert all(text in output for text in texts)


def test_an_interrupt_is_130(tutelage, monkeypatch):
    def load(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("tutelage.models.serialization.load", load)
    code, output = tutelage("layers", "x.safetensors")
    assert code == 130
    assert "interrupted" in output


def test_as_a_process(tmp_path):
    """Exit code, message on standard error, models from the working directory, no colours into a pipe."""
    (tmp_path / "my_models.py").write_text(
        "from torch import nn\ndef flat(**k):\n    return nn.Sequential(nn.Flatten())\n"
    )
    done = process("layers", "python:my_models:flat", "size=4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0 parameters" in done.stdout
    assert "\x1b" not in done.stdout
    done = process("layers", "python:my_modls:flat", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: can't import 'my_modls'")


def test_only_the_first_process_prints(tutelage, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert tutelage("list", "tasks") == (0, "")


def test_a_closed_pipe_isnt_an_error():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "tutelage", "list", "losses"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert done.stderr == b""


def test_check_writes_nothing(tutelage, tmp_path):
    network(tmp_path / "t.safetensors")
    code, output = tutelage("check", *QUICK, "method=fitnet+0.5*kd")
    assert code == 0, output
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]
    for text in (
        "64 training",
        "10 classes",
        "496 parameters",
        "3,536 MACs per sample",
        "ms per step",
        "% of it for the teacher",
        "% cheaper",
    ):
        assert text in output
    assert re.search(r"kd +0\.5 +\d", output)
    assert re.search(
        r"fitnet: student layer2 \(4, 4, 4\) ← teacher layer2 \(4, 4, 4\) through Regressor \(28 trainable", output
    )
    assert re.search(r"^ok +the teacher is frozen", output, re.MULTILINE)
    assert re.search(r"^warning +epochs=1 is hardly", output, re.MULTILINE)


def test_check_takes_real_steps_on_request(tutelage, tmp_path):
    network(tmp_path / "t.safetensors")
    code, output = tutelage("check", *QUICK, "epochs=3", "steps=3")
    assert code == 0, output
    assert re.search(r"^(ok|warning) +in 3 real steps the sum of the losses went from", output, re.MULTILINE)
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]
    for wrong in ("0", "x", "1e3", "99999"):
        code, output = tutelage("check", *QUICK, f"steps={wrong}")
        assert code == 2
        assert "expected the number of steps" in output


def test_check_reports_an_untrained_teacher_and_a_layer_that_isnt_there(tutelage, tmp_path):
    network(tmp_path / "t.safetensors")
    code, output = tutelage("check", *QUICK, "teacher=t.safetensors", "teacher_epochs=0")
    assert code == 0, output
    assert re.search(r"^warning +the teacher's accuracy on the validation split is 0", output, re.MULTILINE)
    code, output = tutelage("check", *QUICK, "method=[{name: at, student: layer9}]")
    assert code == 1
    assert re.search(r"^error +term 'at': unknown layer 'layer9'", output, re.MULTILINE)
    code, output = tutelage("check", "method=dml", "student=cnn2", "limit=64", "device=cpu")
    assert code == 0, output
    assert re.search(r"peer1/kd +0\.\d+", output)
    code, output = tutelage("check", "method=mcl", "student=cnn2", "limit=64", "device=cpu")
    assert code == 0, output
    assert re.search(r"mcl +\d", output)


def test_a_list_can_be_filtered_by_words(tutelage):
    code, output = tutelage("list", "losses", "Attention", "ICLR")
    assert code == 0
    names = [line.split()[0] for line in output.splitlines() if line.strip()]
    assert "at" in names
    assert "kd" not in names
    code, output = tutelage("list", "losses", "nothing-says-this")
    assert code == 2
    assert "contains 'nothing-says-this'" in output


@pytest.mark.parametrize(
    ("arguments", "lists"),
    [
        (["distill", "method=kdd"], "tutelage list losses"),
        (["distill", "student=resnet21x"], "tutelage list models"),
        (["distill", "scheme=mutula"], "tutelage list schemes"),
        (["distill", "recipe=tak"], "tutelage list recipes"),
        (["show", "kdd"], "tutelage list"),
    ],
)
def test_an_unknown_name_gets_similar_names_once_and_the_list_command(tutelage, arguments, lists):
    code, output = tutelage(*arguments)
    assert code == 2
    assert lists in output
    assert output.count("did you mean") == 1
    assert len(output) < 500


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("tutelage dis", ["distill"]),
        ("tutelage distill ep", ["epochs="]),
        ("tutelage check schedule=", ["schedule=cosine", "schedule=step", "schedule=constant"]),
        ("tutelage train baseline=t", ["baseline=true"]),
        ("tutelage distill log=t", ["log=tensorboard"]),
        ("tutelage distill nonsense=", []),
    ],
)
def test_the_shell_completes_commands_keys_and_choices(line, completions):
    environment = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_TUTELAGE_COMPLETE": "complete_bash"}
    output = CliRunner().invoke(cli.app, [], prog_name="tutelage", env=environment).output
    assert output.split() == completions


def test_check_draws_a_batch_also_for_a_run_that_it_refuses(tutelage):
    keys = ["data=digits", "teacher=cnn4", "student=cnn2", "device=cpu"]
    code, output = tutelage("check", *keys, "method=[{name: at, student: nowhere}]", "draw=pages/b.html")
    assert code == 1
    assert "a training batch is drawn in pages/b.html" in output
    assert Path("pages/b.html").read_text(encoding="utf-8").count("data:image/png") == 12


@pytest.mark.parametrize("path", ["b.png", "", "."])
def test_check_refuses_to_draw_into_what_is_no_page(tutelage, path):
    code, output = tutelage("check", "data=digits", "student=cnn2", "device=cpu", f"draw={path}")
    assert code == 2
    assert "expected the name of the page to write" in output
