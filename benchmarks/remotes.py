"""Sharing datasets over a network with a delay: servers on this machine, and 20 ms added to every answer."""

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
ASKED = 4.0  # times as fast as the released package
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
    """A server that answers late: how a new, empty remote is had, and how many requests came.

    Attributes:
        kind: which one it is.
        server: itself.
        network: what holds the answers back and counts; a proxy, or the server itself where it can.
        token: for those who write.
    """

    kind: str
    server: Any
    network: Any
    token: str

    def forget(self) -> None:
        """Count requests from here."""
        self.network.forget() if self.kind == "gcs" else self.server.requests.clear()

    def count(self) -> int:
        """The requests since then."""
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
        return list(accounts[self.token].organisations) if self.token in accounts else []


def measure(ours: Side, released: Side, scratch: Path | None, repeat: int, quick: bool, progress: Progress) -> Figures:
    """The least of the repeats; the sides take turns, each time in a process of its own."""
    found: dict[tuple[str, str], dict[str, tuple[float, int]]] = {}
    progress.expect(repeat * len(STORES) * len(ACTIONS) * 2)
    with TemporaryDirectory(prefix="minari-benchmarks-", dir=scratch) as folder:
        for kind in STORES:
            with _running(kind, Path(folder)) as store:
                full, listed = _prepared(store, ours, Path(folder) / kind, 10 if quick else LISTED)
                for turn in range(repeat):
                    for side in (ours, released):
                        place = Path(folder, f"{kind}-{side.name}-{turn}")
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
def _running(kind: str, folder: Path) -> Iterator[_Store]:
    """A server of the tests, with its environment set for all processes that begin meanwhile."""
    with ExitStack() as running:
        if kind == "gcs":
            tokens = running.enter_context(_of_the_tests("token").running_token_server())
            server: Any = running.enter_context(_of_the_tests("gcs").running_gcs_server())
            token = str(tokens.account.write(folder / "key.json"))
        else:
            server, token = running.enter_context(_of_the_tests("hub").HubServer()), "hf_of_the_benchmarks"
        if kind == "gcs":
            network = _of_the_tests("proxy").FaultyProxy(server.port)
            running.callback(network.close)
            variables = {"STORAGE_EMULATOR_HOST": network.url}
        else:
            network, variables = server, server.environment(folder / "hf")
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
    """A module of the servers that the tests use."""
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))
    try:
        return import_module(f"support.servers.{name}")
    except ImportError as error:
        raise BenchmarkError(f'{error}: run pip install -e ".[testing]" in a checkout.') from error


def _prepared(store: _Store, ours: Side, folder: Path, count: int) -> tuple[Path, str]:
    """A root that holds the dataset of many files, and a remote that holds many datasets; without a delay."""
    root = folder / "root"
    address = store.new_remote(f"{store.kind}-listed")
    arguments = {"action": "prepare", "address": address, "token": store.token, "root": str(root), "count": count}
    call_worker(ours.python, "remote", {"name": DATASET, "size": FILES, **arguments, "data": "", "scratch": str(root)})
    return root, address


def _renew(root: Path) -> None:
    """Other contents for the files, as a Hub keeps each but once, whoever sent it."""
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
    """All of it, for `remotes.json`; seconds and requests."""
    rows = [
        {"store": kind, "action": action, **{side: {"seconds": s, "requests": n} for side, (s, n) in sides.items()}}
        for (kind, action), sides in figures.items()
    ]
    return {**facts, "delay": DELAY, "remotes": rows}


def page(figures: Figures, facts: Mapping[str, Any]) -> str:
    """The page `remotes.md`."""
    header = ("store", "work", "ours", "released", "ratio", "asked", "reached", "requests", "released")
    rows = [_row(kind, action, sides) for (kind, action), sides in figures.items()]
    note = (
        f"The least of {facts['settings']['repeat']} repeats, in turns, each in a process of its own, after the "
        f"imports. The servers run on the same machine and hold every answer back for {DELAY * 1000:.0f} ms."
    )
    return "\n\n".join([tables.table(header, rows), note, tables.about(facts)]) + "\n"


def _row(kind: str, action: str, sides: Mapping[str, tuple[float, int]]) -> list[str]:
    (ours, our_requests), (released, their_requests) = sides["ours"], sides["released"]
    ratio = quotient(released, ours)
    reached = "yes" if ratio >= ASKED else "**no**"
    seconds = [figure(ours), figure(released), times(ratio), f"≥ {ASKED:g} ×", reached]
    return [STORES[kind], ACTIONS[action], *seconds, str(our_requests), str(their_requests)]
