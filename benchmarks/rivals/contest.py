"""Entry points for the command line: the choice of libraries, their interpreters, and the measurement."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import environments
from benchmarks.environments import Side
from benchmarks.errors import BenchmarkError
from benchmarks.progress import Progress
from benchmarks.rivals import registry, workloads
from benchmarks.rivals.figures import Figures, as_json, from_json, libraries_of
from benchmarks.rivals.page import page
from benchmarks.rivals.rival import OURS, Rival
from benchmarks.rivals.running import Measurement, Outcome, Runner, shortened
from benchmarks.rivals.workloads import Work


__all__ = ["NOTHING", "Chosen", "Contest", "as_json", "choose", "from_json", "listed", "page", "runners", "stored"]

NOTHING = Figures({}, {})


@dataclass(frozen=True, slots=True)
class Chosen:
    """The chosen libraries and workloads.

    Attributes:
        known: all libraries by name, with the files of those that were added.
        names: those that are measured.
        works: the workloads.
    """

    known: Mapping[str, tuple[type[Rival], Path | None]]
    names: Sequence[str]
    works: Sequence[Work]


def choose(only: Sequence[str], works: Sequence[str], files: Sequence[Path]) -> Chosen:
    """Return the libraries and workloads that match names, prefixes or patterns; all if none are given.

    Raises:
        BenchmarkError: nothing matches, or a file has no library.
    """
    known = registry.known(files)
    return Chosen(known, workloads.matching(only, list(known), "library"), workloads.choose(works))


def stored(path: Path) -> Figures:
    """Return the results in a file; none if there is none.

    Raises:
        BenchmarkError: it is another kind of file.
    """
    if not path.exists():
        return NOTHING
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchmarkError(f"{path} does not hold the results of rivals ({error}); leave out --keep.") from None


def listed(chosen: Chosen) -> str:
    """Return names and titles."""
    named = {name: chosen.known[name][0].TITLE.replace("**", "") for name in chosen.names}
    named |= {work.name: work.title for work in chosen.works}
    width = max(len(name) for name in named)
    return "\n".join(f"{name:<{width}}  {title}" for name, title in named.items())


def runners(chosen: Chosen, given: Sequence[str], directory: Path, echo: Callable[[str], None]) -> dict[str, Runner]:
    """Return the interpreter of each library: a given one, ours if it has what is needed, or one that is created.

    Args:
        chosen: what is measured.
        given: ``NAME=PYTHON``, by the name of a library or of an environment.
        directory: directory for environments that are created.
        echo: prints a message before slow steps.

    Raises:
        BenchmarkError: a given name is unknown.
    """
    names = [*chosen.known, *(rival.environment() for rival, _ in chosen.known.values())]
    pythons = environments.rival_interpreters(given, list(dict.fromkeys(names)))
    found = {}
    for name in chosen.names:
        rival, file = chosen.known[name]
        try:
            python = pythons.get(name) or pythons.get(rival.environment()) or _python(chosen, rival, directory, echo)
            found[name] = Runner(rival, python, file)
        except BenchmarkError as error:
            found[name] = Runner(rival, None, file, shortened(str(error)))
            echo(f"{name} is left out: {error}")
    return found


def _python(chosen: Chosen, rival: type[Rival], directory: Path, echo: Callable[[str], None]) -> Path:
    name = rival.environment()
    if name == OURS or environments.has_installed(rival.REQUIREMENTS):
        return Path(sys.executable)
    sharing = [each for each, _ in chosen.known.values() if each.environment() == name]
    requirements = list(dict.fromkeys(text for each in sharing for text in each.REQUIREMENTS))
    return environments.library_environment(name, requirements, directory, echo)


class Contest:
    """The measurement of all workloads.

    Args:
        ours: the interpreter that runs the benchmarks.
        runners: the libraries by name.
        scratch: directory on the disk to measure.
        rounds: how often each operation is measured.
        quick: whether the data is small.
        limit: seconds after which an operation counts as failed.
        progress: shows what is measured.
    """

    def __init__(
        self,
        ours: Side,
        runners: Mapping[str, Runner],
        scratch: Path | None,
        rounds: int,
        quick: bool,
        limit: float,
        progress: Progress,
    ) -> None:
        self._ours = ours
        self._runners = runners
        self._scratch = scratch
        self._rounds = rounds
        self._quick = quick
        self._limit = limit
        self._progress = progress

    def figures(self, chosen: Chosen) -> Iterator[Figures]:
        """Yield what is known after each workload."""
        taking_part = {
            work.name: [runner for runner in self._runners.values() if work.has(runner.rival)] for work in chosen.works
        }
        turns = sum(len(work.operations) * len(taking_part[work.name]) for work in chosen.works)
        self._progress.expect(turns * self._rounds)
        outcomes: dict[str, Mapping[str, Outcome]] = {}
        for work in chosen.works:
            if not taking_part[work.name]:
                continue
            measurement = Measurement(
                work, taking_part[work.name], self._rounds, self._quick, self._limit, self._progress
            )
            outcomes[work.name] = measurement.run(self._ours, self._scratch)
            yield Figures(dict(outcomes), libraries_of([one.rival for one in self._runners.values()], outcomes))
