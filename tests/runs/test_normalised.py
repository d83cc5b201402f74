"""Floats that are normalised already, or not, and networks that want their images normalised in their own way."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import TensorDataset

import tutelage
from tutelage import data as datasets
from tutelage.data import from_datasets
from tutelage.data.preparation import channel_mean_std
from tutelage.errors import ConfigError, DataError
from tutelage.models import serialization
from tutelage.training.callbacks import Callback

KEYS = {"epochs": 3, "lr": 0.1, "batch_size": 32, "device": "cpu", "augment": "none"}
DIGITS = datasets.load("digits", limit=400, augment="none")
MEAN, STD = DIGITS.mean, DIGITS.std


class Ear(Callback):
    def __init__(self):
        self.notes = []

    def on_message(self, event):
        if event.kind == "note":
            self.notes.append(event.message)


def split(name, change):
    """A split of the digits as floats."""
    batch = next(DIGITS.batches(name, 10_000, train=False))
    pixels = batch.inputs * torch.tensor(STD) + torch.tensor(MEAN)
    return TensorDataset(change(pixels.clamp(0, 1)), batch.targets)


def splits(change=lambda x: x):
    return tuple(split(name, change) for name in ("train", "val", "test"))


def normalised(x):
    return (x - torch.tensor(MEAN)) / torch.tensor(STD)


def own(x):
    return (x - 0.5) / 0.25


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("runs") / "bytes")
    return tutelage.train("cnn4", "digits", out=out, limit=400, **KEYS)


WAYS = [
    (splits(lambda x: (255 * x).round().byte()), {}),
    (splits(), {"normalised": False}),
    (splits(), {"mean": (0.5,), "std": (0.3,)}),
    (splits(normalised), {"normalised": (MEAN, STD)}),
    (splits(own), {"normalised": ([0.5], torch.tensor([0.25]))}),
    (splits(own), {"normalised": ([0.5], [0.25]), "mean": (0.1,), "std": (0.7,)}),
]


@pytest.mark.parametrize(("parts", "said"), WAYS)
def test_a_network_gets_its_own_normalisation_whatever_the_data_comes_as(run, tmp_path, parts, said):
    known = run.result["student"]["accuracy"]
    assert known > 0.5
    figures = tutelage.evaluate(run.folder, parts, classes=10, **said)
    assert figures.values["accuracy"] == pytest.approx(known, abs=0.01)
    made = tutelage.distill(
        "cnn2",
        str(run.folder),
        parts,
        classes=10,
        out=str(tmp_path / "r"),
        baseline=False,
        **KEYS | {"epochs": 1},
        **said,
    )
    assert made.result["teacher"]["accuracy"] == pytest.approx(known, abs=0.01)
    tuned = tutelage.train(
        str(run.folder), parts, classes=10, out=str(tmp_path / "t"), **KEYS | {"lr": 1e-6, "epochs": 1}, **said
    )
    assert tuned.result["student"]["accuracy"] == pytest.approx(known, abs=0.01)
    card = serialization.read_card(tuned.folder)
    assert (card.mean, card.std, card.known) == (MEAN, STD, True)


@pytest.mark.parametrize("change", [lambda x: x, normalised, lambda x: x * 255])
@pytest.mark.parametrize("role", ["teacher", "student", "evaluated"])
def test_nothing_is_guessed_of_floats_of_which_nobody_said(run, tmp_path, change, role):
    keys = {"data": splits(change), "classes": 10}
    calls = {
        "teacher": lambda: tutelage.distill("cnn2", str(run.folder), out=str(tmp_path / "r"), **KEYS, **keys),
        "student": lambda: tutelage.train(str(run.folder), out=str(tmp_path / "r"), **KEYS, **keys),
        "evaluated": lambda: tutelage.evaluate(run.folder, **keys),
    }
    with pytest.raises(ConfigError, match=r"it isn't known whether the floats .* normalised=False .*normalised=True"):
        calls[role]()
    assert not (tmp_path / "r").exists()


def test_floats_said_to_be_normalised_are_left_alone_with_a_note(run, tmp_path):
    ear = Ear()
    made = tutelage.distill(
        "cnn2", str(run.folder), splits(normalised), classes=10, normalised=True, out=str(tmp_path / "r"),
        baseline=False, callbacks=[ear], **KEYS | {"epochs": 1},
    )  # fmt: skip
    assert made.result["teacher"]["accuracy"] == pytest.approx(run.result["student"]["accuracy"], abs=0.01)
    assert any("come normalised already (datasets), and are left as they are" in note for note in ear.notes)
    assert serialization.read_card(made.folder).known is False


def test_a_network_of_floats_as_they_came_isnt_given_others(tmp_path):
    said, unsaid = (
        tutelage.train("cnn2", splits(normalised), classes=10, out=str(tmp_path / name), **KEYS | {"epochs": 1}, **more)
        for name, more in (("said", {"normalised": True}), ("unsaid", {}))
    )
    for made in (said, unsaid):
        assert serialization.read_card(made.folder).known is False
        again = tutelage.evaluate(made.folder, splits(normalised), classes=10)
        assert again.values["accuracy"] == made.result["student"]["accuracy"]
        for other in ("digits", splits(lambda x: (255 * x).byte())):
            options = {} if isinstance(other, str) else {"classes": 10}
            with pytest.raises(ConfigError, match="trained on floats of unknown normalisation"):
                tutelage.evaluate(made.folder, other, **options)


def test_floats_are_as_they_were_for_networks_without_a_wish():
    data = from_datasets(*splits(own), classes=10)
    x = next(data.batches("test", 8)).inputs
    assert x.equal(own(torch.stack([DIGITS_TEST[i][0] for i in range(8)])))
    assert (data.mean, data.std, data.source_scale.kind) == ((0.0,), (1.0,), "unknown")


DIGITS_TEST = split("test", lambda x: x)


def test_pixels_in_floats_are_measured_like_bytes():
    data = from_datasets(*splits(), classes=10, normalised=False)
    expected = channel_mean_std(data.train)
    assert (data.mean, data.std) == expected
    assert data.mean == pytest.approx(MEAN, abs=0.01)


def test_what_normalised_them_is_undone_exactly_only_where_asked():
    data = from_datasets(*splits(own), classes=10, normalised=((0.5,), (0.25,)))
    kept = next(data.batches("test", 8)).inputs
    assert kept.equal(own(torch.stack([DIGITS_TEST[i][0] for i in range(8)])))
    other = next(data.normalised_by(MEAN, STD).batches("test", 8)).inputs
    assert torch.allclose(other, normalised(torch.stack([DIGITS_TEST[i][0] for i in range(8)])), atol=1e-5)
    back = next(data.normalised_by(MEAN, STD).normalised_by((0.5,), (0.25,)).batches("test", 8)).inputs
    assert back.equal(kept)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"mean": (0.5,)}, r"mean=\(0.5,\), std=None: expected both"),
        ({"std": (0.5,)}, "expected both"),
        ({"mean": 0.5, "std": 0.5}, "mean=0.5: expected 1 finite numbers"),
        ({"mean": (0.5, 0.5), "std": (0.5, 0.5)}, "expected 1 finite numbers"),
        ({"mean": (0.5,), "std": (0.0,)}, r"std=\(0.0,\): .*above 0"),
        ({"mean": (float("nan"),), "std": (1.0,)}, "mean=.*finite"),
        ({"normalised": "yes"}, "normalised='yes': expected True, False or"),
        ({"normalised": 3}, "normalised=3: expected True, False or"),
        ({"normalised": (0.5, 0.5)}, "normalised: mean=0.5: expected 1 finite"),
        ({"normalised": ((0.5,), (0.0,))}, "normalised: std=.*above 0"),
        (
            {"normalised": True, "mean": (0.5,), "std": (0.5,)},
            r"normalised=True: mean and std refer to pixels in \[0, 1\]",
        ),
    ],
)
def test_words_of_normalisation_that_dont_fit(said, words):
    with pytest.raises(ConfigError, match=words):
        from_datasets(*splits(), classes=10, **said)


@pytest.mark.parametrize("said", [True, ((0.5,), (0.5,))])
def test_bytes_are_pixels(said):
    with pytest.raises(ConfigError, match=r"normalised=.*: its images are pixels"):
        from_datasets(*splits(lambda x: (255 * x).byte()), classes=10, normalised=said)


@pytest.mark.parametrize("said", [{"normalised": False}, {"mean": (0.5,), "std": (0.5,)}])
@pytest.mark.parametrize("change", [lambda x: x * 255, own])
def test_floats_that_cant_be_the_pixels_they_are_said_to_be(said, change):
    with pytest.raises(DataError, match=r"train: sample 0 has values from .* pixels in \[0, 1\]: rescale them"):
        from_datasets(*splits(change), classes=10, **said)


def test_a_cache_knows_what_its_floats_were_normalised_by(run, tmp_path):
    keys = {
        **KEYS,
        "epochs": 1,
        "baseline": False,
        "classes": 10,
        "cache": str(tmp_path / "cache"),
        "cache_storage": "exact",
    }
    plain = tutelage.distill(
        "cnn2", str(run.folder), splits(own), out=str(tmp_path / "a"), normalised=((0.5,), (0.25,)), **keys
    )
    again = tutelage.distill(
        "cnn2", str(run.folder), splits(own), out=str(tmp_path / "b"), normalised=((0.5,), (0.25,)), **keys
    )
    assert plain.result["student"]["values"] == again.result["student"]["values"]
    with pytest.raises(tutelage.TutelageError, match="transform"):
        tutelage.distill(
            "cnn2", str(run.folder), splits(own), out=str(tmp_path / "c"), normalised=((0.4,), (0.25,)), **keys
        )


def test_a_loaded_teacher_is_shown_images_as_its_run_was(run, tmp_path):
    others = TensorDataset(*(x[:40] for x in split("train", lambda x: x / 2).tensors))
    keys = KEYS | {"epochs": 1, "baseline": False, "classes": list(DIGITS.classes), "normalised": False}
    found = []
    for name, teacher in (("path", run.folder), ("object", tutelage.load(run.folder))):
        made = tutelage.distill("cnn2", teacher, others, out=str(tmp_path / name), **keys)
        found.append((made.result["teacher"]["accuracy"], *made.student.state_dict().values()))
    assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(*found, strict=True))


def test_a_loaded_teacher_of_another_order_is_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="same classes in another order"):
        tutelage.distill("cnn2", tutelage.load(run.folder), split("train", normalised), out=str(tmp_path / "r"),
                         classes=list(DIGITS.classes)[::-1], normalised=(MEAN, STD), **KEYS)  # fmt: skip


@pytest.mark.parametrize("word", ["mean", "std", "normalised", "teacher_mean", "teacher_std"])
def test_moments_of_bytes_are_refused(word, tmp_path):
    right, of_bytes = {"mean": (0.5,), "std": (0.25,)}, {"mean": (127.5,), "std": (64.0,)}
    _, _, which = word.rpartition("_")
    wrong = right | ({which: of_bytes[which]} if which in right else of_bytes)
    if word == "normalised":
        said = {"normalised": (wrong["mean"], wrong["std"])}
    else:
        prefix = word.removesuffix(which)
        said = {f"{prefix}{key}": list(value) for key, value in wrong.items()}
        said |= {"teacher_epochs": 0} if prefix else {"normalised": False}
    with pytest.raises(ConfigError, match=rf"{word}.*expected statistics of pixels in"):
        tutelage.distill("cnn2", "cnn4", splits(), classes=10, out=str(tmp_path / "r"), **KEYS, **said)
