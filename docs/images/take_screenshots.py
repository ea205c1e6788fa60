"""Take the screenshots of ``minari view`` in these pages: ``python docs/images/take_screenshots.py``.

It needs Debian's Chromium, ``pip install playwright pillow``, and what ``examples/datasets_to_view.py`` needs.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright


IMAGES = Path(__file__).resolve().parent
REPOSITORY = IMAGES.parent.parent
SIZE = {"width": 1280, "height": 860}
COLORS = 128  # of the palette of a picture, which makes it a third as large


def save(page: Page, name: str, **options: Any) -> None:
    """Take a screenshot, once nothing is loading."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)  # for the drawing of what has arrived
    picture = Image.open(io.BytesIO(page.screenshot(**options)))
    picture.convert("RGB").quantize(COLORS).save(IMAGES / f"{name}.png", optimize=True)


def take_all(page: Page, address: str) -> None:
    """Take all screenshots."""
    page.goto(f"{address}/#/")
    page.get_by_test_id("dataset-row").first.wait_for()
    save(page, "viewer_catalog", clip={"x": 0, "y": 0, "width": SIZE["width"], "height": 330})

    page.goto(f"{address}/#/dataset?id=look/cartpole-v0")
    page.get_by_test_id("leaf-summary").first.wait_for()
    page.get_by_test_id("filter").fill("return > 80")
    page.get_by_test_id("filter").press("Enter")
    page.get_by_test_id("sort-return").click()
    save(page, "viewer_dataset")

    page.goto(f"{address}/#/episode?id=look/lander-v0&n=4&step=90")
    page.locator("canvas[data-frame='90']").first.wait_for()
    save(page, "viewer_episode")

    page.get_by_test_id("drop-episode").click()
    page.get_by_test_id("report").wait_for()
    save(page, "viewer_drop")
    page.keyboard.press("Escape")

    page.goto(f"{address}/#/episode?id=look/tag-v0&n=2&step=20")
    page.get_by_test_id("plots").locator("canvas").first.wait_for()
    save(page, "viewer_agents")

    page.goto(f"{address}/#/compare?a=look/cartpole-v0&b=look/lander-v0")
    page.get_by_test_id("compared-lengths").wait_for()
    save(page, "viewer_compare")

    page.emulate_media(color_scheme="dark")
    page.goto(f"{address}/#/episode?id=look/lander-v0&n=0&step=75")
    page.locator("canvas[data-frame='75']").first.wait_for()
    save(page, "viewer_dark")


def main() -> None:
    """Record the datasets in a directory of their own, and take the screenshots."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("There is no chromium; install it, such as with apt-get install chromium.")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / ".minari" / "datasets"
        root.mkdir(parents=True)
        environment = {**os.environ, "MINARI_DATASETS_PATH": str(root), "PYTHONPATH": str(REPOSITORY)}
        program = REPOSITORY / "examples" / "datasets_to_view.py"
        subprocess.run([sys.executable, str(program)], env=environment, check=True)
        command = [sys.executable, "-m", "minari", "view", "--no-browser"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
            line = "" if server.stdout is None else server.stdout.readline()
            found = re.search(r"(http://\S+?)/#token=(\S+)", line)
            if found is None:
                sys.exit(f"minari view printed {line!r}, expected its address.")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
                page = browser.new_context(viewport=SIZE, color_scheme="light").new_page()
                page.goto(f"{found[1]}/#token={found[2]}")
                page.wait_for_url(lambda url: "token" not in url)
                take_all(page, found[1])
                browser.close()
            server.terminate()


if __name__ == "__main__":
    main()
