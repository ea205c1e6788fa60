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

from benchmarks import charts, environments, formats, growth, machine, memory, reliability, remotes, tables
from benchmarks.environments import Side
from benchmarks.errors import BenchmarkError
from benchmarks.progress import Progress
from benchmarks.results import Result, as_json
from benchmarks.running import Runner
from benchmarks.workloads import WORKLOADS, Workload


app = typer.Typer(add_completion=False, help="Measures the library beside the released package and a floor.")
console = Console()

Quick = Annotated[bool, typer.Option("--quick", help="Small data and one repeat: to try whether it works.")]
Output = Annotated[Path, typer.Option(help="Folder for the results.")]
Scratch = Annotated[
    Path | None, typer.Option(help="Folder on the disk to measure; what is put there is removed again.")
]
Repeat = Annotated[int, typer.Option(min=1, help="Figures for each workload and side; the least counts.")]
Released = Annotated[Path | None, typer.Option(help="An interpreter that has the released package; else one is made.")]
Environments = Annotated[
    Path | None, typer.Option("--environments", help="Where the environment that is made for it is kept.")
]

RESULTS = Path("benchmarks/results")


@app.callback(invoke_without_command=True)
def compare(
    context: typer.Context,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Name, beginning of names or pattern; several with commas, or given more than once."),
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="Show the workloads and stop.")] = False,
    repeat: Repeat = 5,
    quick: Quick = False,
    output: Output = RESULTS,
    scratch: Scratch = None,
    released_python: Released = None,
    folder: Environments = None,
) -> None:
    """Run the workloads in both releases; write a table, all figures and a chart."""
    if context.invoked_subcommand is not None:
        return
    with errors_in_one_line():
        chosen = choose(only or [])
        if listing:
            show(chosen)
            return
        ours = environments.our_side()
        kept = folder or environments.default_folder()
        released = environments.released_side(released_python, kept, ours, tell)
        facts = describe((ours, released), 1 if quick else repeat, quick)
        with scratch_folder(scratch) as empty, Progress(console) as progress:
            runner = Runner(ours, released, empty, facts["settings"]["repeat"], quick, progress)
            results = run(runner, chosen, progress, facts, output)
        tell(tables.comparison(results, facts))


@app.command("growth")
def grow(repeat: Repeat = 3, quick: Quick = False, output: Output = RESULTS, scratch: Scratch = None) -> None:
    """Whether the cost of an episode grows with the dataset, and that of a listed dataset with their number."""
    with errors_in_one_line():
        ours = environments.our_side()
        facts = describe((ours,), 1 if quick else repeat, quick)
        with Progress(console) as progress:
            curves = growth.measure(ours, scratch, facts["settings"]["repeat"], quick, progress)
        write(output, "growth", growth.as_json(curves, facts), growth.page(curves, facts))
        charts.growth(curves, output / "growth.png")
        tell(growth.page(curves, facts))


@app.command("memory")
def hold(quick: Quick = False, output: Output = RESULTS, scratch: Scratch = None) -> None:
    """How much memory is resident at most in what could hold too much."""
    with errors_in_one_line():
        ours = environments.our_side()
        facts = describe((ours,), 1, quick)
        with Progress(console) as progress:
            held = memory.measure(ours, scratch, quick, progress)
        write(output, "memory", memory.as_json(held, facts), memory.page(held, facts))
        tell(memory.page(held, facts))


@app.command("formats")
def store(repeat: Repeat = 3, quick: Quick = False, output: Output = RESULTS, scratch: Scratch = None) -> None:
    """How fast every format is, and how small, with and without compression."""
    with errors_in_one_line():
        ours = environments.our_side()
        facts = describe((ours,), 1 if quick else repeat, quick)
        with Progress(console) as progress:
            figures = formats.measure(ours, scratch, facts["settings"]["repeat"], quick, progress)
        write(output, "formats", formats.as_json(figures, facts), formats.page(figures, facts))
        tell(formats.page(figures, facts))


@app.command("remotes")
def share(
    repeat: Repeat = 3,
    quick: Quick = False,
    output: Output = RESULTS,
    scratch: Scratch = None,
    released_python: Released = None,
    folder: Environments = None,
) -> None:
    """How fast datasets are listed, uploaded and downloaded over a network with a delay, in both releases."""
    with errors_in_one_line():
        ours = environments.our_side()
        released = environments.released_side(released_python, folder or environments.default_folder(), ours, tell)
        facts = describe((ours, released), 1 if quick else repeat, quick)
        with Progress(console) as progress:
            figures = remotes.measure(ours, released, scratch, facts["settings"]["repeat"], quick, progress)
        write(output, "remotes", remotes.as_json(figures, facts), remotes.page(figures, facts))
        tell(remotes.page(figures, facts))


@app.command("reliability")
def stand(
    mutants: Annotated[int, typer.Option(min=1, help="Damaged and hostile datasets, of each format.")] = 2000,
    faults: Annotated[int, typer.Option(min=1, help="Kills and failing system calls.")] = 500,
    flips: Annotated[int, typer.Option(min=1, help="Flipped bits, in each format.")] = 1000,
    reads: Annotated[int, typer.Option(min=1, help="Episodes read beside a writer, by each kind of reader.")] = 3000,
    quick: Quick = False,
    output: Output = RESULTS,
) -> None:
    """Damage, lies, kills, full disks, and readers beside a writer: how often the outcome is as promised."""
    with errors_in_one_line():
        facts = describe((environments.our_side(),), 1, quick)
        counts = reliability.Counts(*((20, 19, 20, 60) if quick else (mutants, faults, flips, reads)))
        with Progress(console) as progress:
            figures = reliability.measure(counts, progress)
        write(output, "reliability", reliability.as_json(figures, counts, facts), reliability.page(figures, facts))
        tell(reliability.page(figures, facts))
        if figures.problems:
            tell("\n".join(figures.problems))


def choose(patterns: Sequence[str]) -> list[Workload]:
    """The workloads of these names, beginnings of names or patterns; all if there are none.

    Raises:
        BenchmarkError: One fits no workload.
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
        raise BenchmarkError(f"There is no workload {pattern!r}, expected one or the beginning of: {', '.join(names)}.")
    return found


def show(workloads: Sequence[Workload]) -> None:
    """Names and titles."""
    width = max(len(workload.name) for workload in workloads)
    tell("\n".join(f"{workload.name:<{width}}  {workload.title}" for workload in workloads))


def describe(sides: Sequence[Side], repeat: int, quick: bool) -> dict[str, Any]:
    """What belongs to the figures; it is shown as well."""
    facts = {
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "versions": {side.name: side.installed() for side in sides},
        "settings": {"repeat": repeat, "quick": quick},
    }
    tell(tables.about(facts))
    return facts


def run(
    runner: Runner, workloads: Sequence[Workload], progress: Progress, facts: Mapping[str, Any], output: Path
) -> list[Result]:
    """Run them one after the other; the files are written anew after each."""
    progress.expect(runner.turns(workloads))
    results: list[Result] = []
    for place, workload in enumerate(workloads):
        results.append(runner.run(workload))
        runner.forget(workloads[place + 1 :])
        write(output, "results", as_json(results, facts), tables.comparison(results, facts))
        charts.ratios(results, output / "results.png")
    return results


def write(output: Path, name: str, figures: Mapping[str, Any], page: str) -> None:
    """The figures as JSON, the page as Markdown."""
    output.mkdir(parents=True, exist_ok=True)
    (output / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    (output / f"{name}.md").write_text(page, encoding="utf-8")


def tell(text: str) -> None:
    """Print it as it is."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def scratch_folder(parent: Path | None) -> Iterator[Path]:
    """An empty folder that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="minari-benchmarks-", dir=parent) as folder:
        yield Path(folder)


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Show what the suite raises on purpose without a traceback."""
    try:
        yield
    except BenchmarkError as error:
        Console(stderr=True).print(f"Error: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
