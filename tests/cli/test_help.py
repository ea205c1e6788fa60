"""The version, the help, and what is refused before a command runs."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import minari
from minari.cli import app


Minari = Callable[..., Any]
COMMANDS = ("record", "list", "show", "combine", "rename", "delete", "clean", "download", "upload", "recover")


def output_of(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=120)


@pytest.mark.parametrize("option", ["--version", "-v"])
def test_the_version(run: Minari, option: str) -> None:
    done = run(option)
    assert (done.code, done.out, done.err) == (0, f"Minari version: {minari.__version__}\n", "")


def test_the_help_names_every_command(run: Minari) -> None:
    done = run("--help")
    assert (done.code, done.err) == (0, "")
    assert all(command in done.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_has_an_example_on_one_line(run: Minari, command: str) -> None:
    done = run(command, "--help")
    assert done.code == 0
    (example,) = [line for line in done.lines if "Example:" in line]
    assert example.strip().startswith(f"Example: minari {command} ")
    assert done.lines[-1] == example


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["lists"], "No such command 'lists'"),
        (["show"], "Missing argument 'ID'"),
        (["list", "local", "--everything"], "No such option"),
        (["combine", "a-v0"], "Missing option '--dataset-id'"),
        (["record", "CartPole-v1"], "Missing option '--dataset-id'"),
        (["record", "CartPole-v1", "--dataset-id", "a-v0", "--episodes", "0"], "--episodes"),
        (["record", "CartPole-v1", "--dataset-id", "a-v0", "--seed", "-1"], "--seed"),
    ],
)
def test_a_mistyped_command_is_refused(run: Minari, arguments: list[str], complaint: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err


def test_the_console_script_is_the_same_command_line(process_environment: dict[str, str]) -> None:
    script = shutil.which("minari", path=str(Path(sys.executable).parent))
    if script is None:
        pytest.skip("minari is not installed in this environment")
    done = output_of([script, "--version"], process_environment)
    assert (done.returncode, done.stdout) == (0, f"Minari version: {minari.__version__}\n")


def test_the_app_can_be_run_inside_a_process() -> None:
    done = CliRunner().invoke(app, ["show", "nothing-v0"])
    assert done.exit_code == 1
    assert done.output.startswith("Error: There is no dataset nothing-v0 in ")
    assert done.output.count("\n") == 1


def test_what_a_command_does_is_loaded_when_it_runs(process_environment: dict[str, str]) -> None:
    program = "import sys, minari.cli; print([name for name in sys.modules if name.startswith('minari.cli.')])"
    done = output_of([sys.executable, "-c", program], process_environment)
    assert sorted(ast.literal_eval(done.stdout)) == ["minari.cli.commands", "minari.cli.running", "minari.cli.terminal"]


class TestFailures:
    def test_a_traceback_is_shown_when_it_is_asked_for(self, run: Minari) -> None:
        assert run("show", "nothing-v0", MINARI_DEBUG="0").complaints[0].startswith("Error: ")
        done = run("show", "nothing-v0", MINARI_DEBUG="1")
        assert done.code == 1
        assert "Traceback" in done.err
        assert "DatasetNotFoundError" in done.complaints[-1]

    def test_an_error_of_the_system_is_one_line(self, run: Minari, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.touch()
        done = run("list", "local", MINARI_DATASETS_PATH=str(file / "root"))
        assert done.code in (0, 1)
        done = run("delete", "a-v0", MINARI_DATASETS_PATH=str(file / "root"))
        (complaint,) = done.complaints
        assert done.code == 1
        assert complaint.startswith(f"Error: MINARI_DATASETS_PATH is {file / 'root'}, which cannot be made (Not a dir")

    def test_something_unexpected_is_one_line_too(self, process_environment: dict[str, str]) -> None:
        program = (
            "import sys, minari.cli.listing as c; from minari.cli import main\n"
            "def broken(**_): raise KeyError('odd\\nkey')\n"
            "c.list_datasets = broken; sys.argv = ['minari', 'list', 'local']; main()"
        )
        done = output_of([sys.executable, "-c", program], process_environment)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("Error: KeyError: 'odd\\nkey' (this was not expected; MINARI_DEBUG=1 shows")
        assert done.stderr.count("\n") == 1
