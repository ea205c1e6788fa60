"""Output if standard error is a terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import minari
from support.terminals import plain, run_on_terminal


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")

MakeDataset = Callable[..., minari.MinariDataset]
Draw = Callable[..., tuple[int, str, str]]


@pytest.fixture
def draw(process_environment: dict[str, str], tmp_path: Path) -> Draw:
    """Run a command whose standard error is a terminal; gives exit code, standard output, what was drawn."""
    return lambda *arguments: run_on_terminal(arguments, process_environment, tmp_path)


def test_a_recording_shows_how_far_it_is(draw: Draw) -> None:
    code, out, drawn = draw("record", "CartPole-v1", "--dataset-id", "cartpole/a-v0", "--episodes", "400")
    assert code == 0
    assert "\x1b" not in out
    numbers = re.findall(r"(\d+)/400 episodes, (\d+) steps/s, mean return ([\d.]+)", plain(drawn))
    assert numbers
    finished, speed, mean_return = map(float, numbers[-1])
    assert finished <= 400
    assert speed > 0
    assert 5 < mean_return < 60
    assert "\x1b[2K" in drawn  # the bar is wiped off


def test_a_recording_of_steps(draw: Draw) -> None:
    code, _, drawn = draw("record", "CartPole-v1", "--dataset-id", "cartpole/a-v0", "--steps", "5000")
    assert code == 0
    assert re.search(r"\d+/5000 steps, \d+ episodes, \d+ steps/s", plain(drawn))


def test_operations_of_the_library_are_drawn(draw: Draw, make_dataset: MakeDataset) -> None:
    make_dataset("toy/a-v0")
    make_dataset("toy/b-v0")
    code, out, drawn = draw("combine", "toy/a-v0", "toy/b-v0", "--dataset-id", "toy/c-v0")
    assert code == 0
    assert "\x1b" not in out
    assert re.search(r"\d+/\d+", plain(drawn))


def test_warnings_are_colored_and_whole(draw: Draw, make_dataset: MakeDataset, datasets_root: Path) -> None:
    make_dataset("toy/a-v0")
    (datasets_root / "toy" / "a-v0" / "data" / "metadata.json").write_text("{")
    code, _, drawn = draw("list", "local")
    assert code == 0
    assert "\x1b[33m" in drawn
    assert plain(drawn).count("\n") == 1
