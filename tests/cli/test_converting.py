"""``minari convert`` and ``minari repack``, and the formats and codecs of ``minari record``."""

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
from minari._storages.registry import get_storage_keys
from support.copies import assert_copy, installed_codecs, is_installed
from support.scripted import listing
from support.terminals import plain, run_on_terminal


Minari = Callable[..., Any]
MakeDataset = Callable[..., minari.MinariDataset]

LASTING = [name for name in get_storage_keys() if name != "memory" and is_installed(name)]


def assert_refused(done: Any, *parts: str, code: int = 1) -> None:
    """The command said in one line on standard error why it does nothing."""
    assert (done.code, done.out) == (code, "")
    (complaint,) = done.complaints
    assert complaint.startswith("Error: ")
    for part in parts:
        assert part in complaint


@pytest.fixture
def frames() -> minari.MinariDataset:
    """A dataset of frames, ``toy/frames-v0``, that are not compressed; 1.8 MB of them."""
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    dataset = minari.create_dataset_from_arrays(
        "toy/frames-v0",
        observations=np.repeat(picture[None], 152, axis=0),
        actions=np.zeros(150, np.int64),
        rewards=np.ones(150),
        terminations=np.isin(np.arange(150), [74, 149]),
        observation_space=Box(0, 255, (64, 64, 3), np.uint8),
        action_space=Discrete(2),
        compression="none",
    )
    assert dataset.storage.get_size() >= 1.8
    return dataset


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_dataset_of_cameras_for_an_earlier_release(run: Minari) -> None:
    minari.create_dataset_from_arrays(
        "toy/camera-v0",
        observations=np.zeros((3, 300, 300), np.uint8),
        actions=np.zeros(2, np.int64),
        rewards=np.ones(2),
        terminations=np.array([False, True]),
        observation_space=Box(0, 255, (300, 300), np.uint8),
        action_space=Discrete(2),
    )
    assert run("convert", "toy/camera-v0", "toy/older-v0", "--compatible-with", "0.5").code == 0
    versions = [minari.load_dataset(f"toy/{name}-v0").minari_version for name in ("camera", "older")]
    assert versions == ["0.6", "0.5.4"]
    assert_refused(run("convert", "toy/camera-v0", "toy/b-v0", "--compatible-with", "0.3"), "'0.3', expected '0.5'")


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestConvert:
    @pytest.mark.parametrize("target", LASTING)
    def test_to_every_format(self, run: Minari, make_dataset: MakeDataset, datasets_root: Path, target: str) -> None:
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

    def test_compressed(self, run: Minari, frames: minari.MinariDataset) -> None:
        """By one codec for all columns, or by one each; unless it is said, as the original in the same format."""
        some = ("--compression", "observations=gzip:9", "--compression", "rewards=none")
        for number, (options, expected) in enumerate(
            [
                (("--compression", "gzip:1"), "gzip:1"),
                (some, {"observations": "gzip:9", "rewards": "none"}),
                ((), "none"),
                (("--compression", "none"), "none"),
            ]
        ):
            done = run("convert", "toy/frames-v0", f"toy/frames-v{number + 1}", *options)
            assert (done.code, done.err) == (0, "")
            copy = minari.load_dataset(f"toy/frames-v{number + 1}")
            assert copy.storage.compression == expected
            assert_copy(copy.storage, frames.storage)
            sizes = re.findall(r"(\d+\.\d) MB", done.out)
            assert sizes == [str(copy.storage.get_size()), str(frames.storage.get_size())]
            if expected != "none":
                assert copy.storage.get_size() < frames.storage.get_size() / 4

    @pytest.mark.parametrize(
        ("arguments", "parts", "code"),
        [
            (["toy/x-v0", "toy/b-v0"], ["toy/x-v0", "Not found"], 1),
            (["toy/a-v0", "toy/a-v0"], ["toy/a-v0", "already exists"], 1),
            (["toy/a-v0", "toy/b"], ["'toy/b'", "has no version"], 1),
            (["toy/a-v0", "../b-v0"], ["../b-v0"], 1),
            (["toy/a-v0", "new/b-v0", "--format", "csv"], ["'csv'", "'hdf5'"], 1),
            (["toy/a-v0", "new/b-v0", "--compression", "zip"], ["'zip'", "'gzip'"], 1),
            (["toy/a-v0", "new/b-v0", "--compression", "gzip:99"], ["99", "0 to 9"], 1),
            (["toy/a-v0", "new/b-v0", "--compression", "gzip:"], ["'gzip:'"], 1),
            (["toy/a-v0", "new/b-v0", "--compression", "reward=gzip"], ["'reward'", "'rewards'"], 1),
            (["toy/a-v0", "new/b-v0", "--compression", "gzip", "--compression", "lzf"], ["gzip, lzf"], 2),
            (["toy/a-v0", "b-v0", "--compression", "rewards=gzip", "--compression", "lzf"], ["rewards=gzip, lzf"], 2),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_mistakes(
        self,
        run: Minari,
        make_dataset: MakeDataset,
        datasets_root: Path,
        arguments: list[str],
        parts: list[str],
        code: int,
    ) -> None:
        make_dataset("toy/a-v0")
        before = listing(datasets_root)
        assert_refused(run("convert", *arguments), *parts, code=code)
        assert listing(datasets_root) == before

    def test_a_damaged_dataset(self, run: Minari, make_dataset: MakeDataset, datasets_root: Path) -> None:
        data_path = make_dataset("toy/a-v0", [300, 300]).storage.data_path
        with (data_path / "main_data.hdf5").open("r+b") as file:
            file.truncate(4000)
        done = run("convert", "toy/a-v0", "new/b-v0", "--format", "arrow" if is_installed("arrow") else "hdf5")
        assert_refused(done, "main_data.hdf5")
        assert not (datasets_root / "new").exists()

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
    def test_broken_off(self, start: Callable[..., Any], make_dataset: MakeDataset, datasets_root: Path) -> None:
        """Ctrl-C leaves nothing behind, and says so in one line."""
        make_dataset("toy/a-v0", [2] * 20_000)
        before = set(listing(datasets_root))
        target = "parquet" if is_installed("parquet") else "hdf5"
        process = start("convert", "toy/a-v0", "toy/b-v0", "--format", target)
        deadline = time.monotonic() + 60
        while not any(path.name.startswith(".") for path in (datasets_root / "toy").iterdir()):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (out, err) == ("", "Interrupted.\n")
        assert process.returncode in (130, -signal.SIGINT)  # which a shell shows as 130 as well
        assert set(listing(datasets_root)) - before <= {"toy/a-v0/data/.index.json"}
        assert list(minari.list_local_datasets()) == ["toy/a-v0"]


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestRepack:
    def test_it_says_what_it_has_done(self, run: Minari, frames: minari.MinariDataset, datasets_root: Path) -> None:
        before = [episode.observations.copy() for episode in frames]
        for options, expected in (
            (("--compression", "gzip"), "gzip"),
            ((), "gzip"),
            (("--compression", "none"), "none"),
        ):
            size = frames.storage.get_size()
            done = run("repack", "toy/frames-v0", *options)
            assert (done.code, done.err) == (0, "")
            new_size = minari.load_dataset("toy/frames-v0").storage.get_size()
            assert done.lines == [
                f"Dataset toy/frames-v0 repacked: 2 episodes, 150 steps, {new_size} MB, was {size} MB, "
                f"at {datasets_root / 'toy' / 'frames-v0'}"
            ]
            assert (new_size < 0.5) == (expected == "gzip")
            assert frames.storage.compression == expected
            for episode, observations in zip(frames, before, strict=True):
                assert np.array_equal(episode.observations, observations)

    def test_what_an_older_release_wrote(self, run: Minari, copy_fixture: Callable[[str, str], Path]) -> None:
        """It is listed and shown as before, and follows the format of today."""
        copy_fixture("0.4.3", "toy-simpledict-v0")
        actions = [episode.actions for episode in minari.load_dataset("toy-simpledict-v0")]
        done = run("repack", "toy-simpledict-v0")
        assert (done.code, done.err) == (0, "")
        dataset = minari.load_dataset("toy-simpledict-v0")
        assert dataset.minari_version == "0.5.4"
        assert [list(episode.actions) for episode in dataset] == [list(episode) for episode in actions]
        assert run("show", "toy-simpledict-v0").code == 0

    @pytest.mark.parametrize(
        ("arguments", "parts", "code"),
        [
            (["toy/x-v0"], ["toy/x-v0", "Not found"], 1),
            (["toy"], ["has no version"], 1),
            (["toy/a-v0", "--compression", "zip"], ["'zip'", "'gzip'"], 1),
            (["toy/a-v0", "--compression", "observations/x=gzip"], ["'observations/x'", "'observations'"], 1),
            (["toy/a-v0", "--compression", "actions=gzip", "--compression", "actions=none"], ["actions=gzip, "], 2),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_mistakes(
        self,
        run: Minari,
        make_dataset: MakeDataset,
        datasets_root: Path,
        arguments: list[str],
        parts: list[str],
        code: int,
    ) -> None:
        make_dataset("toy/a-v0")
        before = listing(datasets_root)
        assert_refused(run("repack", *arguments), *parts, code=code)
        assert listing(datasets_root) == before


class TestRecord:
    @pytest.mark.parametrize("data_format", LASTING)
    def test_formats_and_codecs(self, run: Minari, data_format: str) -> None:
        """Recorded in the format and with the codec that are asked for, and extended in the same way."""
        codec = next(installed_codecs(data_format), "none")
        options = ("--format", data_format, "--compression", codec)
        recording = ("record", "CartPole-v1", "--dataset-id", "cart/a-v0", "--seed", "3", "--episodes", "2")
        assert run(*recording, *options).code == 0
        assert run(*recording, "--append").code == 0
        dataset = minari.load_dataset("cart/a-v0")
        assert (dataset.storage.FORMAT, dataset.storage.compression) == (data_format, codec)
        assert len(dataset) == 4
        assert all(len(episode.observations) == len(episode) + 1 for episode in dataset)
        assert run("record", "CartPole-v1", "--dataset-id", "cart/b-v0", "--seed", "3", "--episodes", "2").code == 0
        for episode, expected in zip(dataset, minari.load_dataset("cart/b-v0"), strict=False):
            assert np.array_equal(episode.observations, expected.observations)

    @pytest.mark.parametrize(
        ("options", "part", "code"),
        [
            (["--format", "csv"], "'csv'", 1),
            (["--compression", "zip"], "'zip'", 1),
            (["--compression", "observation=gzip"], "'observation'", 1),
            (["--compression", "gzip", "--compression", "gzip"], "gzip, gzip", 2),
            (["--format", "hdf5", "--compression", "gzip", "--append"], "--format, --compression", 2),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_mistakes(self, run: Minari, datasets_root: Path, options: list[str], part: str, code: int) -> None:
        done = run("record", "CartPole-v1", "--dataset-id", "cart/a-v0", *options)
        assert_refused(done, part, code=code)
        assert listing(datasets_root) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("command", [["convert", "toy/a-v0", "toy/b-v0"], ["repack", "toy/a-v0"]], ids=" ".join)
def test_a_bar_is_drawn_on_a_terminal(
    command: list[str], process_environment: dict[str, str], make_dataset: MakeDataset, tmp_path: Path
) -> None:
    """The number of finished episodes is shown and removed at the end; standard output is for programs."""
    make_dataset("toy/a-v0", [1] * 20_000)
    code, out, drawn = run_on_terminal(tuple(command), process_environment, tmp_path)
    counts = [int(done) for done in re.findall(r"(\d+)/20000 *\s*episodes", plain(drawn))]
    assert code == 0
    assert counts, plain(drawn)
    assert counts == sorted(counts)
    assert 0 < counts[-1] <= 20_000
    assert "\x1b[2K" in drawn
    assert "\x1b" not in out
    assert out.count("\n") == 1
