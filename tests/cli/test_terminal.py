"""Output where standard error is a terminal, and the lines of long operations where it is none."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.conftest import MakeDataset
from minari.cli.progress import PlainLines
from minari.progress import observe_progress, progress
from support.terminals import plain, run_on_terminal


on_terminals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")

Draw = Callable[..., tuple[int, str, str]]


@pytest.fixture
def draw(process_environment: dict[str, str], tmp_path: Path) -> Draw:
    """Run a command whose standard error is a terminal; gives exit code, standard output, what was drawn."""
    return lambda *arguments: run_on_terminal(arguments, process_environment, tmp_path)


@on_terminals
def test_recording_shows_how_far_it_is(draw: Draw) -> None:
    code, out, drawn = draw("record", "CartPole-v1", "--dataset-id", "cartpole/a-v0", "--episodes", "400")
    assert code == 0
    assert "\x1b" not in out
    numbers = re.findall(r"(\d+)/400 episodes, (\d+) steps/s, mean return ([\d.]+)", plain(drawn))
    finished, speed, mean_return = map(float, numbers[-1])
    assert finished <= 400
    assert speed > 0
    assert 5 < mean_return < 60
    assert "\x1b[2K" in drawn  # the bar is wiped off


@on_terminals
def test_recording_of_steps_shows_both(draw: Draw) -> None:
    code, _, drawn = draw("record", "CartPole-v1", "--dataset-id", "cartpole/a-v0", "--steps", "5000")
    assert code == 0
    assert re.search(r"\d+/5000 steps, \d+ episodes, \d+ steps/s", plain(drawn))


@on_terminals
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "command", ["convert toy/a-v0 toy/b-v0", "repack toy/a-v0", "combine toy/a-v0 toy/a-v0 --dataset-id toy/c-v0"]
)
def test_operations_of_the_library_draw_a_bar(draw: Draw, make_dataset: MakeDataset, command: str) -> None:
    """The number of finished episodes is shown and removed at the end; standard output is for programs."""
    make_dataset("toy/a-v0", [1] * 8_000)
    code, out, drawn = draw(*command.split())
    total = 16_000 if command.startswith("combine") else 8_000
    counts = [int(done) for done in re.findall(rf"(\d+)/{total} *\s*episodes", plain(drawn))]
    assert code == 0
    assert counts, plain(drawn)
    assert counts == sorted(counts)
    assert 0 < counts[-1] <= total
    assert "\x1b[2K" in drawn
    assert "\x1b" not in out
    assert out.count("\n") == 1


@on_terminals
def test_warnings_are_colored_and_whole(draw: Draw, make_dataset: MakeDataset, datasets_root: Path) -> None:
    make_dataset("toy/a-v0")
    (datasets_root / "toy" / "a-v0" / "data" / "metadata.json").write_text("{")
    code, _, drawn = draw("list", "local")
    assert code == 0
    assert "\x1b[33m" in drawn
    assert plain(drawn).count("\n") == 1


@on_terminals
def test_download_has_bars_of_bytes_and_files_unless_it_is_quiet(draw: Draw, shared: str) -> None:
    download = ("download", "toy/a-v1", "--remote", shared)
    code, out, drawn = draw(*download)
    assert code == 0
    assert "\x1b" not in out
    bars = [line for line in plain(drawn).splitlines() if "downloading toy/a-v1" in line]
    assert any("/2 files" in line for line in bars)
    assert any(" kB " in line for line in bars)
    code, out, drawn = draw(*download, "--force", "--quiet")
    assert (code, drawn) == (0, "")
    assert len(out.splitlines()) == 2


class Said(PlainLines):
    """Lines that are kept, after a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[str] = []
        super().__init__(lambda: self.now, self.lines.append)

    def observe(self, description: str, total: int | None, unit: str, times: int, seconds: float, amount: int) -> None:
        """Let an operation advance so many times by an amount, each time after so many seconds."""
        with observe_progress(self), progress(description, total, unit=unit) as advance:
            for _ in range(times):
                self.now += seconds
                advance(amount)


TENTHS, FIFTHS = range(10, 101, 10), range(20, 101, 20)


@pytest.mark.parametrize(
    ("description", "total", "unit", "times", "seconds", "amount", "lines"),
    [
        ("short", 100, "bytes", 1, 9.9, 100, []),
        ("nothing", 0, "bytes", 1, 0, 0, []),
        ("long", 200_000_000, "bytes", 100, 1, 2_000_000, [f"Long: {part}% of 200.0 MB" for part in TENTHS]),
        ("not often", 2000, "files", 20, 3, 100, [f"Not often: {part}% of 2,000 files" for part in FIFTHS]),
        ("slow", 1000, "episodes", 50, 60, 1, []),
        ("slow", 1000, "episodes", 150, 60, 1, ["Slow: 10% of 1,000 episodes"]),
        ("waiting", None, "looks", 50, 1, 1, ["Waiting..."]),
    ],
)
def test_long_operations_say_a_line_at_each_tenth_but_not_too_often(
    description: str, total: int | None, unit: str, times: int, seconds: float, amount: int, lines: list[str]
) -> None:
    said = Said()
    said.observe(description, total, unit, times, seconds, amount)
    assert said.lines == lines


def test_two_concurrent_operations_are_counted_apart() -> None:
    said = Said()
    with (
        observe_progress(said),
        progress("downloading a-v0", 1_000_000, unit="bytes") as bytes_done,
        progress("downloading a-v0", 4, unit="files") as files_done,
    ):
        said.now = 20
        bytes_done(500_000)
        files_done(1)
    assert said.lines == ["Downloading a-v0: 50% of 1.0 MB", "Downloading a-v0: 25% of 4 files"]
