"""Runs the command line as users do: in a process of its own, its two streams apart."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

import minari
from support.forks import run_module


REPOSITORY = Path(__file__).parents[2]
#: What would make Rich and Typer believe that they write to a terminal, or know how wide it is.
TERMINAL_VARIABLES = (
    *("CI", "COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "MINARI_DEBUG", "PY_COLORS", "PYTHONWARNINGS"),
    "TTY_COMPATIBLE",
)


@dataclass(frozen=True)
class Run:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines on standard output that are not empty."""
        return [line.rstrip() for line in self.out.splitlines() if line.strip()]

    @property
    def complaints(self) -> list[str]:
        """The lines on standard error."""
        return self.err.splitlines()

    @property
    def rows(self) -> dict[str, list[str]]:
        """The rows of a table by their first cell."""
        table = [[cell.strip() for cell in line.strip("│").split("│")] for line in self.lines if line.startswith("│")]
        return {row[0]: row[1:] for row in table}

    def assert_done(self, *lines: str) -> None:
        """It went well, without a complaint, and printed these lines."""
        assert (self.code, self.lines, self.err) == (0, list(lines), "")

    def assert_refused(self, *parts: str, code: int = 1) -> None:
        """One line on standard error says why it does nothing."""
        assert self.code == code
        (complaint,) = self.complaints
        assert complaint.startswith("Error: ")
        assert all(part in complaint for part in parts), complaint


Minari = Callable[..., Run]
MakeDataset = Callable[..., minari.MinariDataset]


def environment(root: Path, **variables: str) -> dict[str, str]:
    """The environment of a command: the datasets root of the test, and no terminal."""
    inherited = {name: value for name, value in os.environ.items() if name not in TERMINAL_VARIABLES}
    python_path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    own = {"MINARI_DATASETS_PATH": str(root), "PYTHONPATH": python_path, "PYTHONUTF8": "1"}
    return {**inherited, **own, **variables}


@pytest.fixture
def process_environment(datasets_root: Path) -> dict[str, str]:
    """The environment variables of a command: the datasets root of the test, and no terminal."""
    return environment(datasets_root)


@pytest.fixture
def run(datasets_root: Path, tmp_path: Path) -> Minari:
    """A function ``run("list", "local", COLUMNS="60")``: keywords are environment variables, save ``answer``.

    It works in an empty directory, in a process forked from one that has imported everything, and checks what holds
    for every command: no traceback and no control characters.
    """

    def run_minari(*arguments: str, answer: str = "", **variables: str) -> Run:
        code, out, err = run_module(
            "minari",
            arguments,
            environment=environment(datasets_root, **variables),
            directory=tmp_path,
            answer=answer,
            fresh=any(name.startswith("PYTHON") for name in variables),
        )
        if "MINARI_DEBUG" not in variables:
            assert "Traceback" not in out + err
        assert not [letter for letter in out + err if ord(letter) < 32 and letter != "\n"]
        return Run(code, out, err)

    return run_minari


@pytest.fixture
def make_dataset() -> MakeDataset:
    """A function ``make_dataset("toy/a-v0", [3, 5], author="Ada")``: episodes of these lengths, reward 1 a step."""

    def make(dataset_id: str, lengths: list[int] | None = None, **metadata: object) -> minari.MinariDataset:
        lengths = [3, 5] if lengths is None else lengths
        ends = np.cumsum(lengths) - 1
        steps = sum(lengths)
        spaces = {"observation_space": Box(0, np.inf, (1,)), "action_space": Discrete(2)}
        described = {
            "author": "Ada",
            "author_email": "ada@example.org",
            "algorithm_name": "counting",
            "code_permalink": "https://example.org/code",
            "description": "Episodes that count.",
            **metadata,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return minari.create_dataset_from_arrays(
                dataset_id,
                observations=np.arange(steps + len(lengths), dtype=np.float32)[:, None],
                actions=np.zeros(steps, np.int64),
                rewards=np.ones(steps),
                terminations=np.isin(np.arange(steps), ends),
                **spaces,
                **described,
            )

    return make


@pytest.fixture
def shared(tmp_path: Path, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a directory with the datasets ``toy/a-v0`` and ``toy/a-v1``, which are not here."""
    directory = tmp_path / "shared"
    with monkeypatch.context() as context:
        context.setenv("MINARI_DATASETS_PATH", str(directory))
        make_dataset("toy/a-v0", [3])
        make_dataset("toy/a-v1", [3, 5])
    return directory.as_uri()


@pytest.fixture
def own_module(tmp_path: Path) -> Path:
    """The module ``own``, with an environment and policies, where commands are run."""
    return Path(shutil.copy(Path(__file__).with_name("own_module.py"), tmp_path / "own.py"))


@pytest.fixture
def start(datasets_root: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A function that starts a command like ``run`` and does not wait for its end."""
    started: list[subprocess.Popen[str]] = []

    def start_minari(*arguments: str) -> subprocess.Popen[str]:
        # A test run in the background may have Ctrl-C and the end of its terminal ignored, which children inherit.
        before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
        if hasattr(signal, "SIGHUP"):
            before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "minari", *arguments],
                cwd=tmp_path,
                env=environment(datasets_root),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
            )
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        started.append(process)
        return process

    yield start_minari
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
