import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from torch import nn

import tutelage
from tutelage.errors import CheckpointError, ConfigError, TutelageError
from tutelage.explanation import groups
from tutelage.explanation.base import OverSeeds, to_json


class Page(HTMLParser):
    """The tags of a page, each with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def explained(run_folder, tmp_path_factory):
    folder = shutil.copytree(run_folder, tmp_path_factory.mktemp("explained") / "run")
    before = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return folder, tutelage.explain(str(folder), samples=150), before


def test_every_figure_has_its_meaning_its_source_and_its_values(explained):
    _, contents, _ = explained
    assert list(contents["groups"]) == list(groups.GROUPS)
    left_out = {name for name, group in contents["groups"].items() if "left out" in group}
    assert left_out == {"outputs", "transfer"}
    for name, group in contents["groups"].items():
        for figure in group.values() if name not in left_out else ():
            assert figure["values"]
            assert figure["meaning"].endswith(".")
            assert re.search(r"\b(19|20)\d\d\b", figure["source"])


def test_json_is_what_the_call_returns(explained):
    folder, contents, _ = explained
    assert json.loads((folder / "explain.json").read_text()) == json.loads(json.dumps(contents))


def test_page_is_self_contained_and_each_chart_has_a_table(explained):
    folder, contents, _ = explained
    text = (folder / "explain.html").read_text()
    tags = Page(text).tags
    charts = [attrs for tag, attrs in tags if tag == "svg"]
    assert len(charts) >= 5
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in charts)
    figures = re.findall(r"<figure>.*?</figure>", text, re.S)
    assert len(figures) == len(charts)
    assert all("<table>" in figure and "Source:" in figure for figure in figures)
    assert not re.search(r"https?://", text)
    assert 'href="report.html"' in text
    readings = [
        figure["reading"] for group in contents["groups"].values() for figure in group.values() if "reading" in figure
    ]
    assert readings[0] in text.replace("\u00a0", " "), "in short"


def test_the_report_links_to_it(explained):
    folder, _, before = explained
    assert 'href="explain.html"' in (folder / "report.html").read_text()
    (name,) = (path for path in before if path.name == "report.html")
    assert b"explain.html" not in before[name]


def test_nothing_else_in_the_folder_changes(explained):
    folder, _, before = explained
    after = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert {str(p) for p in after.keys() - before.keys()} == {"explain.html", "explain.json"}
    assert {str(p) for p in before if before[p] != after[p]} == {"report.html"}


def test_a_run_that_is_trained_further_loses_it(explained, tmp_path):
    folder = shutil.copytree(explained[0], tmp_path / "run")
    tutelage.resume(folder)
    assert (folder / "explain.html").exists(), "nothing was trained"
    tutelage.resume(folder, epochs=3, progress=False)
    assert not list(folder.glob("explain.*"))
    assert "explain.html" not in (folder / "report.html").read_text()


def test_repeated_it_gives_the_same(explained):
    folder, _, _ = explained
    first = (folder / "explain.json").read_bytes()
    tutelage.explain(str(folder), samples=150)
    assert (folder / "explain.json").read_bytes() == first


def colours(folder):
    """Write images of three channels; return their name."""
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    np.savez(folder / "colours.npz", x_train=images, y_train=np.arange(40) % 2)
    return f"npz:{folder / 'colours.npz'}"


def test_wrong_words_are_refused_before_anything_runs(run_folder, tmp_path):
    with pytest.raises(ConfigError, match=r"calibratoin.*calibration"):
        tutelage.explain(str(run_folder), only="calibratoin")
    with pytest.raises(CheckpointError):
        tutelage.explain(str(tmp_path))
    with pytest.raises(TutelageError, match="nowhere"):
        tutelage.explain(str(run_folder), only="transfer", probe="npz:nowhere.npz")
    with pytest.raises(ConfigError, match="3 channels"):
        tutelage.explain(str(run_folder), only="transfer", probe=str(colours(tmp_path)))


def test_a_run_of_objects_gets_them_again(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    keys = {"data": "digits", "limit": 64, "epochs": 1, "device": "cpu", "out": str(tmp_path / "run")}
    run = tutelage.train(network, **keys)
    with pytest.raises(ConfigError, match=r"pass it again in Python \(student="):
        tutelage.explain(str(run.folder))
    assert tutelage.explain(run, only="capacity")["groups"]["capacity"]["sizes"]["values"]
    assert "no trained teacher" in tutelage.explain(run, only="agreement")["groups"]["agreement"]["left out"]
    assert tutelage.explain(run.folder, only="capacity", student=network)["groups"]["capacity"]


@pytest.mark.parametrize(
    "other", [{"student": "cnn16"}, {"teacher": "cnn64"}, {"data": "fashion-mnist"}, {"student": nn.Linear(2, 2)}]
)
def test_other_networks_and_data_than_the_runs_are_refused(run_folder, other):
    key = next(iter(other))
    with pytest.raises(ConfigError, match=rf"{key}=.* was begun with {key}="):
        tutelage.explain(str(run_folder), only="capacity", **other)


def test_a_group_that_fails_leaves_the_others(run_folder, tmp_path, monkeypatch):
    def fails(opened):
        raise ZeroDivisionError("of nothing")

    broken = groups.Group("Broken", "", fails)
    monkeypatch.setattr(groups, "GROUPS", {"broken": broken, "capacity": groups.GROUPS["capacity"]})
    folder = shutil.copytree(run_folder, tmp_path / "run")
    contents = tutelage.explain(str(folder))["groups"]
    assert contents["broken"] == {"left out": "it failed with ZeroDivisionError: of nothing"}
    assert contents["capacity"]["sizes"]
    assert "it failed with ZeroDivisionError" in (folder / "explain.html").read_text()


def test_numbers_over_seeds():
    number = OverSeeds([0.5, 0.7])
    assert number.mean == pytest.approx(0.6)
    assert number.percent() == "60.0\u00a0% (0.0\u00a0% to 100.0\u00a0%)"
    assert OverSeeds([0.5]).text() == "0.5"
    assert OverSeeds([0.5, float("nan")]).percent() == "50.0\u00a0%"
    assert OverSeeds([float("nan")] * 2).text() == "–"
    assert to_json({"a": float("nan"), "b": OverSeeds([1.0])}) == {
        "a": None,
        "b": {"mean": 1.0, "interval": None, "values": [1.0]},
    }


def test_a_run_without_a_teacher_is_not_told_of_its_teacher(opened):
    alone = {role: opened.networks[role] for role in ("baseline", "student")}
    made = groups.explain_groups(replace(opened, networks=alone, kept={}), [*groups.GROUPS])
    shown = {name: each for name, each in made.items() if each.figures}
    assert {"calibration", "dark_knowledge", "capacity", "labels", "information", "robustness"} <= set(shown)
    words = [each.group.lead for each in shown.values()]
    words += [f"{x.meaning} {x.reading}" for each in shown.values() for x in each.figures]
    assert not [text for text in words if re.search(r"\b(its|the) teacher\b", text, re.I)]
