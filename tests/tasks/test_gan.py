"""Generators of images and translation of images: schemes with a discriminator, and runs."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from small import Crash, CrashAt, settings
from torch.optim import AdamW
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

import tutelage
from tutelage import models
from tutelage.config.schema import check
from tutelage.data.augment import addressed_noise
from tutelage.errors import ConfigError, DataError, ModelError
from tutelage.losses.regression.mmd import MMD
from tutelage.losses.regression.output_l1 import OutputL1
from tutelage.nn.discriminator import patch_discriminator
from tutelage.objective.terms import Terms
from tutelage.runs import preflight
from tutelage.runs.data import load_data
from tutelage.schemes.adversarial import Deceiver
from tutelage.schemes.conditional_gan import ConditionalGan
from tutelage.schemes.discriminator import GAMES, ConditionalDiscriminator, Discriminator
from tutelage.schemes.gan import Gan
from tutelage.schemes.teacher_gan import TeacherGan
from tutelage.structures import Batch
from tutelage.tasks.frechet import frechet_distance
from tutelage.tasks.generation import Generation
from tutelage.tasks.image_generation import NOISE_SEED
from tutelage.tasks.judge import Judge, real_images
from tutelage.teachers.frozen import Frozen
from tutelage.training.trainer import Trainer

sys.path.append(str(Path(__file__).parents[2] / "bench"))
from tiny_tasks import TASKS

SMALL = {
    "limit": 100, "batch_size": 50, "epochs": 2, "device": "cpu", "baseline": False, "log_every": 1,
}  # fmt: skip
KEYS = SMALL | TASKS["generation"](Path())
PAIRS = SMALL | TASKS["translation"](Path())


def generator(width: int = 2) -> torch.nn.Module:
    torch.manual_seed(width)
    return models.create(f"dcgan-{width}-z8", classes=1, channels=1, size=(8, 8), task="generation").model


def data(keys=KEYS, **changes):
    return load_data(check(keys | changes))


def task():
    return Generation.from_data(data(), latents=8, samples=50, judge="cnn2")


def scheme_of(kind=Gan, teacher=None, terms=None, game="non_saturating", weight=0.5, lr=0.01):
    """A scheme of a small generator."""
    discriminator = kind.discriminator(game, 4, lr)
    return kind(Deceiver(generator(), terms or Terms(), task(), discriminator, weight), teacher)


def fit(scheme, digits, **changes):
    """Train the scheme's players."""
    torch.manual_seed(3)
    Trainer(settings(**changes), task()).fit(scheme, digits)


# networks


@pytest.mark.parametrize(("size", "channels"), [((8, 8), 1), ((16, 12), 3), ((28, 28), 1)])
def test_a_generator_makes_images_of_the_datas_size(size, channels):
    net = models.create("dcgan-4", classes=channels, channels=channels, size=size, task="generation").model
    images = net(torch.randn(3, 64))
    assert images.shape == (3, channels, *size)
    assert images.abs().max() <= 1


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("dcgan-4", (10, 8), "multiples of 4, not 10×8"),
        ("dcgan-0", (8, 8), "expected numbers of 1 or more"),
        ("dcgan-4-z0", (8, 8), "expected numbers of 1 or more"),
    ],
)
def test_generators_that_cannot_be_are_refused(name, size, message):
    with pytest.raises(ConfigError, match=message):
        models.create(name, classes=1, channels=1, size=size, task="generation")


def test_a_generator_is_no_classifier_and_names_its_latents():
    with pytest.raises(ConfigError, match="network for generation, not for classification"):
        models.create("dcgan-4", classes=10, channels=1, size=(8, 8))
    with pytest.raises(ModelError, match=r"takes \(B, 8\) latents, got \(2, 9\)"):
        generator()(torch.randn(2, 9))


@pytest.mark.parametrize(
    ("size", "patches"), [((4, 4), (4, 4)), ((8, 8), (4, 4)), ((28, 20), (3, 2)), ((64, 64), (8, 8))]
)
def test_a_discriminator_has_a_logit_for_each_patch(size, patches):
    assert patch_discriminator(3, size, 4)(torch.randn(2, 3, *size)).shape == (2, 1, *patches)


# losses


def test_mmd_is_the_mean_of_kernels_and_least_where_the_distributions_are_equal():
    s, y = torch.randn(6, 2, 2).double(), torch.randn(6, 2, 2).double()
    a, b = s.flatten(1), y.flatten(1)
    width = torch.cdist(b, b).square().mean()

    def kernel(x, z):
        return torch.stack([(-torch.cdist(x, z).square() / (m * width)).exp() for m in (0.25, 0.5, 1, 2, 4)]).mean(0)

    expected = kernel(a, a).mean() + kernel(b, b).mean() - 2 * kernel(a, b).mean()
    assert torch.allclose(MMD()(s, targets=y).mean(), expected)
    assert float(MMD()(y[torch.randperm(6)], targets=y).mean()) == pytest.approx(0, abs=1e-8)
    assert MMD()(s + 3, targets=y).mean() > expected


@pytest.mark.parametrize("name", GAMES)
def test_each_game_rewards_logits_on_the_right_side(name):
    low, high = torch.tensor(-0.9), torch.tensor(0.9)
    discriminate, deceive = GAMES[name]
    assert discriminate(high, low) < discriminate(low, high)
    assert deceive(high) < deceive(low)


def test_the_non_saturating_game_is_cross_entropy():
    real, made = torch.randn(9), torch.randn(9)
    ones, zeros = torch.ones(9), torch.zeros(9)
    both = F.binary_cross_entropy_with_logits(real, ones) + F.binary_cross_entropy_with_logits(made, zeros)
    assert torch.allclose(GAMES["non_saturating"].discriminate(real, made).mean(), both)
    assert torch.allclose(GAMES["non_saturating"].deceive(made).mean(), F.binary_cross_entropy_with_logits(made, ones))


# data


def test_latents_are_functions_of_their_address_and_targets_the_images():
    digits = data()
    one, two, other = (next(digits.batches("train", 20, seed=3, epoch=epoch)) for epoch in (1, 1, 2))
    assert torch.equal(one.inputs, two.inputs)
    assert torch.equal(one.inputs, addressed_noise(one.index, 3, 1, (8,)))
    assert not torch.equal(one.inputs, other.inputs)
    plain = next(replace(digits, derivation=None).batches("train", 20, seed=3, epoch=1)).inputs
    assert torch.equal(one.targets, plain)
    assert plain.min() == -1 <= plain.max() <= 1
    assert digits.is_random
    assert digits.fingerprint != data(task=KEYS["task"] | {"latents": 9}).fingerprint


# turns


@pytest.mark.parametrize("kind", [Gan, TeacherGan])
def test_the_turns_are_a_loop_written_by_hand(kind):
    digits, teacher = replace(data(), train=data().train.take(torch.arange(48))), Frozen(generator(4), task())
    scheme = scheme_of(kind, teacher, Terms.from_method(OutputL1()))
    start = generator()
    fit(scheme, digits, lr=0.01, optimizer="adamw", weight_decay=0.0, schedule="constant", lr_warmup=0, clip=None)

    by_hand = scheme_of(kind, teacher, Terms.from_method(OutputL1()))
    torch.manual_seed(3)
    batches = list(digits.batches("train", 16))
    by_hand.wire(batches[0], 48)
    judge = by_hand.players["discriminator"].network.train()
    start.train()
    players = [AdamW(m.parameters(), lr=0.01, betas=(0.5, 0.999), weight_decay=0.0) for m in (start, judge)]
    for batch in batches:
        with torch.no_grad():
            taught = teacher(batch).response
        made = start(batch.inputs)
        players[0].zero_grad()
        (0.5 * (made - taught).abs().mean() + 0.5 * F.softplus(-judge(made)).mean()).backward()
        players[0].step()
        players[1].zero_grad()
        real = taught if kind is TeacherGan else batch.targets
        (F.softplus(-judge(real)) + F.softplus(judge(made.detach()))).mean().backward()
        players[1].step()
    trained = scheme.students()["student"].model, scheme.players["discriminator"].network
    for actual, hand in zip(trained, (start, judge), strict=True):
        for p, q in zip(actual.parameters(), hand.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-5)


def test_each_turn_reaches_its_own_player_alone():
    scheme, batch = scheme_of(), next(data().batches("train", 16))
    scheme.wire(batch, 32)
    scheme.train()
    turns = scheme.turns(batch, 0)
    for name, other in (("student", "discriminator"), ("discriminator", "student")):
        player, losses = next(turns)
        assert player == name
        scheme.zero_grad()
        torch.stack([*losses.values()]).sum().backward()
        assert all(p.grad is not None for p in scheme.players[name].parameters())
        assert all(p.grad is None for p in scheme.players[other].parameters())


def test_a_conditional_discriminator_sees_the_input_as_large_as_the_image():
    discriminator = ConditionalDiscriminator("hinge", 4, 0.01)
    batch, images = Batch(torch.randn(3, 1, 4, 4), torch.rand(3, 2, 8, 8)), torch.rand(3, 2, 8, 8)
    discriminator.build(batch, images)
    assert discriminator.seen(batch, images).shape == (3, 3, 8, 8)
    other = replace(batch, inputs=torch.randn(3, 1, 4, 4))
    assert not torch.equal(discriminator.deceived(batch, images), discriminator.deceived(other, images))


def test_unknown_pixels_tell_nothing():
    scheme, made = scheme_of(), torch.rand(2, 1, 8, 8)
    targets = torch.rand(2, 1, 8, 8)
    targets[0, 0, :4] = torch.nan
    real = scheme.real(Batch(torch.zeros(2, 8), targets), None, made)
    assert torch.equal(real[0, 0, :4], made[0, 0, :4])
    assert torch.equal(real[1], targets[1])


def test_the_discriminator_has_its_own_rate():
    scheme = scheme_of(lr=0.02)
    fit(scheme, data(), lr=0.01, optimizer="adamw", schedule="constant")
    assert Discriminator.own_betas == (0.5, 0.999)
    assert scheme.players["discriminator"].own_settings["lr"] == 0.02


# runs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A teacher, a student alone and a student taught, all trained by turns."""
    return tutelage.distill(**KEYS | {"baseline": True}, out=str(tmp_path_factory.mktemp("run") / "run"))


def phases(folder):
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.glob("*/phase.json"))}


def losses(folder, phase):
    rows = [json.loads(line) for line in (folder / phase / "metrics.jsonl").read_text().splitlines()]
    return {name for row in rows if row["kind"] == "step" for name in row["losses"]}


def test_teacher_baseline_and_student_take_turns_with_a_discriminator(run):
    of = {phase: losses(run.folder, phase) for phase in ("teacher", "baseline-0", "student-0")}
    assert all("adversarial" in names for names in of.values())
    assert ["output_l1" in names for names in of.values()] == [False, False, True]
    assert not any("mmd" in names for names in of.values())


def test_images_are_made_of_the_same_latents_and_judged(run):
    found = phases(run.folder)
    samples = {phase: np.load(run.folder / phase / "predictions.npz")["samples"] for phase in found}
    assert {x.shape for x in samples.values()} == {(36, 8, 8, 1)}
    figures = found["student-0"]["figures"]
    assert {"frechet", "precision", "recall", "judge_accuracy", "loss"} == {*figures}
    assert tutelage.evaluate(run.folder).values["frechet"] == pytest.approx(figures["frechet"], rel=1e-6)
    model = tutelage.load(run.folder)
    made = model(addressed_noise(torch.arange(36), NOISE_SEED, 0, (8,)))
    pixels = ((made + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(pixels, samples["student-0"])
    assert "Images" in (run.folder / "report.html").read_text()


def test_the_distance_is_that_of_made_and_real_images(run):
    digits, judged = data(), run.folder / "student-0" / "judge.safetensors"
    judge = Judge.for_data(str(judged), digits)
    made = tutelage.load(run.folder)(addressed_noise(torch.arange(50), NOISE_SEED, 0, (8,)))
    real = real_images(digits, "test")[:100]
    expected = frechet_distance(judge.features(real), judge.features(made))
    figures = phases(run.folder)["student-0"]["figures"]
    assert figures["frechet"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"ema": 0.5},
        {"scheme": {"name": "teacher_gan", "loss": "hinge"}, "method": "output_l1+0.1*fitnet"},
        {"scheme": "offline", "optimizer": "adamw"},
    ],
)
def test_a_killed_run_resumes_bitwise(run, tmp_path, change):
    keys = KEYS | {"teacher": str(run.folder / "teacher" / "model.safetensors"), "checkpoint_every": 0} | change
    with pytest.raises(Crash):
        tutelage.distill(**keys, out=str(tmp_path / "cut"), callbacks=[CrashAt(3)])
    whole, resumed = tutelage.distill(**keys, out=str(tmp_path / "whole")), tutelage.resume(tmp_path / "cut")
    same_students(whole, resumed)


def test_a_cached_teacher_equals_the_live_one(run, tmp_path):
    keys = KEYS | {"teacher": str(run.folder / "teacher" / "model.safetensors"), "views": 2, "cache_storage": "exact"}
    live = tutelage.distill(**keys, out=str(tmp_path / "live"))
    cached = tutelage.distill(**keys, cache=str(tmp_path / "cache"), out=str(tmp_path / "cached"))
    same_students(live, cached, exact=False)


def test_training_of_a_generator_alone(tmp_path):
    keys = {key: value for key, value in KEYS.items() if key not in ("student", "teacher", "method", "baseline")}
    alone = tutelage.train("dcgan-2-z8", **keys, out=str(tmp_path / "run"))
    assert [*phases(alone.folder)] == ["student-0"]
    assert "adversarial" in losses(alone.folder, "student-0")


def test_a_single_training_by_turns_has_no_baseline(tmp_path):
    keys = KEYS | {"baseline": True, "teacher": "none", "method": None, "epochs": 1}
    assert [*phases(tutelage.distill(**keys, out=str(tmp_path / "run")).folder)] == ["student-0"]


def same_students(one, two, exact=True):
    """Assert that two runs trained the same weights."""
    a, b = (load_file(x.folder / "student.safetensors") for x in (one, two))
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]) if exact else torch.allclose(a[name], b[name], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": {"name": "generation", "latents": 0}}, "latents"),
        ({"task": {"name": "generation", "latents": "8"}}, "latents"),
        ({"task": {"name": "generation", "samples": 3}}, "samples=3: expected 10 or more"),
        ({"student": "dcgan-2"}, r"takes \(B, 64\) latents, got \(., 8\)"),
        ({"student": "cnn4"}, "network for classification, not for generation"),
        ({"student": "unet2"}, "network for depth, not for generation"),
        ({"method": "kd"}, "KD compares classes"),
        ({"mix": "mixup"}, "mix=mixup"),
        ({"scheme": {"name": "gan", "weight": 0}}, "weight"),
        ({"scheme": {"name": "gan", "loss": "least"}}, "least"),
        ({"scheme": "conditional_gan"}, "use task=restoration"),
        ({"scheme": "teacher_gan", "teacher": "none", "method": None}, "imitates a teacher's images"),
        ({"scheme": "progressive"}, "task=denoising"),
        ({"strategy": "fsdp", "devices": 2, "batch_size": 50}, "can't be sharded"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, message, tmp_path, monkeypatch):
    if "strategy" in change:
        config = check(KEYS | change)
        with pytest.raises(ConfigError, match=message):
            Gan.build(_Context(config), 1.0, "hinge", 4, 0.01)
        return
    with pytest.raises((ConfigError, ModelError), match=message):
        tutelage.distill(**KEYS | {"teacher_epochs": 0, "epochs": 1} | change, out=str(tmp_path / "run"))


class _Context:
    """The parts of a scheme's context that are read before its networks are made."""

    def __init__(self, config):
        self.settings, self.task = config, task()


def test_check_knows_the_optimiser_that_takes_the_turns():
    for change, finding in (({}, "lr=0.002 for adamw"), ({"lr": 0.1}, "lr=0.1 is unusual for adamw")):
        found = preflight.check(check(KEYS | {"epochs": 5} | change)).findings
        assert any(finding in one.what for one in found)


def test_a_gan_is_for_generators(tmp_path):
    with pytest.raises(ConfigError, match="task=generation"):
        tutelage.train("cnn2", data="digits", scheme="gan", epochs=1, out=str(tmp_path / "run"))


PIXELS = (np.arange(60 * 8 * 8).reshape(60, 1, 8, 8) % 255).astype("uint8")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": PIXELS.astype("float32") / 100 - 1, "modality": "image"}, "store pixels"),
        ({"x_train": PIXELS.repeat(2, 1), "modality": "image"}, "2 channels: expected 1 or 3"),
        ({"x_train": PIXELS[:, :, :2]}, "2×8: expected 4 pixels or more"),
        ({"x_train": PIXELS.repeat(3, 0)[:, :, :6]}, "multiples of 4, not 6×8"),
        ({"x_train": PIXELS[:30]}, "images in val: expected 10 or more"),
        ({"x_train": PIXELS[:, 0, 0].astype("float32")}, "task=generation makes images, and .* has table data"),
    ],
)
def test_data_from_which_no_image_can_be_made_is_refused(arrays, message, tmp_path):
    np.savez(tmp_path / "x.npz", y_train=np.arange(len(arrays["x_train"])) % 2, **arrays)
    data, options = f"npz:{tmp_path / 'x.npz'}", {"epochs": 1, "device": "cpu", "out": str(tmp_path / "run")}
    with pytest.raises(ConfigError, match=message):
        tutelage.train("dcgan-2-z8", data, task=KEYS["task"], scheme="gan", **options)


# translation


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Grey pictures of squares, and the same in colours that tell the squares' sizes."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "images").mkdir()
    (folder / "clean").mkdir()
    random = np.random.default_rng(0)
    for number in range(60):
        top, left, side = random.integers(0, 4), random.integers(0, 4), random.integers(3, 9)
        grey, colours = np.zeros((12, 12), np.uint8), np.zeros((12, 12, 3), np.uint8)
        grey[top : top + side, left : left + side] = 200
        colours[top : top + side, left : left + side] = (25 * side, 100, 250 - 25 * side)
        Image.fromarray(grey).save(folder / "images" / f"{number:02}.png")
        Image.fromarray(colours).save(folder / "clean" / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def translated(pairs, tmp_path_factory):
    """A run on the pairs."""
    keys = PAIRS | {"data": f"maps:{pairs}", "degrade": None, "student": "unet2", "teacher": "unet3", "batch_size": 16}
    return tutelage.distill(**keys | {"baseline": True}, out=str(tmp_path_factory.mktemp("run") / "run"))


def test_colours_are_made_of_grey_pictures(translated):
    of = {phase: losses(translated.folder, phase) for phase in ("teacher", "baseline-0", "student-0")}
    assert {phase: {"mae", "adversarial"} - names for phase, names in of.items()} == {phase: set() for phase in of}
    assert ["output_l1" in names for names in of.values()] == [False, False, True]
    maps = np.load(translated.folder / "student-0" / "maps.npz")["maps"]
    assert maps.shape[1:] == (3, 12, 12)
    report = (translated.folder / "report.html").read_text()
    assert all(f"estimated map of 0, {who}" in report for who in ("teacher", "alone", "taught"))


def test_the_figures_of_translation_are_the_librarys(pairs, translated):
    found = load_data(check(PAIRS | {"data": f"maps:{pairs}", "degrade": None, "student": "unet2", "teacher": None}))
    batch = next(found.batches("test", 100, train=False))
    with torch.no_grad():
        images = tutelage.load(translated.folder)(batch.inputs).clamp(0, 1)
    figures = phases(translated.folder)["student-0"]["figures"]
    psnr = peak_signal_noise_ratio(images, batch.targets, data_range=1.0, dim=(1, 2, 3), reduction="elementwise_mean")
    ssim = structural_similarity_index_measure(images, batch.targets, data_range=1.0)
    assert figures["psnr"] == pytest.approx(float(psnr), rel=1e-4)
    assert figures["ssim"] == pytest.approx(float(ssim), rel=1e-3)
    grey = batch.inputs.expand(-1, 3, -1, -1)
    plain = peak_signal_noise_ratio(grey, batch.targets, data_range=1.0, dim=(1, 2, 3), reduction="elementwise_mean")
    assert figures["input_psnr"] == pytest.approx(float(plain), rel=1e-4)


def test_a_killed_translation_resumes_bitwise(translated, tmp_path):
    keys = PAIRS | {"checkpoint_every": 0, "teacher_epochs": 1, "method": "output_l1+0.1*fitnet"}
    with pytest.raises(Crash):
        tutelage.distill(**keys, out=str(tmp_path / "cut"), callbacks=[CrashAt(5)])
    whole, resumed = tutelage.distill(**keys, out=str(tmp_path / "whole")), tutelage.resume(tmp_path / "cut")
    same_students(whole, resumed)


def test_a_cached_translator_equals_the_live_one(tmp_path):
    teacher = tutelage.distill(**PAIRS | {"epochs": 1}, out=str(tmp_path / "teacher")).folder / "teacher"
    keys = PAIRS | {"teacher": str(teacher / "model.safetensors"), "views": 2, "cache_storage": "exact"}
    live = tutelage.distill(**keys, out=str(tmp_path / "live"))
    cached = tutelage.distill(**keys, cache=str(tmp_path / "cache"), out=str(tmp_path / "cached"))
    same_students(live, cached, exact=False)


def test_a_translators_discriminator_refuses_latents(tmp_path):
    with pytest.raises(ConfigError, match="task=generation with scheme=gan"):
        tutelage.distill(**KEYS | {"scheme": "conditional_gan", "teacher_epochs": 0}, out=str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "clean" / "07.png").unlink(), r"aren't in each folder: 07"),
        (lambda folder: (folder / "clean" / "07.png").write_bytes(b"no image"), r"07\.png"),
        (lambda folder: (folder / "images" / "07.png").write_bytes(b"no image"), r"07\.png"),
        (lambda folder: Image.new("RGB", (20, 12)).save(folder / "clean" / "07.png"), r"07\.png"),
    ],
)
def test_pairs_that_do_not_fit_are_refused_by_name(pairs, tmp_path, spoil, message):
    import shutil

    folder = tmp_path / "pairs"
    shutil.copytree(pairs, folder)
    spoil(folder)
    with pytest.raises(DataError, match=message):
        load_data(check(PAIRS | {"data": f"maps:{folder}", "degrade": None, "student": "unet2", "teacher": None}))


def test_the_conditional_scheme_keeps_the_task_loss():
    assert ConditionalGan.alone == "conditional_gan"
    assert TeacherGan.alone == Gan.alone == "gan"
