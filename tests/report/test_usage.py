"""The program at the end of the page runs unchanged, and its latency and size are measured."""

import html
import json
import re

import numpy as np
import pytest
from PIL import Image
from torch import nn

import tutelage

TINY = {"epochs": 1, "baseline": False, "device": "cpu"}


def streets(folder):
    for kind, shape in (("images", (16, 24, 3)), ("masks", (16, 24))):
        (folder / kind).mkdir(parents=True)
        for i in range(20):
            pixels = np.random.default_rng(i).integers(0, 3, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{i}.png")
    (folder / "classes.json").write_text('["road", "tree", "car"]')
    return f"segmentation:{folder}"


def last_section(run):
    """Return the code of the page's last section, and the section."""
    page = run.report.read_text("utf-8")
    last = page[page.index('<section id="use-the-student"') :]
    assert "<section" not in last[10:], "it is the last section"
    return html.unescape(re.search(r"<code>(.*?)</code>", last, re.DOTALL)[1]), last


@pytest.mark.parametrize("kind", ["classification", "multi_task", "segmentation"])
def test_the_program_runs(kind, tmp_path, capsys):
    options = {
        "classification": {"student": "cnn2", "teacher": "cnn2", "teacher_epochs": 1, "limit": 64},
        "multi_task": {"student": "cnn2", "teacher": "none", "method": None, "data": "digits-tasks", "limit": 64},
        "segmentation": {"student": "seg4", "teacher": "seg4", "teacher_epochs": 1, "method": "cwd"},
    }[kind]
    if kind == "segmentation":
        options["data"] = streets(tmp_path / "it's here")
    run = tutelage.distill(**options, **TINY, out=str(tmp_path / "a 'run'"))
    code, section = last_section(run)
    namespace = {}
    exec(code, namespace)
    output = capsys.readouterr().out
    if kind == "classification":
        assert output.split()[0] in run.result["data"]["classes"]
    elif kind == "segmentation":
        assert namespace["mask"].shape == (1, 16, 24)
        assert run.report.read_text("utf-8").count("mask of 0") == 3
    else:
        assert output.startswith("torch.Size([1, ")
    size = (run.folder / "student.safetensors").stat().st_size
    assert f"{size / 1000:.3g}\xa0kB" in section
    assert run.result["student"]["latency_ms"] > 0
    assert re.search(r"latency of one sample</dt><dd>[\d.]+\xa0m?s \(cpu, 1 thread\)", section)


def test_a_network_passed_as_an_object_must_be_passed_again(tmp_path):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    run = tutelage.train(net, epochs=1, limit=64, device="cpu", out=str(tmp_path / "r"))
    code, _ = last_section(run)
    assert "model=Sequential(…)" in code
    assert json.loads((run.folder / "result.json").read_text())["data"]["size"] == [8, 8]
