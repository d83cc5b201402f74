"""Recordings: folders, patterns and CSV files, their augmentation, and files that are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sounds import RATE, folder_of_tones, tone, write

from tutelage.data import load, modalities, sound_effects
from tutelage.data.recordings import SoundForm, is_clipped, place, read_waveform
from tutelage.data.splits import ViewSeed
from tutelage.errors import ConfigError, DataError

PATTERN = {"pattern": "{label}_{speaker}_{take}"}


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    return folder_of_tones(tmp_path_factory.mktemp("tones"))


def csv_of(root, rows, header="file,label"):
    for number in range(12):
        path = root / f"t{number}.wav"
        if not path.exists():
            write(path, tone(number))
    file = root / "labels.csv"
    file.write_text("\n".join([header, *rows]), encoding="utf-8")
    return f"sound:{file}"


def twelve(**changed):
    return [changed.get(f"t{n}", f"t{n}.wav,{'ab'[n % 2]}") for n in range(12)]


def test_names_of_files_tell_labels_and_speakers(tones):
    data = load(f"sound:{tones}", reading=PATTERN, group="speaker")
    assert (data.task, data.classes, data.modality, data.channels) == ("classification", tuple("0123"), "sound", 1)
    assert data.size == (round(0.59 * RATE),), "the longest"
    groups = [{*getattr(data, split).groups.tolist()} for split in ("train", "val", "test")]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    assert "57 of 60 recordings are shorter than 0.59 s; zeros follow them, 17% of such" in data.notes[0]
    speakers = load(f"sound:{tones}", reading=PATTERN, target="speaker", split=["s4", "s5"])
    assert not {*speakers.train.labels.tolist()} & {*speakers.test.labels.tolist()}
    assert (data.source_options["reading"], data.source_options["group"]) == (PATTERN, "speaker")


@pytest.mark.parametrize("split", [False, True])
def test_folders_are_classes(tmp_path, split):
    for number in range(24):
        part = ("train/", "test/")[number % 3 == 0] if split else ""
        write(tmp_path / f"{part}{'ab'[number % 2]}/{number}.flac", tone(number))
    data = load(f"sound:{tmp_path}", reading={"seconds": 0.25})
    assert (data.classes, data.size) == (("a", "b"), (500,))
    assert len(data.test) == (8 if split else 5)


def test_a_csv_file_of_labels_of_sets_of_values_and_of_splits(tmp_path):
    splits = [f"t{n}.wav,{'ab'[n % 2]},{'train' if n < 8 else 'test'},{n / 4}" for n in range(12)]
    name = csv_of(tmp_path, splits, "file,label,split,height")
    data = load(name)
    assert (len(data.train) + len(data.val), len(data.test), data.classes) == (8, 4, ("a", "b"))
    values = load(name, task="regression", target="height", drop=["label"])
    assert (values.task, values.values.names) == ("regression", ("height",))
    sets = load(csv_of(tmp_path, [f"t{n}.wav,{'a;b' if n % 2 else 'a'}" for n in range(12)], "file,labels"))
    assert (sets.task, sets.classes) == ("multi_label", ("a", "b"))


def test_samples_are_cropped_padded_resampled_and_mixed_down(tmp_path):
    samples = tone(1, 0.5, 4000)
    path = write(tmp_path / "a.wav", np.stack([samples, 0.5 * samples], 1), 4000, "FLOAT")
    waveform = read_waveform(path, SoundForm(RATE, 500, resample=True, mono=True))
    assert waveform.shape == (1, 1000)
    assert torch.allclose(waveform[0, 100:900], torch.tensor(0.75 * samples[200:1800:2]).float(), atol=0.1)
    x = torch.arange(5.0)[None]
    assert place(x, 3, 1).tolist() == [[1, 2, 3]]
    assert place(x, 7, 2).tolist() == [[0, 0, 0, 1, 2, 3, 4]]
    for subtype in ("PCM_U8", "PCM_24", "PCM_32", "DOUBLE"):
        read = read_waveform(write(tmp_path / "b.wav", samples, 4000, subtype), SoundForm(4000, 500))
        assert torch.allclose(read[0], torch.tensor(samples).float(), atol=0.01)


def test_the_middle_is_evaluated_and_a_random_part_trains(tones):
    data = load(f"sound:{tones}", reading=PATTERN | {"seconds": 0.2}, augment="time-crop")
    whole = data.train.waveforms[0]
    start = (whole.shape[1] - 400) // 2
    assert torch.equal(data.train.item(0, ViewSeed())[0], whole[:, start : start + 400])
    views = [data.train.item(0, ViewSeed(0, view, time_crop=True))[0] for view in (0, 1, 1)]
    assert not torch.equal(views[0], views[1])
    assert torch.equal(views[1], views[2])


@pytest.mark.parametrize("kind", ["sound", "spectrogram"])
def test_augmentations_depend_on_the_address_alone(kind):
    modality = modalities.find(kind)
    x, index = torch.randn(6, *((1, 256) if kind == "sound" else (1, 20, 30))), torch.tensor([4, 9, 2, 7, 1, 3])
    for word in modality.effects:
        whole, _ = modality.augment(x, None, index, ViewSeed(5, 2), {word})
        part, _ = modality.augment(x[2:4], None, index[2:4], ViewSeed(5, 2), {word})
        other, _ = modality.augment(x, None, index, ViewSeed(5, 3), {word})
        assert torch.allclose(whole[2:4], part, atol=1e-5), word
        assert (whole != x).flatten(1).any(1).sum() >= 4, word
        assert not torch.allclose(whole, other), word
        assert whole.shape == x.shape
        assert whole.dtype == x.dtype


def test_masks_hide_a_fifth_at_most_and_noise_has_its_level():
    x, index = torch.randn(200, 1, 40, 50), torch.arange(200)
    for mask, dim in ((sound_effects.time_mask, 3), (sound_effects.band_mask, 2)):
        hidden = (mask(x, index, 0, 0) != x).all(5 - dim)[:, 0].sum(1)
        assert hidden.max() <= x.shape[dim] / 5
        assert hidden.float().mean() == pytest.approx(x.shape[dim] / 10, rel=0.2)
    waves = torch.randn(100, 1, 2000)
    added = sound_effects.noise(waves, torch.arange(100), 0, 0) - waves
    ratios = 10 * (waves.square().mean((1, 2)) / added.square().mean((1, 2))).log10()
    assert 9.5 < ratios.min() < 14
    assert 36 < ratios.max() < 40.5
    removed = torch.fft.rfft(sound_effects.frequency_mask(waves, torch.arange(100), 0, 0)).abs() < 1e-3
    assert 0 < removed.float().mean() < 0.2


CLIPPED = np.clip(4 * tone(1), -1, 1)
REFUSED = [
    ({"t3.wav": np.zeros(800)}, twelve(), {}, "t3.wav: is silent, since all its samples are 0"),
    ({"t3.wav": np.zeros(0)}, twelve(), {}, "t3.wav: has no samples"),
    ({"t3.wav": np.stack([tone(3), tone(4)], 1)}, twelve(), {}, "t3.wav: has 2 channels, expected one: set mono: true"),
    ({"t3.wav": b"RIFF0000WAVEjunk"}, twelve(), {}, "t3.wav: can't be read as sound"),
    ({"t3.wav": b""}, twelve(), {}, "t3.wav: can't be read as sound"),
    ({}, twelve(), {"rate": 8000}, "t0.wav: has 2,000 samples a second, expected 8,000: convert it, or set resample"),
    ({"t3.wav": np.full(600, np.nan)}, twelve(), {}, "t3.wav: has NaN or infinite samples"),
    ({}, twelve(t4="t4.wav,"), {}, "line 6: label is '': expected one class"),
    ({}, twelve(t4="t99.wav,a"), {}, "line 6: there is no sound file 't99.wav' in"),
    ({}, twelve(t4="t3.wav,a"), {}, "line 6: the sound file 't3.wav' is that of line 5 too"),
    ({"t3.wav": tone(4)}, twelve(), {}, "line 6: has the samples of t3.wav, and another label"),
    ({}, twelve(), {"rates": 8000}, "unknown option of data sound:.*: reading 'rates': did you mean 'rate'"),
    ({}, twelve(), {"seconds": -1}, "seconds=-1: expected a number above 0"),
    ({"t3.wav": tone(3, 31)}, twelve(), {}, "t3.wav lasts 31 s: set reading={seconds: …}"),
]


@pytest.mark.parametrize(("files", "rows", "reading", "message"), REFUSED, ids=[case[3][:40] for case in REFUSED])
def test_recordings_that_cant_be_used_are_refused(tmp_path, files, rows, reading, message):
    for name, content in files.items():
        if isinstance(content, bytes):
            (tmp_path / name).write_bytes(content)
        else:
            write(tmp_path / name, content, subtype="FLOAT" if np.isnan(content).any() else None)
    with pytest.raises((DataError, ConfigError), match=message):
        load(csv_of(tmp_path, rows), reading=reading)


def test_labels_splits_and_names_that_dont_fit_are_refused(tmp_path, tones):
    rows = [f"t{n}.wav,{'abc'[min(n % 2 + 2 * (n == 11), 2)]},{'train' if n < 8 else 'test'}" for n in range(12)]
    with pytest.raises(DataError, match="line 13: no training row has the label 'c', only a, b"):
        load(csv_of(tmp_path, rows, "file,label,split"))
    for reading, message in (
        ({"pattern": "{label}-{take}"}, "its name doesn't fit pattern='{label}-{take}'"),
        ({"pattern": "label"}, "expected different parts in braces"),
        ({}, "is in no folder of a class: expected .*a pattern of names"),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            load(f"sound:{tones}", reading=reading)
    with pytest.raises(DataError, match="has no recordings: expected a folder of"):
        load(f"sound:{tmp_path / 'empty'}")
    with pytest.raises(ConfigError, match="expected one column of classes: target=COLUMN"):
        load(f"sound:{tones}", reading=PATTERN, target=["label", "speaker"])
    for named in ({"target": "speaker", "drop": ["speaker"]}, {"target": "speaker", "group": "speaker"}):
        with pytest.raises(ConfigError, match="'speaker' is named twice"):
            load(f"sound:{tones}", reading=PATTERN, **named)
    for target, pattern in (("file", "{label}_{speaker}_{take}"), ((), "{a}_{b}_{c}")):
        with pytest.raises(ConfigError, match=r"expected one column of classes: target=COLUMN, of [al]"):
            load(f"sound:{tones}", reading={"pattern": pattern}, target=target)
    with pytest.raises(ConfigError, match=r"size=.*: recordings have a length: set reading"):
        load(f"sound:{tones}", reading=PATTERN, size=16)
    with pytest.raises(ConfigError, match="augment=crop-flip isn't for sound data: use none, shift, time-crop, gain"):
        load(f"sound:{tones}", reading=PATTERN, augment="crop-flip")
    with pytest.raises(ConfigError, match="reading=…: it takes target, group, drop"):
        load("csv:x.csv", reading={"rate": 8000})
    with pytest.raises(ConfigError, match="time-crop isn't for image data"):
        replace(load("digits"), augment="time-crop")


def test_clipped_copied_and_differently_stored_recordings_are_noted(tmp_path):
    write(tmp_path / "t1.wav", CLIPPED)
    write(tmp_path / "t3.wav", CLIPPED)
    write(tmp_path / "t5.wav", tone(5), subtype="PCM_24")
    notes = "\n".join(load(csv_of(tmp_path, twelve())).notes)
    for note in ("2 recording(s) are clipped: t1.wav, t3.wav", "1 recording(s) have the samples of another one",
                 "samples of several forms (PCM_16, PCM_24)"):  # fmt: skip
        assert note in notes
    assert is_clipped(torch.tensor(CLIPPED)[None])
    assert not is_clipped(torch.tensor(tone(1))[None])


def test_recordings_may_be_read_on_demand(tones, monkeypatch):
    held = load(f"sound:{tones}", reading=PATTERN | {"seconds": 0.2})
    monkeypatch.setattr("tutelage.data.sources.sound.HELD", 10)
    read = load(f"sound:{tones}", reading=PATTERN | {"seconds": 0.2})
    assert read.train.waveforms is None
    assert (read.mean, read.fingerprint) == (held.mean, held.fingerprint)
    assert all(
        torch.equal(a.inputs, b.inputs) for a, b in zip(held.batches("test", 5), read.batches("test", 5), strict=True)
    )
