"""The benchmark suite: its workloads and options, the released package's environment, and that it runs."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner


# At the end: where the wheel is tested, the checkout's own `minari` must not come before it.
sys.path.append(str(Path(__file__).parents[1]))

from benchmarks import cli, collection, environments, growth, interchange, machine, running, sampling, viewer
from benchmarks.collection import Case, Cost
from benchmarks.collectors import collect
from benchmarks.environments import Side
from benchmarks.errors import BenchmarkError
from benchmarks.processes import call_worker, environment
from benchmarks.progress import Progress
from benchmarks.workloads import DATA, WORKLOADS
from benchmarks.workloads.holding import CASES


REPOSITORY = Path(__file__).parents[1]


def test_every_workload_can_be_run() -> None:
    data = {each.name for each in DATA}
    names = [workload.name for workload in WORKLOADS]
    assert len(set(names)) == len(names)
    for workload in WORKLOADS:
        assert (workload.command is None) == (workload.run is not None)
        assert (workload.floor.command is None) == (workload.floor.run is not None)
        assert workload.data in data | {None}
        assert workload.flat_with in {*names, None}
        assert workload.run is None or workload.check is not None


@pytest.mark.parametrize("path", sorted((REPOSITORY / "benchmarks" / "workloads").glob("*.py")), ids=lambda p: p.stem)
def test_what_runs_under_both_releases_imports_what_both_have(path: Path) -> None:
    common = {*sys.stdlib_module_names, "numpy", "gymnasium", "minari"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert {alias.name.partition(".")[0] for alias in node.names} <= common
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.module.startswith("benchmarks.workloads") or node.module.partition(".")[0] in common


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (["combine"], ["combine"]),
        (["iterate"], ["iterate"]),
        (["iter"], ["iterate_arrow", "iterate_parquet", "iterate", "iterate_copy", "iterate_released"]),
        (["*_5000", "cli_h"], ["list_5000", "cli_help"]),
        (["write_hdf5, append_hdf5"], ["write_hdf5", "append_hdf5"]),
        ([], [workload.name for workload in WORKLOADS]),
    ],
)
def test_workloads_are_chosen_by_name_beginning_or_pattern(patterns: list[str], chosen: list[str]) -> None:
    assert [workload.name for workload in cli.choose(patterns)] == chosen


@pytest.mark.parametrize("pattern", ["nothing", "*x", "iterate,nothing", ""])
def test_an_unknown_workload_is_refused_in_one_line_with_the_known_ones(pattern: str) -> None:
    done = CliRunner().invoke(cli.app, ["--only", pattern])
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: There is no workload ")
    assert all(workload.name in line for workload in WORKLOADS)


@pytest.mark.parametrize("options", [["--repeat", "0"], ["--quik"], ["growth", "--repeat", "0"], ["nothing"]])
def test_options_are_checked_and_workloads_listed(options: list[str]) -> None:
    done = CliRunner().invoke(cli.app, options)
    assert done.exit_code == 2
    assert "Usage:" in done.stderr
    done = CliRunner().invoke(cli.app, ["--list", "--only", "list"])
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["list_200", "list_5000"]


def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"absent cannot be run"):
        call_worker(tmp_path / "absent", "versions", {})


def test_another_release_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environments, "call_worker", lambda *arguments: {"minari": "0.5.3"})
    with pytest.raises(BenchmarkError, match=r"has minari 0\.5\.3, expected 0\.5\.4"):
        environments.released_side(tmp_path / "python", tmp_path, environments.our_side(), print)


def test_an_environment_is_made_once_for_the_same_versions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[list[str]] = []

    def make(home: Path, shared: list[str], echo: Any) -> Path:
        made.append(shared)
        home.mkdir(parents=True)
        (home / "python").touch()
        return home / "python"

    monkeypatch.setattr(environments, "make_environment", make)
    monkeypatch.setattr(environments, "call_worker", lambda *arguments: {"minari": "0.5.4"})
    versions = {"python": "3.12.1", "numpy": "2.1.0", "gymnasium": "1.2.0", "h5py": "3.12.0", "pyarrow": None}
    ours = Side("ours", Path(sys.executable), versions)
    said: list[str] = []
    first = environments.released_side(None, tmp_path, ours, said.append)
    assert environments.released_side(None, tmp_path, ours, said.append).python == first.python
    assert made == [["numpy==2.1.0", "gymnasium==1.2.0", "h5py==3.12.0"]]
    assert len(said) == 1
    newer = replace(ours, versions={**versions, "numpy": "2.2.0"})
    assert environments.released_side(None, tmp_path, newer, said.append).python != first.python
    first.python.unlink()
    assert environments.released_side(None, tmp_path, ours, said.append).python != first.python


def test_no_variable_of_the_caller_changes_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("MINARI_REMOTE", "hf://elsewhere")
    left = environment(MINARI_DATASETS_PATH="/here")
    assert [name for name in left if name.startswith(("PYTHON", "MINARI"))] == ["MINARI_DATASETS_PATH"]


def test_sides_that_found_different_things_are_no_comparison() -> None:
    def samples(*released: float | None) -> dict[str, list[running.Sample]]:
        found = {"ours": (7.0, 7.0), "released": released, "floor": (None,)}
        return {side: [running.Sample(1.0, check) for check in each] for side, each in found.items()}

    running.compare(WORKLOADS[0], samples(7.0, 7.0 + 1e-12))
    for wrong in ((7.0, 7.1), (7.0, None)):
        with pytest.raises(BenchmarkError, match=WORKLOADS[0].name):
            running.compare(WORKLOADS[0], samples(*wrong))


@pytest.mark.parametrize(
    ("quick", "repeats", "expected"), [(False, None, 10), (False, 1, 2), (True, 3, 3), (True, 9, 5)]
)
def test_what_takes_minutes_is_run_less_often(quick: bool, repeats: int | None, expected: int, tmp_path: Path) -> None:
    side = environments.our_side()
    runner = running.Runner(side, side, tmp_path, 5, quick, Progress(Console(file=io.StringIO())))
    workload = replace(WORKLOADS[0], turns=2, repeats=repeats)
    assert runner.turns([workload]) == 3 * expected


@pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning")
@pytest.mark.parametrize("kind", ["native", "sync"])
def test_bare_and_collected_steps_are_timed_in_pairs(kind: str, tmp_path: Path) -> None:
    arguments = {"side": "minari", "kind": kind, "num_envs": 4, "steps": 200, "scratch": str(tmp_path), "quick": True}
    found = collect(arguments)
    assert len(found["bare"]) == len(found["collected"]) == 1
    assert 0.8 < found["stored"] < 1  # the resets are steps of the environment, which are not stored


def test_costs_of_collection_are_medians_of_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"bare": [1.0, 9.0, 2.0], "collected": [1.5, 9.25, 9.0], "stored": 0.95}
    monkeypatch.setattr(collection, "call_worker", lambda *arguments: answers)
    side = environments.our_side()
    figures = collection.measure(side, {}, None, 1, True, Progress(Console(file=io.StringIO())))
    assert all(sides == {"minari": Cost(2.0, 0.5)} for sides in figures.values())
    assert len(collection.missed(figures)) == 2
    answers["stored"] = 0.5
    with pytest.raises(BenchmarkError, match=r"minari stored 50% of the steps of native/256"):
        collection.measure(side, {}, None, 1, True, Progress(Console(file=io.StringIO())))


def test_results_of_collection_are_rendered_from_what_is_stored(tmp_path: Path) -> None:
    figures: dict[Case, dict[str, Cost]] = {case: {"minari": Cost(3e-7, 4e-7)} for case in collection.CASES}
    figures[collection.CASES[0]]["torchrl"] = Cost(2e-7, 2.8e-5)
    facts = json.loads((REPOSITORY / "docs" / "benchmarks" / "memory.json").read_text(encoding="utf-8"))
    content = json.dumps(collection.as_json(figures, facts))
    (tmp_path / "collection.json").write_text(content, encoding="utf-8")
    done = CliRunner().invoke(cli.app, ["render", "--output", str(tmp_path)])
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "collection.md").read_text(encoding="utf-8")
    assert "| `CartPoleVectorEnv` with 256 | 300 ns | 400 ns | 28.0 µs | 133 % |" in page
    assert "| Minari | 400 ns | 400 ns | 400 ns | 400 ns | 400 ns | 400 ns |" in page
    assert (tmp_path / "collection.png").read_bytes().startswith(b"\x89PNG")
    assert collection.from_json(json.loads(content)) == figures


@pytest.mark.parametrize("given", ["torchrl", "=python", "other=python"])
def test_a_rival_is_named_with_its_interpreter(given: str) -> None:
    done = CliRunner().invoke(cli.app, ["collection", "--rival", given])
    assert done.exit_code == 1
    assert done.stderr == f"Error: --rival is {given!r}, expected tianshou=PYTHON or torchrl=PYTHON.\n"
    assert sampling.interpreters(["torchrl=python"]).keys() == {"torchrl", "torchrl, 1 thread"}


def test_speeds_of_other_formats_are_the_best_of_the_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"read": 2.0, "load_foreign": 8.0, "import": 4.0, "export": 2.0, "store": 0.0}
    slower = iter([1.0, 1.0, 1.0, 3.0, 1.0, 1.0])

    def answer(python: Path, task: str, arguments: dict[str, Any]) -> dict[str, Any]:
        operation = arguments.get("operation", task)
        if operation == "export":
            Path(arguments["path"]).write_bytes(bytes(1000))
        spent = seconds[operation] * next(slower, 2.0)
        peak = 5e6 if operation == "import" else None
        return {"seconds": spent, "steps": 2000, "rewards": rewards[task], "peak": peak}

    rewards = {"convert": 1.0, "load_foreign": 1.0}
    monkeypatch.setattr(interchange, "call_worker", answer)
    monkeypatch.setattr(interchange, "CASES", interchange.CASES[:1])
    measured = environments.our_side(), {}, None, 2, True, Progress(Console(file=io.StringIO()))
    ((case, found),) = interchange.measure(*measured).items()
    megabytes = interchange.bytes_of(case.kind, 2) / 1e6
    assert found == {
        "values": megabytes,
        "file": 0.001,
        "read": megabytes / 2,
        "loader": megabytes / 16,
        "import": megabytes / 4,
        "export": megabytes / 2,
        "peak": 5,
    }
    rewards["load_foreign"] = 1.1
    with pytest.raises(BenchmarkError, match=r"The values of d4rl/vectors differ"):
        interchange.measure(*measured)


def test_results_of_other_formats_are_rendered_from_what_is_stored(tmp_path: Path) -> None:
    found = {"values": 30.0, "file": 60.0, "read": 150.0, "import": 50.0, "export": 5.0, "peak": 4.0}
    figures = {case: {**found, "loader": 100.0} for case in interchange.CASES if case.is_exported}
    figures[interchange.CASES[3]] = found
    facts = json.loads((REPOSITORY / "docs" / "benchmarks" / "memory.json").read_text(encoding="utf-8"))
    content = json.dumps(interchange.as_json(figures, facts))
    (tmp_path / "interchange.json").write_text(content, encoding="utf-8")
    done = CliRunner().invoke(cli.app, ["render", "--output", str(tmp_path)])
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "interchange.md").read_text(encoding="utf-8")
    assert "| `d4rl` | 30.0 MB | 60.0 MB | 150 | h5py 100 | 1.50 × | 50.0 | 5.00 | 4.00 MB |" in page
    assert "| `d3rlpy` | 30.0 MB | 60.0 MB | 150 | d3rlpy – | – | 50.0 | 5.00 | 4.00 MB |" in page
    assert "Not installed, and left out: d3rlpy, Tianshou, TorchRL." in page
    assert interchange.from_json(json.loads(content)) == figures


def test_what_was_written_is_told() -> None:
    samples = {"ours": [running.Sample(1.0, written=7), running.Sample(1.0, written=6)], "floor": [running.Sample(1.0)]}
    assert running.bytes_written(samples) == {"ours": 6}


def test_without_a_terminal_progress_is_plain_lines() -> None:
    out = io.StringIO()
    with Progress(Console(file=out)) as progress:
        progress.expect(1)
        progress.begin("read_all", "ours", 1, 1)
        progress.end("read_all: ours 1.00 s")
    assert out.getvalue() == "read_all: ours 1.00 s\n"


def test_the_machine_is_described() -> None:
    described = machine.describe()
    assert described["cpu"]
    assert isinstance(described["cores"], int)


def run_suite(*arguments: str, output: Path) -> dict[str, Any]:
    """Run it as a user does, and read what it has written."""
    name = arguments[0] if arguments[0] in ("growth", "memory", "collection", "interchange", "viewer") else "results"
    command = [sys.executable, "-m", "benchmarks", *arguments, "--quick", "--output", str(output)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, encoding="utf-8", timeout=600)
    assert done.returncode == 0, done.stderr
    assert (output / f"{name}.md").read_text(encoding="utf-8") in done.stdout + "\n"
    return json.loads((output / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.interop
@pytest.mark.parametrize(
    "only",
    ["write_hdf5,write_arrow_100,iterate,iterate_parquet,iterate_released,combine", "record_c,list_200,open,cli_h"],
)
def test_the_suite_runs_beside_the_released_package(only: str, tmp_path: Path) -> None:
    python = os.environ.get("MINARI_REFERENCE_PYTHON")
    if python is None:
        pytest.skip("set MINARI_REFERENCE_PYTHON to an interpreter that has minari==0.5.4")
    written = run_suite("--only", only, "--released-python", python, output=tmp_path)
    assert written["versions"]["released"]["minari"] == "0.5.4"
    assert [each["name"] for each in written["workloads"]] == [each.name for each in cli.choose([only])]
    for each in written["workloads"]:
        assert [len(each[side]["seconds"]) for side in ("ours", "released", "floor")] == [1, 1, 1]
        writes = each["name"] in ("write_hdf5", "write_arrow_100", "combine")
        assert (each["bytes"].keys() == {"ours", "released"}) == writes
        assert all(size > 100_000 for size in each["bytes"].values())
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_growth_is_measured(tmp_path: Path) -> None:
    written = run_suite("growth", output=tmp_path)["growth"]
    assert written.keys() == growth.KINDS.keys()
    assert all(value > 0 for curve in written.values() for value in curve.values())
    assert (tmp_path / "growth.png").exists()


@pytest.mark.slow
def test_collection_is_measured(tmp_path: Path) -> None:
    written = run_suite("collection", output=tmp_path)["collection"]
    assert list(written) == [case.name for case in collection.CASES]
    assert all(sides.keys() == {"minari"} and sides["minari"]["bare"] > 0 for sides in written.values())
    assert (tmp_path / "collection.png").exists()


@pytest.mark.slow
def test_the_viewer_is_measured(tmp_path: Path) -> None:
    for module in ("pyarrow", "starlette", "uvicorn", "zarr"):
        pytest.importorskip(module)
    written = run_suite("viewer", output=tmp_path)["viewer"]
    assert list(written["answers"]) == list(written["frames"]) == list(viewer.FORMATS)
    for states in written["answers"].values():
        assert states.keys() == {"cold", "kept", "warm"}
        assert all(seconds > 0 for found in states.values() for seconds in found.values())
    assert all(rates["frames"] > 30 for rates in written["frames"].values())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_other_formats_are_measured(tmp_path: Path) -> None:
    for module in ("h5py", "pandas", "pyarrow", "google_crc32c", "av"):
        pytest.importorskip(module)
    written = run_suite("interchange", output=tmp_path)["interchange"]
    assert list(written) == [case.name for case in interchange.CASES if case.is_exported]
    for case in interchange.CASES:
        if case.is_exported:
            speeds = {"read", "import", "export", *(() if case.rival else ("loader",))}
            assert written[case.name].keys() == {"values", "file", "peak", *speeds}
            assert all(written[case.name][name] > 0 for name in speeds)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_is_measured(tmp_path: Path) -> None:
    written = run_suite("memory", output=tmp_path)["memory"]
    assert [each["name"] for each in written] == [case.name for case in CASES]
    assert all(each["peak"] > 0 < each["through"] for each in written)
