"""Frozen teachers."""

import pytest
import torch
from small import digest, digits, fit, net, offline

from tutelage.errors import ConfigError, ModelError, NotFinite
from tutelage.losses.feature.at import AT
from tutelage.losses.response.kd import KD
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.teachers import frozen
from tutelage.teachers.frozen import Frozen, refuse_precision

BATCH = Batch(torch.randn(6, 1, 8, 8))


def test_training_leaves_the_teacher_as_it_was():
    data, teacher = digits(48), net("cnn4", 1)
    before = digest(teacher)
    scheme = offline(data, KD() + AT(), teacher=teacher)
    fit(scheme, data, epochs=2)
    assert digest(teacher) == before
    assert not any(m.training for m in teacher.modules())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())


def test_a_scheme_in_training_leaves_the_teacher_in_eval_mode():
    scheme = offline(digits(16))
    scheme.train()
    assert scheme.players["student"].training
    assert not any(m.training for m in scheme.teacher.modules())


def test_what_it_says_has_no_graph_and_any_layer():
    teacher = Frozen(net("cnn4", 1), Classification())
    outputs = teacher(BATCH, ["layer1", "fc:in"])
    assert list(outputs.features) == ["layer1", "fc:in"]
    assert not outputs.response.requires_grad
    assert not outputs["layer1"].requires_grad
    assert list(teacher(BATCH, ["layer2"]).features) == ["layer2"]
    assert teacher(BATCH).features == {}


def test_it_sees_images_in_its_own_normalisation():
    network = net("cnn4", 1).eval()
    mean, std, theirs_mean, theirs_std = 0.4, 0.2, 0.5, 0.25
    pixels = torch.rand(6, 1, 8, 8)
    normalised = Batch((pixels - mean) / std)
    teacher = Frozen(network, Classification(), [std / theirs_std], [(mean - theirs_mean) / theirs_std])
    expected = network((pixels - theirs_mean) / theirs_std)
    assert torch.allclose(teacher(normalised).response, expected, atol=1e-6)
    assert torch.allclose(teacher.profile(normalised).response, expected[:2], atol=1e-6)


def test_answers_that_are_not_numbers_are_refused_at_once_with_the_teachers_name():
    network = net("cnn4", 1)
    with torch.no_grad():
        network.fc.bias[0] = torch.nan
    with pytest.raises(NotFinite, match="the teacher CNN outputs NaN"):
        Frozen(network, Classification())(BATCH)
    data = digits(16)
    with pytest.raises(NotFinite, match="the teacher CNN outputs NaN"):
        fit(offline(data, teacher=network), data)


def test_answers_that_cease_to_be_numbers_are_found_in_the_term():
    data, network = digits(64), net("cnn4", 1)

    class Ageing(torch.nn.Module):
        """Outputs NaN from its fourth batch in training on."""

        def __init__(self) -> None:
            super().__init__()
            self.network, self.calls = network, 0

        def forward(self, x):
            self.calls += len(x) == 16
            return self.network(x) * (torch.nan if self.calls > 4 else 1.0)

    with pytest.raises(NotFinite, match="kd became nan by step"):
        fit(offline(data, teacher=Ageing()), data, epochs=3, log_every=1)


def test_tells_its_classifier_to_losses_that_ask():
    """`head` comes with the answers once the layers were looked at, and gives the logits from the embedding."""
    teacher = Frozen(net("cnn4", 1), Classification())
    profile = teacher.profile(BATCH)
    outputs = teacher(BATCH, [profile.embedding])
    weight, bias = outputs.metadata["head"]
    torch.testing.assert_close(outputs[profile.embedding] @ weight.T + bias, outputs.response)


# cheaper


def test_in_bf16_it_answers_nearly_the_same_in_float32(monkeypatch):
    monkeypatch.setattr(frozen, "computes_natively", lambda device, dtype: True)
    network = net("cnn4", 1)
    exact, half = (Frozen(network, Classification(), precision=p)(BATCH, ["layer1"]) for p in ("32", "bf16"))
    for a, b in ((exact.response, half.response), (exact["layer1"], half["layer1"])):
        assert b.dtype == torch.float32
        assert not torch.equal(a, b)
        torch.testing.assert_close(a, b, rtol=0, atol=0.03 * float(a.abs().max()))


def test_where_the_type_is_only_emulated_it_computes_in_float32(monkeypatch):
    monkeypatch.setattr(frozen, "computes_natively", lambda device, dtype: False)
    network = net("cnn4", 1)
    exact, half = (Frozen(network, Classification(), precision=p)(BATCH) for p in ("32", "bf16"))
    assert torch.equal(exact.response, half.response)


def test_precisions_that_the_device_only_emulates_are_refused(monkeypatch):
    with pytest.raises(
        ConfigError, match=r"teacher_precision=16: this CPU would only emulate it.*teacher_precision=32"
    ):
        refuse_precision("16", "cpu")
    monkeypatch.setattr(frozen, "computes_natively", lambda device, dtype: dtype == torch.float32)
    with pytest.raises(ConfigError, match="use teacher_precision=32, or a GPU"):
        refuse_precision("bf16", "cpu")
    for precision, device in (("32", "cpu"), ("16", "cuda:1"), ("bf16", "cuda")):
        monkeypatch.undo()
        refuse_precision(precision, device)
    with pytest.raises(ConfigError, match="'b16'"):
        Frozen(net("cnn4", 1), Classification(), precision="b16")


def test_folded_it_answers_the_same_and_leaves_the_given_network_as_it_is():
    network = net("cnn4", 1).eval()
    before, layers = digest(network), ["layer1", "layer2", "fc:in"]
    plain, folded = (Frozen(network, Classification(), folded=f) for f in (False, True))
    profile = folded.profile(BATCH)
    outputs, expected = folded(BATCH, layers), plain(BATCH, layers)
    torch.testing.assert_close(outputs.response, expected.response, rtol=1e-5, atol=1e-5)
    for layer in layers:
        torch.testing.assert_close(outputs[layer], expected[layer], rtol=1e-5, atol=1e-5)
    assert digest(network) == before
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    assert not any(m.training for m in folded.modules())
    again = folded.profile(BATCH)
    assert [x.name for x in again.layers] == [x.name for x in profile.layers]
    assert {x.kind for x in again.layers} == {x.kind for x in profile.layers}


def test_folded_it_gives_any_layers_own_feature_whatever_was_asked_before():
    network = net("cnn4", 1).eval()
    plain, folded = (Frozen(network, Classification(), folded=f) for f in (False, True))
    norm = next(name for name, m in network.named_modules() if isinstance(m, torch.nn.BatchNorm2d))
    folded(BATCH)
    for layers in ([f"{norm}:in"], [norm], [], ["layer1"]):
        outputs, expected = folded(BATCH, layers), plain(BATCH, layers)
        for layer in layers:
            torch.testing.assert_close(outputs[layer], expected[layer], rtol=1e-5, atol=1e-5)


def test_folded_it_moves_with_what_it_was_folded_from():
    folded = Frozen(net("cnn4", 1), Classification(), folded=True)
    folded(BATCH)
    folded.double()
    batch = Batch(BATCH.inputs.double())
    assert folded.profile(batch).response.dtype == torch.float64
    assert folded(batch, ["layer1"])["layer1"].dtype == torch.float64


def test_a_network_that_cant_be_folded_is_refused():
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn, self.fc = torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 10)
            self.bn.running_var.fill_(4.0)

        def forward(self, x):
            return self.fc(self.bn(self.conv(x)).mean((2, 3)) * self.conv.weight.sum())

    with pytest.raises(ModelError, match="teacher_fold=false"):
        Frozen(Odd(), Classification(), folded=True)(BATCH)


def test_training_with_a_folded_teacher_leaves_it_as_it_was():
    data, teacher = digits(48), net("cnn4", 1)
    before = digest(teacher)
    scheme = offline(data, KD() + AT(), teacher=teacher)
    scheme.teacher = Frozen(teacher, Classification(), folded=True)
    folded = fit(scheme, data)
    assert digest(teacher) == before
    whole = fit(offline(data, KD() + AT(), teacher=teacher), data)
    for a, b in zip(folded.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
