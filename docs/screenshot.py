"""Take a picture of a page's first screen: python docs/screenshot.py PAGE.html IMAGE.png."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SIZE = {"width": 1280, "height": 900}


def main(page: str, image: str) -> None:
    """Open the page in Chromium and write the picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport=SIZE)
        tab.goto(Path(page).absolute().as_uri())
        tab.screenshot(path=image)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
