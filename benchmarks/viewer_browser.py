"""The page of ``minari view`` in a browser: time until its first paint, and rates of frames."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Any

from benchmarks.errors import BenchmarkError


__all__ = ["PLAYED", "measure"]

PLAYED = 3.0  # seconds
_FAST = 8  # times the usual speed
_CAMERA = "canvas[data-testid=camera]"
# Moves the slider once for each picture that the browser draws, over the whole episode and back.
_SCRUB = """(milliseconds) => new Promise((done) => {
  const slider = document.querySelector("[data-testid=scrubber]"), end = Number(slider.max);
  const begin = performance.now();
  let step = 0, by = 1;
  const move = () => {
    if (performance.now() - begin > milliseconds) return done();
    step += by;
    if (step >= end || step <= 0) by = -by;
    slider.value = String(step);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    requestAnimationFrame(move);
  };
  move();
})"""


def measure(address: str, many: str, frames: str) -> dict[str, float]:
    """Return figures of a browser without a window, which draws 60 pictures a second at most.

    Args:
        address: of the server, with the token.
        many: id of a dataset of many episodes.
        frames: id of a dataset of frames, with one episode.

    Returns:
        Seconds from opening an address until the first paint (``"first_paint"``) and until the rows of the table are
        there (``"rows"``), and frames a second that are drawn while an episode is played at its speed of 30 steps a
        second (``"playing"``), eight times as fast (``"fast"``), and while it is scrubbed (``"scrubbing"``).

    Raises:
        BenchmarkError: there is no Playwright or no Chromium.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise BenchmarkError(
            "Playwright is not installed; run pip install playwright, or leave out --browser."
        ) from error
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise BenchmarkError("There is no chromium; install Debian's package, or leave out --browser.")
    base = address.partition("/#")[0]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.goto(address)
        page.get_by_test_id("dataset-row").first.wait_for()
        figures = _opening(context, f"{base}/#/dataset?id={many}")
        page.goto(f"{base}/#/episode?id={frames}&n=0")
        page.wait_for_selector(f"{_CAMERA}[data-frame]")
        figures["playing"] = _drawn(page, lambda: _play(page, 1))
        figures["fast"] = _drawn(page, lambda: _play(page, _FAST))
        figures["scrubbing"] = _drawn(page, lambda: page.evaluate(_SCRUB, 1000 * PLAYED))
        browser.close()
    return figures


def _opening(context: Any, address: str) -> dict[str, float]:
    page = context.new_page()
    page.goto(address, wait_until="commit")
    page.get_by_test_id("episode-row").first.wait_for()
    rows = page.evaluate("performance.now()") / 1000
    page.wait_for_load_state("networkidle")
    (paint,) = page.evaluate("performance.getEntriesByName('first-contentful-paint').map((one) => one.startTime)")
    page.close()
    return {"first_paint": paint / 1000, "rows": rows}


def _play(page: Any, speed: int) -> None:
    page.keyboard.press("Home")
    page.get_by_test_id(f"speed-{speed}").click()
    page.get_by_test_id("play").click()
    page.wait_for_timeout(1000 * PLAYED)
    page.get_by_test_id("play").click()


def _drawn(page: Any, work: Callable[[], object]) -> float:
    """Return the number of frames a second that are drawn on a canvas while a function runs."""

    def count() -> int:
        return int(page.get_attribute(_CAMERA, "data-drawn") or 0)

    before, begin = count(), time.perf_counter()
    work()
    return (count() - before) / (time.perf_counter() - begin)
