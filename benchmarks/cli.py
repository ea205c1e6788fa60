"""The options of ``python -m benchmarks``."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks import (
    charts,
    collection,
    environments,
    formats,
    growth,
    interchange,
    machine,
    memory,
    reliability,
    remotes,
    sampling,
    tables,
    viewer,
)
from benchmarks.environments import Side
from benchmarks.errors import BenchmarkError
from benchmarks.progress import Progress
from benchmarks.results import Result, as_json, from_json, missed
from benchmarks.rivals import contest
from benchmarks.running import Runner
from benchmarks.workloads import WORKLOADS, Workload


app = typer.Typer(add_completion=False, help="Compare the library with the released package and with lower bounds.")
console = Console()

Quick = Annotated[bool, typer.Option("--quick", help="Use small data and one repeat, to try the benchmark itself.")]
Output = Annotated[Path, typer.Option(help="Directory of the results.")]
Scratch = Annotated[
    Path | None, typer.Option(help="Directory on the disk to measure; files written there are deleted afterwards.")
]
Repeat = Annotated[int, typer.Option(min=1, help="Runs for each workload and side; the minimum counts.")]
Released = Annotated[Path | None, typer.Option(help="An interpreter with the released package; created if not given.")]
Environments = Annotated[
    Path | None, typer.Option("--environments", help="Directory for the environment created for it.")
]

Check = Annotated[bool, typer.Option("--check", help="Exit with 1 if a target of the maintainers is missed.")]

RESULTS = Path("benchmarks/results")
RENDERED = (
    "results",
    "growth",
    "memory",
    "formats",
    "sampling",
    "collection",
    "interchange",
    "remotes",
    "reliability",
    "viewer",
    "rivals",
)


@app.callback(invoke_without_command=True)
def compare(
    context: typer.Context,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Name, prefix or pattern; separate several by commas, or repeat the option."),
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="Show the workloads and exit.")] = False,
    repeat: Repeat = 5,
    quick: Quick = False,
    check: Check = False,
    output: Output = RESULTS,
    scratch: Scratch = None,
    released_python: Released = None,
    directory: Environments = None,
) -> None:
    """Run the workloads in both releases; write a table, all measured times and a chart."""
    if context.invoked_subcommand is not None:
        return
    with errors_in_one_line():
        chosen = choose(only or [])
        if listing:
            show(chosen)
            return
        ours = environments.our_side()
        kept = directory or environments.default_directory()
        released = environments.released_side(released_python, kept, ours, echo)
        facts = describe((ours, released), 1 if quick else repeat, quick)
        with scratch_directory(scratch) as empty, Progress(console) as progress:
            runner = Runner(ours, released, empty, facts["settings"]["repeat"], quick, progress)
            results = run(runner, chosen, progress, facts, output)
        echo(tables.comparison(results, facts))
        report(missed(results), check)


@app.command("growth")
def grow(repeat: Repeat = 3, quick: Quick = False, output: Output = RESULTS, scratch: Scratch = None) -> None:
    """Measure the cost of an episode, and of a listed dataset, as their number grows."""
    with errors_in_one_line():
        ours = environments.our_side()
        facts = describe((ours,), 1 if quick else repeat, quick)
        with Progress(console) as progress:
            curves = growth.measure(ours, scratch, facts["settings"]["repeat"], quick, progress)
        write(output, "growth", growth.as_json(curves, facts), growth.page(curves, facts))
        charts.growth(curves, output / "growth.png")
        echo(growth.page(curves, facts))


@app.command("memory")
def hold(quick: Quick = False, check: Check = False, output: Output = RESULTS, scratch: Scratch = None) -> None:
    """Measure the peak memory of operations on large datasets."""
    with errors_in_one_line():
        ours = environments.our_side()
        facts = describe((ours,), 1, quick)
        with Progress(console) as progress:
            held = memory.measure(ours, scratch, quick, progress)
        write(output, "memory", memory.as_json(held, facts), memory.page(held, facts))
        echo(memory.page(held, facts))
        report(memory.missed(held), check)


@app.command("formats")
def store(repeat: Repeat = 3, quick: Quick = False, output: Output = RESULTS, scratch: Scratch = None) -> None:
    """Measure the speed and the size of every format, with and without compression."""
    with errors_in_one_line():
        ours = environments.our_side()
        facts = describe((ours,), 1 if quick else repeat, quick)
        with Progress(console) as progress:
            figures = formats.measure(ours, scratch, facts["settings"]["repeat"], quick, progress)
        write(output, "formats", formats.as_json(figures, facts), formats.page(figures, facts))
        echo(formats.page(figures, facts))


@app.command("sampling")
def draw(
    repeat: Repeat = 3,
    quick: Quick = False,
    rival: Annotated[
        list[str] | None,
        typer.Option(
            "--rival", metavar="NAME=PYTHON", help="Interpreter with torchrl, d3rlpy or tianshou; repeatable."
        ),
    ] = None,
    released_python: Released = None,
    output: Output = RESULTS,
    scratch: Scratch = None,
) -> None:
    """Measure batches of transitions and windows, beside NumPy and other libraries."""
    with errors_in_one_line():
        rivals = sampling.interpreters(rival or [])
        facts = describe((environments.our_side(),), repeat, quick)
        with Progress(console) as progress:
            figures = sampling.measure(
                environments.our_side(), released_python, rivals, scratch, repeat, quick, progress
            )
        write(output, "sampling", sampling.as_json(figures, facts), sampling.page(figures, facts))
        charts.sampling(figures, output / "sampling.png")
        echo(sampling.page(figures, facts))


@app.command("collection")
def collect(
    repeat: Repeat = 3,
    quick: Quick = False,
    check: Check = False,
    rival: Annotated[
        list[str] | None,
        typer.Option("--rival", metavar="NAME=PYTHON", help="Interpreter with tianshou or torchrl; repeatable."),
    ] = None,
    output: Output = RESULTS,
    scratch: Scratch = None,
) -> None:
    """Measure the recording of vector environments, beside the collectors of other libraries."""
    with errors_in_one_line():
        rivals = environments.rival_interpreters(rival or [], collection.RIVALS)
        ours = environments.our_side()
        facts = {**describe((ours,), 1 if quick else repeat, quick), "load": machine.load()}
        with Progress(console) as progress:
            figures = collection.measure(ours, rivals, scratch, facts["settings"]["repeat"], quick, progress)
        write(output, "collection", collection.as_json(figures, facts), collection.page(figures, facts))
        charts.collection(figures, output / "collection.png")
        echo(collection.page(figures, facts))
        report(collection.missed(figures), check)


@app.command("interchange")
def exchange(
    repeat: Repeat = 3,
    quick: Quick = False,
    rival: Annotated[
        list[str] | None,
        typer.Option("--rival", metavar="NAME=PYTHON", help=f"Interpreter with {', '.join(interchange.RIVALS)}."),
    ] = None,
    output: Output = RESULTS,
    scratch: Scratch = None,
) -> None:
    """Measure reading, importing and exporting other formats, beside the loaders of their users."""
    with errors_in_one_line():
        rivals = environments.rival_interpreters(rival or [], interchange.RIVALS)
        ours = environments.our_side()
        facts = {**describe((ours,), 1 if quick else repeat, quick), "load": machine.load()}
        with Progress(console) as progress:
            figures = interchange.measure(ours, rivals, scratch, facts["settings"]["repeat"], quick, progress)
        write(output, "interchange", interchange.as_json(figures, facts), interchange.page(figures, facts))
        echo(interchange.page(figures, facts))


@app.command("remotes")
def share(
    repeat: Repeat = 3,
    quick: Quick = False,
    check: Check = False,
    output: Output = RESULTS,
    scratch: Scratch = None,
    released_python: Released = None,
    directory: Environments = None,
) -> None:
    """Measure listing, uploading and downloading datasets over a slow network, in both releases."""
    with errors_in_one_line():
        ours = environments.our_side()
        released = environments.released_side(
            released_python, directory or environments.default_directory(), ours, echo
        )
        facts = describe((ours, released), 1 if quick else repeat, quick)
        with Progress(console) as progress:
            figures = remotes.measure(ours, released, scratch, facts["settings"]["repeat"], quick, progress)
        write(output, "remotes", remotes.as_json(figures, facts), remotes.page(figures, facts))
        echo(remotes.page(figures, facts))
        report(remotes.missed(figures), check)


@app.command("reliability")
def stand(
    mutants: Annotated[int, typer.Option(min=1, help="Damaged and hostile datasets of each format.")] = 2000,
    faults: Annotated[int, typer.Option(min=1, help="Kills and failing system calls.")] = 500,
    flips: Annotated[int, typer.Option(min=1, help="Flipped bits in each format.")] = 1000,
    reads: Annotated[
        int, typer.Option(min=1, help="Episodes read concurrently with a writer, for each kind of reader.")
    ] = 3000,
    quick: Quick = False,
    output: Output = RESULTS,
) -> None:
    """Test damage, hostile data, kills, full disks and concurrent readers against the promised behavior."""
    with errors_in_one_line():
        facts = describe((environments.our_side(),), 1, quick)
        counts = reliability.Counts(*((20, 19, 20, 60) if quick else (mutants, faults, flips, reads)))
        with Progress(console) as progress:
            figures = reliability.measure(counts, progress)
        write(output, "reliability", reliability.as_json(figures, counts, facts), reliability.page(figures, facts))
        echo(reliability.page(figures, facts))
        if figures.problems:
            echo("\n".join(figures.problems))


@app.command("viewer")
def look(
    repeat: Repeat = 3,
    quick: Quick = False,
    output: Output = RESULTS,
    scratch: Scratch = None,
    browser: Annotated[
        bool, typer.Option("--browser", help="Measure the page in Chromium too, by Playwright.")
    ] = False,
) -> None:
    """Measure the first answers of the page of `minari view`, and the rate of frames."""
    with errors_in_one_line():
        ours = environments.our_side()
        facts = {**describe((ours,), 1 if quick else repeat, quick), "load": machine.load()}
        with Progress(console) as progress:
            figures = viewer.measure(ours, scratch, facts["settings"]["repeat"], quick, progress, browser)
        write(output, "viewer", viewer.as_json(figures, facts), viewer.page(figures, facts))
        echo(viewer.page(figures, facts))


@app.command("rivals")
def contend(
    only: Annotated[
        list[str] | None,
        typer.Option(help="Name, prefix or pattern of libraries; separate several by commas, or repeat the option."),
    ] = None,
    workloads: Annotated[list[str] | None, typer.Option(help="The same for workloads.")] = None,
    listing: Annotated[bool, typer.Option("--list", help="Show libraries and workloads, and exit.")] = False,
    add: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="File with a library to be measured too; repeatable.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, in which each operation of each library runs.")] = 3,
    quick: Quick = False,
    limit: Annotated[float, typer.Option(min=1, help="Seconds after which an operation counts as failed.")] = 600,
    rival: Annotated[
        list[str] | None,
        typer.Option(
            "--rival", metavar="NAME=PYTHON", help="Interpreter for a library, or for an environment; repeatable."
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the results in the output directory of what is not measured now.")
    ] = False,
    directory: Environments = None,
    output: Output = RESULTS,
    scratch: Scratch = None,
) -> None:
    """Measure the same work beside every other way in which people store such data."""
    with errors_in_one_line():
        chosen = contest.choose(only or [], workloads or [], add or [])
        if listing:
            echo(contest.listed(chosen))
            return
        ours = environments.our_side()
        facts = {**describe((ours,), 1 if quick else rounds, quick), "load": machine.load()}
        kept = contest.stored(output / "rivals.json") if keep else contest.NOTHING
        runners = contest.runners(chosen, rival or [], directory or environments.default_directory(), echo)
        with Progress(console) as progress:
            running = contest.Contest(ours, runners, scratch, facts["settings"]["repeat"], quick, limit, progress)
            for measured in running.figures(chosen):
                figures = measured.joined(kept)
                write(output, "rivals", contest.as_json(figures, facts), contest.page(figures, facts))
                charts.rivals(figures, output / "rivals.png")
        echo((output / "rivals.md").read_text(encoding="utf-8"))


@app.command("render")
def render(output: Output = Path("docs/benchmarks")) -> None:
    """Rewrite the pages and charts of a directory from its stored results, without measuring."""
    with errors_in_one_line():
        for name in RENDERED:
            stored = output / f"{name}.json"
            if stored.exists():
                facts = json.loads(stored.read_text(encoding="utf-8"))
                _render(name, facts, output)
                echo(f"{stored.with_suffix('.md')}")


def _render(name: str, facts: Mapping[str, Any], output: Path) -> None:
    if name == "results":
        results = from_json(facts)
        page = tables.comparison(results, facts)
        charts.ratios(results, output / "results.png")
    else:
        module = {
            "growth": growth,
            "memory": memory,
            "formats": formats,
            "sampling": sampling,
            "collection": collection,
            "interchange": interchange,
            "remotes": remotes,
            "reliability": reliability,
            "viewer": viewer,
            "rivals": contest,
        }[name]
        figures = module.from_json(facts)
        page = module.page(figures, facts)
        if name == "growth":
            charts.growth(figures, output / "growth.png")
        elif name == "sampling":
            charts.sampling(figures, output / "sampling.png")
        elif name == "collection":
            charts.collection(figures, output / "collection.png")
        elif name == "rivals":
            charts.rivals(figures, output / "rivals.png")
    (output / f"{name}.md").write_text(page, encoding="utf-8")


def report(lines: Sequence[str], check: bool) -> None:
    """Print the missed targets if they are to be checked.

    Raises:
        typer.Exit: A target is missed.
    """
    if check and lines:
        echo("\n".join(["Missed targets:", *(f"- {line}" for line in lines)]))
        raise typer.Exit(1)


def choose(patterns: Sequence[str]) -> list[Workload]:
    """Return the workloads that match names, prefixes or patterns; all if none is given.

    Raises:
        BenchmarkError: A pattern matches no workload.
    """
    if not patterns:
        return list(WORKLOADS)
    wanted = [name for pattern in patterns for part in pattern.split(",") for name in _names(part.strip())]
    return [workload for workload in WORKLOADS if workload.name in wanted]


def _names(pattern: str) -> list[str]:
    names = [workload.name for workload in WORKLOADS]
    if pattern in names:
        return [pattern]
    found = [name for name in names if pattern and (name.startswith(pattern) or fnmatchcase(name, pattern))]
    if not found:
        raise BenchmarkError(
            f"There is no workload {pattern!r}, expected a name, prefix or pattern of: {', '.join(names)}."
        )
    return found


def show(workloads: Sequence[Workload]) -> None:
    """Print names and titles."""
    width = max(len(workload.name) for workload in workloads)
    echo("\n".join(f"{workload.name:<{width}}  {workload.title}" for workload in workloads))


def describe(sides: Sequence[Side], repeat: int, quick: bool) -> dict[str, Any]:
    """Return and print the facts stored with the figures."""
    facts = {
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "versions": {side.name: side.installed() for side in sides},
        "settings": {"repeat": repeat, "quick": quick},
    }
    echo(tables.about(facts))
    return facts


def run(
    runner: Runner, workloads: Sequence[Workload], progress: Progress, facts: Mapping[str, Any], output: Path
) -> list[Result]:
    """Run workloads one after the other; rewrite the files after each."""
    progress.expect(runner.turns(workloads))
    results: list[Result] = []
    for place, workload in enumerate(workloads):
        results.append(runner.run(workload))
        runner.forget(workloads[place + 1 :])
        write(output, "results", as_json(results, facts), tables.comparison(results, facts))
        charts.ratios(results, output / "results.png")
    return results


def write(output: Path, name: str, figures: Mapping[str, Any], page: str) -> None:
    """Write the figures as JSON and the page as Markdown."""
    output.mkdir(parents=True, exist_ok=True)
    (output / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    (output / f"{name}.md").write_text(page, encoding="utf-8")


def echo(text: str) -> None:
    """Print text without markup."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def scratch_directory(parent: Path | None) -> Iterator[Path]:
    """Yield an empty directory that is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="minari-benchmarks-", dir=parent) as directory:
        yield Path(directory)


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Print a `BenchmarkError` without a traceback."""
    try:
        yield
    except BenchmarkError as error:
        Console(stderr=True).print(f"Error: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
