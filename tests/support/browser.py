"""A real browser on the page of ``minari view``, through Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support.viewing import Served


#: Chromium looks up hosts of its maker when it starts, unless these forbid it.
_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def _absent(reason: str) -> None:
    """Skip the test; fail it where ``MINARI_BROWSER=required`` says that there is a browser."""
    if os.environ.get("MINARI_BROWSER") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def open_browser() -> Iterator[Any]:
    """Start Debian's Chromium, without a window."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _absent("no Playwright: pip install playwright")
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        _absent("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(_OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A tab of a browser.

    Attributes:
        page: the page of Playwright.
        complaints: errors and warnings on the console, refused requests, uncaught exceptions, and dialogs.
        requests: the addresses that the page has asked for.
        refusals: statuses of answers that the test expects, which are no reason to complain.
    """

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.refusals: tuple[int, ...] = ()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        self.page.on("dialog", self._asked)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("response", self._answered)

    def _heard(self, message: Any) -> None:
        # Pixels are read often by tests only, and answers are looked at below.
        is_known = "willReadFrequently" in message.text or "Failed to load resource" in message.text
        if message.type in ("error", "warning") and not is_known:
            self.complaints.append(f"{message.type}: {message.text}")

    def _answered(self, response: Any) -> None:
        if response.status >= 400 and response.status not in self.refusals:
            self.complaints.append(f"status {response.status}: {response.url}")

    def _asked(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def get(self, name: str) -> Any:
        """The elements with a test id."""
        return self.page.get_by_test_id(name)

    def enter(self, served: Served, place: str = "#/") -> None:
        """Open the printed address of a server, and then a place of the page."""
        self.page.goto(f"{served.address}/#token={served.token}")
        self.page.wait_for_url(lambda url: served.token not in url)
        self.page.goto(f"{served.address}/{place}")

    def shows(self, name: str, count: int) -> None:
        """Wait until there are so many elements with a test id."""
        self.get(name).nth(count - 1).wait_for()
        self.get(name).nth(count).wait_for(state="detached")

    def at(self, step: int) -> None:
        """Wait until the player is at a step."""
        self.page.wait_for_selector(f'[data-testid="transport"][data-step="{step}"]')

    def pixels(self, leaf: str, frame: int) -> list[int]:
        """The colors on the canvas of a camera, once it shows a frame."""
        selector = f'canvas[data-leaf="{leaf}"]'
        self.page.wait_for_selector(f'{selector}[data-frame="{frame}"]')
        return self.page.eval_on_selector(  # type: ignore[no-any-return]
            selector, "(one) => [...one.getContext('2d').getImageData(0, 0, one.width, one.height).data]"
        )

    def close(self) -> None:
        """Close the tab, with its storage."""
        self.context.close()
