"""Zarr datasets whose writer is killed: everything or nothing of a change is there, and writing goes on."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari._base.files import Directory
from minari.dataset.minari_storage import MinariStorage
from minari.testing.comparison import assert_episode
from minari.testing.examples import Truth, as_buffer, as_continuation, draw_truth


pytest.importorskip("zarr", minversion="3", reason="zarr 3 is not installed; it needs Python 3.11")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the child processes are forks")

OBSERVATIONS = spaces.Dict({"x": spaces.Box(-1.0, 1.0, (40,), np.float32), "t": spaces.Text(4)})
ACTIONS = spaces.Discrete(5)

#: Every fifth place, or all of them, which takes a minute.
STRIDES = [7, pytest.param(1, marks=pytest.mark.slow)]


def draw(steps: int, seed: int) -> Truth:
    return draw_truth(OBSERVATIONS, ACTIONS, steps, seed, {"n": np.arange(steps + 1.0)})


BEFORE = [draw(3, 0), draw(200, 1), draw(2, 2)]
MORE = [draw(5, 3), draw(300, 4)]
CONTINUED, CONTINUATION = as_continuation(BEFORE[1], draw(4, 7), 1, OBSERVATIONS, ACTIONS)

#: What the child does, to how many stored episodes, and what the dataset holds when it got through.
WORK: dict[str, tuple[list[Truth], Callable[[MinariStorage], None], list[Truth]]] = {
    "first episodes": ([], lambda s: s.update_episodes(map(as_buffer, MORE)), MORE),
    "append": (BEFORE, lambda s: s.update_episodes(map(as_buffer, MORE)), BEFORE + MORE),
    "continue": (
        BEFORE,
        lambda s: s.update_episodes([as_buffer(MORE[0]), CONTINUATION]),
        [BEFORE[0], CONTINUED, BEFORE[2], MORE[0]],
    ),
    "repack": (BEFORE, lambda s: s.repack(compression="zstd"), BEFORE),
}


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A directory on a file system in memory where there is one, since nothing here depends on a slow disk."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as directory:
        yield Path(directory)


def killed_at(number: int, change: Callable[[], Any]) -> bool:
    """Do something in a child that dies right before the disk changes for that time; False when it got through."""
    child = os.fork()
    if child == 0:
        calls = itertools.count(1)

        def dying(original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **keywords: Any) -> Any:
                if next(calls) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*arguments, **keywords)

            return call

        try:
            for name in ("rename", "replace", "unlink", "rmdir", "mkdir", "write_text", "touch", "open"):
                setattr(Path, name, dying(getattr(Path, name)))
            Directory.create = dying(Directory.create)  # type: ignore[method-assign]
            change()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed"
    return os.WIFSIGNALED(status)


def holds(data_path: Path, truths: list[Truth], **metadata: Any) -> bool:
    storage = MinariStorage.read(data_path)
    if storage.total_steps != sum(len(truth["rewards"]) for truth in truths):
        return False
    assert storage.total_episodes == len(truths)
    for episode, truth in zip(storage.get_episodes(range(len(truths))), truths, strict=True):
        assert_episode(episode, OBSERVATIONS, ACTIONS, truth)
    assert len(list(storage.get_episode_metadata(range(len(truths))))) == len(truths)
    return True


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("work", WORK)
def test_killed_while_writing(memory_path: Path, work: str, stride: int) -> None:
    before, change, after = WORK[work]
    master = MinariStorage.new(memory_path / "master" / "data", OBSERVATIONS, ACTIONS, data_format="zarr")
    if before:
        master.update_episodes(map(as_buffer, before))
    outcomes = []
    for at in range(1, 2000, stride):
        data_path = shutil.copytree(master.data_path, memory_path / f"{at}" / "data")
        was_killed = killed_at(at, lambda: change(MinariStorage.read(data_path)))  # noqa: B023
        outcomes.append(holds(data_path, after))
        found = after if outcomes[-1] else before
        assert outcomes[-1] or holds(data_path, before)
        MinariStorage.read(data_path).update_episodes([as_buffer(MORE[0])])
        assert holds(data_path, [*found, MORE[0]])
        assert {entry.name for entry in data_path.iterdir()} == {"main_data.zarr", "metadata.json", ".lock"}
        shutil.rmtree(data_path)
        if not was_killed:
            break
    assert outcomes[-1], "the child that got through changed nothing"
    assert outcomes == sorted(outcomes), "once the change is made, it stays made"
    assert len(outcomes) * stride > 40, "there are more places than that where the disk changes"
    assert stride > 1 or outcomes.count(True) > 1, "the change is made before the last place"


@pytest.mark.parametrize("stride", STRIDES)
def test_killed_while_metadata_change(memory_path: Path, stride: int) -> None:
    """Metadata of episodes: the old ones, or the new ones, which have other keys in arrays and in the text."""
    master = MinariStorage.new(memory_path / "master" / "data", OBSERVATIONS, ACTIONS, data_format="zarr")
    master.update_episodes(map(as_buffer, BEFORE))
    master.update_episode_metadata([{"k": 1, "name": "old"}] * 3)
    new = [{"k": 0.5, "name": i, "more": np.arange(3)} for i in range(3)]
    kinds = set()
    for at in range(1, 1000, stride):
        data_path = shutil.copytree(master.data_path, memory_path / f"{at}" / "data")
        was_killed = killed_at(at, lambda: MinariStorage.read(data_path).update_episode_metadata(new))  # noqa: B023
        metadatas = list(MinariStorage.read(data_path).get_episode_metadata(range(3)))
        kinds.add("new" if "more" in metadatas[0] else "old")
        if "more" in metadatas[0]:
            assert [(m["k"], m["name"], m["more"].tolist()) for m in metadatas] == [
                (0.5, i, [0, 1, 2]) for i in range(3)
            ]
        else:
            assert [(m["k"], m["name"]) for m in metadatas] == [(1, "old")] * 3
        assert holds(data_path, BEFORE)
        shutil.rmtree(data_path)
        if not was_killed:
            break
    assert kinds == {"old", "new"}


def test_reading_while_episodes_are_replaced(tmp_path: Path) -> None:
    """A reader sees an episode as it was or as it is, never a part of each."""
    data_path = MinariStorage.new(tmp_path / "data", OBSERVATIONS, ACTIONS, data_format="zarr").data_path
    MinariStorage.read(data_path).update_episodes(map(as_buffer, BEFORE))
    storage, stop = MinariStorage.read(data_path), threading.Event()

    def keep_changing() -> None:
        try:
            writer = MinariStorage.read(data_path)
            for number in range(12):
                _, continues = as_continuation(BEFORE[0], MORE[0], 0, OBSERVATIONS, ACTIONS)
                writer.update_episodes([continues, as_buffer(MORE[0])])
                writer.update_episode_metadata([{"n": number}], [0])
        finally:
            stop.set()

    thread = threading.Thread(target=keep_changing)
    thread.start()
    lengths = []
    try:
        while not stop.is_set():
            first, second, third = storage.get_episodes(range(3))
            lengths.append(len(first["rewards"]))
            assert first["infos"]["n"][:4].tolist() == [0, 1, 2, 3] or lengths[-1] > 3
            assert np.array_equal(first["rewards"][:3], BEFORE[0]["rewards"])
            assert np.array_equal(first["rewards"][-5:], MORE[0]["rewards"]) or lengths[-1] == 3
            assert_episode(second, OBSERVATIONS, ACTIONS, BEFORE[1])
            assert_episode(third, OBSERVATIONS, ACTIONS, BEFORE[2])
            (metadata,) = storage.get_episode_metadata([0])
            assert metadata["total_steps"] >= lengths[-1]
    finally:
        thread.join()
    assert lengths == sorted(lengths)
    assert storage.get_episode_lengths([0]).tolist() == [3 + 12 * 5]
