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

import minari
from minari._catalog import recordings
from minari._catalog.recordings import list_recordings
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetNotFoundError, MinariError, StorageError
from minari.storage.local import recover_recording
from minari.testing.examples import as_buffer
from support.scripted import ScriptedEnv, play
from support.stored import TRUTHS, assert_holds, in_child, store


pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="the calls of POSIX fail"),
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.* recorded episodes were not saved"),
    pytest.mark.filterwarnings("ignore:.*assumed that the observation space"),
]

CALLS = ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir", "write", "ftruncate", "truncate")


@contextmanager
def fault(number: int, at: int) -> Iterator[list[int]]:
    """Let the n-th call of the system that changes the disk fail; the list has the calls that failed."""
    calls, failed = 0, list[int]()

    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == at:
                failed.append(at)
                raise OSError(number, os.strerror(number))
            return function(*args, **kwargs)

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        for owner, names in ((os, CALLS), (Path, (*CALLS[1:6], "write_bytes"))):
            for name in names:
                patch.setattr(owner, name, around(getattr(owner, name)))
        yield failed


CHANGES: dict[str, tuple[int, Callable[[MinariStorage], None], list[Any]]] = {
    "append": (errno.EIO, lambda s: s.update_episodes(map(as_buffer, TRUTHS[2:])), TRUTHS),
    "repack": (errno.ENOSPC, lambda s: s.repack(), TRUTHS[:2]),
    "metadata": (errno.EROFS, lambda s: s.update_metadata({"note": "new"}), TRUTHS[:2]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_error_of_the_system_is_reported_unless_the_change_is_made(
    tmp_path: Path, data_format: str, change: str
) -> None:
    master = store(tmp_path / "master", data_format, TRUTHS[:2])
    number, work, after = CHANGES[change]
    done = []
    for at in range(1, 400, 17 if data_format == "zarr" and change != "metadata" else 1):
        data_path = shutil.copytree(master, tmp_path / f"{at}" / "data")
        opened, refused = MinariStorage.read(data_path), None
        with fault(number, at) as failed:
            try:
                work(opened)
            except StorageError as error:
                refused = error
        assert refused is None or (refused.errno == number and str(data_path) in str(refused))
        done.append(refused is None)
        found = after if refused is None else TRUTHS[:2]
        assert_holds(data_path, found)
        note = MinariStorage.read(data_path).metadata.get("note")
        assert note == ("new" if refused is None and change == "metadata" else None)
        MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[0])])
        assert_holds(data_path, [*found, TRUTHS[0]])
        if not failed:
            break
    assert not all(done)
    assert done[-1]


def recorded(count: int, **options: Any) -> minari.DataCollector:
    collector = minari.DataCollector(ScriptedEnv(), **options)
    for seed in range(count):
        play(collector, seed=seed)
    return collector


@pytest.mark.parametrize("buffer_steps", [10_000, 5])
@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "zarr"])
def test_adding_again_after_an_error_adds_once(datasets_root: Path, data_format: str, buffer_steps: int) -> None:
    for at in range(1, 200, 23 if data_format == "zarr" else 4):
        dataset = recorded(2, data_format=data_format).create_dataset(f"x-v{at}")
        collector = recorded(3, data_format=data_format, buffer_steps=buffer_steps)
        with fault(errno.EIO, at) as failed:
            try:
                collector.add_to_dataset(dataset)
            except MinariError:
                assert minari.load_dataset(f"x-v{at}").total_episodes == 2
                assert collector.total_episodes == 3
        if minari.load_dataset(f"x-v{at}").total_episodes == 2:
            collector.add_to_dataset(dataset)
        found = minari.load_dataset(f"x-v{at}")
        assert found.total_episodes == 5
        assert [each["seed"] for each in found.storage.get_episode_metadata(range(5))] == [0, 1, 0, 1, 2]
        collector.close()
        if not failed:
            break


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the child process is a fork")
def test_recovered_recording_keeps_what_the_program_said_of_it(
    datasets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create() -> None:
        monkeypatch.setattr(recordings, "publish_directory", lambda *_: os._exit(9))
        recorded(4, buffer_steps=5).create_dataset("x-v0", author="Ada", description="of a test")

    assert in_child(create) == ""
    (recording,) = list_recordings()
    metadata = recover_recording(recording.name, "y-v1").storage.metadata
    assert [metadata[key] for key in ("author", "description", "dataset_id")] == [{"Ada"}, "of a test", "y-v1"]


# A dataset that is not the one that was opened


def arrays(dataset_id: str, shape: tuple[int, ...] = (), steps: int = 2) -> minari.MinariDataset:
    flags = np.arange(steps) == steps - 1
    columns = {"actions": np.zeros(steps), "rewards": np.ones(steps), "terminations": flags}
    return minari.create_dataset_from_arrays(dataset_id, observations=np.zeros((steps + 1, *shape)), **columns)


def test_dataset_of_other_spaces_in_its_place_is_refused(datasets_root: Path) -> None:
    dataset, more = arrays("x-v0"), arrays("more-v0")
    minari.delete_dataset("x-v0")
    with pytest.raises(DatasetNotFoundError, match="deleted or moved"):
        dataset.storage.update_metadata({"a": 1})
    arrays("x-v0", (4,))
    with pytest.raises(DatasetNotFoundError, match="another 'observation_space'"):
        dataset.storage.update_from_storage(more.storage)
    with pytest.raises(DatasetNotFoundError, match="open it again"):
        dataset.storage.update_metadata({"a": 1})
    assert minari.load_dataset("x-v0").total_episodes == 1


def test_dataset_of_the_same_spaces_in_its_place_is_used_unless_it_is_shorter(datasets_root: Path) -> None:
    dataset, more = arrays("x-v0"), arrays("more-v0", steps=7)
    dataset.storage.update_from_storage(more.storage)
    longer = minari.load_dataset("x-v0")
    minari.delete_dataset("x-v0")
    arrays("x-v0", steps=3)
    with pytest.raises(DatasetNotFoundError, match="replaced by one with 1 episodes"):
        longer.update_dataset_from_buffer([])
    dataset.storage.update_from_storage(more.storage)
    assert minari.load_dataset("x-v0").storage.get_episode_lengths().tolist() == [3, 7]


def test_id_is_where_a_dataset_lies(datasets_root: Path, tmp_path: Path) -> None:
    arrays("n/x-v0")
    shutil.copytree(datasets_root / "n" / "x-v0", datasets_root / "m" / "y-v3")
    shutil.move(datasets_root / "n" / "x-v0", datasets_root / "x-v1")
    other = shutil.copytree(datasets_root / "x-v1", tmp_path / "other" / "k" / "z-v9")
    ids = ["m/y-v3", "x-v1"]
    for dataset_id in ids:
        dataset = minari.load_dataset(dataset_id)
        assert dataset.id == dataset[:1].id == dataset.spec.dataset_id == dataset_id
        assert minari.open_dataset(datasets_root / dataset_id).id == dataset_id
    assert minari.load_dataset("k/z-v9", root=tmp_path / "other").id == "k/z-v9"
    assert minari.open_dataset(other).id == "n/x-v0", "outside of the root, the id is the stored one"
    assert sorted(raw["dataset_id"] for raw in minari.list_local_datasets().values()) == ids
    assert minari.combine_datasets(list(map(minari.load_dataset, ids)), "both-v0").combined_datasets == ids
    minari.delete_dataset("x-v1")
    assert sorted(minari.list_local_datasets()) == ["both-v0", "m/y-v3"]
