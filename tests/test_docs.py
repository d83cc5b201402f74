"""The pages say what is so: their Python and their commands run, their diffs are of the examples, the site builds."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small import communities
from typer.testing import CliRunner

import tutelage
from tests.detection_data import coco
from tutelage.cli import FOLDER, app
from tutelage.config.schema import Config
from tutelage.runs import plan
from tutelage.study.settings import StudySettings
from tutelage.study.tune_settings import TuneSettings
from tutelage.utils import registry

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
RUN = ("python", "console", "yaml", "toml", "diff", "text")
LOSSES = registry.catalogue("losses")


def blocks(page):
    """(language, text) of each fenced block that isn't one of Sphinx's own."""
    found = re.findall(r"^```([^\n]*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    return [(language.strip(), text) for language, text in found if not language.startswith("{")]


def make_photos():
    for name in ("cat", "dog"):
        Path("photos", name).mkdir(parents=True)
        for i in range(20):
            pixels = np.random.default_rng(i).integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(f"photos/{name}/{i}.png")


def make_streets():
    for kind, shape in (("images", (16, 16, 3)), ("masks", (16, 16))):
        Path("streets", kind).mkdir(parents=True)
        for i in range(20):
            pixels = np.random.default_rng(i).integers(0, 3, shape, dtype=np.uint8)
            Image.fromarray(pixels * 100 if kind == "images" else pixels).save(f"streets/{kind}/{i}.png")
    Path("streets/classes.json").write_text('["road", "tree", "car"]')


def make_blood():
    coco(Path("blood"), 30)


def make_queries():
    rng = np.random.default_rng(0)
    Path("web").mkdir()
    for name, queries in (("train", range(20)), ("vali", range(20, 24)), ("test", range(24, 30))):
        grades = [(query, grade) for query in queries for grade in rng.integers(0, 4, 6)]
        rows = [f"{grade} qid:{query} 1:{grade + rng.normal():.4f} 2:{rng.normal():.4f}\n" for query, grade in grades]
        Path(f"web/{name}.txt").write_text("".join(rows))
    events = [(user, item, time) for user in range(8) for time, item in enumerate(rng.permutation(20)[:6])]
    events += [(0, item, 9) for item in range(20) if item not in {i for _, i, _ in events}]
    Path("log.csv").write_text("user,item,time\n" + "".join(f"u{u},i{i},{t}\n" for u, i, t in events))


def make_graph():
    communities(Path("cora.npz").absolute())


def make_more():
    Path("more").mkdir()
    for i in range(20):
        pixels = np.random.default_rng(i).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"more/{i}.png")


def make_labels():
    rows = [f"{name}/{i}.png,{name};{('even', 'odd')[i % 2]}" for name in ("cat", "dog") for i in range(20)]
    Path("photos/labels.csv").write_text("\n".join(["file,labels", *rows]))


def make_tables():
    rows = [f"{i % 17},{'' if i % 11 == 0 else i % 7},{('north', 'south')[i * i % 5 > 1]}" for i in range(200)]
    lines = [f"{row},{100 + 3 * (i % 17) * (i % 7)}" for i, row in enumerate(rows)]
    Path("houses.csv").write_text("\n".join(["age,rooms,town,price", *lines]))


def make_waves():
    labels = np.arange(80) % 2
    waves = np.random.default_rng(0).normal(size=(80, 2, 32)) + labels[:, None, None]
    np.savez("waves.npz", x_train=waves, y_train=labels, modality="series")


def make_modules():
    Path("my_data.py").write_text(
        "import torch\nfrom torch.utils.data import TensorDataset\n\n\ndef noise():\n"
        "    x, y = torch.randint(0, 256, (80, 1, 8, 8), dtype=torch.uint8), torch.arange(80) % 2\n"
        "    train, test = TensorDataset(x[:60], y[:60]), TensorDataset(x[60:], y[60:])\n"
        "    train.classes = ['even', 'odd']\n    return train, test\n"
    )
    Path("my_models.py").write_text(
        "from torch import nn\n\n\ndef small(classes, channels):\n"
        "    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes))\n"
    )


@pytest.fixture
def somewhere(tmp_path, monkeypatch, trials_in_this_process):
    """A folder with what the pages name, where each training has one epoch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for make in (
        make_photos,
        make_streets,
        make_more,
        make_labels,
        make_blood,
        make_queries,
        make_tables,
        make_waves,
        make_modules,
        make_graph,
    ):
        make()
    named = {"configuration": "study", "policies": "policies", "stages": "stages", "peers": "peers"}
    named |= {
        "regression": "privileged",
        "unlabelled": "streams",
        "graphs": "glnn",
        "systems": "intrusion",
        "tuning": "tuning",
    }
    for page, name in named.items():
        first = next(text for language, text in blocks(DOCS / f"{page}.md") if language == "yaml")
        Path(f"{name}.yaml").write_text(first)
    _, staged = (text for language, text in blocks(DOCS / "systems.md") if language == "yaml")
    Path("pedestrians.yaml").write_text(staged)
    *_, last = (text for language, text in blocks(DOCS / "stages.md") if language == "yaml")
    Path("other-data.yaml").write_text(last)
    whole, short = plan.RunPlan.settings, {"epochs": 1}
    monkeypatch.setattr(plan.RunPlan, "settings", lambda self, phase: whole(self, phase).model_copy(update=short))
    yield tmp_path
    for name in ("my_data", "my_models"):
        sys.modules.pop(name, None)


def play(page, monkeypatch):
    """Run a page's Python and commands, from its top to its end; returns how many blocks ran."""
    namespace, count = {"__name__": page.stem.replace("-", "_")}, 0
    monkeypatch.setitem(sys.modules, namespace["__name__"], type(sys)(namespace["__name__"]))
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, str(page), "exec"), namespace)
        for line in text.splitlines() if language == "console" else ():
            assert line.startswith("$ tutelage "), f"{page.name}: {line!r}: console blocks hold commands only"
            done = CliRunner().invoke(app, shlex.split(line)[2:], prog_name="tutelage")
            assert done.exit_code == 0, f"{page.name}: {line}\n{done.output}\n{done.exception!r}"
        count += language in ("python", "console")
    return count


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_page_runs(page, somewhere, monkeypatch):
    fenced = len(re.findall(r"^```(?:python|console)$", page.read_text(encoding="utf-8"), re.M))
    assert play(page, monkeypatch) == fenced


@pytest.mark.parametrize("page", [*PAGES, *(ROOT / n for n in ("README.md", "CONTRIBUTING.md"))], ids=lambda p: p.name)
def test_every_block_is_of_a_known_kind(page):
    assert {language for language, _ in blocks(page)} <= set(RUN)


def test_diffs_are_of_the_examples():
    seen = 0
    for language, text in blocks(DOCS / "loops.md"):
        if language == "diff":
            name, *lines = text.splitlines()
            source = (ROOT / "examples" / name.removeprefix("# ")).read_text(encoding="utf-8").splitlines()
            there = [line for line in source if line.strip()]
            kept = [line[1:] for line in lines if line and line[0] in " +"]
            place = -1
            for line in kept:
                assert line in there[place + 1 :], f"{name}: {line!r}"
                place = there.index(line, place + 1)
            seen += 1
    assert seen == 4


def test_one_batch_names_what_its_files_define():
    text = re.sub(r"```.*?```", "", (DOCS / "one-batch.md").read_text(encoding="utf-8"), flags=re.S)
    files = {DOCS / link for link in re.findall(r"\]\((\.\./src/[^)]+)\)", text)}
    defined = {name for file in files for name in re.findall(r"(?:class|def) (\w+)", file.read_text(encoding="utf-8"))}
    dotted = re.findall(r"`([A-Za-z]\w*(?:\.[a-z_]+)?)(?:\([^`]*\))?`", text)
    names = {
        part
        for name in dotted
        if not re.search(r"\.(json|jsonl|npz|html|safetensors)$", name)
        for part in name.split(".")
    }
    fields = {"inputs", "targets", "index", "epoch", "response", "features", "TrainerSettings"}
    values = {"None", "offline", "cnn32", "cnn2", "kd", "at", "ce", "student", "tutelage", "ConfigError"}
    assert names - fields - values - defined == set()


def test_words_of_commands_in_text_are_keys():
    """What can't run here (downloads, GPUs) at least names keys that there are."""
    for page in (*PAGES, ROOT / "README.md"):
        for language, text in blocks(page):
            lines = text.replace("\\\n", " ").splitlines()
            commands = [line for line in lines if line.startswith("tutelage ") and language == "text"]
            for word in (word for line in commands for word in shlex.split(line) if "=" in word):
                known = {*Config.model_fields, *StudySettings.model_fields, *TuneSettings.model_fields}
                assert word.partition("=")[0] in known, f"{page.name}: {word}"


# what is written from the code


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", LOSSES)
def test_loss_has_its_page(name, generate):
    loss = LOSSES[name].load()
    said = generate.sections(loss.__doc__)
    assert said["summary"].endswith(".")
    assert "=" in said["formula"], f"{name}: no formula between the summary and Shapes:"
    assert said["Shapes"]
    assert re.search(r"\b(returns|parts?|one value)\b", loss.__doc__, re.I), f"{name} doesn't say what comes back"
    assert said["Paper"]
    assert loss.paper
    page = generate.loss_page(LOSSES[name])
    assert page.startswith(f"# {loss.__name__}\n")
    assert re.search(r"\$[^$]*=[^$]*\$", page), "its formula is mathematics"
    assert all(f"`{option}`" in page for option in loss.option_names())


@pytest.mark.parametrize("name", LOSSES)
def test_loss_s_example_prints_what_its_page_says(name, generate, capsys):
    page = generate.loss_page(LOSSES[name])
    code, printed = re.search(r"## Example\n\n```python\n(.*?)\n```\n\n```text\n(.*?)\n```", page, re.S).groups()
    exec(code, {})
    assert capsys.readouterr().out.strip() == printed
    assert "nan" not in printed


def test_a_loss_s_page_has_what_was_measured_of_it(generate):
    page = generate.loss_page(LOSSES["dkd"])
    assert "| `bench/results/eurosat.md` | resnet8 | dkd | 75.13 ± 1.74 | +3.07 ± 2.50 | beats |" in page
    assert "× memory (`bench/losses.py`)" in page
    rows = [row for file in generate.STUDIES for row in generate.studied(file)]
    methods = {word for row in rows for word in re.findall(r"[a-z]\w+", row[2]) if word in LOSSES}
    assert len(methods) >= 25
    assert all("## Measured" in generate.loss_page(LOSSES[name]) for name in methods)
    assert "## Measured" not in generate.loss_page(LOSSES["rl_mtkd"])


def test_overview_lists_every_loss(generate):
    text = generate.overview()
    assert all(f"]({name}.md) `{name}` |" in text for name in LOSSES)
    crd, at = (next(x for x in text.splitlines() if f"({name}.md)" in x) for name in ("crd", "at"))
    assert "ICLR 2020" in crd
    assert "| embedding as vectors; `index`; learned parts, a memory; options `dim`, `negatives`" in crd
    assert "| stages as maps; options `p` | published numbers |" in at


def test_overview_says_what_was_measured(generate, monkeypatch, tmp_path):
    monkeypatch.setattr(generate, "COSTS", tmp_path / "losses.json")
    assert "cost |" not in generate.overview()
    generate.COSTS.write_text('{"losses": {"at": {"time": 24.7, "memory": 156}}}')
    text = generate.overview()
    assert "| tested against | cost |" in text
    assert "| 24.7 × time, 156 × memory |" in text
    assert "| published numbers | – |" in text


def test_reference_has_every_key_and_command(generate):
    keys, commands = generate.configuration(), generate.commands()
    assert sorted(re.findall(r"^\| `(\w+)`", keys, re.M)) == sorted(Config.model_fields)
    assert "whole number, ≥ 1, ≤ 100,000" in keys
    assert re.findall(r"^## tutelage (\w+)$", commands, re.M) == sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
    assert commands.count("Usage: tutelage") == commands.count("## tutelage")


def test_site_builds_without_a_warning(tmp_path):
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", str(tmp_path / "trees")]
    build += ["-D", "html_theme=basic"]  # Furo's navigation takes as long as all the rest
    done = subprocess.run([*build, str(DOCS), str(tmp_path / "html")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    html = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "html").rglob("*.html")}
    assert {f"{name}.html" for name in LOSSES} <= set(html)
    fetched = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', "".join(html.values()))
    assert fetched == []
    assert tutelage.__version__ in html["index.html"]
    for name in LOSSES:
        assert re.search(r"<math[^>]*>.*?<mo>=</mo>|<math[^>]*>.*?<mo>&#x0003D;</mo>", html[f"{name}.html"], re.S), name
        assert "$" not in re.sub(r"(?s)<pre.*?</pre>|<script.*?</script>", "", html[f"{name}.html"]), name
