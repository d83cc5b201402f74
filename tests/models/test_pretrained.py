"""Weights from a local file: the round trip, what is adapted, and what is refused."""

import time
import urllib.error
import urllib.request
from argparse import Namespace
from datetime import date

import pytest
import torch
from safetensors.torch import save_file

from tutelage.errors import ModelError
from tutelage.models import create
from tutelage.models.pretrained import is_reachable, load_into


@pytest.fixture
def saved():
    torch.manual_seed(1)
    return create("resnet8", classes=6).model.state_dict()


def write(state, path):
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"model": {f"module.{key}": value for key, value in state.items()}, "accuracy": 71.2}, path)
    return path


@pytest.mark.parametrize("file", ["w.safetensors", "w.pth"])
def test_round_trip(saved, tmp_path, file):
    made = create("resnet8", classes=6, weights=write(saved, tmp_path / file))
    assert all(torch.equal(value, saved[key]) for key, value in made.model.state_dict().items())
    assert (made.pretrained, made.notes) == (True, [])


def test_another_number_of_classes_keeps_the_backbone(saved, tmp_path):
    path = write(saved, tmp_path / "w.safetensors")
    torch.manual_seed(2)
    made = create("resnet8", classes=4, weights=path)
    torch.manual_seed(2)
    fresh = create("resnet8", classes=4).model
    loaded = made.model.state_dict()
    assert torch.equal(loaded["layer3.0.conv2.weight"], saved["layer3.0.conv2.weight"])
    assert torch.equal(loaded["fc.weight"], fresh.fc.weight)
    assert [note.partition(":")[0] for note in made.untrained] == ["fc.bias", "fc.weight"]
    assert "has 6 classes, not 4" in made.untrained[0]


def test_another_number_of_channels_gives_the_same_on_grey_images(saved, tmp_path):
    path = write(saved, tmp_path / "w.safetensors")
    colour, grey = create("resnet8", classes=6, weights=path), create("resnet8", classes=6, channels=1, weights=path)
    image = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(
        grey.model.eval()(image), colour.model.eval()(image.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5
    )
    assert "has 3 channels, not 1" in grey.notes[0]


def test_published_weights_held_locally_keep_their_normalisation(tmp_path):
    name = "timm:test_resnet"
    path = write(create(name, classes=9).model.state_dict(), tmp_path / "w.safetensors")
    assert create(name, classes=4, weights=path).mean is None
    made = create(f"{name}.r160_in1k", classes=4, weights=path)
    assert len(made.mean) == 3
    assert made.pretrained


def test_another_architecture_is_refused_with_the_first_keys(saved, tmp_path):
    path = write(saved, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"in \d+ of \d+ tensors: other shapes: conv1.weight \(16, 3, 3, 3\)"):
        create("resnet8x4", classes=6, weights=path)
    with pytest.raises(ModelError, match=r"not in the file: layer1\.1\.conv1\.weight"):
        create("resnet14", classes=6, weights=path)
    del saved["fc.bias"]
    saved["head"] = torch.zeros(1)
    with pytest.raises(ModelError, match=r"not in the file: fc\.bias; not in the model: head"):
        create("resnet8", classes=6, weights=write(saved, path))


class Anything:
    pass


@pytest.mark.parametrize("kind", ["absent", "torn.safetensors", "torn.pth", "object.pth", "number.pth"])
def test_unreadable_files(saved, tmp_path, kind):
    path = tmp_path / kind
    if kind.startswith("torn"):
        path.write_bytes(write(saved, path).read_bytes()[:2000])
    elif kind != "absent":
        torch.save(Anything() if kind == "object.pth" else {"epoch": 3}, path)
    words = {"absent": "no weights at", "number.pth": "isn't a state dict"}.get(kind, "can't read weights from")
    with pytest.raises(ModelError, match=words):
        create("resnet8", classes=6, weights=path)


def test_a_network_that_never_answers_is_left_after_the_time_given(monkeypatch):
    def urlopen(*_args, **_options):
        time.sleep(3)
        raise OSError

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    start = time.monotonic()
    assert not is_reachable("https://example.invalid", seconds=0.1)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("error", "answer"), [(urllib.error.HTTPError("", 403, "", {}, None), True), (OSError(), False)]
)
def test_a_refusal_is_an_answer(monkeypatch, error, answer):
    def urlopen(*_args, **_options):
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    assert is_reachable("https://example.invalid") is answer


KEPT = {
    "compiled": lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
    "compiled parts": lambda s: {k.replace("layer1.", "layer1._orig_mod."): v for k, v in s.items()},
    "parallel and compiled": lambda s: {"state_dict": {f"module._orig_mod.{k}": v for k, v in s.items()}},
    "compiled and parallel": lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()},
    "of lightning": lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}, "epoch": 3},
    "nested names": lambda s: {"model": {f"student.backbone.{k}": v for k, v in s.items()}},
    "nested mappings": lambda s: {"state_dict": {"model": s}},
    "net": lambda s: {"net": s, "acc": 93.1, "epoch": 4},
    "averaged": lambda s: {"model": {k: v * 0 for k, v in s.items()}, "model_ema": s},
    "timm's average": lambda s: {"state_dict": {k: v * 0 for k, v in s.items()}, "state_dict_ema": s, "arch": "x"},
    "a script's arguments": lambda s: {"model": s, "args": Namespace(lr=0.1, out=None)},
}
"""What people keep, of a state dict."""


@pytest.mark.parametrize("kind", KEPT)
def test_checkpoints_as_people_keep_them(saved, tmp_path, kind):
    torch.save(KEPT[kind](saved), tmp_path / "w.pth")
    made = create("resnet8", classes=6, weights=tmp_path / "w.pth")
    assert all(torch.equal(value, saved[key]) for key, value in made.model.state_dict().items())
    assert (made.untrained, made.notes) == ([], [])


def test_what_lies_beside_the_model_is_said(saved, tmp_path):
    beside = {"n_averaged": torch.tensor(3), "criterion.weight": torch.ones(2)}
    torch.save({f"module.{k}": v for k, v in saved.items()} | beside, tmp_path / "w.pth")
    made = create("resnet8", classes=6, weights=tmp_path / "w.pth")
    assert made.notes == [f"{tmp_path / 'w.pth'} also holds n_averaged, criterion.weight, which aren't the model's."]


def test_names_that_are_missing_and_names_that_are_too_many_are_both_said(saved, tmp_path):
    state = {k: v for k, v in saved.items() if not k.startswith("fc.")} | {"head.weight": torch.ones(6, 64)}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"not in the file: fc.weight, fc.bias; not in the model: head.weight"):
        create("resnet8", classes=6, weights=tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model": {"w": torch.ones(1)}, "when": date(2026, 1, 1)}, "it holds datetime.date, which isn't read"),
        ({"w": torch.ones(1), "epoch": 3}, "epoch is no tensor"),
    ],
)
def test_what_else_a_file_holds_is_named(tmp_path, content, words):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=words):
        create("resnet8", classes=6, weights=tmp_path / "w.pth")


def test_loading_weights_leaves_the_record_of_the_model_as_it_was():
    loaded = create("cnn2", classes=10, channels=1)
    state = create("cnn2", classes=5, channels=1).model.state_dict()
    result = load_into(loaded, state, 10, "a file")
    assert (loaded.pretrained, loaded.untrained) == (False, [])
    assert result.pretrained
    assert len(result.untrained) == 2  # the classifier's weight and bias
    assert result.model is loaded.model
