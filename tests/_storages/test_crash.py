"""Programs that are killed while they write: what is found afterwards is whole, and can be written to.

A child process is killed at the n-th place where the state of the disk changes, for every n until it gets
through. Writes are torn apart too: some kills come when half of the bytes are there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari._storages.journal import JOURNAL_NAME
from minari.dataset.minari_storage import MinariStorage
from minari.testing.comparison import assert_metadata
from minari.testing.examples import Truth, as_buffer, as_continuation, draw_truth
from support.killing import killed
from support.stored import as_nobody, assert_holds, store


pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the child processes are forks")

SPACES = spaces.Dict({"x": spaces.Box(-1.0, 1.0, (40,), np.float32), "t": spaces.Text(4)}), spaces.Discrete(5)


def draw(steps: int, seed: int) -> Truth:
    return draw_truth(*SPACES, steps, seed, {"n": np.arange(steps + 1.0)})


BEFORE = [draw(3, 0), draw(200, 1), draw(2, 2)]
MORE = [draw(5, 3), draw(300, 4)]
CONTINUED, CONTINUATION = as_continuation(BEFORE[1], draw(4, 7), 1, *SPACES)
OLD: dict[str, Any] = {"k": 1, "name": "old"}
NEW: dict[str, Any] = {"k": np.arange(3000.0), "name": "new"}

#: The episodes of the dataset, what the child does, and the episodes when it got through.
WORK: dict[str, tuple[list[Truth], Callable[[MinariStorage, MinariStorage], None], list[Truth]]] = {
    "first episodes": ([], lambda s, _: s.update_episodes(map(as_buffer, MORE)), MORE),
    "change": (
        BEFORE,
        lambda s, _: s.update_episodes([as_buffer(MORE[0]), CONTINUATION, as_buffer(MORE[1])]),
        [BEFORE[0], CONTINUED, BEFORE[2], *MORE],
    ),
    "copy": (BEFORE, lambda s, source: s.update_from_storage(source), BEFORE + MORE),
    "metadata": (BEFORE, lambda s, _: s.update_episode_metadata([NEW] * 3), BEFORE),
    "repack": (
        BEFORE,
        lambda s, _: s.repack(compression={"gzip": "none", "none": "gzip"}.get(s.compression, "zstd")),
        BEFORE,
    ),
}
#: How many places there are from one kill to the next; all of them take minutes.
CASES = [("hdf5", "gzip", 11), ("hdf5", "none", 7), ("arrow", None, 7), ("parquet", None, 13), ("zarr", None, 61)]


@pytest.mark.parametrize("is_thorough", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize(("data_format", "compression", "stride"), CASES)
def test_kill_leaves_all_of_a_change_or_nothing(
    memory_path: Path, data_format: str, compression: str | None, stride: int, work: str, is_thorough: bool
) -> None:
    before, change, after = WORK[work]
    master = store(memory_path / "master", data_format, before, *SPACES, compression=compression)
    MinariStorage.read(master).update_episode_metadata([OLD] * len(before))
    source = MinariStorage.read(store(memory_path / "source", data_format, MORE, *SPACES))
    outcomes = []
    for at in range(1, 4000, 1 if is_thorough else stride):
        data_path = shutil.copytree(master, memory_path / f"{at}" / "data")
        opened = MinariStorage.read(data_path)
        was_killed = killed(at, lambda: change(MinariStorage.read(data_path), source))  # noqa: B023
        outcomes.append(is_done(data_path, work, compression, len(after)))
        found = after if outcomes[-1] else before
        for storage in (opened, MinariStorage.read(data_path)):
            assert_holds(storage, found, *SPACES)
            metadata = NEW if outcomes[-1] and work == "metadata" else OLD
            for each in storage.get_episode_metadata(range(len(before))):
                assert_metadata(each, metadata)
        MinariStorage.read(data_path).update_episodes([as_buffer(MORE[0])])
        assert_holds(data_path, [*found, MORE[0]], *SPACES)
        assert not {".staged", ".changes"} & {entry.name for entry in data_path.iterdir()}, "leftovers"
        shutil.rmtree(data_path.parent)
        if not was_killed:
            break
    else:
        pytest.fail("the child never got through")
    assert outcomes[-1], "the child that got through changed nothing"
    assert outcomes == sorted(outcomes), "once the change is made, it stays made"
    assert not outcomes[0]
    assert len(outcomes) > 3


def is_done(data_path: Path, work: str, compression: str | None, total: int) -> bool:
    storage = MinariStorage.read(data_path)
    if work == "metadata":
        return next(storage.get_episode_metadata([0]))["name"] == "new"
    if work == "repack":
        return storage.compression != compression
    return storage.total_episodes == total


def test_reader_without_permission_sees_what_a_killed_writer_has_committed(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("becomes another user, which needs root")
    data_path = store(tmp_path, truths=BEFORE, observation_space=SPACES[0])
    at = 1
    while not (data_path / JOURNAL_NAME).exists():
        assert killed(at, lambda: MinariStorage.read(data_path).update_episodes(map(as_buffer, MORE)))
        at += 1
    for directory in (data_path, *data_path.parents[:-1]):
        if directory.stat().st_uid == 0:
            directory.chmod(directory.stat().st_mode | 0o055)
    read = as_nobody(lambda: str(assert_holds(data_path, BEFORE + MORE, *SPACES)))
    assert (read, (data_path / JOURNAL_NAME).exists()) == ("None", True)
    MinariStorage.read(data_path).update_metadata({"note": "completed"})
    assert not (data_path / JOURNAL_NAME).exists()
    assert as_nobody(lambda: str(assert_holds(data_path, BEFORE + MORE, *SPACES))) == "None"
