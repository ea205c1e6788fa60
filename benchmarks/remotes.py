"""Sharing datasets over a slow network: servers on this machine, with 20 ms of latency for every response."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import tables
from benchmarks.environments import Side
from benchmarks.errors import BenchmarkError
from benchmarks.processes import call_worker
from benchmarks.progress import Progress
from benchmarks.results import quotient
from benchmarks.texts import figure, times


DELAY = 0.020  # seconds
TARGET = 4.0  # speedup over the released package
LISTED, FILES, FILE_SIZE = 200, 100, 64 << 10
TESTS = Path(__file__).resolve().parents[1] / "tests"
STORES = {"gcs": "Google Cloud Storage", "hub": "Hugging Face Hub"}
ACTIONS = {
    "list": f"list {LISTED} datasets",
    "upload": f"upload {FILES} files of {FILE_SIZE >> 10} KiB",
    "download": f"download {FILES} files of {FILE_SIZE >> 10} KiB",
}
DATASET = "bench/files-v0"

#: By store and action, by side: the least of the seconds, and how many requests there were.
Figures = Mapping[tuple[str, str], Mapping[str, tuple[float, int]]]


@dataclass(frozen=True, slots=True)
class _Store:
    """A server with latency that creates empty remotes and counts requests.

    Attributes:
        kind: key of `STORES`.
        server: the server.
        network: delays responses and counts requests; a proxy, or the server itself.
        token: credentials for uploads.
    """

    kind: str
    server: Any
    network: Any
    token: str

    def forget(self) -> None:
        """Reset the request count."""
        self.network.forget() if self.kind == "gcs" else self.server.requests.clear()

    def count(self) -> int:
        """Return the number of requests since the last reset."""
        return len(self.network.exchanges if self.kind == "gcs" else self.server.requests)

    def new_remote(self, name: str) -> str:
        if self.kind == "gcs":
            return f"gcp://{self.server.make_bucket(name)}"
        self.server.add_token(self.token, "bench", *self._owners, name)
        self._owners.append(name)
        return f"hf://{name}"

    @property
    def _owners(self) -> list[str]:
        accounts = self.server.repositories.accounts
        return list(accounts[self.token].organizations) if self.token in accounts else []


def measure(ours: Side, released: Side, scratch: Path | None, repeat: int, quick: bool, progress: Progress) -> Figures:
    """Return the minimum of the repeats; the sides take turns, each time in a fresh process."""
    found: dict[tuple[str, str], dict[str, tuple[float, int]]] = {}
    progress.expect(repeat * len(STORES) * len(ACTIONS) * 2)
    with TemporaryDirectory(prefix="minari-benchmarks-", dir=scratch) as directory:
        for kind in STORES:
            with _running(kind, Path(directory)) as store:
                full, listed = _prepared(store, ours, Path(directory) / kind, 10 if quick else LISTED)
                for turn in range(repeat):
                    for side in (ours, released):
                        place = Path(directory, f"{kind}-{side.name}-{turn}")
                        empty = store.new_remote(f"{kind}-{side.name}-{turn}")
                        jobs = {"list": (listed, place), "upload": (empty, full), "download": (empty, place)}
                        for action, (address, root) in jobs.items():
                            if action == "upload":
                                _renew(full)
                            progress.begin(f"{action} {kind}", side.name, turn + 1, repeat)
                            sample = _timed(store, side, action, address, root)
                            kept = found.setdefault((kind, action), {})
                            kept[side.name] = min(sample, kept.get(side.name, sample))
                            progress.end(f"{action} {kind}: {figure(sample[0])}, {sample[1]} requests")
    return found


@contextmanager
def _running(kind: str, directory: Path) -> Iterator[_Store]:
    """Run a server of the test suite, with its environment variables set for child processes."""
    with ExitStack() as running:
        if kind == "gcs":
            tokens = running.enter_context(_of_the_tests("token").running_token_server())
            server: Any = running.enter_context(_of_the_tests("gcs").running_gcs_server())
            token = str(tokens.account.write(directory / "key.json"))
        else:
            server, token = running.enter_context(_of_the_tests("hub").HubServer()), "hf_of_the_benchmarks"
        if kind == "gcs":
            network = _of_the_tests("proxy").FaultyProxy(server.port)
            running.callback(network.close)
            variables = {"STORAGE_EMULATOR_HOST": network.url}
        else:
            network, variables = server, server.environment(directory / "hf")
        with _set(variables):
            yield _Store(kind, server, network, token)


@contextmanager
def _set(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _of_the_tests(name: str) -> Any:
    """Import a module of the servers of the test suite."""
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))
    try:
        return import_module(f"support.servers.{name}")
    except ImportError as error:
        raise BenchmarkError(f'{error}: run pip install -e ".[testing]" in a checkout.') from error


def _prepared(store: _Store, ours: Side, directory: Path, count: int) -> tuple[Path, str]:
    """Return a root with a dataset of many files, and the address of a remote with many datasets."""
    root = directory / "root"
    address = store.new_remote(f"{store.kind}-listed")
    arguments = {"action": "prepare", "address": address, "token": store.token, "root": str(root), "count": count}
    call_worker(ours.python, "remote", {"name": DATASET, "size": FILES, **arguments, "data": "", "scratch": str(root)})
    return root, address


def _renew(root: Path) -> None:
    """Replace the contents of the files, as the Hub stores equal files only once."""
    for file in root.rglob("part-*.bin"):
        file.write_bytes(os.urandom(FILE_SIZE))


def _timed(store: _Store, side: Side, action: str, address: str, root: Path) -> tuple[float, int]:
    store.forget()
    store.network.delay = DELAY
    arguments = {"action": action, "address": address, "token": store.token, "root": str(root), "count": 0}
    try:
        answer = call_worker(
            side.python, "remote", {"name": DATASET, "size": FILES, **arguments, "data": "", "scratch": str(root)}
        )
    finally:
        store.network.delay = 0.0
    return float(answer["seconds"]), store.count()


def as_json(figures: Figures, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `remotes.json`; seconds and requests."""
    rows = [
        {"store": kind, "action": action, **{side: {"seconds": s, "requests": n} for side, (s, n) in sides.items()}}
        for (kind, action), sides in figures.items()
    ]
    return {**facts, "delay": DELAY, "remotes": rows}


def from_json(content: Mapping[str, Any]) -> Figures:
    """Return the results stored in the content of `remotes.json`."""
    return {
        (row["store"], row["action"]): {
            side: (row[side]["seconds"], row[side]["requests"]) for side in ("ours", "released")
        }
        for row in content["remotes"]
    }


def missed(figures: Figures) -> list[str]:
    """Return a line for each operation that misses the target."""
    ratios = {key: quotient(sides["released"][0], sides["ours"][0]) for key, sides in figures.items()}
    return [
        f"{action} {kind}: expected a speedup of at least {TARGET:g}, measured {ratio:.3g}"
        for (kind, action), ratio in ratios.items()
        if ratio < TARGET
    ]


def page(figures: Figures, facts: Mapping[str, Any]) -> str:
    """Return the page `remotes.md`."""
    header = ("store", "operation", "this release", "0.5.4", "speedup", "requests", "requests of 0.5.4")
    rows = [_row(kind, action, sides) for (kind, action), sides in figures.items()]
    note = (
        f"Minimum of {facts['settings']['repeat']} repeats. Both releases take turns, each in a fresh process, "
        "and are timed after the imports. The servers run on the same machine and delay every response by "
        f"{DELAY * 1000:.0f} ms."
    )
    return "\n\n".join([tables.table(header, rows), note, tables.about(facts)]) + "\n"


def _row(kind: str, action: str, sides: Mapping[str, tuple[float, int]]) -> list[str]:
    (ours, our_requests), (released, their_requests) = sides["ours"], sides["released"]
    seconds = [figure(ours), figure(released), times(quotient(released, ours))]
    return [STORES[kind], ACTIONS[action], *seconds, str(our_requests), str(their_requests)]
