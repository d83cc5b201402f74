"""Generation of images: the arithmetic of diffusion, the distances between images, and runs."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.linalg import sqrtm
from small import Crash, CrashAt

import tutelage
from tutelage import models
from tutelage.config.schema import check
from tutelage.data.augment import addressed_noise, addressed_uniform
from tutelage.data.splits import InMemorySplit
from tutelage.data.value_targets import ValueTargets
from tutelage.errors import ConfigError
from tutelage.losses.response.logit_mse import LogitMSE
from tutelage.nn import diffusion
from tutelage.objective.player import Player
from tutelage.objective.terms import Terms
from tutelage.runs.data import load_data
from tutelage.schemes.consistency_distillation import ConsistencyDistillation
from tutelage.schemes.few_steps import at_steps
from tutelage.schemes.progressive import Progressive
from tutelage.structures import Outputs
from tutelage.tasks.denoising import Denoising
from tutelage.tasks.frechet import frechet_distance, precision_and_recall
from tutelage.tasks.generation_checks import check_images
from tutelage.tasks.regression import Regression
from tutelage.teachers.base import Teacher
from tutelage.teachers.moving_average import MovingAverage

KEYS = {
    "data": "digits", "task": {"name": "denoising", "steps": 2, "samples": 50, "judge": "cnn2"},
    "teacher": "timed-unet4", "student": "timed-unet2", "method": "logit_mse",
    "limit": 100, "batch_size": 50, "epochs": 2, "device": "cpu",
    "baseline": False, "log_every": 1,
}  # fmt: skip


# diffusion


def test_velocity_holds_the_image_and_the_noise():
    image, noise, time = torch.rand(5, 1, 4, 4) * 2 - 1, torch.randn(5, 1, 4, 4), torch.linspace(0, 1, 5)
    noisy = diffusion.mix_noise(image, noise, time)
    for predict in ("v", "noise"):
        output = diffusion.velocity(image, noise, time) if predict == "v" else noise
        both = diffusion.split_output(noisy[:4], output[:4], time[:4], predict)
        assert torch.allclose(both[0], image[:4], atol=1e-5)
        assert torch.allclose(both[1], noise[:4], atol=1e-5)
    assert torch.equal(noisy[0], image[0])


def test_two_steps_in_one_lead_to_the_same_place():
    noisy, time = torch.randn(4, 1, 4, 4).double(), torch.tensor([0.25, 0.5, 0.75, 1.0]).double()
    later = torch.randn_like(noisy)
    end = time - 0.25
    image = diffusion.image_through(noisy, time, later, end)
    v = diffusion.velocity_of_image(noisy, image, time)
    x, noise = diffusion.split_velocity(noisy, v, time)
    assert torch.allclose(x, image)
    assert torch.allclose(diffusion.mix_noise(x, noise, end), later)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_perfect_network_makes_its_image_in_any_number_of_steps(steps):
    image = torch.rand(2, 1, 4, 4) * 1.8 - 0.9

    class Perfect(torch.nn.Module):
        def forward(self, noisy, time):
            return diffusion.velocity_of_image(noisy, image, time)

    assert torch.allclose(diffusion.sample(Perfect(), torch.randn(2, 1, 4, 4), steps), image, atol=1e-5)


def test_noise_is_a_function_of_its_address_alone():
    index = torch.tensor([7, 3, 9])
    noise = addressed_noise(index, 5, 2, (3, 40, 40))
    assert torch.equal(noise[1:2], addressed_noise(index[1:2], 5, 2, (3, 40, 40)))
    assert not torch.equal(noise, addressed_noise(index, 5, 3, (3, 40, 40)))
    assert float(noise.mean()) == pytest.approx(0, abs=0.03)
    assert float(noise.std()) == pytest.approx(1, abs=0.02)
    times = addressed_uniform(torch.arange(4000), 0, 0)
    assert 0 < times.min() <= times.max() <= 1
    assert float(times.mean()) == pytest.approx(0.5, abs=0.02)


def test_batches_of_noisy_images_repeat_and_differ_by_epoch():
    data = load_data(check(KEYS))
    one, two, other = (next(data.batches("train", 20, seed=3, epoch=epoch)) for epoch in (1, 1, 2))
    assert all(torch.equal(one.inputs[name], two.inputs[name]) for name in ("noisy", "time"))
    row = (one.index == other.index[0]).nonzero()
    assert not len(row) or not torch.equal(one.inputs["noisy"][row[0]], other.inputs["noisy"][:1])
    image, _ = diffusion.split_velocity(one.inputs["noisy"], one.targets, one.inputs["time"])
    plain = next(replace(data, derivation=None).batches("train", 20, seed=3, epoch=1)).inputs
    assert torch.allclose(image, plain, atol=1e-4)
    assert plain.min() == -1 <= plain.max() <= 1
    assert data.is_random
    assert data.fingerprint != load_data(check(KEYS | {"task": {"name": "denoising", "predict": "noise"}})).fingerprint


def test_times_are_rounded_up_to_steps_with_the_same_images():
    batch = next(load_data(check(KEYS)).batches("train", 20))
    moved = at_steps(batch, 4)
    assert {*moved.inputs["time"].tolist()} <= {0.25, 0.5, 0.75, 1.0}
    before, after = (diffusion.split_velocity(b.inputs["noisy"], b.targets, b.inputs["time"]) for b in (batch, moved))
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(before, after, strict=True))


class Constant(Teacher):
    """Predicts the same image of anything, so that one step leads where two do."""

    def __init__(self, image):
        super().__init__()
        self.image = image

    def forward(self, batch, layers=()):
        return Outputs(diffusion.velocity_of_image(batch.inputs["noisy"], self.image, batch.inputs["time"]))


@pytest.mark.parametrize("steps", [1, 4])
def test_few_steps_learn_the_image_to_which_the_teachers_steps_lead(steps):
    batch = at_steps(next(load_data(check(KEYS)).batches("train", 20)), steps)
    teacher, network = (
        Constant(torch.rand(20, 1, 8, 8)),
        models.create("timed-unet2", classes=1, channels=1, task="denoising").model,
    )
    player = Player(network, Terms.from_method(LogitMSE()), Regression(ValueTargets(("x",), (0.0,), (1.0,))))
    assert torch.allclose(
        Progressive(player, teacher, steps).image(batch, teacher(batch).response), teacher.image, atol=1e-4
    )
    moving = MovingAverage(network, player.task)
    scheme = ConsistencyDistillation(player, teacher, moving, steps)
    v = scheme.image(batch, teacher(batch).response)
    if steps == 1:  # a step to time 0 is the teacher's image itself
        assert torch.allclose(v, teacher.image, atol=1e-4)
    scheme.average = teacher
    later = batch.inputs["time"] > 1 / steps + 1e-6
    assert torch.allclose(scheme.image(batch, teacher(batch).response)[later], teacher.image[later], atol=1e-4)


# distances


def reference(a, b):
    """Return the formula of the paper's code."""
    mean = np.square(a.mean(0) - b.mean(0)).sum()
    one, two = (np.cov(x, rowvar=False) for x in (a, b))
    return mean + np.trace(one + two - 2 * sqrtm(one @ two).real)


@pytest.mark.parametrize("shift", [0.0, 3.0, 1000.0])
def test_frechet_distance_equals_scipys(shift):
    a, b = torch.randn(60, 8), torch.randn(90, 8) * 1.5 + shift
    assert frechet_distance(a, b) == pytest.approx(reference(a.double().numpy(), b.double().numpy()), rel=1e-5)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6)


def test_few_samples_are_warned_of():
    with pytest.warns(UserWarning, match="6 samples in 8 features"):
        frechet_distance(torch.randn(6, 8), torch.randn(60, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet_distance(torch.randn(20, 8), torch.randn(60, 8))


def test_precision_and_recall_of_equal_distant_and_partial_sets():
    real = torch.randn(60, 4)
    assert precision_and_recall(real, real) == (1, 1)
    assert precision_and_recall(real, real + 100) == (0, 0)
    modes = torch.cat([real, real + 100])
    precision, recall = precision_and_recall(modes, real)
    assert precision == 1
    assert recall == 0.5


# networks


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (28, 28)])
def test_the_unet_keeps_the_size_and_depends_on_the_time(size):
    net = models.create("timed-unet4", classes=3, channels=3, size=size, task="denoising").model.eval()
    noisy = torch.randn(2, 3, *size)
    one, two = (net(noisy, torch.full((2,), time)) for time in (0.1, 0.9))
    assert one.shape == noisy.shape
    assert not torch.allclose(one, two, atol=1e-4)


# runs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A teacher and a student, both trained."""
    out = tmp_path_factory.mktemp("run") / "run"
    return tutelage.distill(**KEYS, out=str(out))


def test_a_run_writes_images_and_its_judge_and_evaluates_by_it(run):
    phase = run.folder / "student-0"
    samples = np.load(phase / "predictions.npz")["samples"]
    assert samples.shape == (36, 8, 8, 1)
    assert samples.dtype == np.uint8
    figures = json.loads((phase / "phase.json").read_text())["figures"]
    assert {"mse", "frechet", "precision", "recall", "judge_accuracy"} <= {*figures}
    assert tutelage.evaluate(run.folder).values["frechet"] == pytest.approx(figures["frechet"], rel=1e-6)
    assert tutelage.load(phase / "judge.safetensors").card.model == "cnn2"
    assert "Images" in (run.folder / "report.html").read_text()


def test_a_saved_judge_may_judge_other_runs(run, tmp_path):
    judge = run.folder / "student-0" / "judge.safetensors"
    task = KEYS["task"] | {"judge": str(judge)}
    again = tutelage.evaluate(run.folder, task=task, data="digits").values
    assert again["frechet"] == tutelage.evaluate(run.folder).values["frechet"]


def test_a_killed_run_resumes_bitwise(run, tmp_path):
    keys = KEYS | {"teacher": str(run.folder), "method": "logit_mse+at", "checkpoint_every": 0, "ema": 0.5}
    with pytest.raises(Crash):
        tutelage.distill(**keys, out=str(tmp_path / "cut"), callbacks=[CrashAt(3)])
    whole, resumed = tutelage.distill(**keys, out=str(tmp_path / "whole")), tutelage.resume(tmp_path / "cut")
    same_students(whole, resumed)


def test_a_cached_teacher_equals_the_live_one(run, tmp_path):
    keys = KEYS | {"teacher": str(run.folder), "views": 2, "cache_storage": "exact"}
    live = tutelage.distill(**keys, out=str(tmp_path / "live"))
    cached = tutelage.distill(**keys, cache=str(tmp_path / "cache"), out=str(tmp_path / "cached"))
    same_students(live, cached, exact=False)


def test_stages_halve_the_steps_and_resume(run, tmp_path):
    stages = [
        {"name": "four", "scheme": {"name": "progressive", "steps": 4}, "teacher": str(run.folder)},
        {"name": "student", "scheme": {"name": "progressive", "steps": 2}, "teacher": "stage:four",
         "student_weights": "stage:four"},
    ]  # fmt: skip
    keys = KEYS | {"teacher": str(run.folder), "stages": stages, "epochs": 1}
    with pytest.raises(Crash):
        tutelage.distill(**keys, checkpoint_every=0, out=str(tmp_path / "cut"), callbacks=[CrashAt(9)])
    whole, resumed = tutelage.distill(**keys, out=str(tmp_path / "whole")), tutelage.resume(tmp_path / "cut")
    same_students(whole, resumed)


def test_consistency_keeps_its_average_on_resume(run, tmp_path):
    keys = KEYS | {"teacher": str(run.folder), "scheme": {"name": "consistency", "steps": 4, "decay": 0.5}}
    with pytest.raises(Crash):
        tutelage.distill(**keys, checkpoint_every=0, out=str(tmp_path / "cut"), callbacks=[CrashAt(3)])
    whole, resumed = tutelage.distill(**keys, out=str(tmp_path / "whole")), tutelage.resume(tmp_path / "cut")
    same_students(whole, resumed)


def same_students(one, two, exact=True):
    """Assert that two runs trained the same weights."""
    a, b = (load_file(x.folder / "student.safetensors") for x in (one, two))
    same = torch.equal if exact else torch.allclose
    assert all(same(a[name], b[name]) for name in a)


PIXELS = (np.arange(60 * 8 * 8).reshape(60, 1, 8, 8) % 255).astype("uint8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": {"name": "denoising", "predict": "x"}}, "predict"),
        ({"task": {"name": "denoising", "steps": 0}}, "steps"),
        ({"task": {"name": "denoising", "samples": 3}}, "samples=3: expected 10 or more"),
        ({"method": "kd"}, "KD compares classes"),
        ({"student": "cnn4"}, "network for classification, not for denoising"),
        ({"task": "auto", "teacher": None, "method": None}, "network for denoising, not for classification"),
        ({"mix": "mixup"}, "mix=mixup"),
        ({"scheme": {"name": "progressive", "steps": 3}}, "steps=3: halving them doesn't lead"),
        ({"scheme": "consistency", "task": {"name": "denoising", "predict": "noise"}}, "predict=v"),
        ({"scheme": "progressive", "cache": True, "views": 1}, "remove cache"),
        ({"scheme": "progressive", "teacher": "none"}, "needs a teacher"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, message, tmp_path):
    keys = KEYS | {"teacher_epochs": 0, "epochs": 1} | change
    with pytest.raises(ConfigError, match=message):
        tutelage.distill(**keys, out=str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": PIXELS.astype("float32") / 100 - 1, "modality": "image"}, "store pixels"),
        ({"x_train": PIXELS.repeat(2, 1), "modality": "image"}, "2 channels: expected 1 or 3"),
        ({"x_train": PIXELS[:, :, :2]}, "2×8: expected 4 pixels or more"),
        ({"x_train": PIXELS[:30]}, "images in val: expected 10 or more"),
        ({"x_train": PIXELS[:, 0, 0].astype("float32")}, "task=denoising makes images, and .* has table data"),
    ],
)
def test_data_from_which_no_image_can_be_made_is_refused(arrays, message, tmp_path):
    np.savez(tmp_path / "x.npz", y_train=np.arange(len(arrays["x_train"])) % 2, **arrays)
    with pytest.raises(ConfigError, match=message):
        tutelage.train(
            "timed-unet2",
            f"npz:{tmp_path / 'x.npz'}",
            task=KEYS["task"],
            epochs=1,
            device="cpu",
            out=str(tmp_path / "run"),
        )


def test_images_without_labels_need_a_trained_judge(run, tmp_path):
    (tmp_path / "images").mkdir()
    for number, image in enumerate(np.random.default_rng(0).integers(255, size=(120, 8, 8), dtype=np.uint8)):
        Image.fromarray(image).save(tmp_path / "images" / f"{number:03}.png")
    keys = {"data": f"images:{tmp_path / 'images'}", "size": 8, "epochs": 1, "batch_size": 50, "device": "cpu"}
    with pytest.raises(ConfigError, match="judge=cnn2 is trained on labels"):
        tutelage.train("timed-unet2", **keys, task=KEYS["task"], out=str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ("cnn2000x", "unknown model 'cnn2000x'"),
        ("seg4", "a network for segmentation, not for classification"),
        ("RUN", "was trained for denoising: expected a classifier"),
    ],
)
def test_a_network_that_is_no_classifier_is_refused_as_judge_before_training(run, judge, message):
    name = str(run.folder) if judge == "RUN" else judge
    with pytest.raises(ConfigError, match=message):
        Denoising.from_data(load_data(check(KEYS)), judge=name, samples=20)


def test_few_and_equal_images_are_found():
    data = load_data(check(KEYS))
    assert [finding.level for finding in check_images(data, 50)] == ["warning"]
    equal = replace(data, train=InMemorySplit(torch.zeros(30, 1, 8, 8, dtype=torch.uint8), torch.zeros(30)))
    assert [finding.level for finding in check_images(equal, 1000)] == ["warning", "error"]
