"""The order in which the libraries take turns, each operation in a process of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.environments import Side
from benchmarks.errors import BenchmarkError
from benchmarks.processes import call_worker, settle
from benchmarks.progress import Progress
from benchmarks.rivals.rival import Rival
from benchmarks.rivals.workloads import Work
from benchmarks.texts import figure


@dataclass(frozen=True, slots=True)
class Runner:
    """A library with the interpreter that has it.

    Attributes:
        rival: the library.
        python: the interpreter; None if there is no environment.
        file: the file of a library that was added.
        reason: why there is no environment.
    """

    rival: type[Rival]
    python: Path | None
    file: Path | None = None
    reason: str = ""


@dataclass(slots=True)
class Outcome:
    """Results of one library for one workload.

    Attributes:
        figures: of each round, by their names; seconds or bytes.
        failures: the reason, by operation.
        versions: of what it uses.
    """

    figures: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def add(self, answer: Mapping[str, Any]) -> None:
        """Add the figures of one process."""
        self.versions |= answer.get("versions", {})
        for name, value in answer.items():
            if name != "versions":
                self.figures.setdefault(name, []).append(value)


class Measurement:
    """One workload for several libraries.

    Args:
        work: the workload.
        runners: the libraries that take part.
        rounds: how often each operation is measured.
        quick: whether the data is small.
        limit: seconds after which a process is ended, and counts as failed.
        progress: shows what is measured.
    """

    def __init__(
        self, work: Work, runners: Sequence[Runner], rounds: int, quick: bool, limit: float, progress: Progress
    ) -> None:
        self._work = work
        self._runners = runners
        self._rounds = rounds
        self._quick = quick
        self._limit = limit
        self._progress = progress
        self.outcomes = {runner.rival.NAME: Outcome() for runner in runners}

    def run(self, ours: Side, scratch: Path | None) -> dict[str, Outcome]:
        """Return the outcome of each library; those that fail are left out of the turns that follow."""
        with TemporaryDirectory(prefix="minari-benchmarks-", dir=scratch, ignore_cleanup_errors=True) as directory:
            home = Path(directory)
            if "write" in self._work.operations:
                (home / "source").mkdir()
                episodes, steps = self._work.size(self._quick)
                arguments = {"kind": self._work.name, "episodes": episodes, "steps": steps}
                call_worker(ours.python, "rival_source", {**arguments, "directory": str(home / "source")})
            for turn in range(self._rounds):
                for operation in self._work.operations:
                    for runner in self._order(turn):
                        self._take_turn(runner, operation, turn, home)
        return self.outcomes

    def _order(self, turn: int) -> Iterator[Runner]:
        """Yield the libraries, from the other end in every second round."""
        return iter(self._runners) if turn % 2 == 0 else reversed(self._runners)

    def _take_turn(self, runner: Runner, operation: str, turn: int, home: Path) -> None:
        name, outcome = runner.rival.NAME, self.outcomes[runner.rival.NAME]
        self._progress.begin(f"{self._work.name} {operation}", name, turn + 1, self._rounds)
        title = f"{self._work.name}: {name}: {operation}"
        if "write" in outcome.failures or operation in outcome.failures:
            self._progress.end(f"{title}: left out")
            return
        try:
            if runner.python is None:
                raise BenchmarkError(runner.reason)
            answer = self._call(runner.python, runner, operation, turn, home)
        except BenchmarkError as error:
            outcome.failures[operation] = str(error)
            self._progress.end(f"{title}: failed: {error}")
            return
        outcome.add(answer)
        shown = figure(answer[operation]) if operation in answer else "none"
        self._progress.end(f"{title}: {shown}")

    def _call(self, python: Path, runner: Runner, operation: str, turn: int, home: Path) -> dict[str, Any]:
        """Return the answer of the process.

        Raises:
            BenchmarkError: it failed, or took too long.
        """
        name = runner.rival.NAME
        kept = home / name  # by the first round, and read by all
        is_kept = operation in ("write", "read", "transitions", "windows") and (operation != "write" or turn == 0)
        path = kept if is_kept else home / f"{name}-again"
        path.mkdir(exist_ok=True)
        episodes, steps = self._work.size(self._quick)
        arguments: dict[str, Any] = {
            "rival": name,
            "file": None if runner.file is None else str(runner.file),
            "operation": operation,
            "source": str(home / "source"),
            "path": str(path),
            "seed": turn,
            "steps": steps,
            "num_envs": episodes,
            "quick": self._quick,
        }
        if operation in self._work.batches:
            arguments["count"], arguments["length"] = self._work.batches[operation]
        settle()
        try:
            return call_worker(python, "rival", arguments, limit=self._limit)
        except BenchmarkError as error:
            raise BenchmarkError(shortened(str(error))) from None
        finally:
            if path != kept:
                shutil.rmtree(path, ignore_errors=True)


def shortened(text: str) -> str:
    """Return the last line of a message that is not empty, which is what a traceback ends with."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else "unknown"
    return last.removeprefix("benchmarks.errors.BenchmarkError: ")[:300]
