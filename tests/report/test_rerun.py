"""The command that repeats a run, as a shell reads it."""

import contextlib
import shlex

import pytest
import yaml
from typer.testing import CliRunner

from tutelage import cli
from tutelage.config import schema
from tutelage.config.rerun import rerun_command
from tutelage.runs.reporting import write_report as write

TERMS = "method=[{name: kd, weight: 0.9, temperature: 2.0}, {name: at, weight: 1.0e-05}]"
STAGES = "stages=[{name: first, student: cnn4, method: null, teacher: null}, {name: student, teacher: 'stage:first'}]"
NETWORKS = ["teacher=resnet20", "student=cnn2"]

CASES = {
    "nothing": [],
    "seeds": ["seeds=5"],
    "space": ["data=folder:a b/photos", *NETWORKS],
    "hash": ['data="folder:scans #3"', *NETWORKS],
    "quotes": ['data="folder:it\'s \\"here\\""', *NETWORKS],
    "dollar": ["data=folder:$HOME/`x`;*", *NETWORKS],
    "newline": ['data="folder:a\\nb"', *NETWORKS],
    "not English": ["data=folder:überall/数据", *NETWORKS],
    "colon": ['data="folder:a: b"', *NETWORKS],
    "a YAML keyword": ['student="null"', "teacher=cnn2", "data=digits"],
    "classes": ['classes=["yes", "no", "a b"]', "data=folder:x", *NETWORKS],
    "small numbers": ["lr=1.0e-05", "weight_decay=0.0"],
    "a default": ["epochs=10", "method=kd"],
    "terms": [TERMS],
    "sum": ["method=kd+0.5*at"],
    "ensemble": ["teacher=[cnn16, cnn32]"],
    "recipe": ["method=takd"],
    "recipe and more": ["recipe=takd", "epochs=3"],
    "stages": [STAGES],
    "scheme": ["method=dml", "peers=3"],
    "loggers": ["log=[tensorboard]"],
    "no teacher": ["teacher=none", "method=ce"],
    "baseline": ["teacher=none", "method=null", "student=cnn4"],
}


def pasted(line, monkeypatch):
    """Run the line on the command line and return its configuration."""
    configurations = []
    monkeypatch.setattr("tutelage.cli.summary.run", configurations.append)
    program, *arguments = shlex.split(line)
    assert program == "tutelage"
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    return configurations[0]


@pytest.mark.parametrize("case", CASES)
def test_the_command_gives_the_same_configuration(case, monkeypatch):
    config = schema.read(words=CASES[case])
    line = rerun_command(config.model_dump())
    assert line is not None
    assert "\n" not in line
    assert pasted(line, monkeypatch) == config


@pytest.mark.parametrize("case", CASES)
def test_the_command_has_only_keys_that_differ(case):
    line = rerun_command(schema.read(words=[*CASES[case], "out=elsewhere"]).model_dump())
    arguments = dict(argument.split("=", 1) for argument in shlex.split(line)[2:])
    for key in arguments:
        others = {name: schema.parse_pairs([f"{name}={text}"])[name] for name, text in arguments.items() if name != key}
        with contextlib.suppress(schema.ConfigError):  # the key is required
            assert schema.check(others) != schema.read(words=CASES[case]), f"{key} isn't needed"
    assert len(arguments) <= len(CASES[case]) + 1
    assert line.count("'\"'\"'") <= (case == "quotes")


@pytest.mark.parametrize("objects", [{"student": "object:Net"}, {"teacher": "object:Net"}, {"data": "datasets"}])
def test_objects_have_no_command(objects):
    assert rerun_command(schema.check({"student": "cnn2", "teacher": "cnn2", **objects}).model_dump()) is None


@pytest.mark.parametrize("text", ["{}", "{student: 3, epochs: x}", "{nonsense: 1}", "{method: {a: 1}}"])
def test_an_invalid_configuration_has_no_command_but_a_report(make_run, tmp_path, text):
    run = make_run(tmp_path / "run")
    (run / "config.yaml").write_text(text)
    assert write(run).exists()
    if text != "{}":
        assert rerun_command(yaml.safe_load(text)) is None
