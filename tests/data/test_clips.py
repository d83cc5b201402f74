"""Clips: folders of frames, their windows and augmentation, and folders that are refused."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from moving import CLASSES, clip, folder_of_clips, write
from PIL import Image

from tutelage.data import load, modalities
from tutelage.data.clip_split import WindowOfFrames
from tutelage.data.input_views import view_inputs
from tutelage.data.splits import ViewSeed
from tutelage.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return folder_of_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def folder(tmp_path):
    """A folder that a test may damage."""
    return folder_of_clips(tmp_path / "clips", 3, 4, splits=("train", "test"))


def pixels(data, x):
    """The bytes that normalised inputs stand for."""
    return (x * torch.tensor(data.std).view(-1, 1, 1, 1) + torch.tensor(data.mean).view(-1, 1, 1, 1)) * 255


def test_the_middle_window_is_evaluated(clips):
    data = load(f"clips:{clips}", reading={"frames": 3, "stride": 2}, fingerprint="content")
    assert (data.task, data.classes, data.modality, data.size) == ("classification", CLASSES, "clip", (3, 16, 16))
    assert [len(getattr(data, split)) for split in ("train", "val", "test")] == [17, 2, 5]
    batch = next(data.batches("test", 5))
    for row, label in enumerate(batch.targets.tolist()):
        number = int(data.test.clips[row].folder.name.removeprefix("clip"))
        expected = torch.from_numpy(clip(number, CLASSES[label])[[2, 4, 6]].transpose(3, 0, 1, 2).copy())
        assert torch.allclose(pixels(data, batch.inputs[row]), expected.float(), atol=1e-3)


def test_training_reads_a_window_at_an_address(clips):
    data = load(f"clips:{clips}", reading={"frames": 3}, augment="time-crop")
    views = [data.train.item(0, ViewSeed(0, view, time_crop=True))[0] for view in (*range(12), 0)]
    assert views[0].equal(views[-1])
    assert len({tuple(x.flatten().tolist()) for x in views}) > 3
    by_batch = [next(data.batches("train", size, seed=3, epoch=2)) for size in (4, 17)]
    order = {int(number): row for row, number in enumerate(by_batch[1].index)}
    for row, number in enumerate(by_batch[0].index):
        assert by_batch[0].inputs[row].equal(by_batch[1].inputs[order[int(number)]])
    still = load(f"clips:{clips}", reading={"frames": 3}, augment="none")
    assert next(still.batches("train", 17, epoch=1, seed=1)).inputs.equal(
        next(still.batches("train", 17, epoch=1, seed=1)).inputs
    )
    assert not still.is_random


@pytest.mark.parametrize("augment", ["shift", "crop-flip", "crop-flip-8", "resized-crop", "shift+randaugment+erasing"])
def test_all_frames_are_augmented_alike(tmp_path, augment):
    for number in range(12):
        still = np.repeat(np.random.default_rng(number).integers(0, 256, (1, 16, 16, 3)).astype(np.uint8), 4, 0)
        write(tmp_path / "ab"[number % 2] / str(number), still)
    data = load(f"clips:{tmp_path}", reading={"frames": 4}, augment=augment)
    batch, plain = (next(data.batches("train", 20, train=train)) for train in (True, False))
    assert (batch.inputs == batch.inputs[:, :, :1]).all()
    moved = plain.inputs[batch.index]
    assert moved.shape != batch.inputs.shape or not torch.allclose(moved, batch.inputs, atol=1e-3)


def test_large_frames_are_read_when_they_are_needed(tmp_path):
    folder_of_clips(tmp_path, 2, 3, 80)
    data = load(f"clips:{tmp_path}", reading={"frames": 2}, size=32, augment="time-crop+resized-crop")
    assert data.train.held is None
    assert data.size == (2, 32, 32)
    assert load(f"clips:{tmp_path}").size == (8, 112, 112)
    batches = [next(data.batches("train", 4, workers=workers)) for workers in (0, 1)]
    assert batches[0].inputs.equal(batches[1].inputs)
    assert next(data.batches("test", 4)).inputs.shape[2:] == (2, 32, 32)


def test_a_short_clip_repeats_its_last_frame(tmp_path):
    folder_of_clips(tmp_path, 3, 4)
    data = load(f"clips:{tmp_path}", reading={"frames": 6}, val=0.1)
    assert "12 of 12 clips are shorter than the 6 frames of a window; their last frame is repeated" in data.notes[0]
    x = next(data.batches("test", 1)).inputs[0]
    assert x[:, 3].equal(x[:, 5])
    assert not x[:, 2].equal(x[:, 3])


def test_models_see_different_numbers_of_frames(clips):
    data = load(f"clips:{clips}", reading={"frames": [2, 8]})
    few, many = (view_inputs(data, name) for name in ("frames2", "frames8"))
    assert (few.size, many.size, data.size) == ((2, 16, 16), (8, 16, 16), (8, 16, 16))
    x, y = (next(view.batches("train", 4)).inputs for view in (few, many))
    assert torch.allclose(pixels(few, x), pixels(many, y)[:, :, [2, 6]], atol=1e-3)
    assert WindowOfFrames(8).part(4) == [1, 3, 5, 7]
    small = view_inputs(load(f"clips:{clips}"), size=(8, 8))
    assert next(small.batches("train", 4)).inputs.shape == (4, 3, 8, 8, 8)


def test_footage_is_cut_into_windows_in_the_order_of_time(tmp_path):
    for number in (1, 2, 10):
        write(tmp_path / f"day{number}", clip(number, CLASSES[0], 12), "frame_{}.png", 95)
    data = load(f"footage:{tmp_path}", reading={"frames": 4, "order": "time"}, augment="none")
    assert (data.task, data.target, data.classes) == ("backbone", "none", ())
    where = [(x.folder.name, int(start)) for x, start in zip(data.train.clips, data.train.starts, strict=True)]
    assert where == [(where[0][0], 0), (where[0][0], 4), (where[0][0], 8)], "each split has clips of its own"
    assert torch.cat([batch.index for batch in data.batches("train", 2, epoch=3)]).tolist() == [0, 1]
    write(tmp_path / "train" / "a2", clip(1, CLASSES[0], 13))
    write(tmp_path / "train" / "a10", clip(2, CLASSES[0], 8))
    write(tmp_path / "val" / "b", clip(3, CLASSES[0]))
    write(tmp_path / "test" / "c", clip(4, CLASSES[0]))
    data = load(f"footage:{tmp_path}", reading={"frames": 4, "order": "time"}, augment="none")
    assert "left out next to the splits: day1, day10, day2" in data.notes[0]
    where = [(x.folder.name, int(start)) for x, start in zip(data.train.clips, data.train.starts, strict=True)]
    assert where == [("a2", 0), ("a2", 4), ("a2", 8), ("a10", 0), ("a10", 4)]
    again = load(f"footage:{tmp_path}", reading={"frames": 4}, augment="none")
    orders = {tuple(torch.cat([b.index for b in again.batches("train", 5, epoch=e)]).tolist()) for e in range(9)}
    assert len(orders) > 1
    assert again.fingerprint != data.fingerprint


def test_fingerprints_know_contents_if_told_to(tmp_path):
    for number in range(12):
        write(tmp_path / "ab"[number % 2] / str(number), clip(number, CLASSES[0], 2), "{}.bmp")

    def fingerprints():
        return [load(f"clips:{tmp_path}", fingerprint=way).fingerprint for way in ("names", "content")]

    before = fingerprints()
    write(tmp_path / "a" / "0", clip(99, CLASSES[0], 2), "{}.bmp")
    after = fingerprints()
    assert before[0] == after[0]
    assert before[1] != after[1]


def first(folder, split="train"):
    return folder / split / CLASSES[0] / "clip0"


def grey(folder):
    shutil.rmtree(first(folder, "test"))
    write(first(folder, "test"), clip(5, CLASSES[0], 4)[..., 0])


def video(folder):
    (folder / "train" / CLASSES[0] / "clip0.mp4").write_bytes(b"video")


def empty(folder):
    shutil.rmtree(first(folder))
    first(folder).mkdir()


def video_within(folder):
    empty(folder)
    (first(folder) / "a.mp4").write_bytes(b"video")


def cut_short(folder):
    frame = first(folder) / "001.png"
    frame.write_bytes(frame.read_bytes()[:300])


def no_images(folder):
    shutil.rmtree(folder / "train" / CLASSES[0])
    (folder / "train" / CLASSES[0]).mkdir()


BAD = {
    "no frames": (empty, r"train/cross-left/clip0: has no frames: expected images such as 0001.jpg\."),
    "a video within": (video_within, r"clip0: has no frames: .*it has .mp4 files: extract their frames"),
    "a video": (video, r"clip0.mp4: is a video file: expected a folder of its frames"),
    "another size": (
        lambda f: Image.new("RGB", (9, 16)).save(first(f) / "002.png"),
        r"clip0/002.png: is 16 × 9, and its clip's first frame 16 × 16",
    ),
    "truncated": (cut_short, r"clip0/001.png: can't be read as an image"),
    "no image": (lambda f: (first(f) / "001.png").write_text("no"), r"clip0/001.png: can't be read as an image"),
    "a gap": (lambda f: (first(f) / "001.png").unlink(), r"clip0/002.png: comes 2 numbers after the frame before"),
    "a number twice": (
        lambda f: shutil.copy(first(f) / "001.png", first(f) / "1.png"),
        r"clip0/1.png: another frame of the clip has its number",
    ),
    "no number": (lambda f: (first(f) / "001.png").rename(first(f) / "x.png"), r"clip0/x.png: its name has no number"),
    "one frame": (
        lambda f: [(first(f) / f"00{k}.png").unlink() for k in (1, 2, 3)],
        r"clip0: has one frame, in which nothing moves, and samples have 8",
    ),
    "a copy": (
        lambda f: shutil.copytree(first(f), f / "test" / CLASSES[0] / "other"),
        r"test/cross-left/other: has the frames of .*train/cross-left/clip0",
    ),
    "a copy in another class": (
        lambda f: shutil.copytree(first(f), f / "train" / CLASSES[1] / "other"),
        r"cross-right/other: has the frames of .*train/cross-left/clip0",
    ),
    "a class that train lacks": (
        lambda f: shutil.rmtree(f / "train" / CLASSES[2]),
        r"test/square-left: train has no class 'square-left', only cross-left, cross-right, square-right",
    ),
    "grey and colour": (grey, r"test/cross-left/clip0/000.png: is grey, and .* is in colour"),
    "a frame outside": (
        lambda f: shutil.copy(first(f) / "000.png", first(f).parent / "000.png"),
        r"cross-left/000.png: is in no folder of a clip: expected CLASS/CLIP/FRAME",
    ),
    "a folder within": (
        lambda f: shutil.copytree(first(f), first(f) / "more"),
        r"clip0/more/000.png: lies in a folder within the clip",
    ),
    "no clips": (no_images, r"train/cross-left: has no clips"),
    "sixteen bits": (
        lambda f: Image.fromarray(np.zeros((16, 16), np.uint16)).save(first(f) / "000.png"),
        r"clip0/000.png: has pixels of mode I;16",
    ),
    "no train": (lambda f: shutil.rmtree(f / "train"), r"has the splits test: expected train"),
    "no classes": (
        lambda f: [shutil.rmtree(f / s / c) for s in ("train", "test") for c in CLASSES[1:]],
        r"train: has 1 folder\(s\) of a class: expected two or more",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named(folder, case):
    damage, message = BAD[case]
    load(f"clips:{folder}")
    damage(folder)
    with pytest.raises(DataError, match=message):
        load(f"clips:{folder}")


def test_a_frame_that_wasnt_looked_at_is_refused_when_it_is_read(folder):
    data = load(f"clips:{folder}", reading={"frames": 4}, size=70)
    large = folder_of_clips(folder / "large", 3, 4, 80)
    data = load(f"clips:{large}", reading={"frames": 4})
    cut_short_at = large / CLASSES[0] / "clip1" / "001.png"
    cut_short_at.write_bytes(cut_short_at.read_bytes()[:500])
    with pytest.raises(DataError, match=r"clip1/001.png: can't be read as an image"):
        [batch for split in ("train", "val", "test") for batch in data.batches(split, 4)]


def test_options_are_checked(clips):
    with pytest.raises(ConfigError, match="frames=0: expected a number of 1 or more"):
        load(f"clips:{clips}", reading={"frames": 0})
    with pytest.raises(ConfigError, match=r"frames=\[4, 4\]: expected different numbers"):
        load(f"clips:{clips}", reading={"frames": [4, 4]})
    with pytest.raises(ConfigError, match="order='backwards': expected 'shuffled' or 'time'"):
        load(f"footage:{clips}", reading={"order": "backwards"})
    with pytest.raises(ConfigError, match="augment=augmix isn't for clip data"):
        load(f"clips:{clips}", augment="augmix")
    with pytest.raises(DataError, match="is no folder: expected one of clips"):
        load("clips:nowhere")


def test_pictures_of_clips_are_some_frames_side_by_side():
    x = torch.arange(2 * 3 * 9 * 4 * 5).view(2, 3, 9, 4, 5).float()
    shown = modalities.find("clip").pictures(x)
    assert shown.shape == (2, 3, 4, 20)
    assert (float(shown.min()), float(shown.max())) == (0, 1)
    assert modalities.find("clip").pictures(x[:, :2]).shape == (2, 1, 4, 20)
