"""Time until the page of ``minari view`` has its first answers, and the rate at which it gets frames."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

import numpy as np

from benchmarks import tables, viewer_browser
from benchmarks.environments import Side
from benchmarks.errors import BenchmarkError
from benchmarks.processes import environment, settle
from benchmarks.progress import Progress
from benchmarks.texts import digits, figure


FORMATS = ("hdf5", "arrow", "zarr")
EPISODES, QUICK_EPISODES = 10_000, 60
STEPS = 100
FRAMES, QUICK_FRAMES = 1_000, 40
SIDE = 84  # pixels
AT_ONCE = 49  # frames in one request: a megabyte, as the page asks for them

#: What the page asks for when a dataset is opened, in order, and what its user asks for next.
REQUESTS = {
    "dataset": "facts of the dataset",
    "distributions": "returns and lengths",
    "episodes": "first 200 rows of the table",
    "sorted": "rows from the middle, sorted by return",
    "filtered": "rows with `return > 5`",
    "episode": "facts of one episode",
    "leaves": "distributions of all leaves",
}


#: Figures of the browser, and those that are times; the others are frames a second.
IN_BROWSER = {
    "first_paint": "first paint of a dataset of 10,000 episodes",
    "rows": "the first rows of its table",
    "playing": "frames drawn a second at 30 steps a second",
    "fast": "frames drawn a second at eight times that speed",
    "scrubbing": "frames drawn a second while scrubbing",
}
SECONDS = frozenset({"first_paint", "rows"})


@dataclass(frozen=True)
class Figures:
    """Measured times and rates.

    Attributes:
        answers: seconds by format, state of the server and request; and until the address was printed (``"start"``).
        frames: by format, frames and bytes per second, and seconds of a request of one frame.
        browser: what a browser shows of datasets in HDF5, see :func:`benchmarks.viewer_browser.measure`.
    """

    answers: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    frames: dict[str, dict[str, float]] = field(default_factory=dict)
    browser: dict[str, float] = field(default_factory=dict)


def measure(
    ours: Side, scratch: Path | None, repeat: int, quick: bool, progress: Progress, browser: bool = False
) -> Figures:
    """Return the least times and the greatest rates of the repeats; each has a fresh server.

    Args:
        ours: the environment of this release.
        scratch: directory for the datasets.
        repeat: number of repeats.
        quick: True for small datasets.
        progress: where progress is reported.
        browser: True to measure the page in Chromium too.
    """
    figures = Figures()
    progress.expect(len(FORMATS) * (repeat + 1) * 2)
    with TemporaryDirectory(prefix="minari-benchmarks-", dir=scratch) as directory:
        root = Path(directory)
        for data_format in FORMATS:
            progress.begin(f"writing {data_format}", "ours", 1, 1)
            write_datasets(root, data_format, quick)
            progress.end(f"wrote {data_format}")
            for turn in range(repeat):
                progress.begin(data_format, "ours", turn + 1, repeat)
                settle()
                _measure(root, data_format, figures)
                cold = figures.answers[data_format]["cold"]
                rate = figures.frames[data_format]["frames"]
                progress.end(f"{data_format}: {figure(sum(cold.values()))}, {digits(rate)} frames a second")
        for turn in range(repeat if browser else 0):
            progress.begin("browser", "ours", turn + 1, repeat)
            settle()
            _measure_in_browser(root, figures)
            progress.end(f"browser: {figure(figures.browser['first_paint'])} until the first paint")
    return figures


def _measure_in_browser(root: Path, figures: Figures) -> None:
    with server(root) as client:
        found = viewer_browser.measure(client.address, "many/hdf5-v0", "frames/hdf5-v0")
    for name, value in found.items():
        best = min if name in SECONDS else max
        figures.browser[name] = best(value, figures.browser.get(name, value))


def write_datasets(root: Path, data_format: str, quick: bool) -> None:
    """Write a dataset of many episodes, and one of frames."""
    import minari

    episodes, frames = (QUICK_EPISODES, QUICK_FRAMES) if quick else (EPISODES, FRAMES)
    rng = np.random.default_rng(0)
    os.environ["MINARI_DATASETS_PATH"] = str(root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_arrays(
            f"many/{data_format}-v0",
            observations=rng.normal(size=(episodes * (STEPS + 1), 17)),
            actions=rng.normal(size=(episodes * STEPS, 6)).astype(np.float32),
            rewards=rng.normal(size=episodes * STEPS),
            terminations=np.arange(1, episodes * STEPS + 1) % STEPS == 0,
            episode_metadata=[{"seed": number, "task": f"task {number % 7}"} for number in range(episodes)],
            data_format=data_format,
        )
        minari.create_dataset_from_arrays(
            f"frames/{data_format}-v0",
            observations=pictures(frames + 1),
            actions=rng.integers(0, 18, frames),
            rewards=np.zeros(frames),
            terminations=np.arange(frames) == frames - 1,
            data_format=data_format,
        )


def pictures(count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return pictures that compress like those of a game: a background, and a few things that move."""
    rng = np.random.default_rng(1)
    background = np.repeat(np.repeat(rng.integers(0, 256, (12, 12, 3), np.uint8), 7, axis=0), 7, axis=1)
    frames = np.repeat(background[None], count, axis=0)
    for _ in range(6):
        color, speed = rng.integers(0, 256, 3, np.uint8), rng.integers(1, 5, 2)
        for number in range(count):
            row, column = (number * speed) % (SIDE - 8)
            frames[number, row : row + 8, column : column + 8] = color
    return frames


def _measure(root: Path, data_format: str, figures: Figures) -> None:
    data_path = root / "many" / f"{data_format}-v0" / "data"
    for state in ("cold", "kept"):
        if state == "cold":  # nothing was computed before
            for file in data_path.glob(".*statistics*"):
                file.unlink()
        begin = time.perf_counter()
        with server(root) as client:
            found = {"start": time.perf_counter() - begin, **answers(client, f"many/{data_format}-v0")}
            _keep_least(figures.answers.setdefault(data_format, {}).setdefault(state, {}), found)
            again = answers(client, f"many/{data_format}-v0")
            _keep_least(figures.answers[data_format].setdefault("warm", {}), again)
            if state == "kept":
                rates = frame_rates(client, f"frames/{data_format}-v0")
                known = figures.frames.setdefault(data_format, rates)
                for name, value in rates.items():
                    known[name] = (min if name == "latency" else max)(value, known[name])


def _keep_least(known: dict[str, float], found: Mapping[str, float]) -> None:
    known.update({name: min(seconds, known.get(name, seconds)) for name, seconds in found.items()})


class Client:
    """A client of the server, with a connection that stays open.

    Args:
        address: as it was printed.
    """

    def __init__(self, address: str) -> None:
        found = re.fullmatch(r"http://([\d.]+):(\d+)/#token=([\w-]+)", address)
        if found is None:
            raise BenchmarkError(f"`minari view` printed {address!r}, expected an address with a token.")
        self.address = address
        self._connection = http.client.HTTPConnection(found[1], int(found[2]), timeout=300)
        self._headers = {"Authorization": f"Bearer {found[3]}"}

    def get(self, path: str, **parameters: Any) -> bytes:
        """Return the body of an answer.

        Raises:
            BenchmarkError: It is an error.
        """
        self._connection.request("GET", f"/api/{path}?{urlencode(parameters)}", headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise BenchmarkError(f"The server answered {answer.status}: {body[:1000]!r}.")
        return body


@contextmanager
def server(root: Path) -> Iterator[Client]:
    """Run `minari view` in a fresh process, and yield a client of it."""
    import minari

    command = [sys.executable, "-m", "minari", "view", "--no-browser", "--root", str(root)]
    variables = environment(PYTHONPATH=str(Path(minari.__file__).parents[1]))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables) as process:
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            yield Client(next((word for word in line.split() if word.startswith("http://")), line))
        finally:
            process.kill()


def answers(client: Client, dataset: str) -> dict[str, float]:
    """Return the seconds that each of the requests takes, one after the other."""
    requests: dict[str, tuple[str, dict[str, Any]]] = {
        "dataset": ("dataset", {}),
        "distributions": ("distributions", {}),
        "episodes": ("episodes", {"limit": 200}),
        "sorted": ("episodes", {"sort": "return", "descending": 1, "offset": 5000, "limit": 200}),
        "filtered": ("episodes", {"where": "return > 5", "limit": 200}),
        "episode": ("episode", {"episode": 7}),
        "leaves": ("leaves", {}),
    }
    found = {}
    for name, (path, parameters) in requests.items():
        begin = time.perf_counter()
        client.get(path, dataset=dataset, **parameters)
        found[name] = time.perf_counter() - begin
    return found


def frame_rates(client: Client, dataset: str) -> dict[str, float]:
    """Return the rates of an episode that is played from its start, and the time of one frame out of order."""
    request = {"dataset": dataset, "episode": 0, "leaf": "observations"}
    client.get("frames", **request, start=0, stop=1)  # the episode is open when it is played
    begin, start, size = time.perf_counter(), 0, 0
    while True:
        body = client.get("frames", **request, start=start, stop=start + AT_ONCE)
        if not body:
            break
        start, size = start + AT_ONCE, size + len(body)
    seconds, count = time.perf_counter() - begin, size // (SIDE * SIDE * 3)
    places = np.random.default_rng(0).permutation(count)[:100].tolist()
    begin = time.perf_counter()
    for place in places:
        client.get("frames", **request, start=place, stop=place + 1)
    latency = (time.perf_counter() - begin) / len(places)
    return {"frames": count / seconds, "bytes": size / seconds, "latency": latency}


def as_json(figures: Figures, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `viewer.json`; seconds, and frames and bytes per second."""
    viewer = {"answers": figures.answers, "frames": figures.frames, "browser": figures.browser}
    return {**facts, "viewer": viewer}


def from_json(content: Mapping[str, Any]) -> Figures:
    """Return the results stored in the content of `viewer.json`."""
    return Figures(**content["viewer"])


def page(figures: Figures, facts: Mapping[str, Any]) -> str:
    """Return the page `viewer.md`."""
    states = [(data_format, state) for data_format in FORMATS for state in ("cold", "kept", "warm")]
    header = ["a dataset of 10,000 episodes", *(f"{data_format}, {state}" for data_format, state in states)]
    rows = [
        [text, *(figure(figures.answers[data_format][state][name]) for data_format, state in states)]
        for name, text in REQUESTS.items()
    ]
    frames = [
        [f"`{data_format}`", digits(found["frames"]), f"{digits(found['bytes'] / 1e6)} MB", figure(found["latency"])]
        for data_format, found in figures.frames.items()
    ]
    parts = [
        tables.table(header, rows),
        tables.table(["84 × 84 × 3 frames", "frames a second", "a second", "one frame, out of order"], frames),
    ]
    if figures.browser:
        found = figures.browser
        rows = [
            [text, figure(found[name]) if name in SECONDS else digits(found[name])] for name, text in IN_BROWSER.items()
        ]
        parts.append(tables.table(["Chromium without a window, `hdf5`, 84 × 84 × 3 frames", ""], rows))
    load = "" if facts.get("load") is None else f" The load average of the machine was {facts['load']:.1f}."
    start = min(found["cold"]["start"] for found in figures.answers.values())
    parts.append(
        f"Minimum of {facts['settings']['repeat']} repeats, each with a fresh server, which prints its address after "
        f"{figure(start)}; the requests follow each other. Cold: nothing was computed from this dataset before. Kept: "
        "its statistics are beside the data, as after the first time. Warm: asked again. Files are in the page cache. "
        "Frames have the default compression of the format, and are asked for a megabyte at once." + load
    )
    return "\n\n".join([*parts, tables.about(facts)]) + "\n"
