"""The benchmark beside other libraries: that values are checked, failures are shown, and others can add a library."""

from __future__ import annotations

import ast
import io
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner


# At the end: where the wheel is tested, the checkout's own `minari` must not come before it.
sys.path.append(str(Path(__file__).parents[1]))

from benchmarks import charts, cli, environments
from benchmarks.environments import Side
from benchmarks.errors import BenchmarkError
from benchmarks.progress import Progress
from benchmarks.rivals import checking, contest, registry, rival, running, workloads
from benchmarks.rivals.figures import Figures, Library, Standing, as_json, from_json, standings
from benchmarks.rivals.operations import make_source
from benchmarks.rivals.page import page
from benchmarks.rivals.rival import DTYPES, FINALS, FLAGS, FLOAT32, SUCCESSORS, Rival, Rows
from benchmarks.rivals.running import Measurement, Outcome, Runner
from benchmarks.rivals.source import FIELDS, Source, make
from benchmarks.rivals.workloads import Work


LIBRARIES = Path(registry.__file__).with_name("libraries")
NOTHING: frozenset[str] = frozenset()
FACTS: dict[str, Any] = {
    "machine": {"cpu": "CPU", "cores": 2, "memory_gb": 8.0, "system": "System", "python": "CPython 3.12"},
    "versions": {"ours": {"minari": "0.6.0"}},
    "settings": {"repeat": 3, "quick": False},
    "load": 0.5,
}
#: Three libraries that store nothing well: values change, a loss is not stated, and one fails.
ADDED = """
import numpy as np
from benchmarks.rivals.libraries.plain import NumPy


class Wrong(NumPy):
    NAME = "wrong"
    TITLE = "Wrong"

    def read_all(self, opened):
        content = dict(super().read_all(opened))
        content["actions"][-1, 0] += 1
        return content


class Silent(NumPy):
    NAME = "silent"
    TITLE = "Silent"

    def read_all(self, opened):
        content = dict(super().read_all(opened))
        content["observations"] = content["observations"].astype(np.float32)
        return content


class Broken(NumPy):
    NAME = "broken"
    TITLE = "Broken"

    def write(self, source, path):
        raise OSError("the disk is made of cheese")
"""


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "settle", lambda: None)


@pytest.fixture(scope="module")
def vectors() -> Source:
    return make("vectors", 5, 40)


def content_of(source: Source) -> dict[str, Any]:
    return {name: getattr(source, name) for name in (*FIELDS, "lengths")}


@pytest.mark.parametrize("kind", ["vectors", "short", "frames-still", "frames-moving", "frames-noise"])
def test_source_is_the_same_each_time_and_survives_files(kind: str, tmp_path: Path) -> None:
    make_source({"kind": kind, "episodes": 3, "steps": 7, "directory": str(tmp_path)})
    stored, made = Source.load(tmp_path), make(kind, 3, 7)
    for name in (*FIELDS, "lengths"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(made, name))
    assert len(made.observations) == made.steps + 3
    assert (made.terminations | made.truncations).sum() == 3
    assert made.terminations.sum() == 2
    np.testing.assert_array_equal(made.find(made.rewards.astype(np.float32)), np.arange(made.steps))
    assert made.find(np.array([-1.0])) == [-1]
    parts = list(made.episodes())
    np.testing.assert_array_equal(np.concatenate([part.observations for part in parts]), made.observations)
    np.testing.assert_array_equal(made.transitions()["next_observations"][-1], made.observations[-1])


def test_what_was_read_as_written_loses_nothing(vectors: Source) -> None:
    content = content_of(vectors)
    checking.check_all(content, vectors, NOTHING)
    checking.check_all({**content, "rewards": np.split(vectors.rewards, vectors.ends[:-1])}, vectors, NOTHING)
    checking.check_all({**content, **vectors.transitions()}, vectors, NOTHING)


@pytest.mark.parametrize(
    ("change", "loss"),
    [
        (lambda content: {"rewards": content["rewards"].astype(np.float32)}, FLOAT32),
        (lambda content: {"observations": content["observations"].astype(np.float32).astype(np.float64)}, FLOAT32),
        (lambda content: {"terminations": content["terminations"].astype(np.uint8)}, DTYPES),
        (lambda content: {"terminations": content["truncations"]}, FLAGS),
        (lambda content: {"lengths": [100, 100]}, rival.EPISODES),
    ],
)
def test_losses_have_to_be_stated(
    change: Callable[[Mapping[str, Any]], dict[str, Any]], loss: str, vectors: Source
) -> None:
    content = {**content_of(vectors), **change(content_of(vectors))}
    with pytest.raises(BenchmarkError, match="differ from the source"):
        checking.check_all(content, vectors, NOTHING)
    checking.check_all(content, vectors, frozenset({loss}))


def test_losses_that_are_stated_have_to_be_found(vectors: Source) -> None:
    with pytest.raises(BenchmarkError, match=f"loses nothing, and states that it loses {FINALS}"):
        checking.check_all(content_of(vectors), vectors, frozenset({FINALS}))
    content = {**content_of(vectors), "observations": vectors.observations[vectors.seen()]}
    checking.check_all(content, vectors, frozenset({FINALS}))


@pytest.mark.parametrize("name", [*FIELDS[:3], "next_observations"])
def test_one_wrong_number_is_found(name: str, vectors: Source) -> None:
    content = {**content_of(vectors), **vectors.transitions()}
    values = content[name].copy()
    values.reshape(-1)[17] += 1
    with pytest.raises(BenchmarkError, match=f"{name} differ from the source"):
        checking.check_all({**content, name: values}, vectors, frozenset({FLOAT32}))


def test_lossy_frames_are_pictures_still() -> None:
    source = make("frames-still", 2, 5)
    frames = source.observations ^ 3
    lossy = {**content_of(source), "observations": np.moveaxis(frames, -1, -3)}
    checking.check_all(lossy, source, frozenset({rival.PIXELS}))
    with pytest.raises(BenchmarkError, match="observations differ"):
        checking.check_all({**lossy, "observations": ~source.observations}, source, frozenset({rival.PIXELS}))


@pytest.mark.parametrize("has_finals", [True, False])
def test_batches_by_indexing_are_transitions_and_windows_of_the_source(has_finals: bool) -> None:
    source = make("short", 50, 0)
    rows = Rows(content_of(source) if has_finals else {**content_of(source), **source.transitions()})
    rng = np.random.default_rng(0)
    checking.check_transitions(rows.transitions(300, rng)(), source, NOTHING, 300)
    checking.check_windows(rows.windows(300, 4, rng)(), source, NOTHING, (300, 4))


def test_wrong_batches_are_found(vectors: Source) -> None:
    rows, rng = Rows(content_of(vectors)), np.random.default_rng(0)
    batch = dict(rows.transitions(30, rng)())
    with pytest.raises(BenchmarkError, match="30 transitions, expected 31"):
        checking.check_transitions(batch, vectors, NOTHING, 31)
    wrong = {**batch, "next_observations": batch["observations"]}
    with pytest.raises(BenchmarkError, match="next_observations differ"):
        checking.check_transitions(wrong, vectors, NOTHING, 30)
    with pytest.raises(BenchmarkError, match=r"reward 0\.3 is not in the source"):
        checking.check_transitions({**batch, "rewards": np.full(30, 0.3)}, vectors, NOTHING, 30)
    del batch["next_observations"]
    with pytest.raises(BenchmarkError, match="next observations differ from the source or are missing"):
        checking.check_transitions(batch, vectors, NOTHING, 30)
    checking.check_transitions(batch, vectors, frozenset({SUCCESSORS}), 30)


def test_windows_do_not_cross_episodes(vectors: Source) -> None:
    at = np.arange(30, 50)[None]
    across = {name: getattr(vectors, name)[at] for name in FIELDS[1:]}
    across["observations"] = vectors.observations[at]
    with pytest.raises(BenchmarkError, match="not of consecutive steps of one episode"):
        checking.check_windows(across, vectors, NOTHING, (1, 20))
    masks = (at < 40).astype(np.float32)
    checking.check_windows({**across, "masks": masks}, vectors, frozenset({SUCCESSORS}), (1, 20))


def test_every_library_has_a_name_and_can_be_listed_without_being_installed() -> None:
    known = registry.known()
    assert list(known)[:4] == ["numpy", "npz", "pickle", "minari"]
    for name, (found, file) in known.items():
        assert (found.NAME, file) == (name, None)
        assert found.TITLE
        assert found.NOTE.endswith(".")
        assert found.REQUIREMENTS or found.environment() == rival.OURS
        # Whoever records can be compared with the environment, so what is recorded is read again.
        assert not found.RECORDS or found.record is not Rival.record


@pytest.mark.parametrize("path", sorted(LIBRARIES.glob("*.py")), ids=lambda path: path.stem)
def test_modules_of_libraries_import_them_when_they_are_used(path: Path) -> None:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert {name.partition(".")[0] for name in names} <= {*sys.stdlib_module_names, "numpy", "benchmarks"}


def test_libraries_and_workloads_are_chosen_by_name_beginning_or_pattern() -> None:
    chosen = contest.choose(["minari*,numpy"], ["frames", "short"], [])
    assert chosen.names[:2] == ["numpy", "minari"]
    assert [work.name for work in chosen.works] == ["frames-still", "frames-moving", "frames-noise", "short"]
    assert contest.choose(["minari"], [], []).names == ["minari"]
    assert len(contest.choose([], [], []).works) == len(workloads.WORKS)
    done = CliRunner().invoke(cli.app, ["rivals", "--list", "--only", "released", "--workloads", "carts"])
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["released", "carts"]


@pytest.mark.parametrize(
    "options", [["--only", "nothing"], ["--workloads", "nothing"], ["--rival", "nothing=x"], ["--add", "absent.py"]]
)
def test_what_is_unknown_is_refused_in_one_line(options: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, ["rivals", "--quick", "--output", str(tmp_path), *options])
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("Error: ")


def test_interpreters_are_given_found_or_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[tuple[str, list[str]]] = []

    def make_one(name: str, requirements: list[str], directory: Path, echo: Any) -> Path:
        made.append((name, requirements))
        if name == "vault":
            raise BenchmarkError("pip could not install flashbax")
        return tmp_path / name

    monkeypatch.setattr(environments, "library_environment", make_one)
    monkeypatch.setattr(environments, "has_installed", lambda requirements: requirements == ("numpy",))
    chosen = contest.choose(["numpy", "minari-zarr", "torchrl", "tianshou", "mds", "vault"], [], [])
    said: list[str] = []
    found = contest.runners(chosen, ["torch=/their/python", "mds=/other/python"], tmp_path, said.append)
    assert {name: runner.python for name, runner in found.items()} == {
        "numpy": Path(sys.executable),
        "minari-zarr": Path(sys.executable),
        "torchrl": Path("/their/python"),
        "tianshou": Path("/their/python"),
        "vault": None,
        "mds": Path("/other/python"),
    }
    assert found["vault"].reason == "pip could not install flashbax"
    assert [name for name, _ in made] == ["vault"]


def test_environment_of_a_library_is_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed: list[list[str]] = []

    def install(python: Path, requirements: list[str]) -> str | None:
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()
        installed.append(requirements)
        return "no such package" if requirements == ["absent"] else None

    monkeypatch.setattr(environments, "_install", install)
    monkeypatch.setattr(environments.venv, "create", lambda home, **options: home.mkdir(parents=True))
    said: list[str] = []
    first = environments.library_environment("lance", ["pylance==1"], tmp_path, said.append)
    assert environments.library_environment("lance", ["pylance==1"], tmp_path, said.append) == first
    assert installed == [["pylance==1"]]
    with pytest.raises(BenchmarkError, match=r"could not install absent; .* --rival\. It said: no such package"):
        environments.library_environment("other", ["absent"], tmp_path, said.append)
    assert len(list(tmp_path.iterdir())) == 2  # the environment and its requirements


def test_installed_requirements_are_those_of_this_interpreter() -> None:
    assert environments.has_installed(["numpy>=1.23", "h5py"])
    assert not environments.has_installed(["numpy<1.0"])
    assert not environments.has_installed(["numpy", "not-a-package-of-anyone"])


def test_values_are_checked_and_failures_do_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "added.py").write_text(ADDED, encoding="utf-8")
    known = registry.known([tmp_path / "added.py"])
    python = Path(sys.executable)
    names = ("numpy", "broken", "wrong", "silent")
    runners = [Runner(known[name][0], python, known[name][1]) for name in names]
    runners.append(Runner(known["vault"][0], None, reason="pip could not install it"))
    work = Work("vectors", "", 0, 0, (4, 40), ("write", "read"))
    console = Console(file=io.StringIO())
    with Progress(console) as progress:
        measurement = Measurement(work, runners, 2, quick=True, limit=100, progress=progress)
        outcomes = measurement.run(Side("ours", python, {}), tmp_path)
    assert outcomes["numpy"].failures == {}
    assert {len(values) for values in outcomes["numpy"].figures.values()} == {2}
    assert {"write", "disk", "size", "read", "imports"} <= outcomes["numpy"].figures.keys()
    assert outcomes["numpy"].versions == {"numpy": np.__version__}
    assert outcomes["broken"].failures == {"write": "OSError: the disk is made of cheese"}
    assert outcomes["broken"].figures == {}
    assert outcomes["wrong"].failures == {"read": "actions differ from the source"}
    expected = "dtypes of observations (float32, not float64) differ from the source or are missing"
    assert outcomes["silent"].failures == {"read": expected}
    assert outcomes["vault"].failures == {"write": "pip could not install it"}
    assert {path.name for path in tmp_path.iterdir()} <= {"added.py", "__pycache__"}


def test_library_itself_takes_part_in_all_operations(tmp_path: Path) -> None:
    runner = Runner(registry.find("minari"), Path(sys.executable))
    with Progress(Console(file=io.StringIO())) as progress:
        for work in replace(workloads.WORKS[0], quick=(30, 40)), replace(workloads.WORKS[5], quick=(1, 100)):
            measurement = Measurement(work, [runner], 1, quick=True, limit=100, progress=progress)
            (outcome,) = measurement.run(Side("ours", Path(sys.executable), {}), tmp_path).values()
            assert outcome.failures == {}
            wanted = {*work.operations, *(f"first_{name}" for name in work.batches)}
            assert wanted <= outcome.figures.keys()


def test_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    slow = "import time\nfrom benchmarks.rivals.libraries.plain import NumPy\n\n\nclass Slow(NumPy):\n"
    slow += '    NAME = TITLE = "slow"\n\n    def write(self, source, path):\n        time.sleep(60)\n'
    (tmp_path / "slow.py").write_text(slow, encoding="utf-8")
    found, file = registry.known([tmp_path / "slow.py"])["slow"]
    work = Work("vectors", "", 0, 0, (1, 40), ("write",))
    with Progress(Console(file=io.StringIO())) as progress:
        measurement = Measurement(work, [Runner(found, Path(sys.executable), file)], 1, True, 3, progress)
        outcomes = measurement.run(Side("ours", Path(sys.executable), {}), tmp_path)
    assert outcomes["slow"].failures == {"write": "it took more than 3 seconds"}


def figures_of(**seconds: float) -> Figures:
    libraries = {name: Library(name, "Note.", (), (), {"numpy": "2.0"}) for name in seconds}
    if "lossy" in libraries:
        libraries["lossy"] = replace(libraries["lossy"], loses=(FLOAT32,))
    outcomes = {name: Outcome({"read": [value * 3, value, value / 2]}) for name, value in seconds.items()}
    return Figures({"vectors": outcomes}, libraries)


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [
        ({"minari": 1.0, "numpy": 1.0, "other": 2.0}, "first"),
        ({"minari": 1.0, "numpy": 0.8, "other": 0.5}, "at the floor"),
        ({"minari": 1.0, "numpy": 0.5, "other": 2.0}, "**behind**"),
        ({"minari": 1.0, "numpy": 0.5, "other": 0.8}, "**behind**"),
        ({"minari": 1.0, "numpy": 2.0, "lossy": 0.1}, "first"),
        ({"minari": 1.0, "minari-arrow": 0.3, "numpy": 0.5, "other": 0.8}, "first with this format"),
        ({"minari": 1.0, "minari-arrow": 0.6, "numpy": 0.5, "other": 0.8}, "at the floor with this format"),
    ],
)
def test_first_is_who_is_not_slower_than_those_that_keep_all(seconds: dict[str, float], verdict: str) -> None:
    (standing,) = standings(figures_of(**seconds))
    assert isinstance(standing, Standing)
    assert standing.verdict == verdict
    assert [name for name, _ in standing.faster] == [name for name in seconds if name == "lossy"]
    best = min(seconds[name] for name in ("numpy", "other") if name in seconds)
    assert standing.over_best_other(standing.ours) == pytest.approx(1 / best)


def test_writing_is_compared_when_it_is_on_the_disk() -> None:
    figures = figures_of(minari=0.001, numpy=0.002)
    for outcome in figures.outcomes["vectors"].values():
        outcome.figures |= {"write": [1.0], "disk": [2.0], "size": [5.0]}
    found = {standing.figure: standing for standing in standings(figures)}
    assert list(found) == ["disk", "size", "read"]
    assert found["size"].over_best_other(5.0) is None  # NumPy's bytes are not a bound


def test_results_are_joined_with_older_ones(tmp_path: Path) -> None:
    older, newer = figures_of(numpy=0.001, minari=0.005, other=0.003), figures_of(minari=0.002)
    joined = newer.joined(replace(older, outcomes={**older.outcomes, "short": older.outcomes["vectors"]}))
    assert [(work.name, list(joined.outcomes[work.name])) for work in joined.works()] == [
        ("vectors", ["numpy", "minari", "other"]),
        ("short", ["numpy", "minari", "other"]),
    ]
    assert joined.median("vectors", "minari", "read") == 0.002
    assert joined.median("short", "minari", "read") == 0.005


def test_page_shows_failures_and_losses_and_is_made_from_the_stored_results(tmp_path: Path) -> None:
    figures = figures_of(minari=0.001, numpy=0.002, lossy=0.0005)
    figures.outcomes["vectors"]["minari"].failures["windows"] = "OSError: no"
    stored = json.loads(json.dumps(as_json(figures, FACTS)))
    text = page(from_json(stored), stored)
    assert text == page(figures, FACTS)
    assert "| lossy | 500 µs (250 µs – 1.50 ms) | – | – | – | float64 becomes float32 |" in text
    assert "- minari, windows: failed: OSError: no" in text
    assert "(*faster, but loses values*: lossy)" in text
    (tmp_path / "rivals.json").write_text(json.dumps(stored), encoding="utf-8")
    done = CliRunner().invoke(cli.app, ["render", "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "rivals.md").read_text(encoding="utf-8") == text
    assert (tmp_path / "rivals.png").stat().st_size > 1000


def test_chart_of_nothing_is_not_drawn(tmp_path: Path) -> None:
    charts.rivals(Figures({}, {}), tmp_path / "rivals.png")
    assert list(tmp_path.iterdir()) == []
