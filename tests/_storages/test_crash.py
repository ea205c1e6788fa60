"""Programs that are killed while they write: what is found afterwards is whole, and can be written to.

A child process is killed at the n-th place where the state of the disk changes, for every n until it gets
through. Writes are torn apart too: some kills come when half of the bytes are there.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari._storages import journal as transaction
from minari.dataset.minari_storage import MinariStorage
from minari.testing.comparison import assert_episode, assert_metadata
from minari.testing.examples import Truth, as_buffer, as_continuation, draw_truth
from support.copies import require_format
from support.killing import killed
from support.stored import as_nobody


pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the child processes are forks")

#: Every fifth place, or all of them, which takes a minute.
STRIDES = [5, pytest.param(1, marks=pytest.mark.slow)]

OBSERVATIONS = spaces.Dict({"x": spaces.Box(-1.0, 1.0, (40,), np.float32), "t": spaces.Text(4)})
ACTIONS = spaces.Discrete(5)


def draw(steps: int, seed: int) -> Truth:
    return draw_truth(OBSERVATIONS, ACTIONS, steps, seed, {"n": np.arange(steps + 1.0)})


BEFORE = [draw(3, 0), draw(200, 1), draw(2, 2)]
MORE = [draw(5, 3), draw(300, 4)]
SOURCE = [draw(2, 5), draw(3, 6)]


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A directory on a file system in memory where there is one, since nothing here depends on a slow disk."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as directory:
        yield Path(directory)


def assert_holds(data_path: Path, truths: list[Truth]) -> None:
    storage = MinariStorage.read(data_path)
    assert storage.total_episodes == len(truths)
    assert storage.total_steps == sum(len(truth["rewards"]) for truth in truths)
    for episode, truth in zip(storage.get_episodes(range(len(truths))), truths, strict=True):
        assert_episode(episode, OBSERVATIONS, ACTIONS, truth)
    assert len(list(storage.get_episode_metadata(range(len(truths))))) == len(truths)


CONTINUED, CONTINUATION = as_continuation(BEFORE[1], draw(4, 7), 1, OBSERVATIONS, ACTIONS)

#: What the child does, to how many stored episodes, and what the dataset holds when it got through.
WORK: dict[str, tuple[list[Truth], Callable[[MinariStorage, MinariStorage], None], list[Truth]]] = {
    "first episodes": ([], lambda s, _: s.update_episodes(map(as_buffer, MORE)), MORE),
    "append": (BEFORE, lambda s, _: s.update_episodes(map(as_buffer, MORE)), BEFORE + MORE),
    "continue": (
        BEFORE,
        lambda s, _: s.update_episodes([as_buffer(MORE[0]), CONTINUATION]),
        [BEFORE[0], CONTINUED, BEFORE[2], MORE[0]],
    ),
    "copy": (BEFORE, lambda s, source: s.update_from_storage(source), BEFORE + SOURCE),
}


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_killed_while_writing(memory_path: Path, work: str, stride: int, compression: str) -> None:
    before, change, after = WORK[work]
    master, source = (
        MinariStorage.new(memory_path / name / "data", OBSERVATIONS, ACTIONS, compression=compression)
        for name in ("master", "source")
    )
    if before:
        master.update_episodes(map(as_buffer, before))
    source.update_episodes(map(as_buffer, SOURCE))
    outcomes = []
    for at in range(1, 1000, stride):
        data_path = shutil.copytree(master.data_path, memory_path / f"{at}" / "data")
        was_killed = killed(at, lambda: change(MinariStorage.read(data_path), source))  # noqa: B023
        found = after if MinariStorage.read(data_path).total_steps == total_steps(after) else before
        outcomes.append(found is after)
        assert_holds(data_path, found)
        MinariStorage.read(data_path).update_episodes([as_buffer(SOURCE[0])])
        assert_holds(data_path, [*found, SOURCE[0]])
        shutil.rmtree(data_path)
        if not was_killed:
            break
    assert outcomes[-1], "the child that got through changed nothing"
    assert outcomes == sorted(outcomes), "once the change is made, it stays made"
    assert len(outcomes) * stride > 20, "there are more places than that where the disk changes"
    assert outcomes.count(True) > 1, "the change is made before the last place"


def total_steps(truths: list[Truth]) -> int:
    return sum(len(truth["rewards"]) for truth in truths)


@pytest.mark.parametrize("stride", STRIDES)
def test_killed_while_metadata_change(memory_path: Path, stride: int) -> None:
    """Metadata of the dataset and of episodes: the old ones, or the new ones."""
    master = MinariStorage.new(memory_path / "master" / "data", OBSERVATIONS, ACTIONS)
    master.update_episodes(map(as_buffer, BEFORE))
    old: dict[str, Any] = {"k": 1, "name": "old"}
    new: dict[str, Any] = {"k": np.arange(3000.0), "name": "new"}
    master.update_episode_metadata([old] * 3)
    master.update_metadata({"note": "old"})
    for at in range(1, 1000, stride):
        data_path = shutil.copytree(master.data_path, memory_path / f"{at}" / "data")

        def change(data_path: Path = data_path) -> None:
            storage = MinariStorage.read(data_path)
            storage.update_episode_metadata([new] * 3)
            storage.update_metadata({"note": "new"})

        was_killed = killed(at, change)
        storage = MinariStorage.read(data_path)
        metadatas = list(storage.get_episode_metadata(range(3)))
        expected = new if metadatas[0]["name"] == "new" else old
        for metadata in metadatas:
            assert_metadata(metadata, expected)
        note = storage.metadata["note"]
        assert note in ("old", "new")
        assert_holds(data_path, BEFORE)
        shutil.rmtree(data_path)
        if not was_killed:
            assert expected is new
            assert note == "new"
            break


@pytest.mark.parametrize(
    ("data_format", "kills", "seconds", "least"), [("hdf5", 12, (0.02, 0.15), 20), ("zarr", 8, (0.1, 0.3), 1)]
)
def test_killed_at_any_time(
    tmp_path: Path, data_format: str, kills: int, seconds: tuple[float, float], least: int
) -> None:
    """A program that appends all the time is killed out of the blue, again and again."""
    require_format(data_format)
    data_path = tmp_path / "data"
    truth = draw(20, 9)
    MinariStorage.new(data_path, OBSERVATIONS, ACTIONS, data_format=data_format)
    rng, total = np.random.default_rng(1), 0
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            storage = MinariStorage.read(data_path)
            while True:
                storage.update_episodes([as_buffer(truth)] * 2)
        time.sleep(rng.uniform(*seconds))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = MinariStorage.read(data_path).total_episodes
        assert found >= total
        assert found % 2 == 0, "half of a call is there"
        total = found
        assert_holds(data_path, [truth] * total)
    assert total > least


def test_a_reader_without_permission_reads_what_a_killed_writer_has_committed(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("becomes another user, which needs root")
    data_path = tmp_path / "data"
    storage = MinariStorage.new(data_path, OBSERVATIONS, ACTIONS)
    storage.update_episodes(map(as_buffer, BEFORE))
    at = 1
    while not (data_path / transaction.JOURNAL_NAME).exists():
        assert killed(at, lambda: MinariStorage.read(data_path).update_episodes(map(as_buffer, MORE)))
        at += 1
    assert read_as_nobody(data_path) == "5 episodes"
    assert_holds(data_path, BEFORE + MORE)
    assert (data_path / transaction.JOURNAL_NAME).exists()
    MinariStorage.read(data_path).update_metadata({"note": "completed"})
    assert not (data_path / transaction.JOURNAL_NAME).exists()
    assert read_as_nobody(data_path) == "5 episodes"


def read_as_nobody(data_path: Path) -> str:
    """Return the message that a user without write permission gets."""
    for directory in (data_path, *data_path.parents):
        if directory.stat().st_uid == 0 and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o055)

    def read() -> str:
        storage = MinariStorage.read(data_path)
        return f"{len(list(storage.get_episodes(range(storage.total_episodes))))} episodes"

    return as_nobody(read)
