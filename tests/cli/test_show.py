"""``minari show``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari


Minari = Callable[..., Any]
MakeDataset = Callable[..., minari.MinariDataset]


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
        collector.reset(seed=seed)
        over = False
        while not over:
            *_, terminated, truncated, _ = collector.step(0)
            over = terminated or truncated
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
def test_the_id_and_the_download_command_are_never_cut(run: Minari, make_dataset: MakeDataset, columns: str) -> None:
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


class TestWhereItLies:
    @pytest.mark.parametrize("inner", ["", "data"])
    def test_a_directory_anywhere(self, run: Minari, make_dataset: MakeDataset, tmp_path: Path, inner: str) -> None:
        dataset = make_dataset("toy/a-v0")
        elsewhere = tmp_path / "elsewhere"
        dataset.storage.data_path.parent.rename(elsewhere)
        by_path = run("show", str(elsewhere / inner))
        assert by_path.code == 0
        assert by_path.lines[0] == "toy/a-v0"
        assert run("show", f"./elsewhere/{inner}").out == by_path.out

    @pytest.mark.parametrize(
        ("dataset", "complaint"),
        [
            ("toy/missing-v0", "There is no dataset toy/missing-v0 in "),
            ("toy/missing", "has no version"),
            ("../missing-v0", "There is no directory "),
            ("/nowhere/missing", "There is no directory /nowhere/missing"),
            ("", "Malformed"),
            (".", "holds no dataset|No data found"),
        ],
    )
    def test_what_is_not_there_is_refused_in_one_line(self, run: Minari, dataset: str, complaint: str) -> None:
        done = run("show", dataset)
        assert (done.code, done.out) == (1, "")
        (line,) = done.complaints
        assert line.startswith("Error: ")
        assert any(part in line for part in complaint.split("|"))


class TestWhatCannotBeReadCompletely:
    def test_the_environment_is_neither_needed_nor_run(self, run: Minari, datasets_root: Path) -> None:
        dataset = record_cartpole("cartpole/left-v0")
        file = dataset.storage.data_path / "metadata.json"
        metadata = json.loads(file.read_text())
        spec = json.loads(metadata["env_spec"])
        trap = datasets_root / "made"
        spec |= {"entry_point": "os:mkdir", "kwargs": {"path": str(trap)}, "order_enforce": None, "autoreset": False}
        file.write_text(json.dumps({**metadata, "env_spec": json.dumps(spec)}))
        done = run("show", "cartpole/left-v0")
        assert (done.code, done.err) == (0, "")
        assert specs(done.lines)["entry_point"] == "os:mkdir"
        assert not trap.exists()

    def test_a_damaged_spec_is_a_warning(self, run: Minari) -> None:
        dataset = record_cartpole("cartpole/left-v0")
        file = dataset.storage.data_path / "metadata.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "env_spec": "no JSON"}))
        done = run("show", "cartpole/left-v0")
        assert done.code == 0
        assert "Total Steps" in done.out
        (complaint,) = done.complaints
        assert complaint.startswith("Warning: ")

    def test_without_readable_episodes_the_metadata_are_shown(self, run: Minari, make_dataset: MakeDataset) -> None:
        dataset = make_dataset("toy/a-v0", [3, 5])
        (dataset.storage.data_path / "main_data.hdf5").write_bytes(b"not HDF5")
        done = run("show", "toy/a-v0")
        assert done.code == 0
        assert specs(done.lines)["Total Steps"] == "8"
        assert "Episode Returns" not in done.out
        (complaint,) = done.complaints
        assert complaint.startswith("Warning: The episodes cannot be read: ")

    def test_damaged_metadata_are_an_error(self, run: Minari, make_dataset: MakeDataset) -> None:
        dataset = make_dataset("toy/a-v0")
        (dataset.storage.data_path / "metadata.json").write_text("[]")
        done = run("show", "toy/a-v0")
        assert (done.code, done.out) == (1, "")
        (complaint,) = done.complaints
        assert complaint.startswith("Error: ")


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
