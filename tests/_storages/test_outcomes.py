"""An I/O error at any place: either nothing has happened and an error of ours says so, or all of it has."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari._catalog import recordings
from minari._catalog.recordings import list_recordings
from minari.dataset.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetNotFoundError, MinariError, StorageError
from minari.storage.local import recover_recording
from support.copies import require_format
from support.killing import killed
from support.scripted import ScriptedEnv, play


pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="the calls of POSIX fail"),
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.* recorded episodes were not saved"),
]

SPACE = spaces.Box(-1e6, 1e6, (3,), np.float32)
in_any = pytest.mark.parametrize("data_format", ["hdf5", "arrow", "zarr"])


def episode(value: float, steps: int = 3) -> EpisodeBuffer:
    return EpisodeBuffer(
        observations=np.full((steps + 1, 3), value, np.float32),
        actions=np.zeros(steps, np.int64),
        rewards=np.full(steps, value),
        terminations=np.zeros(steps, np.bool_),
        truncations=np.zeros(steps, np.bool_),
    )


def values(data_path: Path) -> list[float]:
    storage = MinariStorage.read(data_path)
    return [float(found["rewards"][0]) for found in storage.get_episodes(range(storage.total_episodes))]


class Faults:
    """Lets the n-th call of the system that changes the disk fail."""

    NAMES = ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir", "write", "ftruncate", "truncate")

    def __init__(self, number: int, at: int) -> None:
        self.number, self.left, self.happened = number, at, False

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                self.happened = True
                raise OSError(self.number, os.strerror(self.number))
            return function(*args, **kwargs)

        return wrapped


@contextmanager
def fault(number: int, at: int) -> Iterator[Faults]:
    faults = Faults(number, at)
    with pytest.MonkeyPatch.context() as patch:
        for name in Faults.NAMES:
            patch.setattr(os, name, faults.around(getattr(os, name)))
        for name in ("replace", "rename", "unlink", "mkdir", "rmdir", "write_bytes"):
            patch.setattr(Path, name, faults.around(getattr(Path, name)))
        yield faults


CHANGES: dict[str, tuple[Callable[[MinariStorage], None], list[float]]] = {
    "append": (lambda storage: storage.update_episodes([episode(3), episode(4)]), [1, 2, 3, 4]),
    "repack": (lambda storage: storage.repack(), [1, 2]),
    "metadata": (lambda storage: storage.update_metadata({"note": "new"}), [1, 2]),
}


@in_any
@pytest.mark.parametrize(("change", "number"), list(zip(CHANGES, (errno.EIO, errno.ENOSPC, errno.EROFS), strict=True)))
def test_a_change(tmp_path: Path, data_format: str, change: str, number: int) -> None:
    require_format(data_format)
    storage = MinariStorage.new(tmp_path / "master" / "data", SPACE, spaces.Discrete(2), data_format=data_format)
    storage.update_episodes([episode(1), episode(2)])
    work, after = CHANGES[change]
    outcomes = []
    for at in range(1, 200):
        data_path = shutil.copytree(storage.data_path, tmp_path / f"{at}" / "data")
        opened = MinariStorage.read(data_path)
        refused: StorageError | None = None
        with fault(number, at) as faults:
            try:
                work(opened)
            except StorageError as error:
                refused = error
        assert refused is None or (refused.errno == number and str(data_path) in str(refused))
        has_happened = refused is None
        outcomes.append(has_happened)
        for seen in (opened.data_path, data_path):
            assert values(seen) == (after if has_happened else [1, 2])
        if change == "metadata":
            assert MinariStorage.read(data_path).metadata.get("note") == ("new" if has_happened else None)
        MinariStorage.read(data_path).update_episodes([episode(9)])
        assert values(data_path) == [*(after if has_happened else [1, 2]), 9]
        if not faults.happened:
            break
    assert not all(outcomes), "some places are before the commit"
    assert outcomes[-1]
    assert len(outcomes) > 3


def recorded(count: int, **options: Any) -> minari.DataCollector:
    collector = minari.DataCollector(ScriptedEnv(), **options)
    for seed in range(count):
        play(collector, seed=seed)
    return collector


@pytest.mark.parametrize("buffer_steps", [10_000, 5])
@in_any
def test_who_tries_to_add_again_adds_once(datasets_root: Path, data_format: str, buffer_steps: int) -> None:
    """After any error, another attempt shows whether the episodes were stored."""
    require_format(data_format)
    for at in range(1, 200, 4):
        dataset = recorded(2, data_format=data_format).create_dataset(f"x-v{at}")
        collector = recorded(3, data_format=data_format, buffer_steps=buffer_steps)
        with fault(errno.EIO, at) as faults:
            try:
                collector.add_to_dataset(dataset)
            except MinariError:
                assert minari.load_dataset(f"x-v{at}").total_episodes == 2
                assert collector.total_episodes == 3
        if minari.load_dataset(f"x-v{at}").total_episodes == 2:
            collector.add_to_dataset(dataset)
        seeds = [m["seed"] for m in minari.load_dataset(f"x-v{at}").storage.get_episode_metadata(range(5))]
        assert seeds == [0, 1, 0, 1, 2]
        assert minari.load_dataset(f"x-v{at}").total_episodes == 5
        collector.close()
        if not faults.happened:
            break


def test_a_create_that_is_killed_anywhere_leaves_what_can_be_recovered(datasets_root: Path) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("the child processes are forks")
    for at in range(1, 400, 3):
        collectors: list[minari.DataCollector] = []
        was_killed = killed(
            at,
            work=lambda: collectors[0].create_dataset("n/x-v0", author="Ada"),  # noqa: B023
            before=lambda: collectors.append(recorded(4, buffer_steps=5)),  # noqa: B023
        )
        if "n/x-v0" not in minari.list_local_datasets():
            (recording,) = list_recordings()
            dataset = recover_recording(recording.name, "n/y-v0")
            assert dataset.id == "n/y-v0"
            assert dataset.spec.dataset_id == "n/y-v0"
            assert dataset.total_episodes >= 3
            minari.delete_dataset("n/y-v0")
        else:
            assert minari.load_dataset("n/x-v0").total_episodes == 4
            minari.delete_dataset("n/x-v0")
        assert list_recordings() == []
        if not was_killed:
            break


def test_who_was_named_by_the_program_stays_named(datasets_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: Any) -> None:
        os._exit(9)

    if os.fork() == 0:
        monkeypatch.setattr(recordings, "publish_directory", die)
        recorded(4, buffer_steps=5).create_dataset("x-v0", author="Ada", description="of a test")
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 9
    (recording,) = list_recordings()
    metadata = recover_recording(recording.name, "y-v1").storage.metadata
    assert metadata["author"] == {"Ada"}
    assert metadata["description"] == "of a test"
    assert metadata["dataset_id"] == "y-v1"


# A dataset that is not the one that was opened


def arrays(dataset_id: str, shape: tuple[int, ...] = (), steps: int = 2) -> minari.MinariDataset:
    return minari.create_dataset_from_arrays(
        dataset_id,
        observations=np.zeros((steps + 1, *shape)),
        actions=np.zeros(steps),
        rewards=np.ones(steps),
        terminations=np.arange(steps) == steps - 1,
    )


@pytest.mark.filterwarnings("ignore:.*assumed that the observation space")
class TestAnotherDatasetInItsPlace:
    def test_of_other_spaces(self, datasets_root: Path) -> None:
        dataset, more = arrays("x-v0"), arrays("more-v0")
        minari.delete_dataset("x-v0")
        other = arrays("x-v0", (4,))
        with pytest.raises(DatasetNotFoundError, match="another 'observation_space'"):
            dataset.storage.update_from_storage(more.storage)
        with pytest.raises(DatasetNotFoundError, match="open it again"):
            dataset.storage.update_metadata({"a": 1})
        assert minari.load_dataset("x-v0").total_episodes == other.total_episodes

    def test_of_the_same_spaces(self, datasets_root: Path) -> None:
        """It is taken for what it is now."""
        dataset, more = arrays("x-v0"), arrays("more-v0", steps=7)
        dataset.storage.update_from_storage(more.storage)
        minari.delete_dataset("x-v0")
        arrays("x-v0", steps=3)
        dataset.storage.update_from_storage(more.storage)
        assert minari.load_dataset("x-v0").storage.get_episode_lengths().tolist() == [3, 7]

    def test_of_fewer_episodes(self, datasets_root: Path) -> None:
        dataset = arrays("x-v0")
        dataset.storage.update_from_storage(dataset.storage)
        opened = minari.load_dataset("x-v0")
        minari.delete_dataset("x-v0")
        arrays("x-v0")
        with pytest.raises(DatasetNotFoundError, match="replaced by one with 1 episodes"):
            opened.update_dataset_from_buffer([])

    def test_none(self, datasets_root: Path) -> None:
        dataset = arrays("x-v0")
        minari.delete_dataset("x-v0")
        with pytest.raises(DatasetNotFoundError, match="deleted or moved"):
            dataset.storage.update_metadata({"a": 1})


@pytest.mark.filterwarnings("ignore:.*assumed that the observation space")
def test_the_id_is_where_a_dataset_lies(datasets_root: Path, tmp_path: Path) -> None:
    arrays("n/x-v0")
    shutil.copytree(datasets_root / "n" / "x-v0", datasets_root / "m" / "y-v3")
    shutil.move(datasets_root / "n" / "x-v0", datasets_root / "x-v1")
    other = shutil.copytree(datasets_root / "x-v1", tmp_path / "other" / "k" / "z-v9")
    for dataset_id in ("m/y-v3", "x-v1"):
        dataset = minari.load_dataset(dataset_id)
        assert dataset.id == dataset[:1].id == dataset.spec.dataset_id == dataset_id
        assert minari.open_dataset(datasets_root / dataset_id).id == dataset_id
    assert minari.load_dataset("k/z-v9", root=tmp_path / "other").id == "k/z-v9"
    assert minari.open_dataset(other).id == "n/x-v0", "outside of the root, the id is the stored one"
    assert {name: raw["dataset_id"] for name, raw in minari.list_local_datasets().items()} == {
        "m/y-v3": "m/y-v3",
        "x-v1": "x-v1",
    }
    both = minari.combine_datasets([minari.load_dataset(name) for name in ("m/y-v3", "x-v1")], "both-v0")
    assert both.combined_datasets == ["m/y-v3", "x-v1"]
    minari.delete_dataset("x-v1")
    assert sorted(minari.list_local_datasets()) == ["both-v0", "m/y-v3"]
