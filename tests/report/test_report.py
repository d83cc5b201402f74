import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from subprocess import run as call

import numpy as np
import pytest
from playwright.sync_api import Browser

from tutelage.errors import CheckpointError
from tutelage.report.components import Unit, format_count, format_decimal, format_duration
from tutelage.report.html import AFTER, BEFORE
from tutelage.report.run_record import read
from tutelage.report.summary_sections import verdict
from tutelage.report.svg_charts import Axis
from tutelage.runs.reporting import write_report as write
from tutelage.tasks.classification import Classification

SECTIONS = [*BEFORE, *Classification.report_sections(), *AFTER]


def headings(page: Path) -> list[str]:
    return re.findall(r"<h2[^>]*>([^<]*)</h2>", page.read_text("utf-8"))


def change(run: Path, **parts) -> Path:
    """Change result.json; None removes a key."""
    result = json.loads((run / "result.json").read_text("utf-8")) | parts
    (run / "result.json").write_text(json.dumps({k: v for k, v in result.items() if v is not None}), "utf-8")
    return run


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_opens_in_a_browser_without_other_files(complete_run: Path, browser: Browser, scheme: str):
    page_file = write(complete_run)
    moved = complete_run.parent / "elsewhere.html"
    shutil.move(page_file, moved)
    sentence = verdict(read(complete_run))[2]
    page = browser.new_page(color_scheme=scheme, viewport={"width": 390, "height": 800})
    errors, requests = [], []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(moved.as_uri())

    def paper() -> int:
        return sum(map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[:3]))

    assert page.locator(".verdict p").is_visible()
    assert page.locator(".verdict p").text_content() == sentence
    assert page.locator("h2:visible").all_text_contents() == SECTIONS
    assert (paper() < 384) == (scheme == "dark")
    page.get_by_role("button", name="Switch between light and dark").click()
    assert (paper() < 384) == (scheme == "light"), "the switch changes the scheme"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "a phone needn't scroll sideways"
    assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0 && i.alt)")
    assert page.evaluate("[...document.querySelectorAll('svg')].every(s => s.getAttribute('aria-label'))")
    page.close()
    assert errors == []
    assert [url for url in requests if not url.startswith("data:")] == [moved.as_uri()]


def test_is_small_reproducible_and_has_no_links(complete_run: Path):
    first = write(complete_run).read_bytes()
    assert write(complete_run).read_bytes() == first
    assert len(first) < 500_000
    assert not re.search(rb"https?://", first)
    assert not list(complete_run.glob(".report*")), "no temporary file is left"


def test_large_images_stay_small(complete_run: Path):
    images = np.random.default_rng(0).integers(0, 256, (40, 224, 160, 3), dtype=np.uint8)
    np.savez(complete_run / "examples.npz", index=np.arange(40), images=images)
    assert write(complete_run).stat().st_size < 2_000_000


@pytest.mark.parametrize(
    ("kind", "tone", "text"),
    [
        ("beats", "beats", "a gain of +"),
        ("worse", "worse", "so the taught student is worse"),
        ("undecided", "undecided", "to decide whether teaching helps"),
    ],
)
def test_the_verdict_is_that_of_the_result(make_run, tmp_path: Path, kind: str, tone: str, text: str):
    run = read(make_run(tmp_path / "run", verdict=kind))
    actual, _, sentence = verdict(run)
    assert actual == tone
    assert text in sentence
    for role in ("baseline", "student"):
        assert f"{100 * run.result[role]['accuracy']:.1f}\u00a0%" in sentence
    low, high = (f"{100 * bound:+.2f}" for bound in run.result["gain"]["interval"])
    low, high = (bound.replace("-", "−") for bound in (low, high))
    assert f"interval {low} to {high}, 3 seeds" in sentence


def test_an_undecided_verdict_mentions_zero(complete_run: Path):
    gain = {"mean": 0.001, "interval": [-0.004, 0.006], "values": [0.001, 0.003, -0.001], "verdict": "undecided"}
    assert "−0.40 to +0.60, 3 seeds), which doesn't exclude zero" in verdict(read(change(complete_run, gain=gain)))[2]


def test_one_seed_has_no_interval(make_run, tmp_path: Path):
    assert "one seed gives no interval" in verdict(read(make_run(tmp_path / "run", seeds=1, verdict="undecided")))[2]


def test_two_seeds_are_too_few(make_run, tmp_path: Path):
    assert "Two seeds are too few" in verdict(read(make_run(tmp_path / "run", seeds=2)))[2]


@pytest.mark.parametrize(("teacher", "warned"), [(0.26, True), (0.99, False)])
def test_a_teacher_worse_than_the_student_alone_is_warned_of(complete_run: Path, teacher: float, warned: bool):
    summary = read(complete_run).summary("teacher") | {"accuracy": teacher}
    text = write(change(complete_run, teacher=summary)).read_text("utf-8")
    assert ("The teacher is worse than the student trained alone (26.0\u00a0% against" in text) == warned
    assert f"against its {100 * teacher:.1f}\u00a0%" in text or not warned
    shares = [float(share) for share in re.findall(r"([\d.]+) % of its accuracy", text)]
    assert len(shares) == (not warned)
    assert all(share <= 100 for share in shares)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00255, "2.55\u00a0ms"),
        (0.9999, "1\u00a0s"),
        (2.55, "2.55\u00a0s"),
        (200, "3\u00a0min\u00a020\u00a0s"),
        (None, "–"),
    ],
)
def test_durations_have_no_exponents(value, text: str):
    assert format_duration(value) == text


@pytest.mark.parametrize(
    ("format_value", "value", "text"),
    [(format_decimal, 12345, "12,345"), (format_decimal, 0.25, "0.25"), (format_count, 999_600, "1,000\u00a0k")],
)
def test_counts_have_no_exponents(format_value, value, text: str):
    assert format_value(value) == text


def test_errors_of_a_regression_are_not_percentages(complete_run: Path):
    scores = {role: {"mae": value} for role, value in (("teacher", 0.21), ("baseline", 0.3), ("student", 0.25))}
    run = read(change(complete_run, metric="mae", higher_is_better=False, **scores))
    assert "reaches 0.25 mae, against 0.3 trained alone" in verdict(run)[2]
    write(complete_run)


@pytest.mark.parametrize("role", ["baseline", "student"])
def test_a_single_training_compares_nothing(make_run, tmp_path: Path, role: str):
    folder = make_run(tmp_path / "run", roles=(role,), seeds=1)
    titles = headings(write(folder))
    assert {"Result", "Learning curves", "Calibration", "Confusions", "Left out"} <= set(titles)
    assert not {"Agreement with the teacher", "Gain by class"} & set(titles)
    assert verdict(read(folder))[0] == "none"
    assert read(folder).label(role) == "Student"


def test_segmentation_shows_the_overlap_of_classes(make_run, tmp_path: Path):
    page = write(make_run(tmp_path / "run", task="segmentation", examples=False))
    assert "Gain in IoU" in page.read_text("utf-8")
    assert "Calibration" not in headings(page)


def test_many_classes_show_the_largest_changes(make_run, tmp_path: Path):
    text = write(make_run(tmp_path / "run", classes=40, samples=400)).read_text("utf-8")
    assert "The 20 largest changes of 40 classes" in text
    assert "Most confused, taught" in text
    assert "confusion matrix of the model" not in text


@pytest.mark.parametrize(
    "name", ["config.yaml", "environment.json", "baseline-0", "teacher", "student-1/metrics.jsonl", "examples.npz"]
)
def test_missing_files_are_left_out(complete_run: Path, name: str):
    removed = complete_run / name
    shutil.rmtree(removed) if removed.is_dir() else removed.unlink()
    assert headings(write(complete_run))[0] == "Result"


@pytest.mark.parametrize(
    "name", ["config.yaml", "environment.json", "student-0/phase.json", "teacher/predictions.npz", "examples.npz"]
)
def test_torn_files_are_named(complete_run: Path, name: str):
    (complete_run / name).write_bytes((complete_run / name).read_bytes()[:60] + b"\n\t{")
    text = write(complete_run).read_text("utf-8")
    assert f"{name} can" in text
    assert "Left out" in text


@pytest.mark.parametrize("facts", [{"terms": [3]}, {"val": 3}, {"pairs": 1, "seconds": "x"}])
def test_invalid_facts_cost_at_most_two_sections(complete_run: Path, facts: dict):
    file = complete_run / "student-0" / "phase.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | facts), "utf-8")
    assert len(headings(write(complete_run))) >= len(SECTIONS) - 2


def test_a_torn_last_line_of_the_metrics_is_skipped(complete_run: Path):
    file = complete_run / "student-0" / "metrics.jsonl"
    file.write_text(file.read_text("utf-8") + '{"kind": "step", "los', "utf-8")
    assert headings(write(complete_run)) == SECTIONS


def test_predictions_are_matched_by_sample(complete_run: Path):
    before = write(complete_run).read_text("utf-8")
    file = complete_run / "teacher" / "predictions.npz"
    with np.load(file) as arrays:
        reversed_arrays = {name: arrays[name][::-1] for name in arrays.files}
    np.savez(file, **reversed_arrays)
    assert write(complete_run).read_text("utf-8") == before


@pytest.mark.parametrize(
    "content", [None, '{"metric": "acc', "[1]", "{}", '{"metric": "accuracy", "gain": [1]}', b"\xff\xfe\x00"]
)
def test_a_torn_result_is_refused(complete_run: Path, content):
    file = complete_run / "result.json"
    file.unlink() if content is None else file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CheckpointError, match=r"result\.json.*finished run"):
        write(complete_run)


def test_terms_of_very_different_gradients_are_warned_of(complete_run: Path):
    for folder in complete_run.glob("student-*"):
        line = {"kind": "norms", "step": 0, "epoch": 0.0, "norms": {"ce": 0.001, "kd": 2.0}}
        (folder / "metrics.jsonl").write_text(json.dumps(line), "utf-8")
    text = write(complete_run).read_text("utf-8")
    assert "2,000 times smaller" in text
    assert 'role="alert"' in text


def test_peak_memory_has_its_scope(complete_run: Path):
    sentence = "Peak memory is that of the process so far"
    assert sentence not in write(complete_run).read_text("utf-8")
    for file in complete_run.glob("student-*/phase.json"):
        facts = {"peak_memory_mb": 812.0, "peak_memory_of": "process so far"}
        file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | facts), "utf-8")
    text = write(complete_run).read_text("utf-8")
    assert sentence in text
    assert "812\u00a0MB" in text


def test_terms_of_similar_gradients_are_not_warned_of(complete_run: Path):
    assert 'role="alert"' not in write(complete_run).read_text("utf-8")


def test_an_ensemble_is_named_by_its_members(complete_run: Path):
    (complete_run / "config.yaml").write_text("{student: cnn2, teacher: [cnn16, cnn32]}", "utf-8")
    assert "</span> cnn16 + cnn32" in write(complete_run).read_text("utf-8")


def test_names_are_escaped(complete_run: Path):
    data = {"name": "<script>alert(1)</script>", "test": 500, "classes": ["<b>&", *map(str, range(1, 10))]}
    text = write(change(complete_run, data=data)).read_text("utf-8")
    assert "<script>alert" not in text
    assert "<b>&" not in text


def test_markup_is_well_formed(complete_run: Path):
    class Reader(HTMLParser):
        open_tags: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag, attrs):
            if tag not in {"meta", "link", "img", "wbr"}:
                self.open_tags.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert self.open_tags.pop() == tag

    reader = Reader()
    reader.feed(write(complete_run).read_text("utf-8"))
    assert reader.open_tags == []


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis(0, 1, 0, 100), [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (Axis(-3, 12, 0, 1), [0, 5, 10]),
        (Axis(0.1, 1000, 0, 1, log=True), [0.1, 1, 10, 100, 1000]),
        (Axis(1, 12, 0, 1, log=True), [1, 2, 5, 10]),
    ],
)
def test_ticks_are_round(axis: Axis, ticks: list[float]):
    assert axis.ticks() == pytest.approx(ticks)


def test_importing_the_report_loads_nothing_heavy():
    heavy = "'torch', 'matplotlib', 'torchmetrics', 'jinja2', 'PIL'"
    code = f"import sys, tutelage.report; print([m for m in ({heavy}) if m in sys.modules])"
    done = call([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_report_of_many_classes_is_written(make_run, tmp_path):
    run = make_run(tmp_path / "run", classes=2100)
    assert "Most confused" in write(run).read_text("utf-8")


def test_a_difference_of_nothing_has_no_minus():
    assert (Unit(True).difference(-1e-6), Unit(False).difference(-0.0), Unit(True)(0.5)) == (
        "+0.00",
        "+0",
        "50.0\u00a0%",
    )
