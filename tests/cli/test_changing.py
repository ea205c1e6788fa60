"""``minari combine``, ``rename``, ``delete``, ``clean``, ``convert`` and ``repack``."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

import minari
from cli.conftest import MakeDataset, Minari
from minari.dataset._storages import get_storage_keys
from support.copies import assert_copy, installed_codecs, is_installed
from support.remotes import write_dataset
from support.scripted import listing


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

LASTING = [name for name in get_storage_keys() if name != "memory" and is_installed(name)]


def test_combine(run: Minari, make_dataset: MakeDataset, datasets_root: Path) -> None:
    make_dataset("toy/a-v0", [3, 5])
    make_dataset("toy/b-v0", [2])
    totals = f"3 episodes, 10 steps, at {datasets_root / 'all' / 'c-v0'}"
    run("combine", "toy/b-v0", "toy/a-v0", "--dataset-id", "all/c-v0").assert_done(
        f"Dataset all/c-v0 combined from toy/b-v0, toy/a-v0: {totals}"
    )
    combined = minari.load_dataset("all/c-v0")
    assert [len(episode) for episode in combined] == [2, 3, 5]
    assert combined.combined_datasets == ["toy/b-v0", "toy/a-v0"]


def test_rename_says_where_the_dataset_is_now(run: Minari, make_dataset: MakeDataset, datasets_root: Path) -> None:
    make_dataset("toy/a-v0", [3, 5])
    place = datasets_root / "best" / "b-v1"
    run("rename", "toy/a-v0", "best/b-v1").assert_done(f"Dataset toy/a-v0 renamed to best/b-v1, at {place}")
    assert list(minari.list_local_datasets()) == ["best/b-v1"]


@pytest.fixture
def three(make_dataset: MakeDataset) -> None:
    for name in "abc":
        make_dataset(f"toy/{name}-v0", [1])


def test_delete_shows_the_datasets_and_asks(run: Minari, three: None) -> None:
    done = run("delete", "toy/a-v0", "toy/b-v0", "toy/a-v0", answer="y\n")
    assert (done.code, done.err) == (0, "")
    assert list(done.rows) == ["toy/a-v0", "toy/b-v0"]
    assert "Are you sure you want to delete these local datasets? [y/N]: " in done.out
    assert done.out.endswith("Dataset toy/a-v0 deleted!\nDataset toy/b-v0 deleted!\n")
    assert list(minari.list_local_datasets()) == ["toy/c-v0"]


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_delete_does_nothing_after_another_answer(run: Minari, three: None, answer: str) -> None:
    done = run("delete", "toy/a-v0", answer=answer)
    assert (done.code, done.complaints[-1]) == (1, "Aborted.")
    assert "deleted!" not in done.out
    assert len(minari.list_local_datasets()) == 3


def test_delete_without_an_answer_names_the_option_that_skips_the_question(run: Minari, three: None) -> None:
    done = run("delete", "toy/a-v0", answer="")
    assert (done.code, done.complaints) == (
        1,
        ["Error: Nothing was changed, since there is no answer on standard input; --yes skips the question."],
    )
    assert len(minari.list_local_datasets()) == 3


@pytest.mark.parametrize("option", ["--yes", "-y"])
def test_delete_does_not_ask_when_it_is_not_to(run: Minari, three: None, option: str) -> None:
    done = run("delete", option, "toy/a-v0")
    assert (done.code, done.lines[-1]) == (0, "Dataset toy/a-v0 deleted!")
    assert "sure" not in done.out


def test_delete_takes_a_damaged_dataset(run: Minari, three: None, datasets_root: Path) -> None:
    (datasets_root / "toy" / "a-v0" / "data" / "metadata.json").write_text("{")
    done = run("delete", "toy/a-v0", answer="y\n")
    assert done.code == 0
    assert done.complaints[0].startswith("Warning: The dataset toy/a-v0 is damaged")
    assert not (datasets_root / "toy" / "a-v0").exists()


# clean


@pytest.fixture
def leftovers(datasets_root: Path) -> list[Path]:
    data = write_dataset(datasets_root, "toy/a-v0") / "data"
    left = [datasets_root / ".b-v0.abcdefgh.deleted", data / ".staged", datasets_root / ".c-v0.download"]
    for directory in left:
        (directory / "inner").mkdir(parents=True)
        (directory / "inner" / "file").write_bytes(bytes(10**6))
    return left


def test_clean_shows_what_is_left_and_asks(run: Minari, leftovers: list[Path]) -> None:
    done = run("clean", answer="n\n")
    assert done.code == 1
    for path in leftovers:
        assert any(line.startswith(f"{path} (1.0 MB): ") for line in done.lines)
        assert path.is_dir()
    done = run("clean", answer="y\n")
    assert done.code == 0
    assert done.lines[-1].endswith("Cleaned 3 of 3, 3.0 MB.")
    assert not any(path.exists() for path in leftovers)


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--dry-run"], [True, True, True]),
        (["-n"], [True, True, True]),
        (["--yes", "toy/a-v0", "c-v0"], [True, False, False]),
        (["-y"], [False, False, False]),
    ],
)
def test_clean_of_another_root(
    run: Minari, leftovers: list[Path], datasets_root: Path, tmp_path: Path, options: list[str], left: list[bool]
) -> None:
    done = run("clean", "--root", str(datasets_root), *options, MINARI_DATASETS_PATH=str(tmp_path / "other"))
    assert done.code == 0
    assert [path.is_dir() for path in leftovers] == left
    assert not all(left) or len(done.lines) == 3


def test_clean_of_nothing(run: Minari, datasets_root: Path) -> None:
    run("clean").assert_done(f"Nothing is left of killed programs in {datasets_root}.")


# convert and repack


def constant_frames(dataset_id: str, lengths: list[int], frame: np.ndarray, **options: Any) -> minari.MinariDataset:
    steps = sum(lengths)
    return minari.create_dataset_from_arrays(
        dataset_id,
        observations=np.repeat(frame[None], steps + len(lengths), axis=0),
        actions=np.zeros(steps, np.int64),
        rewards=np.ones(steps),
        terminations=np.isin(np.arange(steps), np.cumsum(lengths) - 1),
        observation_space=Box(0, 255, frame.shape, np.uint8),
        action_space=Discrete(2),
        **options,
    )


@pytest.fixture
def frames() -> minari.MinariDataset:
    """A dataset of frames, ``toy/frames-v0``, that are not compressed; 1.8 MB of them."""
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    dataset = constant_frames("toy/frames-v0", [75, 75], picture, compression="none")
    assert dataset.storage.get_size() >= 1.8
    return dataset


def test_convert_for_an_earlier_release(run: Minari) -> None:
    constant_frames("toy/camera-v0", [2], np.zeros((300, 300), np.uint8))
    assert run("convert", "toy/camera-v0", "toy/older-v0", "--compatible-with", "0.5").code == 0
    versions = [minari.load_dataset(f"toy/{name}-v0").minari_version for name in ("camera", "older")]
    assert versions == ["0.6", "0.5.4"]


@pytest.mark.parametrize("target", LASTING)
def test_convert_to_every_format(run: Minari, make_dataset: MakeDataset, datasets_root: Path, target: str) -> None:
    original = make_dataset("toy/a-v0", [3, 5])
    done = run("convert", "toy/a-v0", "other/b-v1", "--format", target)
    assert (done.code, done.err) == (0, "")
    (line,) = done.lines
    assert re.fullmatch(
        rf"Dataset other/b-v1 converted from toy/a-v0 \(hdf5 to {target}\): 2 episodes, 8 steps, "
        rf"\d+\.\d MB, was \d+\.\d MB, at {re.escape(str(datasets_root / 'other' / 'b-v1'))}",
        line,
    )
    copy = minari.load_dataset("other/b-v1")
    assert target == copy.storage.FORMAT
    assert_copy(copy.storage, original.storage)


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        (["gzip:1"], "gzip:1"),
        (["observations=gzip:9", "rewards=none"], {"observations": "gzip:9", "rewards": "none"}),
        ([], "none"),
        (["none"], "none"),
    ],
)
def test_convert_compresses_all_columns_or_some_or_as_before(
    run: Minari, frames: minari.MinariDataset, choices: list[str], expected: Any
) -> None:
    options = [word for choice in choices for word in ("--compression", choice)]
    done = run("convert", "toy/frames-v0", "toy/frames-v1", *options)
    assert (done.code, done.err) == (0, "")
    copy = minari.load_dataset("toy/frames-v1")
    assert copy.storage.compression == expected
    assert_copy(copy.storage, frames.storage)
    sizes = re.findall(r"(\d+\.\d) MB", done.out)
    assert sizes == [str(copy.storage.get_size()), str(frames.storage.get_size())]
    assert expected == "none" or copy.storage.get_size() < frames.storage.get_size() / 4


def test_convert_refuses_a_damaged_dataset(run: Minari, make_dataset: MakeDataset, datasets_root: Path) -> None:
    with (make_dataset("toy/a-v0", [300, 300]).storage.data_path / "main_data.hdf5").open("r+b") as file:
        file.truncate(4000)
    done = run("convert", "toy/a-v0", "new/b-v0", "--format", "arrow" if is_installed("arrow") else "hdf5")
    done.assert_refused("main_data.hdf5")
    assert not (datasets_root / "new").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_interrupted_convert_leaves_nothing(
    start: Callable[..., Any], make_dataset: MakeDataset, datasets_root: Path
) -> None:
    make_dataset("toy/a-v0", [2] * 20_000)
    before = set(listing(datasets_root))
    process = start("convert", "toy/a-v0", "toy/b-v0", "--format", "parquet" if is_installed("parquet") else "hdf5")
    deadline = time.monotonic() + 60
    while not any(path.name.startswith(".") for path in (datasets_root / "toy").iterdir()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "Interrupted.\n")
    assert process.returncode in (130, -signal.SIGINT)  # which a shell shows as 130 as well
    assert set(listing(datasets_root)) - before <= {"toy/a-v0/data/.index.json"}
    assert list(minari.list_local_datasets()) == ["toy/a-v0"]


def test_repack_says_what_it_has_done(run: Minari, frames: minari.MinariDataset, datasets_root: Path) -> None:
    before = [episode.observations.copy() for episode in frames]
    for options, expected in ((["--compression", "gzip"], "gzip"), ([], "gzip"), (["--compression", "none"], "none")):
        size = frames.storage.get_size()
        done = run("repack", "toy/frames-v0", *options)
        new_size = minari.load_dataset("toy/frames-v0").storage.get_size()
        totals = f"2 episodes, 150 steps, {new_size} MB, was {size} MB"
        done.assert_done(f"Dataset toy/frames-v0 repacked: {totals}, at {datasets_root / 'toy' / 'frames-v0'}")
        assert (new_size < 0.5) == (expected == "gzip")
        assert frames.storage.compression == expected
        for episode, observations in zip(frames, before, strict=True):
            assert np.array_equal(episode.observations, observations)


def test_repack_of_what_an_older_release_wrote(run: Minari, copy_fixture: Callable[[str, str], Path]) -> None:
    """It is listed and shown as before, and follows the format of today."""
    copy_fixture("0.4.3", "toy-simpledict-v0")
    actions = [episode.actions for episode in minari.load_dataset("toy-simpledict-v0")]
    done = run("repack", "toy-simpledict-v0")
    assert (done.code, done.err) == (0, "")
    dataset = minari.load_dataset("toy-simpledict-v0")
    assert dataset.minari_version == "0.5.4"
    assert [list(episode.actions) for episode in dataset] == [list(episode) for episode in actions]
    assert run("show", "toy-simpledict-v0").code == 0


@pytest.mark.parametrize("data_format", LASTING)
def test_record_in_a_format_and_with_a_codec(run: Minari, data_format: str) -> None:
    """Appended episodes are stored as the dataset is."""
    codec = next(installed_codecs(data_format), "none")
    recording = ("record", "CartPole-v1", "--seed", "3", "--episodes", "2", "--dataset-id")
    assert run(*recording, "cart/a-v0", "--format", data_format, "--compression", codec).code == 0
    assert run(*recording, "cart/a-v0", "--append").code == 0
    dataset = minari.load_dataset("cart/a-v0")
    assert (dataset.storage.FORMAT, dataset.storage.compression) == (data_format, codec)
    assert len(dataset) == 4
    assert all(len(episode.observations) == len(episode) + 1 for episode in dataset)
    assert run(*recording, "cart/b-v0").code == 0
    for episode, expected in zip(dataset, minari.load_dataset("cart/b-v0"), strict=False):
        assert np.array_equal(episode.observations, expected.observations)


def test_frame_stacks_are_recorded_shown_and_converted(run: Minari, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "stacked.py").write_text(
        "import gymnasium as gym\n"
        "from gymnasium.wrappers import FrameStackObservation\n"
        "def make():\n"
        "    return FrameStackObservation(gym.make('CartPole-v1'), 4)\n"
        "gym.register('Stacked-v0', 'stacked:make')\n"
    )
    monkeypatch.chdir(tmp_path)
    recording = ["record", "stacked:Stacked-v0", "--dataset-id", "stack/a-v0", "--episodes", "2"]
    assert run(*recording, "--frame-stack", "deduplicate").code == 0
    assert minari.load_dataset("stack/a-v0").storage.frame_stack == "deduplicate"
    assert run(*recording, "--append").code == 0
    shown = run("show", "stack/a-v0")
    assert shown.rows["Frame Stacks"] == ["each frame is stored once: observations in 4 of 4 episodes"]
    assert run("convert", "stack/a-v0", "stack/b-v0", "--frame-stack", "keep").code == 0
    assert "Frame Stacks" not in run("show", "stack/b-v0").rows
    assert list(minari.load_dataset("stack/a-v0")) == list(minari.load_dataset("stack/b-v0"))
    run(*recording, "--append", "--frame-stack", "keep").assert_refused("--frame-stack", code=2)
