"""The layout of the page: nothing overflows, on a desktop or a phone, with names of any length."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from tutelage.report.components import Unit, escape_breakable
from tutelage.runs.examples import interleave_classes
from tutelage.runs.reporting import write_report as write

NAMES = {
    "short": "class {}",
    "words": "a very long name of a class in several words, number {}",
    "joined": "Eine_außerordentlich_lange_Bezeichnung_ohne_Leerzeichen_{}",
    "unbroken": "Donaudampfschifffahrtselektrizitätenhauptbetriebswerk{}",
}
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}

OVER = """() => [...document.querySelectorAll('.block')].flatMap(block => {
  const edge = block.getBoundingClientRect().right + 1;
  return [...block.querySelectorAll('*')].filter(e => !e.closest('.scroll, svg, .hidden, details:not([open])'))
    .filter(e => e.getBoundingClientRect().right > edge).map(e => block.className + ': ' + e.textContent.slice(0, 60));
})"""
DRAWN = """() => [...document.querySelectorAll('svg')].flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(text => { const box = text.getBoundingClientRect();
    return box.bottom > frame.bottom + 2 || box.left < frame.left - 2 || box.right > frame.right + 8;
  }).map(text => svg.getAttribute('aria-label') + ': ' + text.textContent);
})"""
BROKEN = """() => {
  const found = [], walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.parentElement.closest('svg, pre, details:not([open]), .hidden')) continue;
    for (const word of node.textContent.matchAll(/[\\p{L}\\d]+/gu)) {
      if (word[0].length > 20) continue;
      const range = document.createRange();
      range.setStart(node, word.index); range.setEnd(node, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map(r => Math.round(r.top))).size > 1) found.push(word[0]);
    }
  }
  return found;
}"""


def opened(browser: Browser, file: Path, size: str) -> Page:
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(file.as_uri())
    return page


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("classes", [10, 20, 40])
@pytest.mark.parametrize("names", NAMES)
def test_nothing_overflows(make_run, tmp_path, browser, names, classes, size):
    page = opened(browser, write(make_run(tmp_path / "run", classes=classes, name=NAMES[names], samples=400)), size)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(OVER) == []
    assert page.evaluate(DRAWN) == []
    assert page.evaluate(BROKEN) == []
    page.close()


@pytest.mark.parametrize("names", ["words", "joined"])
def test_on_a_desktop_every_column_is_visible(make_run, tmp_path, browser, names):
    page = opened(browser, write(make_run(tmp_path / "run", classes=40, name=NAMES[names], samples=400)), "desktop")
    assert (
        page.evaluate(
            "[...document.querySelectorAll('.scroll')].filter(s => s.scrollWidth > s.clientWidth + 1)"
            ".filter(s => s.checkVisibility()).map(s => s.ariaLabel)"
        )
        == []
    )
    page.close()


def test_a_scrolling_table_has_shadows(make_run, tmp_path, browser):
    page = opened(browser, write(make_run(tmp_path / "run")), "phone")
    shaded = page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(s => s.scrollWidth > s.clientWidth)"
        ".map(s => getComputedStyle(s).backgroundImage.split('linear-gradient').length - 1)"
    )
    assert shaded
    assert set(shaded) == {4}
    page.close()


def test_cards_are_as_high_as_their_content(complete_run, browser):
    page = opened(browser, write(complete_run), "desktop")
    empty = page.evaluate("""[...document.querySelectorAll('.block:not(.wide)')].map(block => {
        const last = block.lastElementChild.getBoundingClientRect().bottom;
        return block.getBoundingClientRect().bottom - last;
    })""")
    assert max(empty) < 40
    page.close()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("plain", ["plain"]),
        ("a_long_name", ["a_", "long_", "name"]),
        ("folder/to.file", ["folder/", "to.", "file"]),
        ("97.5 %", ["97.5 %"]),
        ("−3.2 to +0.5", ["−3.2 to +0.5"]),
        ("1e-05", ["1e-05"]),
        ("1e+05", ["1e+05"]),
        ("ce+0.5*kd+at", ["ce+0.5*", "kd+", "at"]),
        ("C:\\here", ["C:\\", "here"]),
        ("<b>_x", ["&lt;b&gt;_", "x"]),
    ],
)
def test_names_break_after_joints(text, parts):
    assert escape_breakable(text).split("<wbr>") == parts


@pytest.mark.parametrize(
    ("kind", "gain", "title"),
    [
        ("beats", 0.078, "+7.80 points: "),
        ("worse", -0.1056, "−10.56 points: "),
        ("undecided", 0.021, "+2.10 points, undecided: "),
        (None, None, "%"),
    ],
)
def test_the_title_begins_with_the_result(make_run, tmp_path, kind, gain, title):
    run = make_run(tmp_path / "run", roles=("teacher", "baseline", "student") if kind else ("student",))
    result = json.loads((run / "result.json").read_text())
    if kind:
        result["gain"] |= {"mean": gain, "verdict": kind}
    (run / "result.json").write_text(json.dumps(result))
    text = write(run).read_text("utf-8")
    heading = re.search(r"<title>(.*?)</title>", text)[1]
    assert heading.startswith(title) or (not kind and re.match(r"\d+\.\d\xa0% accuracy: resnet8x4", heading))
    assert re.search(r'<h1><span class="gain [a-z]+">(.*?)</span>', text)[1] == heading.partition(": ")[0]


def test_intervals_are_clipped_to_possible_values(make_run, tmp_path, browser):
    run = make_run(tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    result["baseline"] |= {"accuracy": 0.05, "values": [0.02, 0.05, 0.08], "interval": [-0.04, 0.14]}
    result["student"] |= {"accuracy": 0.97, "values": [0.95, 0.97, 0.99], "interval": [0.92, 1.02]}
    (run / "result.json").write_text(json.dumps(result))
    text = write(run).read_text("utf-8")
    assert "Alone: 5.0\xa0% (0.0\xa0% to 14.0\xa0%)" in text
    assert "Taught: 97.0\xa0% (92.0\xa0% to 100.0\xa0%)" in text
    assert "interval 0.0 to 14.0\xa0%" in text
    assert Unit(percent=False).interval([-0.5, 2]) == "−0.5 to 2"


def test_a_pretrained_teacher_has_no_training_time(complete_run):
    result = json.loads((complete_run / "result.json").read_text())
    result["teacher"]["seconds"] = None
    (complete_run / "result.json").write_text(json.dumps(result))
    file = complete_run / "teacher" / "phase.json"
    facts = {
        k: v for k, v in json.loads(file.read_text()).items() if k not in ("seconds", "epochs", "steps", "step_ms")
    }
    file.write_text(json.dumps(facts))
    text = write(complete_run).read_text("utf-8")
    assert text.count(">pretrained<") == 2
    assert not re.search(r">0\xa0m?s<", text)


def test_examples_are_of_every_class_in_turn():
    classes = np.array([0, 0, 0, 0, 1, 1, 3])
    assert interleave_classes(np.arange(7) + 10, classes).tolist() == [10, 14, 16, 11, 15, 12, 13]


def test_masks_are_shown_with_their_images(make_run, tmp_path, browser):
    page = opened(browser, write(make_run(tmp_path / "run", task="segmentation")), "phone")
    rows = page.locator(".block.masks")
    assert rows.count() == 3
    assert rows.first.locator("figcaption").all_text_contents() == ["Image", "Target", "Teacher", "Alone", "Taught"]
    assert page.evaluate("[...document.querySelectorAll('.masks img')].every(i => i.naturalWidth === 16)")
    legend = page.locator(".block.legend li").all_text_contents()
    assert "blank: unlabelled, not evaluated" in legend
    assert {"0", "2"} <= set(legend)
    page.close()
