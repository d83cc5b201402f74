"""Each example runs, on few epochs, and does what it says."""

import importlib
import re
from pathlib import Path

import pytest
import torch

import tutelage
from tutelage import data, models
from tutelage.losses.functional.divergence import softened_kl

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)


def example(name):
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "run"
    return tutelage.train("cnn16", "digits", epochs=6, lr=0.1, out=str(folder)).student


def test_every_example_is_tested():
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == set(re.findall(r'example\("(\w+)"\)', Path(__file__).read_text(encoding="utf-8")))


def test_bare_loop_teaches():
    found = example("bare_loop").main(epochs=6)
    assert found["before"] < 0.3
    assert found["student"] > 0.6


def test_the_loop_by_hand_gives_the_same_bits():
    by_hand, by_toolkit = (network.state_dict() for network in example("no_toolkit").main(epochs=2))
    torch.manual_seed(0)
    fresh = models.create("cnn2", classes=10, channels=1).model.state_dict()
    assert by_hand.keys() == by_toolkit.keys()
    assert all(torch.equal(by_hand[name], by_toolkit[name]) for name in by_hand)
    assert not torch.equal(by_hand["fc.weight"], fresh["fc.weight"])


@pytest.mark.filterwarnings("ignore:Found .* in eval mode")  # the teacher's, as it should be
def test_lightning_teaches(teacher):
    before = {name: x.clone() for name, x in teacher.state_dict().items()}
    found = example("lightning_module").main(teacher, epochs=10)
    assert found["before"] < 0.3
    assert found["after"] > 0.6
    assert all(torch.equal(x, before[name]) for name, x in teacher.state_dict().items())


def test_hugging_face_teaches_evaluates_saves_and_loads(tmp_path):
    found = example("huggingface_trainer").main(epochs=12, folder=str(tmp_path / "student"))
    assert {path.name for path in (tmp_path / "student").iterdir()} == {"config.json", "model.safetensors"}
    assert found["evaluated"] == pytest.approx(found["student"])
    assert found["before"] < 0.3
    assert found["student"] > found["before"] + 0.15


def test_own_loss_is_right_and_trains(tmp_path):
    own = example("own_loss")
    student, told = torch.randn(2, 6, 10, generator=torch.Generator().manual_seed(0)).unbind()
    assert torch.allclose(own.TopKD(k=10)(student, told), softened_kl(student, told, 4.0), atol=1e-6)
    low = told.argmin(1, keepdim=True)
    assert torch.equal(own.TopKD(k=3)(student.scatter(1, low, 9.0), told), own.TopKD(k=3)(student, told))
    run = own.main(epochs=3, teacher_epochs=5)
    assert run.result["student"]["accuracy"] > 0.3
    assert "name: topkd" in (run.folder / "config.yaml").read_text(encoding="utf-8")


def test_own_scheme_plays_both_turns(teacher):
    own = example("own_scheme")
    found = own.main(teacher, epochs=10)
    assert found["accuracy"] > 0.6
    critic = own.Critic(10)
    losses = critic(torch.zeros(4, 10), torch.zeros(4, 10))
    assert set(losses) == {"real", "fake"}
    assert list(critic.optimised_modules().values()) == [critic]


def test_own_scheme_trains_critic_and_student_apart(teacher):
    own = example("own_scheme")
    task, batch = tutelage.Classification(), next(data.load("digits").batches("train", 32))
    student = models.create("cnn4", classes=10, channels=1).model
    player = tutelage.Player(student, tutelage.Terms.from_method(tutelage.KD(), task.task_loss()), task)
    scheme = own.Adversarial(player, tutelage.Frozen(teacher, task), 10)
    scheme.wire(batch, 100)
    of_student = {id(p) for p in scheme.players["student"].parameters()}
    assert of_student == {id(p) for p in student.parameters()}
    assert [name for name, _ in scheme.turns(batch, 0)] == ["student", "critic"]


def test_own_data_keeps_its_classes():
    run = example("own_data").main(epochs=2, baseline=False)
    assert run.result["data"]["classes"][:2] == ["zero", "one"]
    assert run.result["data"]["test"] == 397
    assert run.result["student"]["accuracy"] > 0.3


def test_own_model_is_trained_and_loads():
    run, student = example("own_model").main(epochs=3, baseline=False)
    assert run.result["student"]["accuracy"] > 0.2
    x = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(student(x), run.student(x))
    by_name = models.create("python:own_model:small", classes=10, channels=1).model
    assert by_name.load_state_dict(student.state_dict())


def test_segmentation_learns_shapes():
    run = example("segmentation").main(epochs=3, train=120, baseline=False)
    assert run.result["metric"] == "miou"
    assert run.result["teacher"]["miou"] > 0.4
    assert run.result["student"]["miou"] > 0.3  # all ground: 0.26


def test_python_api(capsys):
    run = example("python_api").main(epochs=3, teacher_epochs=5)
    said = capsys.readouterr().out
    assert f"accuracy {run.result['student']['accuracy']:.3f}" in said
    assert str(run.report) in said
    assert run.report.stat().st_size > 10_000


def test_the_demo_is_what_need_not_be_said():
    from tutelage.config.schema import read

    demo = read(EXAMPLES / "demo.yaml")
    assert demo == read(words=["seeds=10"])


def test_a_student_of_one_sensor_is_taught_by_a_teacher_of_all():
    run = example("missing_sensors").main(epochs=3, train=120, baseline=False)
    assert run.result["teacher"]["miou"] > run.result["student"]["miou"] > 0.2
    assert tutelage.load(run.folder).card.inputs[-1] == "has optical"
