"""A network as one file."""

import pytest
import torch
from safetensors.torch import save_file
from small import Plain, digest, digits, net
from torch import nn

from tutelage.errors import CheckpointError, ModelError, TutelageError
from tutelage.models import serialization


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "student.safetensors"
    serialization.save(path, net("cnn4", 5), serialization.make_card("cnn4", digits(), 10))
    return path


def test_what_was_saved_is_rebuilt(file):
    for where in (file, str(file), file.parent):
        model = serialization.load(where)
        assert digest(model) == digest(net("cnn4", 5))
        assert not model.training
    assert model.card.classes == digits().classes
    assert (model.card.channels, model.card.size, model.card.mean) == (1, (8, 8), digits().mean)


def test_loading_draws_no_random_number(file):
    state = torch.get_rng_state()
    serialization.load(file)
    assert torch.equal(state, torch.get_rng_state())


def test_a_given_network_is_loaded_into_the_same_kind(tmp_path):
    path = tmp_path / "mine.safetensors"
    serialization.save(path, Plain(), serialization.make_card("object:Plain", digits(), 10))
    with pytest.raises(
        ModelError, match=r"holds Plain, which was passed as an object: pass it as load\(path, model=…\)"
    ):
        serialization.load(path)
    other = Plain()
    torch.manual_seed(0)
    assert digest(serialization.load(path, Plain())) != digest(other)
    with pytest.raises(CheckpointError, match="doesn't fit"):
        serialization.load(path, nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match="doesn't fit"):
        serialization.load(path, Plain(width=5))


class Tied(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.again = self.fc


def test_tied_weights_are_written_once_and_tied_again(tmp_path):
    path, model = tmp_path / "tied.safetensors", Tied()
    serialization.save(path, model, serialization.make_card("object:Tied", digits(), 10))
    again = serialization.load(path, Tied())
    assert again.again.weight is again.fc.weight
    assert digest(again) == digest(model)


class Flat(Plain):
    def __init__(self) -> None:
        super().__init__()
        weights = torch.randn(8)
        self.first, self.second = weights.chunk(2)

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, nn.Parameter(value) if isinstance(value, torch.Tensor) else value)


def test_views_of_one_storage_are_written_and_read(tmp_path):
    path, model = tmp_path / "flat.safetensors", Flat()
    serialization.save(path, model, serialization.make_card("object:Flat", digits(), 10))
    assert digest(serialization.load(path, Flat())) == digest(model)


@pytest.mark.parametrize("keep", [0, 4, 100, -30])
def test_a_torn_file_is_named(file, keep):
    content = file.read_bytes()
    file.write_bytes(content[:keep])
    with pytest.raises(CheckpointError, match=r"student.safetensors is torn"):
        serialization.load(file)


def test_what_is_none_of_ours_is_refused(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="isn't a network that tutelage saved"):
        serialization.load(path)
    (tmp_path / "text.safetensors").write_text("not a network at all")
    for where in (tmp_path / "text.safetensors", tmp_path / "none", tmp_path):
        with pytest.raises(TutelageError):
            serialization.load(where)


def test_run_folders_are_told_from_names(file):
    assert serialization.is_run(str(file))
    assert serialization.is_run(str(file.parent))
    assert not serialization.is_run("resnet20")
