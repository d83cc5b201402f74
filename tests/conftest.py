"""One seed and one thread for every test; `import small` for the smallest things that train."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from playwright.sync_api import Browser

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)
os.fsync = lambda file: None  # no test cuts the power: nobody waits for the disk


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def trials_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A study's trials run here: a process takes ten seconds to start."""
    from tutelage.runs.inputs import Provided
    from tutelage.study import engines
    from tutelage.study.engines.in_process import InProcess

    class Here(InProcess):
        def __init__(self, places: int | None, threads: int, logs: Path) -> None:
            super().__init__(Provided())

    monkeypatch.setattr(engines.EngineEntry, "load", lambda entry: Here)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium from the system."""
    from playwright.sync_api import sync_playwright

    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        pytest.fail("no Chromium on PATH, and these tests open pages in it: install it (apt-get install chromium).")
    flags = ["--no-sandbox", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=flags)
        yield browser
        browser.close()
