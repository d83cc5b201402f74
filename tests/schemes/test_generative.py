"""The turns of a generator and a student: by hand, and as runs."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from small import Crash, CrashAt, Plain, digits, fit

import tutelage
from tutelage.errors import ConfigError
from tutelage.losses.response.ce import CE
from tutelage.objective.terms import Terms
from tutelage.schemes.generative import Generative, LastMapPlayer
from tutelage.tasks.classification import Classification
from tutelage.teachers.frozen import Frozen

KEYS = {"data": "digits", "limit": 64, "epochs": 2, "batch_size": 16, "device": "cpu", "baseline": False}


def plain(seed: int, width: int = 4) -> Plain:
    torch.manual_seed(seed)
    return Plain(width=width)


def generative(student: Plain, teacher: Plain) -> Generative:
    player = LastMapPlayer(student, Terms.from_method(CE()), Classification())
    return Generative(player, Frozen(teacher, Classification()), weight=0.5, warmup=4, latent=3)


def last_map(model: Plain, x: torch.Tensor) -> torch.Tensor:
    return model.layer2(model.layer1(x))


def test_its_training_is_a_loop_written_by_hand():
    data, student, teacher = digits(48), plain(0), plain(1, 6).eval()
    scheme = generative(plain(0), plain(1, 6))
    fit(scheme, data, lr=0.1, momentum=0.0, weight_decay=0.0, schedule="constant")

    torch.manual_seed(3)
    loop = generative(student, teacher)
    loop.wire(next(data.batches("train", 16)), 48)
    loss = loop.players["generator"].loss
    optimisers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (loss, student)]
    for number, batch in enumerate(data.batches("train", 16)):
        s = last_map(student, batch.inputs)
        with torch.no_grad():
            t = last_map(teacher, batch.inputs)
        optimisers[0].zero_grad()
        sum(values.mean() for values in loss.learn(s.detach(), t).values()).backward()
        optimisers[0].step()
        optimisers[1].zero_grad()
        ce = torch.nn.functional.cross_entropy(student.fc(s.mean((2, 3))), batch.targets)
        (ce + 0.5 * number / 3 / 4 * loss.generate(s, t).mean()).backward()
        optimisers[1].step()
    trained = scheme.players["student"].student.model.state_dict()
    for name, tensor in student.state_dict().items():
        torch.testing.assert_close(trained[name], tensor, rtol=1e-4, atol=1e-6)
    generator = scheme.players["generator"].state_dict()
    for name, tensor in loop.players["generator"].state_dict().items():
        torch.testing.assert_close(generator[name], tensor, rtol=1e-4, atol=1e-6)


def test_a_run_resumes_to_the_same_student(tmp_path):
    keys = KEYS | {"scheme": {"name": "generative", "warmup": 1}, "teacher_epochs": 1}
    with pytest.raises(Crash):
        tutelage.distill("cnn2", "cnn4", method="ce", out=str(tmp_path / "cut"), callbacks=[CrashAt(11)], **keys)
    whole = tutelage.distill("cnn2", "cnn4", method="ce", out=str(tmp_path / "whole"), **keys)
    resumed = tutelage.resume(tmp_path / "cut")
    one, two = (load_file(x.folder / "student.safetensors") for x in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_what_it_cant_do_is_refused(tmp_path):
    keys = KEYS | {"scheme": "generative", "out": str(tmp_path / "run"), "method": "ce"}
    with pytest.raises(ConfigError, match="needs a teacher"):
        tutelage.distill("cnn2", "none", **keys)
    with pytest.raises(ConfigError, match="weight=0: expected a number above 0"):
        tutelage.distill("cnn2", "cnn4", **keys | {"scheme": {"name": "generative", "weight": 0}})
