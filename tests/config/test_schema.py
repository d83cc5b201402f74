"""What a run may be asked."""

import pytest
import yaml

from tutelage import recipes
from tutelage.config.schema import Config, check, read, term_specs
from tutelage.errors import ConfigError


def test_the_digits_need_nothing_said():
    config = read()
    assert (config.data, config.teacher, config.student, config.method) == ("digits", "cnn32", "cnn2", "kd")


def test_later_words_win_over_the_file_and_values_over_words(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("epochs: 5\nlr: 0.5\nmethod:\n- {name: at, weight: 2, student: layer1, teacher: layer2}\n")
    config = read(file, ["lr=0.1", "clip=null", "log=tensorboard"], batch_size=8)
    assert (config.epochs, config.lr, config.batch_size, config.clip, config.log) == (5, 0.1, 8, None, ["tensorboard"])
    assert config.method[0]["teacher"] == "layer2"


def test_what_is_dumped_reads_as_it_was(tmp_path):
    config = read(words=["method=[{name: kd, temperature: 2}, at]", "epochs=3", "teacher=[cnn4, cnn8]"])
    assert check(yaml.safe_load(yaml.safe_dump(config.model_dump()))) == config


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("kd", [{"name": "kd"}]),
        ("kd+0.5*at", [{"name": "kd"}, {"name": "at", "weight": 0.5}]),
        ("1e-2*kd + 3 * rkd", [{"name": "kd", "weight": 0.01}, {"name": "rkd", "weight": 3.0}]),
        ("1e+2*kd+at", [{"name": "kd", "weight": 100.0}, {"name": "at"}]),
        (["kd", {"name": "at", "p": 1}], [{"name": "kd"}, {"name": "at", "p": 1}]),
        (None, []),
    ],
)
def test_methods_are_sums(method, expected):
    assert term_specs(method) == expected


@pytest.mark.parametrize("method", ["kd*2", "kd-at", "+kd", "1.2.3*kd", "", ["kd", {"weight": 1}]])
def test_what_is_no_sum_is_refused(method):
    with pytest.raises(ConfigError):
        check({"method": method})


def test_every_fault_is_named_at_once():
    with pytest.raises(ConfigError) as caught:
        read(words=["epocs=3", "lr=-1", "batch_size=many", "optimizer=adam", "clip=0"])
    message = str(caught.value)
    assert "unknown key 'epocs': did you mean epochs" in message
    for part in ("lr=-1", "batch_size='many'", "optimizer='adam'", "clip=0", "peak learning rate"):
        assert part in message
    assert len(message.splitlines()) == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method=kdd"], "unknown method 'kdd': did you mean 'kd'"),
        (["method=kd+att"], "unknown method 'att': did you mean 'at'"),
        (["teacher=none"], "needs a teacher"),
        (["scheme=mutual", "teacher=cnn4"], "its students have no teacher"),
        (["data=cifar100:x", "teacher=cnn4"], "no student"),
        (["epochs=3", "lr_warmup=3"], "lr_warmup=3.0 takes all of epochs=3"),
        (["milestones=[0.5, 0.2]"], "rising shares"),
        (["batch_size=10", "devices=3"], "can't be spread over devices=3"),
        (["precision=16", "device=cpu"], "precision=16 needs a GPU"),
        (["teacher=moving_average", "teacher_fold=true"], "teacher_fold is for a teacher that is trained already"),
        (["teacher_ahead=-1"], "teacher_ahead=-1: input should be greater than or equal to 0"),
        (["teacher_precision=8"], "teacher_precision='8': input should be"),
        (["epochs"], "expected key=value"),
        (["=3"], "expected key=value"),
        (["lr=[1"], "isn't valid YAML"),
        (["task=tracking"], "task='tracking'"),
        (["val=0"], "val=0"),
    ],
)
def test_faults_say_what_was_given_and_the_mend(words, message):
    with pytest.raises(ConfigError, match=message):
        read(words=words)


@pytest.mark.parametrize(
    ("text", "message"), [("- 1\n", "holds list"), ("a: [", "isn't valid YAML"), (None, "can't be read")]
)
def test_faulty_files_are_refused(tmp_path, text, message):
    file = tmp_path / "run.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read(file)


def test_patience_keeps_the_best():
    assert read(words=["patience=3"]).keep == "best"
    assert read().keep == "last"


def test_every_recipe_reads_and_the_users_words_win():
    for name, line in recipes.names().items():
        config = read(words=[f"method={name}"], student="cnn2", data="digits", epochs=7)
        assert config.epochs == 7
        assert line
    assert read(words=["method=dml"]).scheme == "mutual"
    assert read(words=["method=dml"]).teacher is None
    assert read(words=["method=mean-teacher"]).teacher == "moving_average"


def test_every_key_has_its_help():
    assert [name for name, field in Config.model_fields.items() if not field.description] == []


def test_a_recipe_is_named_and_the_users_method_goes_into_it():
    by_method, by_recipe = check({"method": "TAKD"}), check({"recipe": "takd"})
    assert by_method == by_recipe
    assert by_recipe.recipe == "takd"
    mine = check({"recipe": "takd", "method": "dkd"})
    assert (mine.method, mine.stages) == ("dkd", by_recipe.stages)
    assert check(mine.model_dump()) == mine
    with pytest.raises(ConfigError, match="unknown recipe 'tak': did you mean 'takd'"):
        check({"recipe": "tak"})
    with pytest.raises(ConfigError, match="recipe is the run's"):
        check({"method": "kd", "stages": [{"name": "first", "recipe": "dml"}]})
