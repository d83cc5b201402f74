"""Tasks of maps: what counts in losses, refusals, and runs that train, resume and teach from a cache."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small import Crash, CrashAt
from torch.nn.functional import interpolate

import tutelage
from tutelage import data as datasets
from tutelage import models
from tutelage.data.degrade import Degradation, degraded
from tutelage.data.map_targets import MapForm, unit_scale
from tutelage.data.value_targets import ValueTargets
from tutelage.errors import ConfigError, ModelError
from tutelage.losses.regression.charbonnier import Charbonnier
from tutelage.losses.regression.huber import Huber
from tutelage.losses.regression.mae import MAE
from tutelage.losses.regression.silog import SILog
from tutelage.losses.response.logit_mse import LogitMSE
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.report import map_sections
from tutelage.structures import Batch, Outputs
from tutelage.tasks.depth import Depth
from tutelage.tasks.depth_metrics import depth_figures
from tutelage.tasks.flow import Flow
from tutelage.tasks.map_checks import judge_figure
from tutelage.tasks.restoration import Restoration, input_psnr
from tutelage.training.evaluation import evaluate

sys.path.append(str(Path(__file__).parents[2] / "bench"))
from tiny_tasks import TASKS

DEPTH = Depth(unit_scale(["depth"]), MapForm(("value",)))


def player(method, model=None):
    torch.manual_seed(0)
    model = model or models.create("unet2", classes=1, channels=3, task="depth").model
    terms = Terms.from_method(method, DEPTH.task_loss())
    return Player(model, terms, DEPTH)


@pytest.mark.parametrize("method", [MAE(), Huber(), Charbonnier(), SILog(), LogitMSE()])
def test_what_isnt_known_counts_in_no_loss(method):
    batch = Batch(torch.randn(4, 3, 8, 8), 1 + torch.rand(4, 1, 8, 8))
    batch.targets[0, :, :4] = math.nan
    batch.targets[3] = math.nan
    teacher, one = Outputs(torch.rand(4, 1, 8, 8)), player(method)
    one.wire(None if not method.needs_teacher else profile(), batch, 4)
    losses = one(batch, teacher)
    torch.stack([*losses.values()]).sum().backward()
    gradients = [p.grad for p in one.student.parameters()]
    assert all(g.isfinite().all() for g in gradients)
    assert any(g.abs().sum() > 0 for g in gradients)
    changed = torch.where(batch.targets.isnan(), 99.0, teacher.response)
    for name, value in one(batch, Outputs(changed)).items():
        assert torch.allclose(value, losses[name])


def profile():
    from tutelage.nn.model_profile import profile_model

    return profile_model(
        models.create("unet2", classes=1, channels=3, task="depth").model, Batch(torch.zeros(2, 3, 8, 8))
    )


def test_silog_is_the_papers_and_goes_on_below_its_floor():
    s, y = 0.5 + torch.rand(3, 1, 4, 4), 0.5 + torch.rand(3, 1, 4, 4)
    d = (s.log() - y.log()).flatten(1)
    assert torch.allclose(SILog()(s, targets=y), (d**2).mean(1) - 0.5 * d.mean(1) ** 2)
    assert torch.allclose(SILog(variance=1.0)(3 * s, targets=y), SILog(variance=1.0)(s, targets=y), atol=1e-6)
    below = torch.full_like(s, -1.0, requires_grad=True)
    SILog()(below, targets=y).sum().backward()
    assert (below.grad < 0).all()


def test_an_untrained_network_returns_the_bicubic_image():
    data = degraded(datasets.load("digits", augment="none"), Degradation(scale=2))
    task, network = (
        Restoration.from_data(data),
        models.create("edsr2x4-x2", classes=1, channels=1, task="restoration").model,
    )
    batch = next(data.batches("test", 8))
    assert torch.allclose(network(batch.inputs), interpolate(batch.inputs, (8, 8), mode="bicubic"), atol=1e-6)
    figures = evaluate(network, data.batches("test", 64), task, 1).values
    assert figures["psnr"] == pytest.approx(input_psnr(task, data, "test", 64), abs=1e-3)
    assert task.measure(network, data, "test", 64)["input_psnr"] == pytest.approx(figures["psnr"], abs=1e-3)
    assert task.measure(network, replace(data, channels=2, mean=(0.0,) * 2, std=(1.0,) * 2), "test", 64) == {}
    with pytest.raises(ModelError, match="edsr4x16-x2"):
        task.response(torch.zeros(1, 1, 4, 4), batch)


@pytest.mark.parametrize(("name", "size"), [("unet3", (9, 14)), ("edsr3x4", (9, 14)), ("edsr1x2-x3", (27, 42))])
def test_networks_by_name(name, size):
    network = models.create(name, classes=2, channels=6, size=(9, 14), task="flow").model
    assert network(torch.zeros(1, 6, 9, 14)).shape == (1, 2, *size)
    with pytest.raises(ConfigError, match="not for classification"):
        models.create(name, classes=2)


def test_tasks_refuse_other_data():
    with pytest.raises(ConfigError, match="targets of the kind 'map'"):
        tutelage.train("cnn4", data="digits", task="depth", epochs=1)
    digits = degraded(datasets.load("digits"), Degradation(noise=9))
    with pytest.raises(ConfigError, match="expected x, y"):
        Flow.from_data(digits)
    assert Restoration.from_data(digits).values.names == ("grey",)
    with pytest.raises(ConfigError, match="of any range: name their channels grey, or red, green and blue"):
        Restoration.from_data(replace(digits, values=ValueTargets(("y",), (0.0,), (2.5,))))
    with pytest.raises(ConfigError, match="compares classes, and this task's outputs are maps"):
        tutelage.distill(
            data="digits", degrade={"noise": 9}, teacher="edsr1x2", student="edsr1x2", method="kd", epochs=1
        )


@pytest.mark.parametrize(("value", "level"), [(0.5, "error"), (0.2, "ok")])
def test_a_teacher_is_compared_with_the_mean_map(value, level):
    assert judge_figure("abs_rel", value, 0.4, False)[0].level == level


def test_maps_are_drawn_on_a_scale():
    values = np.array([[[0.0, 1.0], [np.nan, 2.0]]])
    pixels = map_sections.draw(values, "", 0.0, 2.0)
    assert pixels[0, 0].tolist() == list(map_sections.SCALE[0])
    assert pixels[1, 1].tolist() == list(map_sections.SCALE[-1])
    assert pixels[1, 0].tolist() == list(map_sections.UNKNOWN)
    right = map_sections.draw(np.array([[[5.0]], [[0.0]]]), "motion", -5.0, 5.0)
    assert right[0, 0].tolist() == [255, 0, 0]
    assert map_sections.draw(np.full((1, 1, 1), 0.5), "image", 0, 1)[0, 0].tolist() == [128] * 3


# runs


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    return TASKS["depth"](folder / "data", 120) | {"device": "cpu", "log_every": 1}


@pytest.fixture(scope="module")
def run(keys, tmp_path_factory):
    out = tmp_path_factory.mktemp("maps") / "run"
    return tutelage.distill(**keys, epochs=2, teacher_epochs=6, out=str(out))


def test_a_run_estimates_depth_and_its_files_and_report_say_so(run):
    assert run.result["teacher"]["abs_rel"] < 0.25
    kept = np.load(run.folder / "student-0" / "predictions.npz")
    assert kept["abs_rel"].mean() == pytest.approx(run.result["student"]["abs_rel"], rel=1e-4)
    assert np.load(run.folder / "student-0" / "maps.npz")["maps"].shape == (6, 1, 16, 16)
    page = run.report.read_text("utf-8")
    assert all(word in page for word in ("true map of", "estimated map of", "Alone", "Taught", "unknown"))
    assert "left out" not in page
    assert tutelage.evaluate(run.folder).values["abs_rel"] == pytest.approx(run.result["student"]["abs_rel"])


def test_the_loaded_student_estimates_in_units(run, keys):
    model, data = tutelage.load(run.folder), datasets.load(keys["data"], augment="none")
    batch = next(data.batches("test", 8))
    with torch.no_grad():
        depth = model.card.restore(model(batch.inputs))
    errors = depth_figures(depth, data.values.restore(batch.targets))["abs_rel"][0]
    kept = np.load(run.folder / "student-0" / "predictions.npz")
    assert errors.tolist() == pytest.approx(kept["abs_rel"][:8].tolist(), rel=1e-4)


def test_a_crash_costs_no_bit(run, keys, tmp_path):
    config = {**keys, "epochs": 2, "teacher_epochs": 6, "out": str(tmp_path / "run"), "checkpoint_every": 0}
    with pytest.raises(Crash):
        tutelage.distill(**config, callbacks=[CrashAt(60)])
    resumed = tutelage.resume(tmp_path / "run")
    assert (resumed.folder / "student.safetensors").read_bytes() == (run.folder / "student.safetensors").read_bytes()


def test_the_cached_teacher_of_noisy_images_is_the_live_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny = TASKS["restoration"](tmp_path / "data") | {"device": "cpu", "limit": 32, "epochs": 1, "batch_size": 16}
    teacher = tutelage.train(
        "edsr1x4-x2", **{k: v for k, v in tiny.items() if k not in ("teacher", "student", "method")}
    )
    config = tiny | {"teacher": str(teacher.folder), "baseline": False, "views": 2}
    live, cached = (
        tutelage.distill(**config, cache=c, **({"cache_storage": "exact"} if c else {}), out=str(tmp_path / str(c)))
        for c in (False, True)
    )
    weights = [load_file(x.folder / "student.safetensors") for x in (live, cached)]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-6) for name in weights[0])
    assert tutelage.evaluate(live.folder).values["psnr"] == pytest.approx(live.result["student"]["psnr"])
    assert "input_psnr" in tutelage.evaluate(live.folder).values
