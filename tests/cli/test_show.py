"""``minari show``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import minari
from cli.conftest import MakeDataset, Minari, Run
from minari.cli.show import histogram_lines
from minari.inspection import Distribution
from support.scripted import play


def specs(lines: list[str]) -> dict[str, str]:
    """The rows of both tables of specs; a cell of several lines is put together."""
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        if line.startswith("│"):
            first, value = (cell.strip() for cell in line.strip("│").split("│"))
            name = first or name
            found[name] = f"{found[name]} {value}" if not first else value
    return found


def record_cartpole(dataset_id: str, episodes: int = 3) -> minari.MinariDataset:
    collector = minari.DataCollector(gym.make("CartPole-v1"))
    for seed in range(episodes):
        play(collector, seed=seed)
    return collector.create_dataset(
        dataset_id,
        algorithm_name="left",
        author={"Grace", "Ada"},
        author_email="ada@example.org",
        code_permalink="https://example.org/code",
        description="# Pushed\nto the *left*, always",
        eval_env="CartPole-v1",
    )


def test_what_a_dataset_is(run: Minari) -> None:
    dataset = record_cartpole("cartpole/left-v0")
    done = run("show", "cartpole/left-v0", COLUMNS="140")
    assert (done.code, done.err) == (0, "")
    assert done.lines[0] == "cartpole/left-v0"
    assert "Pushed" in done.out
    assert "to the left, always" in done.out
    described = specs(done.lines)
    space = "Box([-4.8 -inf -0.41887903 -inf], [4.8 inf 0.41887903 inf], (4,), float32)"
    assert list(described.items())[:10] == [
        ("Total Steps", str(dataset.total_steps)),
        ("Total Episodes", "3"),
        ("Dataset Observation Space", space),
        ("Dataset Action Space", "Discrete(2)"),
        ("Algorithm", "left"),
        ("Author", "Ada, Grace"),
        ("Email", "ada@example.org"),
        ("Code Permalink", "https://example.org/code"),
        ("Minari Version", "0.5.4 (supported)"),
        ("Download", "minari download cartpole/left-v0"),
    ]
    assert described["ID"] == "CartPole-v1"
    assert described["max_episode_steps"] == "500"
    assert described["entry_point"] == "gymnasium.envs.classic_control.cartpole:CartPoleEnv"


def test_a_dataset_that_says_nothing_of_itself(run: Minari, make_dataset: MakeDataset) -> None:
    nothing = dict.fromkeys(("author", "author_email", "algorithm_name", "code_permalink", "description"), None)
    make_dataset("toy/a-v0", **nothing)
    done = run("show", "toy/a-v0")
    described = specs(done.lines)
    assert {described[name] for name in ("Algorithm", "Author", "Email", "Code Permalink")} == {"Not provided"}
    assert "Description" not in done.out
    assert "Environment Specs" not in done.out


def test_the_distributions(run: Minari, make_dataset: MakeDataset) -> None:
    make_dataset("toy/a-v0", [3, 5, 5])
    done = run("show", "toy/a-v0", COLUMNS="100")
    heading = next(n for n, line in enumerate(done.lines) if line.startswith("Episode Returns"))
    assert done.lines[heading].split() == ["Episode", "Returns", "Episode", "Lengths"]
    assert done.lines[heading + 1].split("  ")[:4] == ["min 3", "mean 4.333", "max 5", "std 0.9428"]
    bars = [line.split() for line in done.lines[heading + 2 :]]
    assert [(bar[0], bar[2], bar[3], bar[5]) for bar in bars[::2]] == [("3", "1", "3", "1"), ("5", "2", "5", "2")]
    assert bars[1] == ["4", "│", "0", "4", "│", "0"]
    assert len(bars[2][1]) > 1.9 * len(bars[0][1])


def test_on_a_narrow_terminal_the_distributions_stand_below_each_other(run: Minari, make_dataset: MakeDataset) -> None:
    make_dataset("toy/a-v0", [3, 5])
    lines = run("show", "toy/a-v0", COLUMNS="80").lines
    assert lines.index("Episode Returns") < lines.index("Episode Lengths")
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("columns", ["30", "80", "300"])
def test_id_and_download_command_are_never_cut(run: Minari, make_dataset: MakeDataset, columns: str) -> None:
    long = "a-namespace-of-some-length/another-one/and-a-name-that-goes-on-and-on-and-on-v0"
    make_dataset(long)
    lines = run("show", long, COLUMNS=columns).lines
    assert lines[0] == long
    assert specs(lines)["Download"] == f"minari download {long}"


def test_plain_characters_where_the_output_knows_no_others(run: Minari, make_dataset: MakeDataset) -> None:
    make_dataset("toy/a-v0", description="Zoë's dataset")
    done = run("show", "toy/a-v0", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert done.code == 0
    assert done.out.isascii()
    assert "|####" in done.out
    assert "Zo?'s dataset" in done.out


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_returns_are_added_up_where_the_metadata_lack_them(run: Minari) -> None:
    class Nothing(minari.EpisodeMetadataCallback):
        def __call__(self, episode: Any) -> dict[str, Any]:
            return {}

    collector = minari.DataCollector(gym.make("CartPole-v1"), episode_metadata_callback=Nothing)
    collector.reset(seed=0)
    for _ in range(7):
        collector.step(0)
    collector.create_dataset("cartpole/bare-v0")
    described = json.loads(run("show", "cartpole/bare-v0", "--json").out)
    assert described["episode_returns"] == {"min": 7.0, "mean": 7.0, "max": 7.0, "std": 0.0}


def test_json(run: Minari, make_dataset: MakeDataset) -> None:
    dataset = make_dataset("toy/a-v0", [3, 5], requirements=["toys>=1"])
    done = run("show", "toy/a-v0", "--json")
    described = json.loads(done.out, parse_constant=pytest.fail)
    stored = dataset.storage.read_raw_metadata(dataset.storage.data_path)
    assert described.items() >= stored.items()
    assert described["data_path"] == str(dataset.storage.data_path)
    assert described["episode_lengths"] == {"min": 3.0, "mean": 4.0, "max": 5.0, "std": 1.0}


@pytest.mark.parametrize("inner", ["", "data"])
def test_directory_anywhere(run: Minari, make_dataset: MakeDataset, tmp_path: Path, inner: str) -> None:
    make_dataset("toy/a-v0").storage.data_path.parent.rename(tmp_path / "elsewhere")
    by_path = run("show", str(tmp_path / "elsewhere" / inner))
    assert (by_path.code, by_path.lines[0]) == (0, "toy/a-v0")
    assert run("show", f"./elsewhere/{inner}").out == by_path.out


def show_with(run: Minari, **changes: str) -> Run:
    """Show a dataset of CartPole after its metadata was changed."""
    file = record_cartpole("cartpole/left-v0").storage.data_path / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return run("show", "cartpole/left-v0")


def test_environment_is_neither_needed_nor_run(run: Minari, datasets_root: Path) -> None:
    trap = datasets_root / "made"
    spec = {"entry_point": "os:mkdir", "kwargs": {"path": str(trap)}, "order_enforce": None, "autoreset": False}
    done = show_with(run, env_spec=json.dumps({**json.loads(gym.spec("CartPole-v1").to_json()), **spec}))
    assert (done.code, done.err) == (0, "")
    assert specs(done.lines)["entry_point"] == "os:mkdir"
    assert not trap.exists()


def test_damaged_spec_is_a_warning(run: Minari) -> None:
    done = show_with(run, env_spec="no JSON")
    assert done.code == 0
    assert "Total Steps" in done.out
    (complaint,) = done.complaints
    assert complaint.startswith("Warning: ")


def test_without_readable_episodes_the_metadata_is_shown(run: Minari, make_dataset: MakeDataset) -> None:
    data = make_dataset("toy/a-v0", [3, 5]).storage.data_path
    (data / "main_data.hdf5").write_bytes(b"not HDF5")
    done = run("show", "toy/a-v0")
    assert done.code == 0
    assert specs(done.lines)["Total Steps"] == "8"
    assert "Episode Returns" not in done.out
    (complaint,) = done.complaints
    assert complaint.startswith("Warning: The episodes cannot be read: ")
    (data / "metadata.json").write_text("[]")
    done = run("show", "toy/a-v0")
    done.assert_refused()
    assert done.out == ""


@pytest.mark.parametrize("release", ["0.3.1", "0.4.3", "0.5.0", "0.5.4"])
def test_datasets_of_official_releases(run: Minari, copy_release: Callable[[str], Path], release: str) -> None:
    copy_release(release)
    datasets = minari.list_local_datasets()
    dataset_id = next(name for name in datasets if name.endswith("random-v1"))
    dataset = minari.load_dataset(dataset_id)
    described = json.loads(run("show", dataset_id, "--json").out)
    returns = [float(np.sum(episode.rewards)) for episode in dataset]
    assert described["episode_returns"]["mean"] == pytest.approx(np.mean(returns))
    assert described["episode_lengths"]["max"] == max(map(len, dataset))
    shown = specs(run("show", dataset_id).lines)
    assert shown["Total Episodes"] == str(len(dataset))
    assert shown["Author"] == "Fixture Author"
    assert shown["ID"] == "CartPole-v1"


# The bars


numbers = arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e12, 1e12) | st.integers(-30, 30).map(float))


@given(numbers, st.integers(50, 120), st.booleans())
def test_every_number_is_counted_once_and_every_line_fits(values: np.ndarray, width: int, ascii_only: bool) -> None:
    lines = histogram_lines(values, width, ascii_only=ascii_only)
    assert 1 <= len(lines) <= 10
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == values.size
    assert all(len(line) <= width for line in lines)
    assert not ascii_only or all(line.isascii() for line in lines)


def test_bars_are_as_long_as_what_they_count() -> None:
    lines = histogram_lines(np.repeat([1.0, 2.0, 4.0], [8, 1, 4]), 16 + 5)
    assert lines == ["1 │████████████████ 8", "2 │██ 1", "3 │ 0", "4 │████████ 4"]


def test_parts_of_a_character() -> None:
    (_, second) = histogram_lines(np.repeat([1.0, 2.0], [16, 1]), 6 + 2)
    assert second == "2 │▏ 1"


@pytest.mark.parametrize("ascii_only", [False, True])
def test_what_is_rare_is_seen(ascii_only: bool) -> None:
    (_, second) = histogram_lines(np.repeat([1.0, 2.0], [10_000, 1]), 20, ascii_only=ascii_only)
    assert second == ("2 |# 1" if ascii_only else "2 │▏ 1")


def test_whole_numbers_are_counted_in_whole_intervals() -> None:
    lines = histogram_lines(np.arange(25.0), 40)
    assert [line.split(" │")[0].strip() for line in lines][-2:] == ["21 to 23", "24 to 24"]
    assert [line.rpartition(" ")[2] for line in lines] == ["3"] * 8 + ["1"]


def test_numbers_that_are_not_finite_are_told_apart() -> None:
    values = np.array([np.nan, np.inf, 1.0])
    assert histogram_lines(values, 20)[-1] == "not finite: 2"
    assert Distribution.of(values).numbers() == {"min": 1.0, "mean": 1.0, "max": 1.0, "std": 0.0}
    assert Distribution.of(values).count == 1
    nothing = np.array([np.nan])
    assert histogram_lines(nothing, 20) == ["not finite: 1"]
    assert Distribution.of(nothing).summary() == "min nan  mean nan  max nan  std nan"


def test_the_summary_is_that_of_numpy() -> None:
    values = np.array([1.5, -2.25, 1000.7, 3.0])
    assert Distribution.of(values).numbers() == {
        "min": values.min(),
        "mean": values.mean(),
        "max": values.max(),
        "std": values.std(),
    }
    assert Distribution.of(values).summary() == f"min -2.25  mean 250.7  max 1001  std {values.std():.4g}"
