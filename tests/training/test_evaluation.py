"""How well a network does on a split."""

import copy

import pytest
import torch
import torch.nn.functional as F
from small import Dense, Plain, digits, net, scenes, task_of
from torch import nn

import tutelage
from tutelage.errors import DataError, ModelError, NotFinite
from tutelage.nn.feature_extractor import FeatureExtractor
from tutelage.structures import Batch
from tutelage.tasks.classification import Classification
from tutelage.tasks.confusion import confusion_matrix
from tutelage.training.evaluation import evaluate


def found(model, data, batch_size: int = 32, **options):
    batches = data.batches("val", batch_size, train=False)
    return evaluate(model, batches, task_of(data), len(data.classes), **options)


def test_figures_are_those_counted_by_hand():
    data, model = digits(), net("cnn4")
    figures = found(model, data, keep=True)
    batch = next(data.batches("val", 10_000, train=False))
    logits = model.eval()(batch.inputs)
    answers = logits.argmax(1)
    assert figures.values["accuracy"] == pytest.approx((answers == batch.targets).float().mean().item())
    assert figures.values["loss"] == pytest.approx(F.cross_entropy(logits, batch.targets).item(), rel=1e-5)
    confusion = confusion_matrix(figures.tables["confusion"], 10)
    for truth in range(10):
        for answer in range(10):
            assert confusion[truth, answer] == ((batch.targets == truth) & (answers == answer)).sum()
    assert torch.equal(figures.predictions["index"], batch.index)
    assert torch.equal(figures.predictions["targets"], batch.targets)
    assert torch.allclose(figures.predictions["probabilities"], logits.softmax(1), atol=1e-6)


def test_unlabelled_pixels_do_not_count_and_the_batch_size_does_not_matter():
    data, model = scenes(), Dense().eval()
    batch = next(data.batches("val", 100, train=False))
    response = F.interpolate(model(batch.inputs), size=(8, 8), mode="bilinear", align_corners=False)
    loss = F.cross_entropy(response, batch.targets, ignore_index=255).item()
    for size in (100, 3):
        figures = found(model, data, size)
        assert figures.values["loss"] == pytest.approx(loss, rel=1e-5)
        assert figures.tables["confusion"][2].sum() == (batch.targets != 255).sum()
    assert not figures.predictions


def test_evaluating_changes_nothing():
    model = net("cnn4")
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    found(model, digits())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert model.training


def test_a_tapped_network_and_a_bare_one_have_the_same_figures():
    data, model = digits(), net("cnn4")
    assert found(FeatureExtractor(model, ["layer1"]), data).values == found(model, data).values


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match="no sample to evaluate on"):
        evaluate(Plain(), [], Classification(), 10)


def test_answers_that_are_no_numbers_are_refused():
    model = Plain()
    with torch.no_grad():
        model.fc.weight[0, 0] = torch.nan
    with pytest.raises(NotFinite, match="not finite numbers"):
        found(model, digits())


@pytest.mark.parametrize("room", [1, 3, 8, 100])
def test_a_batch_is_halved_until_there_is_memory_for_it(room):
    class Large(Plain):
        def forward(self, x):
            if len(x) > room:
                raise torch.OutOfMemoryError("out of memory")
            return super().forward(x)

    torch.manual_seed(0)
    data, small, large = digits(40), Plain(), Large()
    large.load_state_dict(small.state_dict())
    assert found(large, data).values == pytest.approx(found(small, data).values)
    room = 0
    with pytest.raises(ModelError, match="Large needs more memory than there is for one sample"):
        found(large, data)


def test_a_confusion_of_many_classes_is_as_large_as_what_was_confused():
    count = 21_000
    batches = [Batch(torch.randn(16, count), torch.randint(count, (16,)), torch.arange(16)) for _ in range(3)]
    figures = evaluate(nn.Identity(), batches, Classification(), count)
    assert figures.tables["confusion"].shape[0] == 3
    assert figures.tables["confusion"][2].sum() == 48
    assert figures.tables["confusion"].numel() <= 3 * 48


@pytest.mark.parametrize("batch_size", [8, 24])
def test_a_runs_figures_are_of_batches_of_its_size(tmp_path, batch_size):
    seen = set()

    class Seen(Plain):
        def forward(self, x):
            seen.add(len(x))
            return super().forward(x)

    keys = {"epochs": 1, "limit": 200, "batch_size": batch_size, "device": "cpu", "out": str(tmp_path / "run")}
    tutelage.train(Seen(), **keys)
    assert max(seen) == batch_size


@pytest.mark.parametrize(("channels", "grid"), [(3, False), (12, False), (10, True)])
def test_a_module_that_answers_otherwise_has_no_figures(channels, grid):
    network = nn.Conv2d(1, channels, 8) if not grid else nn.Conv2d(1, channels, 3)
    network = network if grid else nn.Sequential(network, nn.Flatten())
    with pytest.raises(ModelError, match=rf"outputs \(1, {channels}.* expected 10 classes for each sample"):
        tutelage.evaluate(network, "digits")
