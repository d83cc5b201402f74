"""Names that nobody can mean, and networks that nobody can train, are refused before memory or time is spent."""

from __future__ import annotations

import sys

import pytest
import torch

from tutelage import models
from tutelage.config.schema import check
from tutelage.errors import ConfigError, ModelError, TutelageError
from tutelage.models.zoo.base import LARGEST, PARAMETERS
from tutelage.runs.run import Run

KEYS = {"teacher": "cnn2", "student": "cnn2", "limit": 64, "device": "cpu", "teacher_epochs": 0, "epochs": 1}


@pytest.mark.parametrize(
    "name",
    [
        "resnet20000000", "resnet2006", "resnet1202x512", "resnet20x2000", "cnn99999", "cnn1999", "seg99999", "seg1000",
        "wrn_4_99999", "wrn_40_1000", "wrn_99994_1", "shufflenetv2_9999x", "vgg9999999", "resnet" + "9" * 200,
        "conv1d-2001-4", "conv3d-8-2000", "mlp-2001", "mlp" + "-8" * 2001, "mlp-2000" + "-2000" * 99,
    ],
)  # fmt: skip
def test_networks_larger_than_anybody_wants_are_refused(name):
    with pytest.raises(ConfigError, match="the network is too large"):
        models.create(name, classes=10, task="segmentation" if name.startswith("seg") else "classification")


@pytest.mark.parametrize("name", ["resnet110", "wrn_16_8", "cnn128", "resnet8x8"])
def test_those_of_the_literature_and_some_larger_ones_arent(name):
    state = torch.get_rng_state()
    sizes = [sum(p.numel() for p in models.create(name, classes=10).model.parameters()) for _ in range(1)]
    assert max(sizes) < PARAMETERS
    assert LARGEST >= 1202
    torch.set_rng_state(state)


@pytest.mark.parametrize("recipe", ["takd", "dgkd"])
@pytest.mark.parametrize("teacher", ["resnet20000000", "wrn_40_99999", "cnn" + "9" * 100])
def test_no_assistant_is_looked_for_between_sizes_that_are_none(recipe, teacher):
    student = {"r": "resnet8", "w": "wrn_16_1", "c": "cnn2"}[teacher[0]]
    with pytest.raises(TutelageError):
        Run(check({"recipe": recipe, "teacher": teacher, "student": student, "limit": 64, "device": "cpu"}))


CLASS = """
from torch import nn
class f(nn.Module):
    def __init__(self, **given):
        super().__init__()
        self.fc = nn.Linear(64, 10)
    def forward(self, x):
        {}
"""
MADE = "import torch\nfrom torch import nn\ndef f(**given):\n    return {}\n"
MODULES = {
    "nothing": ("", "has no 'f'"),
    "no_python": ("def f(:\n", "SyntaxError"),
    "leaves": ("import sys; sys.exit(3)", "SystemExit"),
    "leaves_when_called": ("import sys\ndef f(**given): sys.exit(2)\n", "SystemExit"),
    "fails": ("1/0", "ZeroDivisionError"),
    "builtin": ("f = max", "has no readable signature"),
    "no_parameters": (MADE.format("nn.Flatten()"), "has no parameters"),
    "lazy": (MADE.format("nn.Sequential(nn.Flatten(), nn.LazyLinear(10))"), "lazy layer"),
    "scripted": (MADE.format("torch.jit.trace(nn.Linear(64, 10), torch.zeros(1, 64))"), "scripted"),
    "raises": (CLASS.format("raise KeyError('no')"), "fails on inputs"),
    "returns_nothing": (CLASS.format("return None"), "response"),
    "returns_text": (CLASS.format("return 'abc'"), "response"),
    "returns_a_number": (CLASS.format("return self.fc(x.flatten(1)).sum()"), "response"),
    "returns_a_vector": (CLASS.format("return self.fc(x.flatten(1)).sum(1)"), "outputs|answers"),
    "wants_more": (CLASS.replace("(self, x)", "(self, x, y)").format("return x"), "fails on inputs"),
    "other_inputs": (MADE.format("nn.Sequential(nn.Flatten(), nn.Linear(63, 10))"), "fails on inputs"),
    "doubles": (MADE.format("nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double()"), "fails on inputs"),
}


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize("name", MODULES)
def test_networks_of_ones_own_that_cannot_be_used_are_refused(name, role, tmp_path, monkeypatch):
    text, says = MODULES[name]
    module = f"own_{name}_{role}"
    (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises((ConfigError, ModelError), match=says):
        Run(check(KEYS | {role: f"python:{module}:f", "out": str(tmp_path / "out")}))
    sys.modules.pop(module, None)


@pytest.mark.parametrize(
    "name", ["python:", "python::", "python:a", "python::f", "python:..x:y", "python:a..b:f", "python:x y:f"]
)
def test_words_that_name_no_module_are_refused(name):
    with pytest.raises((ConfigError, ModelError), match="python:"):
        Run(check(KEYS | {"student": name}))


def files(folder):
    torch.save([1, 2], folder / "list.pt")
    torch.save({"a": 3}, folder / "numbers.pt")
    torch.save({1: torch.zeros(2)}, folder / "keys.pt")
    torch.save(torch.zeros(3), folder / "tensor.pt")
    torch.save({}, folder / "empty_dict.pt")
    torch.save({"state_dict": {"a": "b"}}, folder / "nested.pt")
    generator = torch.Generator().manual_seed(0)
    noise = bytes(torch.randint(256, (300,), generator=generator, dtype=torch.uint8).tolist())
    for name, content in {
        "text.pt": b"hello", "text.safetensors": b"hello", "empty.pt": b"", "empty.safetensors": b"", "noise.pt": noise,
        "zip.pt": b"PK\x03\x04" + noise, "picture.pt": b"\x89PNG\r\n\x1a\n" + noise, "pickle.pt": b"\x80\x02" + noise,
        "short.pt": b"\x80", "stack.pt": b"\x80\x02.", "length.safetensors": b"\xff" * 8 + b"{}",
    }.items():  # fmt: skip
        (folder / name).write_bytes(content)
    (folder / "folder.pt").mkdir()
    (folder / "folder.safetensors").mkdir()
    return sorted(folder.iterdir())


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of a pickle of another kind
@pytest.mark.parametrize("role", ["student", "teacher"])
def test_weights_that_are_none_are_refused_by_their_files_name(role, tmp_path):
    for path in files(tmp_path):
        with pytest.raises(TutelageError, match=path.name):
            Run(check(KEYS | {f"{role}_weights": str(path), "out": str(tmp_path / "out")}))
