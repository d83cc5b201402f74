"""Maps of values as targets: they move with their images, are read in their units, and faulty ones are refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tutelage import data as datasets
from tutelage.data.degrade import Degradation, degraded
from tutelage.data.heatmaps import render
from tutelage.data.map_targets import MapForm
from tutelage.errors import ConfigError, DataError
from tutelage.tasks import map_checks

RNG = np.random.default_rng(0)


def ramp(count=30, side=16):
    """Images whose pixels are their columns and rows, so that a map of the same shows where each pixel went."""
    rows, columns = np.mgrid[:side, :side]
    return np.broadcast_to(np.stack([columns, rows, 0 * rows], -1) * 10, (count, side, side, 3)).astype(np.uint8)


def save(path, **arrays):
    np.savez(path, **arrays)
    return f"npz:{path}"


def raw(batch, data):
    return batch.inputs * torch.tensor(data.std).view(-1, 1, 1) + torch.tensor(data.mean).view(-1, 1, 1)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("augment", ["shift", "crop-flip"])
def test_maps_move_with_their_images(tmp_path, augment, times):
    x = ramp()
    y = x[..., :1].transpose(0, 3, 1, 2).repeat(times, 2).repeat(times, 3) / 255 + 1
    data = datasets.load(save(tmp_path / "a.npz", x_train=x, y_train=y.astype(np.float32)), augment=augment)
    batch = next(data.batches("train", 16))
    seen, maps = raw(batch, data)[:, :1], data.values.restore(batch.targets).float() - 1
    seen = seen.repeat_interleave(times, 2).repeat_interleave(times, 3)
    known = ~maps.isnan()
    assert torch.allclose(seen[known], maps[known], atol=1e-4)
    assert 0.5 < known.float().mean() < 1, "what comes in from outside isn't known"
    same, other = (next(data.batches("train", 16, epoch=epoch)).targets for epoch in (0, 1))
    assert torch.equal(same.nan_to_num(), batch.targets.nan_to_num())
    assert not torch.equal(other.nan_to_num(), same.nan_to_num())


def test_displacements_change_sign_and_points_change_places_when_flipped():
    maps = torch.arange(2 * 2 * 3.0).view(1, 2, 2, 3)
    flow = MapForm(("x", "y")).flip(maps.flip(-1))
    assert torch.equal(flow[:, 0], -maps[:, 0].flip(-1))
    assert torch.equal(flow[:, 1], maps[:, 1].flip(-1))
    points = MapForm.with_pairs(["nose", "left", "right"], [(1, 2)])
    assert points.flip(torch.arange(3.0).view(1, 3, 1, 1)).flatten().tolist() == [0, 2, 1]


def test_sizes_change_displacements_and_masses():
    maps = torch.ones(1, 3, 4, 4)
    resized = MapForm(("x", "y", "mass")).resize(maps, (4, 4), (8, 2))
    assert resized.shape == (1, 3, 8, 2)
    assert resized[0, :, 0, 0].tolist() == [0.5, 2.0, 1.0]
    assert float(resized[0, 2].sum()) == 16


def test_photometric_policies_leave_maps_alone(tmp_path):
    name = save(
        tmp_path / "a.npz", x_train=ramp(), y_train=np.ones((30, 16, 16), np.float32) + RNG.random((30, 16, 16))
    )
    data = datasets.load(name, augment="none+color-jitter")
    plain = datasets.load(name, augment="none")
    a, b = (next(d.batches("train", 8)) for d in (data, plain))
    assert torch.equal(a.targets, b.targets)
    assert not torch.equal(a.inputs, b.inputs)
    with pytest.raises(ConfigError, match="not of the maps"):
        datasets.load(name, augment="erasing")


def test_the_scale_keeps_0_and_directions(tmp_path):
    y = RNG.normal(size=(30, 2, 8, 8)).astype(np.float32) * [[[[3.0]], [[1.0]]]]
    y[0, :, :4] = np.nan
    data = datasets.load(save(tmp_path / "a.npz", x_train=ramp(side=8), y_train=y.astype(np.float32), kinds=["x", "y"]))
    assert (data.task, data.values.mean) == ("flow", (0.0, 0.0))
    assert data.values.std[0] == data.values.std[1]
    batch = next(data.batches("test", 6))
    assert torch.allclose(data.values.scale(data.values.restore(batch.targets)), batch.targets, equal_nan=True)


def folder(root, maps="depth", count=12, side=16, write=None, splits=("",)):
    for split in splits:
        (root / split / "images").mkdir(parents=True)
        (root / split / maps).mkdir()
        for number in range(count):
            image = RNG.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(image).save(root / split / "images" / f"{number:02}.png")
            (write or write_png)(root / split / maps / f"{number:02}", image)
    return f"maps:{root}"


def write_png(path, image):
    depth = image[..., 0].astype(np.uint16) * 10 + 500
    depth[0] = 0
    Image.fromarray(depth).save(path.with_suffix(".png"))


def write_negative(path, image):
    np.save(path.with_suffix(".npy"), -1.0 * image[..., 0])


def write_huge(path, image):
    np.save(path.with_suffix(".npy"), 1e300 * image[..., 0].astype(float) + 1e300)


def write_text(path, image):
    path.with_suffix(".npy").write_text("no")


def write_npy(channels):
    return lambda path, image: np.save(path.with_suffix(".npy"), image[..., :channels].astype(np.float32))


def test_a_folder_of_16_bit_depth(tmp_path):
    name = folder(tmp_path, splits=("train", "test"))
    (tmp_path / "maps.json").write_text(json.dumps({"scale": 0.001}))
    data = datasets.load(name, augment="none")
    assert (data.task, data.target, len(data.test)) == ("depth", "map", 12)
    batch = next(data.batches("test", 12))
    expected = (raw(batch, data)[:, :1] * 255).round() * 0.01 + 0.5
    maps = data.values.restore(batch.targets)
    assert maps[:, :, 0].isnan().all(), "0 isn't known"
    assert torch.allclose(maps[:, :, 1:], expected[:, :, 1:].double(), atol=1e-5)


def test_other_folders(tmp_path):
    assert datasets.load(folder(tmp_path / "a", "density", write=write_npy(1))).map_form.kinds == ("mass",)
    flow = datasets.load(folder(tmp_path / "b", "flow", write=write_npy(2)))
    assert (flow.task, flow.values.names) == ("flow", ("x", "y"))
    (tmp_path / "b" / "images2").mkdir()
    for path in (tmp_path / "b" / "images").iterdir():
        Image.open(path).save(tmp_path / "b" / "images2" / path.name)
    assert datasets.load(f"maps:{tmp_path / 'b'}").channels == 6

    def twice(path, image):
        Image.fromarray(image.repeat(2, 0).repeat(2, 1)).save(path.with_suffix(".png"))

    clean = datasets.load(folder(tmp_path / "c", "clean", write=twice))
    batch = next(clean.batches("test", 2))
    assert (clean.task, clean.values.std, batch.targets.shape) == ("restoration", (1.0,) * 3, (2, 3, 32, 32))
    assert torch.allclose(raw(batch, clean).repeat_interleave(2, 2).repeat_interleave(2, 3), batch.targets, atol=1e-4)


def test_photos_with_maps_are_read_on_demand_and_cropped_alike(tmp_path):
    name = folder(tmp_path, side=300, count=6, write=write_npy(1), maps="density")
    data = datasets.load(name, size=300, augment="resized-crop")
    batch = next(data.batches("train", 2))
    assert data.train.can_crop
    assert batch.targets.shape == (2, 1, 300, 300)
    data = datasets.load(name, size=150, augment="none")
    batch = next(data.batches("test", 1, train=False))
    assert float(data.values.restore(batch.targets).mean()) == pytest.approx(4 * 127, rel=0.1), "masses add up"


def test_degraded_images(tmp_path):
    digits = datasets.load("digits", augment="none")
    small = degraded(digits, Degradation(scale=2))
    batch = next(small.batches("test", 5))
    assert (small.size, batch.inputs.shape, batch.targets.shape) == ((4, 4), (5, 1, 4, 4), (5, 1, 8, 8))
    clean = raw(next(digits.batches("test", 5)), digits)
    assert torch.allclose(batch.targets, clean, atol=1e-6)
    noisy = degraded(digits, Degradation(noise=25))
    views = [next(noisy.batches("train", 64, epoch=epoch, train=True)).inputs for epoch in (0, 0, 1)]
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
    tests = [next(noisy.batches("test", 64, seed=seed)).inputs for seed in (0, 1)]
    assert torch.equal(*tests), "a test image always has the same noise"
    assert small.fingerprint != noisy.fingerprint
    with pytest.raises(ConfigError, match="maps as targets"):
        degraded(small, Degradation(scale=2))


def points_csv(root, lines, header="file,nose_x,nose_y,l_ear_x,l_ear_y,r_ear_x,r_ear_y"):
    (root / "images").mkdir(parents=True)
    for number in range(12):
        Image.fromarray(RNG.integers(0, 256, (12, 16), dtype=np.uint8)).save(root / "images" / f"{number}.png")
    rows = [f"{number}.png,{number},5,3,4,," for number in range(12)]
    rows[: len(lines)] = lines
    (root / "points.csv").write_text("\n".join([header, *rows]))
    return f"keypoints:{root / 'points.csv'}"


def test_points_beside_images(tmp_path):
    data = datasets.load(points_csv(tmp_path, []), augment="none", heatmaps={"sigma": 1})
    assert (data.task, data.values.names) == ("keypoints", ("nose", "l_ear", "r_ear"))
    assert data.map_form.order == (0, 2, 1)
    batch = next(data.batches("train", 4, train=False))
    assert batch.targets.shape == (4, 3, 12, 16)
    assert batch.targets[:, 2].isnan().all(), "what isn't visible isn't known"
    place = torch.tensor([[[3.0, 4.0]]])
    assert torch.allclose(batch.targets[:1, 1:2], render((place + 0.5) / torch.tensor([16.0, 12.0]), (12, 16), 1))
    images = [{"file": f"{k}.png", "points": [[k, 5], [3, 4], None]} for k in range(12)]
    (tmp_path / "p.json").write_text(json.dumps({"points": ["nose", "l_ear", "r_ear"], "images": images}))
    other = datasets.load(f"keypoints:{tmp_path / 'p.json'}", augment="none", heatmaps={"sigma": 1, "flip_pairs": []})
    assert torch.equal(next(other.batches("train", 4, train=False)).targets.nan_to_num(), batch.targets.nan_to_num())
    assert other.map_form.order == ()


X, Y = ramp(), np.ones((30, 1, 16, 16), np.float32)
ONE_INF, TWO = Y.copy(), Y.repeat(2, 1)
HALF = np.full((30, 1, 2), 3.0)
HALF[4, 0, 0] = np.nan
ONE_INF[3, 0, 2, 2], FAR = np.inf, np.full((30, 1, 2), 99.0)
CASES = {
    "nothing known": (lambda p: save(p / "a.npz", x_train=X, y_train=Y * np.nan), "y_train has no value that is known"),
    "untested": (lambda p: save(p / "a.npz", x_train=X, y_train=Y, x_test=X, y_test=Y * np.nan), "y_test has"),
    "no distance": (lambda p: save(p / "a.npz", x_train=X, y_train=-Y), "above 0, as distances are"),
    "all 0": (lambda p: save(p / "a.npz", x_train=X, y_train=Y * 0, kinds=["mass"]), "are 0"),
    "too large": (lambda p: save(p / "a.npz", x_train=X, y_train=Y * np.float64(1e300)), "row 0, has infinite or too"),
    "large file": (lambda p: folder(p, write=write_huge), r"00.npy: has infinite or too large"),
    "same names": (lambda p: save(p / "a.npz", x_train=X, y_train=TWO, values=["a", "a"]), "expected each name once"),
    "half known": (lambda p: save(p / "a.npz", x_train=X, y_train=HALF, point_names=["a"]), r"row 4: a is at \[nan, 3"),
    "same points": (lambda p: save(p / "a.npz", x_train=X, y_train=FAR.repeat(2, 1), point_names=["a", "a"]), "once"),
    "no flip_pairs": (lambda p: (points_csv(p, []), {"heatmaps": {"flip_pairs": False}}), r"=False.*\[\] for"),
    "nested pairs": (lambda p: (points_csv(p, []), {"heatmaps": {"flip_pairs": [[[1], 2]]}}), "expected pairs"),
    "infinite": (lambda p: save(p / "a.npz", x_train=X, y_train=ONE_INF), "y_train, row 3, has infinite"),
    "kinds": (lambda p: save(p / "a.npz", x_train=X, y_train=Y, kinds=["speed"]), "expected one of value, x"),
    "channels": (lambda p: save(p / "a.npz", x_train=X, y_train=Y, x_test=X, y_test=TWO), "y_test is"),
    "no images": (lambda p: f"maps:{p}", "no images with maps"),
    "no partner": (lambda p: extra(folder(p), p / "images" / "99.png"), "99"),
    "16-bit sizes": (lambda p: folder(p, write=lambda f, i: write_png(f, i[:-1])), "for an image of"),
    "negative": (lambda p: folder(p, "density", write=write_negative), r"00.npy: has the"),
    "unreadable": (lambda p: folder(p, write=write_text), r"00.npy: can't be read"),
    "maps.json": (lambda p: note(folder(p), p / "maps.json", {"scale": -1}), "'scale'"),
    "true scale": (lambda p: note(folder(p), p / "maps.json", {"scale": True}), "'scale'"),
    "outside": (lambda p: points_csv(p, ["0.png,99,5,3,4,,"]), r"line 2: nose is at \(99, 5\), outside"),
    "half a point": (lambda p: points_csv(p, ["0.png,9,,3,4,,"]), r"line 2: nose is \('9', ''\)"),
    "point columns": (lambda p: points_csv(p, [], "file,nose_x,nose_y,l_ear_x,l_ear_y,r_ear_x,z"), "r_ear_y"),
    "npz points": (lambda p: save(p / "a.npz", x_train=X, y_train=FAR, point_names=["a"]), "row 0: a"),
    "flip_pairs": (lambda p: (points_csv(p, []), {"heatmaps": {"flip_pairs": [["nose", "tail"]]}}), "'tail'"),
    "sigma": (lambda p: (points_csv(p, []), {"heatmaps": {"sigma": 0}}), "sigma=0"),
}  # fmt: skip


def extra(name, path):
    Image.new("RGB", (16, 16)).save(path)
    return name


def note(name, path, content):
    path.write_text(json.dumps(content))
    return name


@pytest.mark.parametrize("case", CASES)
def test_faulty_maps_are_refused(tmp_path, case):
    write, message = CASES[case]
    written = write(tmp_path)
    name, options = written if isinstance(written, tuple) else (written, {})
    with pytest.raises((DataError, ConfigError), match=message):
        datasets.load(name, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"scale": 0}, "scale=0"), ({"size": 2}, "size"), ({"noise": -1}, "noise=-1"), ({}, "does nothing")],
)
def test_faulty_degradations_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Degradation.of(options)


def test_maps_that_are_small_for_their_images_dont_move(tmp_path):
    data = datasets.load(save(tmp_path / "a.npz", x_train=X, y_train=Y[:, :, :8, :8]), augment="shift")
    with pytest.raises(ConfigError, match="whole number of times"):
        next(data.batches("train", 4))
    assert next(replace(data, augment="none").batches("train", 4)).targets.shape == (4, 1, 8, 8)


def test_checks_find_other_units_and_unknown_maps(tmp_path):
    far = datasets.load(save(tmp_path / "a.npz", x_train=X, y_train=5000 * Y))
    assert "millimetres" in map_checks.check_depths(far)[0].mend
    assert "everywhere" in map_checks.check_known(far)[0].what
    mass = datasets.load(
        save(tmp_path / "b.npz", x_train=X, y_train=Y * RNG.uniform(1, 2, (30, 1, 1, 1)), kinds=["mass"])
    )
    assert "whole numbers" in map_checks.check_counts(mass)[0].what
    y = np.full((30, 2, 16, 16), 99.0)
    y[:, :, 1:] = math.nan
    flow = datasets.load(save(tmp_path / "c.npz", x_train=X, y_train=y, kinds=["x", "y"]))
    assert ["two images" in x.what or "larger" in x.what for x in map_checks.check_displacements(flow)] == [True, True]
    points = datasets.load(points_csv(tmp_path, []), heatmaps={"flip_pairs": []})
    assert [x.level for x in map_checks.check_points(points)] == ["warning", "warning"]
