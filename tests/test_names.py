"""Names from folders, files, classes and modules are displayed without side effects."""

import importlib.util
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

import tutelage
from tutelage import cli
from tutelage.errors import ConfigError
from tutelage.runs import progress
from tutelage.runs.reporting import write_report as write
from tutelage.training.callbacks import JsonLines, Logger, to_tag
from tutelage.training.events import EpochEnd, Message, StepEnd, TrainBegin, TrainEnd
from tutelage.utils import console

NAMES = {
    "ansi": "a\x1b[31mb\x1b[2J",
    "newline": "a\nerror: b",
    "carriage return": "a\rb",
    "bell": "a\x07\x08b",
    "markup": "[bold]a[/red] :smile:",
    "html": "<script>alert(1)</script>&\"'<b>",
    "svg": "</title></svg><img src=x onerror=alert(1)>",
    "jinja": "{{ 1 + 1 }}{% raw %}",
    "right to left": "a\u202egpj.exe",
    "not UTF-8": "a\udce9b",
    "C1": "a\x9b31mb",
}
every_name = pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
HARMFUL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")


class Page(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def rename_everything(run, name):
    """Give a run's classes, data, models, columns, terms and layers that name."""
    file = run / "result.json"
    result = json.loads(file.read_text())
    result["data"] |= {"name": name, "classes": [f"{name}{i}" for i in range(10)]}
    for role in ("teacher", "baseline", "student"):
        result[role]["model"] = name
        result[role]["columns"] = {name: 0.5}
    file.write_text(json.dumps(result))
    (run / "config.yaml").write_text(json.dumps({"student": name, "teacher": name, "data": f"folder:{name}"}))
    phase_file = run / "student-0" / "phase.json"
    phase = json.loads(phase_file.read_text())
    phase["terms"][0] |= {"name": name, "formula": name, "options": {name: name}}
    phase["pairs"] = [[name, name]]
    phase_file.write_text(json.dumps(phase))
    rows = [json.loads(line) for line in (run / "student-0" / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        for key in {"losses", "norms"} & row.keys():
            row[key] = {name: max(row[key].values())}
    (run / "student-0" / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return run


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("report_conftest", Path(__file__).parent / "report" / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_run(tmp_path_factory.mktemp("runs") / "run", examples=True)


@every_name
def test_in_the_report(name, plain_run, tmp_path):
    plain_page = Page(write(plain_run).read_text("utf-8"))
    text = write(rename_everything(shutil.copytree(plain_run, tmp_path / "run"), name)).read_text("utf-8")
    page = Page(text)
    assert not HARMFUL.search(text)
    assert set(page.tags) <= set(plain_page.tags) | {"wbr"}
    assert page.tags.count("script") == 1
    assert page.tags.count("img") == plain_page.tags.count("img")
    visible = re.sub(r"\s", "", "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name))
    text = re.sub(r"\s", "", page.text)
    assert visible in text or name.replace("\n", "") in text


@every_name
def test_in_the_terminal(name, capsys):
    console.print_lines(f"the class {name} is here", "next")
    console.print_table("", ("what", name), [(name, 1)])
    output = capsys.readouterr().out
    assert not HARMFUL.search(output)
    assert output.count("\n") >= 4
    assert [line for line in output.splitlines() if line.startswith("error")] == []
    assert not name.isprintable() or name in output


@every_name
@pytest.mark.parametrize("live", [True, False])
def test_in_the_progress(name, live, monkeypatch):
    file = io.StringIO()
    terminal = Console(
        file=file, force_terminal=live, width=200, markup=False, emoji=False, highlight=False, no_color=True
    )
    monkeypatch.setattr(progress, "console", lambda: terminal)
    with progress.ProgressDisplay(3) as display:
        display.on_phase_begin(f"stage{name}-0", 3)
        display.on_event(TrainBegin(2, 2, 0, {name: [(name, name)]}))
        display.on_event(StepEnd(1, 0.5, {name: 1.0}, 0.1))
        display.on_event(EpochEnd(2, 1, {f"accuracy/{name}": 0.5, "loss": 1.0}, "student"))
        display.on_event(Message(name, "warning"))
        display.on_event(Message(name))
        display.bar.refresh()
    output = re.sub(r"\x1b\[(\?25[lh]|2K|1A|0m|1m|\d*(;\d+)*m)|\r", "", file.getvalue()) if live else file.getvalue()
    assert not HARMFUL.search(output)
    assert "\x1b[2J" not in file.getvalue()
    assert [line for line in output.splitlines() if line.startswith("error: b")] == []
    assert not name.isprintable() or name in output


@every_name
def test_in_an_error_message(name, monkeypatch):
    def fail(*_, **__):
        raise ConfigError(f"the folder {name} isn't there")

    monkeypatch.setattr("tutelage.cli.arguments.split_file", fail)
    result = CliRunner().invoke(cli.app, ["distill"])
    assert result.exit_code == 2
    assert not HARMFUL.search(result.output)
    assert not name.isprintable() or name in result.output.replace("\n", "")


@every_name
def test_in_the_rows_of_a_training(name, tmp_path):
    rows = JsonLines(tmp_path / "metrics.jsonl")
    rows.on_event(StepEnd(1, 0.5, {name: 1.0}, 0.1))
    text = (tmp_path / "metrics.jsonl").read_text("utf-8")
    assert text.count("\n") == 1
    assert not HARMFUL.search(text)
    assert json.loads(text)["losses"] == {name: 1.0}


def test_in_tensorboard(tmp_path):
    from lightning.fabric.loggers.tensorboard import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = Logger(TensorBoardLogger(tmp_path, name="", version="student-0"))
    logger.on_event(EpochEnd(1, 1, {f"accuracy/{name}": 0.5 for name in NAMES.values()}, "student"))
    logger.on_event(TrainEnd(1, 1.0))
    found = EventAccumulator(str(tmp_path / "student-0"))
    found.Reload()
    tags = [name for name in found.Tags()["scalars"] if name.startswith("val/accuracy/")]
    assert len(tags) == len(NAMES), "none is lost and none takes another's place"
    assert all(re.fullmatch(r"[\w .\-/]+", name) for name in tags)
    assert to_tag("val/accuracy") == "val/accuracy"


@pytest.mark.parametrize("name", [NAMES[key] for key in ("ansi", "newline", "right to left")] + ["[bold]a :smile:"])
def test_through_a_whole_run(name, tmp_path, monkeypatch):
    """Run on folders of photos with such names, from the command line to the report."""
    monkeypatch.chdir(tmp_path)
    for kind in (name, "other"):
        folder = tmp_path / "photos" / kind
        folder.mkdir(parents=True)
        for i in range(12):
            pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    arguments = ["data=folder:photos", "size=8", "student=cnn2", "teacher=cnn2", "epochs=1", "device=cpu", "out=run"]
    done = CliRunner().invoke(cli.app, ["distill", *arguments, "log=[tensorboard]"])
    assert done.exit_code == 0, done.output
    assert not HARMFUL.search(done.output)
    assert not HARMFUL.search((tmp_path / "run" / "report.html").read_text("utf-8"))
    assert name in tutelage.load("run").card.classes
