"""The page answers in its first screen, sorts, draws with tables, links to the runs, and is readable by everyone."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tutelage.report.svg_charts import CostPoint
from tutelage.study import answers, page
from tutelage.study.drawings import pareto_front, validation_curve
from tutelage.study.leaderboard import Leaderboard, build

METHODS = {"kd": 0.03, "dkd": 0.06, "fitnet": 0.0, "at": -0.05, "ofd": None, "crd": 0.01, "rkd": 0.02, "dist": 0.05}
TITLES = [
    "Leaderboard", "Gains over alone", "Metric and cost", "Learning curves", "Students and methods", "Evidence",
    "Not finished", "Repeat the study",
]  # fmt: skip

CONTRASTS = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255);
  };
  const over = (top, below) => top.slice(0, 3).map((v, i) => v * top[3] + below[i] * (1 - top[3]));
  const behind = e => e === null ? [1, 1, 1] : over(rgba(getComputedStyle(e).backgroundColor), behind(e.parentElement));
  const luminance = c => {
    const [r, g, b] = c.map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return [...document.querySelectorAll('body *')].filter(e => e.checkVisibility())
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())).flatMap(e => {
      if (['SCRIPT', 'STYLE', 'title'].includes(e.tagName)) return [];
      const style = getComputedStyle(e), below = behind(e);
      const colour = e.closest('svg') && e.tagName === 'text' ? style.fill : style.color;
      const [a, b] = [luminance(over(rgba(colour), below)), luminance(below)].sort();
      const ratio = (b + 0.05) / (a + 0.05);
      return ratio < 4.5 ? [`${e.tagName} ${e.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`] : [];
    });
}"""
UNNAMED = """() => [
  ...[...document.querySelectorAll('svg')].filter(e => !e.getAttribute('aria-label')),
  ...[...document.querySelectorAll('a, button')].filter(e => !e.textContent.trim() && !e.ariaLabel),
  ...[...document.querySelectorAll('table')].filter(e => !e.caption || !e.querySelector('th[scope=col]')),
  ...[...document.querySelectorAll('tbody tr')].filter(e => !e.querySelector('th[scope=row]')),
  ...[...document.querySelectorAll('figure')].filter(e => e.querySelector('svg') && !e.querySelector('table')),
].map(e => e.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="session")
def board(made) -> Leaderboard:
    trials = made(METHODS, students=["cnn2", "cnn4"])
    for number, trial in enumerate(trials):
        if trial["result"]:
            trial["result"]["student"] |= {
                "seconds": 2.0 + number % 13,
                "macs": 3e3 if trial["student"] == "cnn2" else 9e3,
            }
    return build(trials, study="first", command="tutelage compare data=digits", versions={"torch": "2.6.0"})


@pytest.fixture(scope="session")
def file(board, tmp_path_factory) -> Path:
    """The page of a study of two students, with a curve of one run."""
    root = tmp_path_factory.mktemp("page")
    for row in board.rows_of("cnn2"):
        for seed, folder in row.folders.items():
            (root / folder / "student-0").mkdir(parents=True)
            lines = [
                {"kind": "epoch", "epoch": e, "val": {"accuracy": 0.5 + 0.05 * e + 0.01 * seed}} for e in (1, 2, 3)
            ]
            text = "".join(f"{json.dumps(line)}\n" for line in lines)
            (root / folder / "student-0" / "metrics.jsonl").write_text(text, "utf-8")
    return page.write(board, root)


def opened(browser: Browser, file: Path, **options) -> Page:
    tab = browser.new_page(**({"viewport": {"width": 1280, "height": 900}} | options))
    tab.goto(file.as_uri())
    return tab


def column(tab: Page, name: str) -> list[str]:
    table = tab.locator("#leaderboard table")
    heads = table.locator("thead th").all_text_contents()
    return [row.locator("th, td").nth(heads.index(name)).text_content() for row in table.locator("tbody tr").all()]


# what it shows


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
def test_the_first_screen_answers_both_questions(board, file, browser, size):
    tab = opened(browser, file, viewport={"width": size[0], "height": size[1]})
    texts = tab.locator(".verdict p").all_text_contents()
    assert texts == [answers.does_it_help(board).sentence, *answers.which_method(board)]
    assert tab.locator("h1 .gain").text_content() == "Distillation helps 2 of 2 students"
    assert tab.evaluate("[...document.querySelectorAll('.verdict')].at(-1).getBoundingClientRect().bottom") < size[1]
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.close()


def test_it_has_its_sections(file):
    assert re.findall(r"<h2[^>]*>([^<]*)</h2>", file.read_text("utf-8")) == TITLES


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_alone_and_is_readable(file, browser, scheme, tmp_path):
    moved = shutil.copy(file, tmp_path / "moved.html")
    tab = browser.new_page(color_scheme=scheme, viewport={"width": 1280, "height": 900})
    errors, requests = [], []
    tab.on("console", lambda message: errors.append(message.text))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(Path(moved).as_uri())
    assert tab.evaluate(CONTRASTS) == []
    assert tab.evaluate(UNNAMED) == []
    assert errors == []
    assert [url for url in requests if not url.startswith("data:")] == [Path(moved).as_uri()]
    tab.close()


def test_the_contrast_check_finds_poor_contrast(file, browser):
    tab = opened(browser, file)
    tab.evaluate("document.querySelector('h2').style.color = '#bbb'")
    assert tab.evaluate(CONTRASTS) == ["H2 Leaderboard: 1.79"]
    tab.close()


LONG = {"kd": 0.03, "ce+250*at+0.5*reviewkd+semckd": 0.0, "[{name: ce}, {name: dkd, warmup: 3, weight: 0.5}]": -0.03}
OUTSIDE = """() => [...document.querySelectorAll('.block *, .verdict *')].filter(e => {
  if (e.matches('wbr, svg :not(text)') || e.closest('.scroll, .hidden, details:not([open])')) return false;
  const frame = (e.closest('svg') || e.closest('.block, .verdict')).getBoundingClientRect();
  const box = e.getBoundingClientRect();
  return box.right > frame.right + 8 || box.left < frame.left - 2;
}).map(e => e.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
def test_long_names_stay_inside(made, browser, tmp_path, size):
    students = ["timm:mobilenetv4_conv_small.e2400_r224_in1k", "python:my_project.models.students:tiny_network"]
    trials = made(LONG, students=students, teacher="runs/2026-11-30/teacher_resnet50.a1_in1k-and-more")
    for number, trial in enumerate(trials):
        trial["result"]["student"]["seconds"] = 3_000.0 * (1 + number % 7)
    tab = opened(browser, page.write(build(trials), tmp_path), viewport={"width": size[0], "height": size[1]})
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.evaluate(OUTSIDE) == []
    tab.close()


# sorting


def test_a_click_sorts_by_a_column(board, file, browser):
    tab = opened(browser, file)

    def means() -> list[float]:
        *known, last, before = (text.split(" ± ")[0] for text in column(tab, "accuracy, %"))
        assert (last, before) == ("failed", "failed"), "rows without a result stay last"
        return [float(text) for text in known]

    head = tab.locator("#leaderboard thead th", has_text="accuracy, %")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert means() == sorted(means(), reverse=True)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert means() == sorted(means())
    tab.close()


def test_the_keyboard_sorts_texts_and_empty_cells_stay_last(file, browser):
    tab = opened(browser, file)
    head = tab.locator("#leaderboard thead th", has_text="against alone")
    head.get_by_role("button").focus()
    tab.keyboard.press("Enter")
    words = column(tab, "against alone")
    known = [word for word in words if word]
    assert known == sorted(known)
    assert words[: len(known)] == known
    tab.keyboard.press("Space")
    words = column(tab, "against alone")
    assert words[: len(known)] == sorted(known, reverse=True)
    assert tab.locator("#leaderboard [aria-sort]").count() == 1
    tab.locator("#leaderboard thead th").nth(1).get_by_role("button").click()
    assert tab.locator("#leaderboard [aria-sort]").count() == 1
    tab.close()


def test_it_is_complete_without_scripts(board, file, browser):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(file.as_uri())
    assert tab.locator("#leaderboard tbody tr").count() == len(board.rows)
    assert tab.locator("#leaderboard thead button").count() == 0
    context.close()


# links and drawings


def test_every_run_has_a_link_to_its_report(board, file):
    text = file.read_text("utf-8")
    section = re.search(r'<section id="leaderboard".*?</section>', text, re.S)[0]
    addresses = [f"./{folder}/report.html" for row in board.rows for folder in row.folders.values()]
    assert sorted(re.findall(r'href="([^"]*)"', section)) == sorted([*addresses, "#not-finished", "#not-finished"])


def test_each_cell_of_the_map_leads_to_a_run(board, file):
    section = re.search(r'<section id="students-and-methods".*?</section>', file.read_text("utf-8"), re.S)[0]
    compared = [row for row in board.rows if "alone" in row.gains]
    assert sorted(re.findall(r'href="([^"]*)"', section)) == sorted(
        f"./{row.folders[0]}/report.html" for row in compared
    )
    assert "better decided shaded" in section
    assert "worse decided shaded" in section


def test_gains_are_drawn_with_their_verdicts(board, file):
    section = re.search(r'<section id="gains-over-alone".*?</section>', file.read_text("utf-8"), re.S)[0]
    drawn = re.findall(r'<g class="(\w+)"><title>(\w+): ', section)
    styles = {"beats": "better", "worse": "worse", "undecided": "undecided"}
    compared = [row for row in board.rows if "alone" in row.gains]
    assert drawn == [(styles[row.verdict("alone")], row.method) for row in compared]


def test_failed_trainings_are_named(file):
    section = re.search(r'<section id="not-finished".*?</section>', file.read_text("utf-8"), re.S)[0]
    assert section.count("the loss is NaN") == 2
    assert "0, 1, 2, 3, 4" in section


@pytest.mark.parametrize("higher", [True, False])
def test_the_front_has_what_nothing_cheaper_surpasses(trials, higher):
    board = build(trials({"kd": 0.0}, higher_is_better=higher))
    points = [CostPoint("", name, cost, value) for name, cost, value in
              [("a", 1, 0.5), ("b", 2, 0.4), ("c", 2, 0.6), ("d", 3, 0.6), ("e", 4, 0.3)]]  # fmt: skip
    assert "".join(p.label for p in pareto_front(points, board)) == ("ac" if higher else "abe")


def test_curves_are_means_over_seeds(board, file):
    row = board.rows_of("cnn2")[0]
    assert validation_curve(row, file.parent, "accuracy") == [(e, pytest.approx(0.52 + 0.05 * e)) for e in (1, 2, 3)]
    assert validation_curve(row, file.parent, "loss") == []
    assert validation_curve(row, Path("nowhere"), "accuracy") == []


def test_it_prints_whole_tables_on_white(file, browser):
    tab = opened(browser, file, color_scheme="dark")
    tab.emulate_media(media="print")
    assert tab.evaluate(
        "[...document.querySelectorAll('.scroll')].every(e => getComputedStyle(e).overflowX === 'visible')"
    )
    assert not tab.locator("nav").is_visible()
    assert tab.evaluate("getComputedStyle(document.body).colorScheme") == "light"
    tab.close()


# whatever the results


def test_the_same_results_give_the_same_page(board, file):
    assert page.render(board, file.parent).encode() == file.read_bytes()


def test_names_are_escaped(trials, tmp_path):
    hostile = "<script>alert(1)</script>javascript:\"'"
    names = dict.fromkeys(("student", "teacher", "method"), hostile)
    listed = [t | (names if t["role"] == "method" else {"student": hostile}) for t in trials({"kd": 0.05, "at": None})]
    listed = [
        t | {"folder": f'javascript:{t["folder"]}"<b>', "reason": "<b>no</b>" * bool(t["reason"])} for t in listed
    ]
    text = page.write(build(listed, study=hostile, command=hostile), tmp_path).read_text("utf-8")
    assert "<script>alert" not in text
    assert "<b>" not in text
    assert all(address.startswith(("./", "#", "data:,")) for address in re.findall(r'href="([^"]*)"', text))


def test_an_empty_study_has_a_page(tmp_path):
    assert "Not compared" in page.write(build([]), tmp_path).read_text("utf-8")


def test_a_study_of_one_seed_and_errors(trials, tmp_path):
    board = build(trials({"kd": -0.1}, seeds=1, metric="rmse", higher_is_better=False))
    text = page.write(board, tmp_path).read_text("utf-8")
    assert "Not known yet" in text
    assert "Only 1 seed" in text


def test_a_trained_studys_page(trained):
    root, listed = trained
    text = page.write(build(listed, root=root), root).read_text("utf-8")
    assert "Validation accuracy of cnn3" in text
    for address in re.findall(r'href="\./([^"]*)"', text):
        assert (root / address).is_file()
    assert re.search(r"no_<wbr>such_<wbr>loss", text)
