"""Point clouds: files, arrays, what is drawn of them, what is seen of them, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from solids import cloud, folder_of_clouds, write_off, write_ply

from tutelage.data import load, load_unlabelled, modalities, point_effects
from tutelage.data.cloud_files import read_cloud
from tutelage.data.clouds import CloudForm, occupancy, to_unit_sphere, visible_points
from tutelage.data.splits import ViewSeed
from tutelage.errors import ConfigError, DataError

ALL = {"points": 32, "grid": 8, "visible": 8}
TRAIN = ViewSeed(3, 1, crop=True)


@pytest.fixture(scope="module")
def solids(tmp_path_factory):
    return folder_of_clouds(tmp_path_factory.mktemp("solids"))


def grids(path, count=60, **changes):
    """Write a .npz of grids of three classes."""
    x = np.stack([occupancy(torch.from_numpy(cloud(n, 80)), 10)[0].numpy() > 0 for n in range(count)])
    y = np.arange(count) % 3
    arrays = {"x_train": x[15:], "y_train": y[15:], "x_test": x[:15], "y_test": y[:15], "classes": list("abc")}
    np.savez(path, **{name: value for name, value in (arrays | changes).items() if value is not None})
    return f"points:{path}"


def test_folders_are_classes(solids, tmp_path):
    data = load(f"points:{solids}", reading={"points": 32})
    assert (data.task, data.classes, data.modality) == ("classification", ("ball", "box", "stick"), "points")
    assert (data.channels, data.size, data.augment) == (3, (32,), "subsample")
    assert [len(split) for split in (data.train, data.val, data.test)] == [43, 5, 12]
    batch = next(data.batches("train", 8))
    assert batch.inputs.shape == (8, 3, 32)
    split = load(f"points:{folder_of_clouds(tmp_path, split=True)}")
    assert (len(split.test), split.size) == (12, (1024,))


def test_a_csv_file_of_labels_values_splits_and_groups(solids, tmp_path):
    files = sorted(solids.rglob("*.npy"))
    lines = [f"{f},{f.parent.name},{n % 7},{('train', 'test')[n % 7 == 0]}" for n, f in enumerate(files)]
    path = tmp_path / "clouds.csv"
    path.write_text("\n".join(["file,label,weight,split", *lines]))
    data = load(f"points:{path}", drop=["weight"], reading={"points": 8})
    assert (data.classes, len(data.test)) == (("ball", "box", "stick"), 9)
    values = load(f"points:{path}", task="regression", target="weight", drop=["label"], reading={"points": 8})
    assert (values.task, values.values.names) == ("regression", ("weight",))
    with pytest.raises(ConfigError, match="'weight' is named twice, as target, group, drop or time"):
        load(f"points:{path}", task="regression", target="weight", drop=["weight"])


def test_grids_become_points_and_grids_again(tmp_path):
    data = load(grids(tmp_path / "a.npz"), reading={"points": 16, "grid": 10})
    assert (data.classes, len(data.test), len(data.train) + len(data.val)) == (("a", "b", "c"), 15, 45)
    assert [(f.modality, f.channels, f.size) for f in data.fields.values()] == [
        ("points", 3, (16,)), ("volume", 1, (10, 10, 10))]  # fmt: skip
    x = np.load(tmp_path / "a.npz")["x_test"][0]
    expected = torch.from_numpy(np.argwhere(x)).float()
    assert torch.equal(data.test.clouds[int(data.test.rows[0])], to_unit_sphere(expected))
    inputs, _ = data.test.item(0, ViewSeed())
    assert torch.equal(inputs["grid"], occupancy(to_unit_sphere(expected), 10))


def test_arrays_of_points_end_in_rows_of_zeros(tmp_path):
    x = np.stack([cloud(n, 50) for n in range(60)])
    x[3, 20:] = 0
    data = load(grids(tmp_path / "a.npz", x_train=x[:45], x_test=x[45:]), reading={"points": 16})
    assert sorted({len(points) for points in data.test.clouds}) == [20, 50]


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_files_have_coordinates_first_and_then_features(tmp_path, form):
    points = cloud(1, 30)
    read = read_cloud(write_ply(tmp_path / "a.ply", points, form))
    assert torch.allclose(read[:, :3], torch.from_numpy(points))
    assert read[:, 3].tolist() == list(range(30))


def test_text_and_off_files(tmp_path):
    points = cloud(1, 30)
    (tmp_path / "a.xyz").write_text("# x y z\n\n" + "\n".join(" ".join(map(str, row)) for row in points.tolist()))
    (tmp_path / "a.txt").write_text("\n".join(",".join(map(str, row)) for row in points.tolist()))
    joined = write_off(tmp_path / "b.off", points)
    joined.write_text(joined.read_text().replace("OFF\n", "OFF"))
    for path in (tmp_path / "a.xyz", tmp_path / "a.txt", write_off(tmp_path / "a.off", points), joined):
        assert torch.equal(read_cloud(path), torch.from_numpy(points)), path.name


def test_training_draws_other_points_in_each_view_and_testing_the_same(solids):
    data = load(f"points:{solids}", reading=ALL)
    views = [data.train.item(4, ViewSeed(3, view, crop=True))[0] for view in (0, 1, 1)]
    for name in ("points", "visible"):
        assert not torch.equal(views[0][name], views[1][name])
        assert torch.equal(views[1][name], views[2][name])
    assert torch.equal(views[0]["grid"], views[1]["grid"])
    tested = data.test.take(torch.tensor([7])).item(0, ViewSeed())[0]
    assert all(torch.equal(tested[name], x) for name, x in data.test.item(7, ViewSeed())[0].items())
    still = load(f"points:{solids}", reading=ALL, augment="none")
    one, two = (next(still.batches("train", 60, epoch=epoch)) for epoch in (0, 1))
    assert torch.equal(one.inputs[one.index.argsort()], two.inputs[two.index.argsort()])


def test_a_sample_has_each_point_once_and_further_ones_again():
    points = torch.from_numpy(cloud(1, 50))
    drawn = CloudForm(20, normalise=False).inputs(points, 0, TRAIN)["points"].T
    assert len(drawn.unique(dim=0)) == 20
    assert {tuple(row) for row in drawn.tolist()} <= {tuple(row) for row in points.tolist()}
    more = CloudForm(120, normalise=False).inputs(points, 0, TRAIN)["points"].T
    counts = more.unique(dim=0, return_counts=True)[1]
    assert (len(counts), counts.min(), counts.max()) == (50, 2, 3)


def inputs_of(form, points, name="points"):
    return form.inputs(form.placed(points), 0, ViewSeed())[name]


def test_clouds_are_in_the_unit_sphere_with_their_upper_axis_last():
    points = torch.from_numpy(cloud(2, 50))
    x = inputs_of(CloudForm(50), points)
    assert x.mean(1).abs().max() < 1e-5
    assert x.norm(dim=0).max() == pytest.approx(1)
    turned = inputs_of(CloudForm(50, up="y"), points[:, [1, 2, 0]])
    assert torch.allclose(turned, x), "the second of (y, z, x) is z"
    assert torch.allclose(to_unit_sphere(torch.ones(1, 3)), torch.zeros(1, 3))
    coloured = inputs_of(CloudForm(50), torch.cat([points, torch.full((50, 2), 7.0)], 1))
    assert torch.equal(coloured[3:], torch.full((2, 50), 7.0))


def test_one_side_of_a_ball_is_visible():
    points = torch.from_numpy(cloud(0, 4000))
    unit = to_unit_sphere(points)
    for azimuth, height in ((0.0, 0.0), (2.0, 0.5)):
        seen = visible_points(points, 12, azimuth, height)
        towards = torch.tensor(
            [math.cos(height) * math.cos(azimuth), math.cos(height) * math.sin(azimuth), math.sin(height)]
        )
        assert 0.25 < seen.float().mean() < 0.6
        assert (unit[seen] @ towards).min() > -0.45
        assert seen[(unit @ towards) > 0.8].all()
    x = torch.tensor([[1.0, 0, 0], [0.5, 0, 0], [-1, 0, 0], [-0.5, 0.9, 0]])
    assert visible_points(x, 8, 0.0, 0.0).tolist() == [True, False, False, True]


def test_the_visible_part_is_normalised_without_the_hidden_one():
    points = torch.from_numpy(cloud(0, 400))
    seen = inputs_of(CloudForm(400, visible=8), points, "visible")
    whole = seen.unique(dim=1)
    assert whole.mean(1).abs().max() < 1e-5
    assert whole.norm(dim=0).max() == pytest.approx(1)


@pytest.mark.parametrize("word", point_effects.EFFECTS)
def test_augmentations_depend_on_the_address_alone(word):
    modality, index = modalities.find("points"), torch.tensor([4, 9, 2, 7, 1, 3])
    x = torch.randn(6, 5, 40)
    whole, _ = modality.augment(x, None, index, ViewSeed(5, 2), {word})
    part, _ = modality.augment(x[2:4], None, index[2:4], ViewSeed(5, 2), {word})
    other, _ = modality.augment(x, None, index, ViewSeed(5, 3), {word})
    assert torch.allclose(whole[2:4], part, atol=1e-5)
    assert not torch.allclose(whole, x)
    assert not torch.allclose(whole, other)
    assert (whole.shape, whole.dtype) == (x.shape, x.dtype)
    assert word == "point-dropout" or torch.equal(whole[:, 3:], x[:, 3:])


def test_augmentations_keep_to_their_bounds():
    x, index = to_unit_sphere(torch.randn(300, 3)).T.expand(200, 3, 300), torch.arange(200)
    turned = point_effects.rotate(x, index, 0, 0)
    assert torch.equal(turned[:, 2], x[:, 2])
    assert torch.allclose(turned[:, :2].norm(dim=1), x[:, :2].norm(dim=1), atol=1e-5)
    moved = point_effects.jitter(x, index, 0, 0) - x
    assert moved.std() == pytest.approx(0.01, rel=0.05)
    assert moved.abs().max() < 0.0501
    factors = point_effects.scale(x, index, 0, 0)[:, 0, 0] / x[:, 0, 0]
    assert 0.8 <= factors.min() < 0.82
    assert 1.22 < factors.max() <= 1.2501
    kept = (point_effects.drop_points(x, index, 0, 0) == x).all(1).float().mean(1)
    assert kept.min() >= 0.4
    assert kept.mean() == pytest.approx(0.75, abs=0.04)


def test_a_grid_turns_as_its_points_do():
    points = torch.from_numpy(cloud(1, 3000))
    index = torch.arange(4)
    grid = occupancy(points, 16).expand(4, 1, 16, 16, 16)
    turned = point_effects.rotate_grid(grid, index, 0, 0)
    clouds = point_effects.rotate(points.T.expand(4, 3, -1), index, 0, 0)
    for number in range(4):
        expected = occupancy(clouds[number].T, 16)
        other = occupancy(clouds[(number + 1) % 4].T, 16)
        overlap = [(turned[number] * x).sum() / x.sum() for x in (expected, other)]
        assert overlap[0] > 0.6
        assert overlap[0] > overlap[1]
    assert turned.dtype == grid.dtype


def test_pictures_of_points_and_grids():
    points, volume = modalities.find("points"), modalities.find("volume")
    x = torch.tensor([[0.0, 0, 1], [0, 0, -1], [0.5, 0, 0.2]]).T[None]
    picture = points.pictures(x)
    assert picture.shape == (1, 1, 64, 128)
    assert 0 <= picture.min() <= picture.max() <= 1
    assert picture[0, 0, :8, :64].any(), "up is up"
    grid = torch.zeros(2, 1, 6, 5, 4)
    grid[:, :, 1, 2, 3] = 1
    shown = volume.pictures(grid)
    assert shown.shape == (2, 1, 4, 10)
    assert shown[0, 0, 0, 2] == 1, "the last axis is up"
    assert points.describe(3, (64,)) == "64 points of 3 numbers"


def test_clouds_without_labels(solids, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in range(9):
        np.save(flat / f"{number}.npy", cloud(100 + number))
    data = load_unlabelled(f"clouds:{flat}", reading={"points": 16, "visible": 6})
    assert (len(data.train), data.target, [*data.fields]) == (9, "none", ["points", "visible"])
    assert len(load(f"clouds:{solids}").train) == 43


def test_more_clouds_than_memory_holds_are_read_on_demand(solids, monkeypatch):
    held = load(f"points:{solids}", reading=ALL)
    monkeypatch.setattr("tutelage.data.sources.points.HELD", 10)
    read = load(f"points:{solids}", reading=ALL)
    assert (read.mean, read.fingerprint) == (held.mean, held.fingerprint)
    assert not isinstance(read.train.clouds, list)
    assert torch.equal(next(held.batches("test", 5)).inputs, next(read.batches("test", 5)).inputs)
    assert load(f"points:{solids}", reading=ALL | {"visible": 9}).fingerprint != held.fingerprint


def test_empty_clouds_and_copies_can_be_left_out(tmp_path):
    x = np.load(grids(tmp_path / "a.npz").partition(":")[2])
    train, test, labels = x["x_train"].copy(), x["x_test"], x["y_train"].copy()
    train[4], train[7], train[9], labels[9] = 0, test[3], train[8], labels[8] + 1
    name = grids(tmp_path / "b.npz", x_train=train, y_train=labels % 3)
    with pytest.raises(DataError, match=r"x_train\[4\]: has no points, as 1 cloud\(s\) of 60: remove them, or leave"):
        load(name)
    with pytest.raises(DataError, match=r"x_train\[9\]: has the points of .*x_train\[8\], and another label: keep one"):
        load(name, reading={"leave_out": ["empty"]})
    data = load(name, reading={"leave_out": ["empty", "copies"]})
    assert (len(data.train) + len(data.val), len(data.test)) == (42, 15)
    notes = "\n".join(data.notes)
    assert "1 cloud(s) without points are left out" in notes
    assert "2 copies of other clouds are left out" in notes


POINTS = cloud(0, 20)
TEXT = "\n".join(" ".join(map(str, row)) for row in POINTS.tolist())
REFUSED = [
    ("a.npy", np.zeros((0, 3)), "ball/a.npy: has no points, as 1 cloud"),
    ("a.npy", np.zeros((9, 3)), r"a.npy: all its 9 points are \[0.0, 0.0, 0.0\], which is no shape"),
    ("a.npy", np.full((9, 2), 1.5), "a.npy: has 2 columns, expected x, y, z"),
    ("a.npy", np.where(np.arange(60).reshape(20, 3) == 14, np.nan, POINTS), "a.npy, point 5: is .*nan.*finite"),
    ("a.npy", np.zeros(9), r"a.npy: has float64 \(9,\): expected numbers"),
    ("a.npy", b"\x93NUMPY junk", "a.npy: can't be read as points"),
    ("a.npy", np.concatenate([POINTS, POINTS], 1), "a.npy: has 6 columns, and the clouds before it 3"),
    ("a.npy", cloud(16, 56), "16.npy: has the points of .*a.npy, and another label: keep one, or set"),
    ("a.xyz", TEXT.replace("\n", "\nx 1 2\n", 1), "a.xyz, line 2: 'x' isn't a finite number"),
    ("a.xyz", TEXT.replace("\n", "\n1 2 inf\n", 1), "a.xyz, line 2: 'inf' isn't a finite number"),
    ("a.xyz", TEXT.replace("\n", "\n1 2\n", 1), "a.xyz, line 2: has 2 numbers, and the first has 3"),
    ("a.xyz", "1 2\n3 4\n", "a.xyz: has 2 columns, expected x, y, z"),
    ("a.txt", "", "a.txt: has no points"),
    ("a.txt", b"\xff\xfe\x00", "a.txt: can't be read as points"),
    ("a.off", f"OFF\n21 0 0\n{TEXT}", "a.off: counts 21 vertices and 0 faces, and has 20 lines of them: expected 21"),
    ("a.off", f"OFF\n20 3 0\n{TEXT}\n3 0 1 2", "a.off: counts 20 vertices and 3 faces, and has 21 lines"),
    ("a.off", f"OFF\n{TEXT}", "a.off, line 2: expected the numbers of vertices and faces"),
    ("a.off", TEXT, "a.off: begins with .*: expected OFF"),
    ("a.ply", "plyx", "a.ply: its header isn't that of a PLY file"),
    ("a.ply", "ply\nformat ascii 1.0\nelement face 1\nend_header\n", "a.ply: its first element isn't vertex"),
    ("a.ply", "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "have x: expected"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "content", "message"), REFUSED, ids=[f"{c[0]} {c[2][:30]}" for c in REFUSED])
def test_clouds_that_cant_be_used_are_refused(tmp_path, file, content, message):
    folder_of_clouds(tmp_path, 24)
    path = tmp_path / "ball" / file
    if isinstance(content, np.ndarray):
        np.save(path, content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        load(f"points:{tmp_path}")


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian"])
def test_ply_files_that_are_cut_short_are_refused(tmp_path, form):
    path = write_ply(tmp_path / "a.ply", cloud(1, 30), form, cut=150)
    with pytest.raises(DataError, match=r"a.ply: ends after \d+ of 30 vertices: copy it again"):
        read_cloud(path)
    whole = write_ply(tmp_path / "b.ply", cloud(1, 30))
    whole.write_text(whole.read_text().replace("\n0 ", "\n0 9 ", 1))
    with pytest.raises(DataError, match=r"b\.ply, line 12: has 5 numbers, and the header names 4"):
        read_cloud(whole)


def test_copies_in_two_splits_and_classes_that_training_lacks_are_refused(tmp_path):
    folder_of_clouds(tmp_path, split=True)
    np.save(tmp_path / "test" / "ball" / "99.npy", cloud(3, 43))
    with pytest.raises(DataError, match=r"3.npy: has the points of .*99.npy, which is in test: keep one, or set"):
        load(f"points:{tmp_path}")
    (tmp_path / "test" / "ball" / "99.npy").unlink()
    (tmp_path / "test" / "cone").mkdir()
    np.save(tmp_path / "test" / "cone" / "1.npy", cloud(300))
    with pytest.raises(DataError, match="no training row has the label 'cone'"):
        load(f"points:{tmp_path}")
    y = np.arange(15) % 3
    for changes, message in (
        ({"y_test": y + 1, "classes": list("abcd")}, "y_test has the class d, and no cloud of train has"),
        ({"y_test": y[:9]}, "15 samples in x_test, 9 labels in y_test"),
        ({"y_train": None}, "expected x_train and y_train"),
        ({"x_test": np.zeros((15, 9))}, r"x_test is float64 of shape \(15, 9\): expected grids"),
    ):
        with pytest.raises(DataError, match=message):
            load(grids(tmp_path / "c.npz", **changes))


def test_options_that_dont_fit_are_refused(solids, tmp_path):
    for keys, message in (
        ({"reading": {"point": 9}}, "unknown option of data points:.*: reading 'point': did you mean 'points'"),
        ({"reading": {"points": 2}}, "points=2: expected a number of 4 or more"),
        ({"reading": {"up": "w"}}, "up='w'"),
        ({"reading": {"leave_out": ["faulty"]}}, "leave_out"),
        ({"size": 16}, r"clouds have a number of points: set reading=\{points: …\}"),
        ({"augment": "crop-flip"}, "augment=crop-flip isn't for points data: use none, subsample, rotate, jitter"),
    ):
        with pytest.raises(ConfigError, match=message):
            load(f"points:{solids}", **keys)
    with pytest.raises(ConfigError, match="target, group and drop are columns of a CSV file"):
        load(grids(tmp_path / "a.npz"), target="y")
    with pytest.raises(DataError, match=r"has no point clouds: expected a folder of \.npy, \.off, \.ply"):
        load(f"points:{tmp_path / 'nowhere'}")
    with pytest.raises(ConfigError, match="subsample isn't for image data"):
        replace(load("digits"), augment="subsample")
    np.savez(tmp_path / "b.npz", x_train=np.ones((60, 4, 4, 4)), y_train=np.arange(60) % 2, modality="volume")
    with pytest.raises(ConfigError, match="augment='subsample' is for data=points:PATH"):
        load(f"npz:{tmp_path / 'b.npz'}", augment="subsample")
