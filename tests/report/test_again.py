"""The line that repeats a run, as it is pasted into a shell."""

import contextlib
import shlex

import pytest
import yaml
from typer.testing import CliRunner

from tutelage import cli
from tutelage.config import schema
from tutelage.report import write
from tutelage.report.again import command

TERMS = "method=[{name: kd, weight: 0.9, temperature: 2.0}, {name: at, weight: 1.0e-05}]"
STAGES = "stages=[{name: first, student: cnn4, method: null, teacher: null}, {name: student, teacher: 'stage:first'}]"
OWN = ["teacher=resnet20", "student=cnn2"]

CASES = {
    "nothing": [],
    "seeds": ["seeds=5"],
    "space": ["data=folder:a b/photos", *OWN],
    "hash": ['data="folder:scans #3"', *OWN],
    "quotes": ['data="folder:it\'s \\"here\\""', *OWN],
    "dollar": ["data=folder:$HOME/`x`;*", *OWN],
    "newline": ['data="folder:a\\nb"', *OWN],
    "not English": ["data=folder:überall/数据", *OWN],
    "colon": ['data="folder:a: b"', *OWN],
    "a word of YAML": ['student="null"', "teacher=cnn2", "data=digits"],
    "classes": ['classes=["yes", "no", "a b"]', "data=folder:x", *OWN],
    "small numbers": ["lr=1.0e-05", "weight_decay=0.0"],
    "a default said": ["epochs=10", "method=kd"],
    "terms": [TERMS],
    "sum": ["method=kd+0.5*at"],
    "ensemble": ["teacher=[cnn16, cnn32]"],
    "recipe": ["method=takd"],
    "recipe and more": ["recipe=takd", "epochs=3"],
    "stages": [STAGES],
    "scheme": ["method=dml", "peers=3"],
    "loggers": ["log=[tensorboard]"],
    "no teacher": ["teacher=none", "method=ce"],
    "alone": ["teacher=none", "method=null", "student=cnn4"],
}


def pasted(line, monkeypatch):
    """The configuration that the command line makes of the line."""
    found = []
    monkeypatch.setattr("tutelage.cli.summary.run", found.append)
    program, *words = shlex.split(line)
    assert program == "tutelage"
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    return found[0]


@pytest.mark.parametrize("case", CASES)
def test_the_line_makes_the_same_configuration(case, monkeypatch):
    asked = schema.read(words=CASES[case])
    line = command(asked.model_dump())
    assert line is not None
    assert "\n" not in line
    assert pasted(line, monkeypatch) == asked


@pytest.mark.parametrize("case", CASES)
def test_the_line_says_what_differs_alone(case):
    line = command(schema.read(words=[*CASES[case], "out=elsewhere"]).model_dump())
    words = dict(word.split("=", 1) for word in shlex.split(line)[2:])
    for key in words:
        fewer = {name: schema.pairs([f"{name}={text}"])[name] for name, text in words.items() if name != key}
        with contextlib.suppress(schema.ConfigError):  # nor can it be left out
            assert schema.check(fewer) != schema.read(words=CASES[case]), f"{key} needn't be said"
    assert len(words) <= len(CASES[case]) + 1
    assert line.count("'\"'\"'") <= (case == "quotes")


@pytest.mark.parametrize("given", [{"student": "object:Net"}, {"teacher": "object:Net"}, {"data": "datasets"}])
def test_what_was_given_as_an_object_has_no_line(given):
    assert command(schema.check({"student": "cnn2", "teacher": "cnn2", **given}).model_dump()) is None


@pytest.mark.parametrize("text", ["{}", "{student: 3, epochs: x}", "{nonsense: 1}", "{method: {a: 1}}"])
def test_a_torn_configuration_has_no_line_and_a_report(make_run, tmp_path, text):
    run = make_run(tmp_path / "run")
    (run / "config.yaml").write_text(text)
    assert write(run).exists()
    if text != "{}":
        assert command(yaml.safe_load(text)) is None
