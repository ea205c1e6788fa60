"""Pages of other origins in a real browser, which know the address and even the token, and get nothing."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.browser import open_browser
from support.viewing import make_table, viewing


pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::UserWarning")]

PAGE = """<!doctype html><title>Foreign</title><body><script>
const base = BASE, token = TOKEN, got = [];
const headers = {Authorization: "Bearer " + token};
async function attempt(name, send) {
  try { const answer = await send(); got.push(name + " " + answer.type + " " + answer.status); } catch (error) { }
}
function element(tag, address) {
  return new Promise((resolve) => {
    const made = document.createElement(tag);
    made.onload = () => { if (tag !== "iframe") got.push(tag); resolve(); };
    made.onerror = resolve;
    made.src = base + address;
    if (tag === "link") { made.rel = "stylesheet"; made.href = made.src; }
    document.body.append(made);
    setTimeout(resolve, 1000);
  });
}
(async () => {
  const body = JSON.stringify({dataset: "look/table-v0", episodes: [0], confirm: true, revision: REVISION});
  const json = {...headers, "Content-Type": "application/json"};
  await attempt("simple", () => fetch(base + "/api/catalog"));
  await attempt("token", () => fetch(base + "/api/catalog", {headers}));
  await attempt("opaque", () => fetch(base + "/api/catalog", {mode: "no-cors"}));
  await attempt("page", () => fetch(base + "/", {mode: "no-cors"}));
  await attempt("form", () => fetch(base + "/api/drop", {method: "POST", mode: "no-cors", body}));
  await attempt("json", () => fetch(base + "/api/drop", {method: "POST", headers: json, body}));
  const beacon = new Blob([body], {type: "application/json"});
  try { navigator.sendBeacon(base + "/api/drop", beacon); } catch (error) { }
  for (const tag of ["script", "img", "link", "iframe"]) await element(tag, "/viewer.js");
  await new Promise((resolve) => {
    const socket = new WebSocket((base || location.origin).replace("http", "ws") + "/api/catalog");
    socket.onopen = () => { got.push("socket"); resolve(); };
    socket.onerror = resolve;
  });
  window.finished = got;
})();
</script>"""


@contextmanager
def foreign_site(page: str) -> Iterator[int]:
    """A web server with a page, on another port of this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page.encode() if self.path == "/" else b"")

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_foreign_pages_get_nothing_and_change_nothing(datasets_root: Path) -> None:
    make_table("look/table-v0", [{} for _ in range(4)], [3] * 4)
    with viewing(datasets_root) as view, open_browser() as browser:
        before = view.ask("episodes?dataset=look/table-v0")
        values = {"BASE": view.address, "TOKEN": view.token, "REVISION": before["revision"]}
        text = re.sub("|".join(values), lambda match: json.dumps(values[match[0]]), PAGE)
        with foreign_site(text) as port:
            page = browser.new_page()
            for host in ("127.0.0.1", "localhost"):  # the first one is the same site, and another origin
                page.goto(f"http://{host}:{port}/")
                page.wait_for_function("window.finished", timeout=30_000)
                assert page.evaluate("window.finished") == []
                assert not [frame for frame in page.frames if frame.url.startswith(view.address)]
            with foreign_site(text.replace(view.address, "")) as own:  # which a page may ask: the control
                page.goto(f"http://127.0.0.1:{own}/")
                page.wait_for_function("window.finished", timeout=30_000)
                assert "token basic 200" in page.evaluate("window.finished")
        assert view.ask("episodes?dataset=look/table-v0") == before
