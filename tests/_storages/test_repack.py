"""Datasets rewritten in place, atomically, with concurrent readers."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari._storages.hdf5 import storage as hdf5_storage
from minari.dataset.minari_storage import MinariStorage
from minari.errors import CompressionError, DatasetBusyError, DatasetCorruptError
from minari.progress import observe_progress
from minari.testing.comparison import assert_episode
from minari.testing.examples import Truth, as_buffer, draw_truth
from support.copies import FORMATS, assert_copy, assert_rich, installed_codecs, make_rich, require_format
from support.killing import killed
from support.scripted import listing


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

in_every_format = pytest.mark.parametrize("data_format", FORMATS)
LASTING = [name for name in FORMATS if name != "memory"]

#: How many places there are from one kill to the next; all of them take minutes.
STRIDES = {"arrow": 29, "parquet": 29, "zarr": 61}
OBSERVATIONS, ACTIONS = spaces.Box(-9.0, 9.0, (64,), np.float32), spaces.Discrete(5)


def _draw(steps: int, seed: int) -> Truth:
    """An episode whose observations are one number, so that what is compressed is much smaller."""
    truth = draw_truth(OBSERVATIONS, ACTIONS, steps, seed, {"n": np.arange(steps + 1.0)})
    return {**truth, "observations": [np.full(64, seed, np.float32)] * (steps + 1)}


TRUTHS = [_draw(length, seed) for seed, length in enumerate((3, 300, 1, 64, 200))]


def store(data_path: Path, data_format: str, **options: Any) -> MinariStorage:
    require_format(data_format)
    storage = MinariStorage.new(data_path, OBSERVATIONS, ACTIONS, data_format=data_format, **options)
    storage.update_episodes([as_buffer(truth, seed=2**63) for truth in TRUTHS])
    storage.update_metadata({"note": "漢"})
    return storage


def assert_holds(storage: MinariStorage, truths: list[Truth]) -> None:
    assert storage.total_episodes == len(truths)
    assert storage.total_steps == sum(len(truth["rewards"]) for truth in truths)
    for episode, truth in zip(storage.get_episodes(range(len(truths))), truths, strict=True):
        assert_episode(episode, OBSERVATIONS, ACTIONS, truth)
    assert [metadata["seed"] for metadata in storage.get_episode_metadata(range(len(TRUTHS)))] == [2**63] * len(TRUTHS)
    assert storage.metadata["note"] == "漢"


class TestWhatItIsFor:
    @in_every_format
    def test_everything_stays(self, data_format: str) -> None:
        """Values and metadata of every kind, repeatedly; totals and size in the metadata stay correct."""
        dataset = make_rich("toy/rich-v0", data_format)
        before = dataset.storage.metadata
        for _ in range(2):
            dataset.storage.repack()
            for opened in (dataset, minari.load_dataset("toy/rich-v0")):
                assert_rich(opened)
            assert {**dataset.storage.metadata, "dataset_size": 0} == {**before, "dataset_size": 0}
        assert list(minari.list_local_datasets()) == ["toy/rich-v0"]

    @in_every_format
    def test_an_empty_one(self, data_format: str, tmp_path: Path) -> None:
        require_format(data_format)
        storage = MinariStorage.new(tmp_path / "data", OBSERVATIONS, ACTIONS, data_format=data_format)
        storage.repack()
        assert (storage.total_episodes, storage.total_steps) == (0, 0)
        storage.update_episodes([as_buffer(TRUTHS[0])])
        assert MinariStorage.read(storage.data_path).total_steps == 3

    @pytest.mark.parametrize("data_format", LASTING)
    def test_what_is_compressed_becomes_small_and_large_again(self, data_format: str, tmp_path: Path) -> None:
        """The choice takes effect on what is there, and holds for what is appended; unless it is said, it stays."""
        storage = store(tmp_path / "data", data_format)
        for codec in installed_codecs(data_format):
            storage.repack(compression="none")
            large = _size(storage)
            storage.repack(compression=codec)
            small = _size(storage)
            assert small < large, codec
            storage.repack()
            assert _size(storage) == small
            assert storage.compression == MinariStorage.read(storage.data_path).compression == codec
            assert_holds(storage, TRUTHS)

    def test_what_h5py_wrote_is_read_without_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Arrays that only HDF5 can read become arrays that lie in the file as they are."""
        h5py = pytest.importorskip("h5py")
        storage = store(tmp_path / "data", "hdf5")
        with h5py.File(storage.data_path / "main_data.hdf5", "r+") as file:
            for group in file.values():
                for name, options in (
                    ("observations", {"chunks": (1, 64), "compression": "gzip", "fletcher32": True}),
                    ("actions", {"chunks": (1,), "scaleoffset": 0}),
                    ("rewards", {"chunks": (1,), "shuffle": True}),
                ):
                    values = group[name][()]
                    del group[name]
                    group.create_dataset(name, data=values, **options)
        MinariStorage.read(storage.data_path).repack()
        _forbid_h5py(monkeypatch)
        assert_holds(MinariStorage.read(storage.data_path), TRUTHS)

    def test_files_that_are_linked_from_the_main_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Episodes that old releases kept beside the main file are folded in, and no longer needed there."""
        h5py = pytest.importorskip("h5py")
        storage = store(tmp_path / "data", "hdf5")
        main, other = storage.data_path / "main_data.hdf5", storage.data_path / "additional_data_0.hdf5"
        with h5py.File(main, "r+") as file, h5py.File(other, "w") as additional:
            for number, name in enumerate(("episode_1", "episode_3")):
                file.copy(file[name], additional, f"episode_{number}")
                del file[name]
                file[name] = h5py.ExternalLink(other.name, f"/episode_{number}")
        fresh = MinariStorage.read(storage.data_path)
        assert_holds(fresh, TRUTHS)
        fresh.repack()
        assert not other.exists()
        _forbid_h5py(monkeypatch)
        for opened in (fresh, MinariStorage.read(storage.data_path)):
            assert_holds(opened, TRUTHS)


class TestWhoWritesMeanwhile:
    @pytest.mark.parametrize("data_format", LASTING)
    def test_what_was_appended_just_before_is_there(
        self, data_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also what another program has appended, and noted, since the storage was last looked at."""
        storage = store(tmp_path / "data", data_format)
        kind = type(storage)
        rewriter = kind._rewriter

        def append_before(self: MinariStorage) -> Any:
            other = MinariStorage.read(self.data_path)
            other.update_episodes([as_buffer(TRUTHS[1], seed=2**63)])
            other.update_metadata({"noted": "late"})
            return rewriter(self)

        monkeypatch.setattr(kind, "_rewriter", append_before)
        storage.repack(compression="none")
        for opened in (storage, MinariStorage.read(storage.data_path)):
            assert_holds(opened, [*TRUTHS, TRUTHS[1]])
            assert (opened.metadata["noted"], opened.compression) == ("late", "none")


class TestWhoReadsMeanwhile:
    @in_every_format
    def test_an_iterator_and_what_it_gave(self, data_format: str, tmp_path: Path) -> None:
        """It goes on, and the arrays that it gave stay as they were; so does a storage that was open."""
        storage = store(tmp_path / "data", data_format, compression="none")
        iterator = storage.get_episodes(range(5))
        episodes = [next(iterator), next(iterator)]
        metadatas = storage.get_episode_metadata(range(5))
        seeds = [next(metadatas)["seed"]]
        for choice in (*installed_codecs(data_format), None, "none"):
            MinariStorage.read(storage.data_path).repack(compression=choice)
        episodes += list(iterator)
        seeds += [metadata["seed"] for metadata in metadatas]
        assert seeds == [2**63] * 5
        for episode, truth in zip(episodes, TRUTHS, strict=True):
            assert_episode(episode, OBSERVATIONS, ACTIONS, truth)
        assert_holds(storage, TRUTHS)
        assert storage.compression == "none"
        storage.update_episodes([as_buffer(TRUTHS[2])])
        for opened in (storage, MinariStorage.read(storage.data_path)):
            assert_holds(opened, [*TRUTHS, TRUTHS[2]])

    def test_a_file_that_is_replaced_before_it_is_opened(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A reader that knows where everything lies in the old file does not look there in the new one."""
        storage = store(tmp_path / "data", "hdf5", compression="none")
        open_file, reader, replaced = hdf5_storage.DataFile, MinariStorage.read(storage.data_path), False

        def open_too_late(path: Path, change: Any) -> Any:
            nonlocal replaced
            if not replaced:
                replaced = True
                MinariStorage.read(tmp_path / "data").repack(compression="gzip")
            return open_file(path, change)

        monkeypatch.setattr(hdf5_storage, "DataFile", open_too_late)
        assert_holds(reader, TRUTHS)
        assert replaced

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="the child processes are forks")
    @pytest.mark.parametrize("data_format", LASTING)
    def test_another_process_repacks_all_the_time(self, data_format: str, tmp_path: Path) -> None:
        """A reader finds all episodes at any moment."""
        storage = store(tmp_path / "data", data_format)
        choices = [*installed_codecs(data_format), "none"][-2:]
        child = os.fork()
        if child == 0:
            try:
                writer = MinariStorage.read(tmp_path / "data")
                while True:
                    for choice in choices:
                        writer.repack(compression=choice)
            finally:
                os._exit(1)
        seen = set()
        try:
            for reads in range(4000):
                if reads >= 40 and seen & {*choices}:  # the child may begin late on a machine that is busy
                    break
                assert_holds(storage, TRUTHS)
                assert_holds(opened := MinariStorage.read(storage.data_path), TRUTHS)
                seen.add(opened.compression)
            assert os.waitpid(child, os.WNOHANG) == (0, 0), "the child failed"
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        assert seen & set(choices)


class TestFailures:
    @in_every_format
    def test_a_choice_that_is_refused(self, data_format: str) -> None:
        dataset = make_rich("toy/rich-v0", data_format)
        before = listing(dataset.storage.data_path)
        for choice in ("no-such", "", {"observations": "no-such"}, {"no-such": "none"}):
            with pytest.raises(CompressionError):
                dataset.storage.repack(compression=choice)
        assert listing(dataset.storage.data_path) == before
        assert_rich(dataset)

    @in_every_format
    def test_a_failure_on_the_way(self, data_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing has changed, and nothing is in the way of the next attempt."""
        dataset = make_rich("toy/rich-v0", data_format, compression="none")
        storage_type = type(dataset.storage)
        read = storage_type._read_columns
        before = _visible(dataset.storage.data_path)
        for error in (DatasetCorruptError("damaged"), KeyboardInterrupt()):

            def broken(self: Any, indices: Any, error: BaseException = error) -> Iterator[Any]:
                for number, episode in enumerate(read(self, indices)):
                    if number == 3:
                        raise error
                    yield episode

            with monkeypatch.context() as context:
                context.setattr(storage_type, "_read_columns", broken)
                with pytest.raises(type(error)):
                    dataset.storage.repack()
            assert _visible(dataset.storage.data_path) == before
            assert_rich(dataset)
        dataset.storage.repack()
        assert_rich(dataset)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="the child processes are forks")
    @pytest.mark.parametrize("data_format", LASTING)
    def test_a_disk_that_is_full(self, data_format: str, datasets_root: Path) -> None:
        """Neither a dataset that is repacked nor one that is converted is left half made."""
        dataset = make_rich("toy/rich-v0", data_format, compression="none")
        before = listing(datasets_root)
        attempts: tuple[Callable[[], Any], ...] = (
            lambda: minari.load_dataset("toy/rich-v0").storage.repack(),
            lambda: dataset.convert("new/space/copy-v0", compression="none", jpeg_encoding=False),
            lambda: dataset.convert("new/space/copy-v0", "hdf5", compression="none"),
        )
        for attempt in attempts:
            assert _without_room(attempt) == "StorageError"
            assert listing(datasets_root) == before
        assert_rich(minari.load_dataset("toy/rich-v0"))

    @in_every_format
    def test_one_writer_at_a_time(self, data_format: str, tmp_path: Path) -> None:
        """Other writers get an error; their later changes are kept."""
        storage = store(tmp_path / "data", data_format)
        other = MinariStorage.read(storage.data_path)
        refused = _Interloper(other)
        with observe_progress(refused):
            storage.repack()
        assert refused.count == 2
        other.update_episodes([as_buffer(TRUTHS[0])])
        assert_holds(storage, [*TRUTHS, TRUTHS[0]])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the child processes are forks")
@pytest.mark.parametrize(
    ("data_format", "stride"),
    [(name, STRIDES.get(name, 13)) for name in LASTING]
    + [pytest.param(name, 1, marks=pytest.mark.slow) for name in LASTING],
)
def test_killed_on_the_way(data_format: str, stride: int) -> None:
    """A process that is killed leaves the old episodes or the new ones, which can be read and written to."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as name:
        directory = Path(name)
        master = store(directory / "master" / "data", data_format, compression="none")
        new = next(installed_codecs(data_format), None)
        old_size = _size(master)
        outcomes = []
        for at in range(1, 2000, stride):
            data_path = shutil.copytree(master.data_path, directory / f"{at}" / "data")
            was_killed = killed(at, lambda: MinariStorage.read(data_path).repack(compression=new))  # noqa: B023
            found = MinariStorage.read(data_path)
            assert_holds(found, TRUTHS)
            assert found.compression in ("none", new)
            is_new = found.compression == new
            if new is not None and data_format != "hdf5":  # whose choice is in its place before the episodes are
                assert is_new == (_size(found) < old_size), "the files and metadata.json are of different states"
            outcomes.append(is_new)
            found.update_episodes([as_buffer(TRUTHS[0])])
            found.repack()
            assert_holds(MinariStorage.read(data_path), [*TRUTHS, TRUTHS[0]])
            shutil.rmtree(data_path.parent)
            if not was_killed:
                break
        else:
            pytest.fail("the child never got through")
        if new is not None:
            assert outcomes == sorted(outcomes), "once the change is made, it stays made"
            assert outcomes[-1]
        assert len(outcomes) * stride > 20, "there are more places than that where the disk changes"


def test_a_copy_is_what_it_is_compared_with() -> None:
    """The comparison of these tests sees a value, a dtype and a key that differ."""
    original = make_rich("toy/a-v0", "memory")
    for number, change in enumerate(_CHANGES):
        other = original.convert(f"toy/b-v{number}")
        change(other.storage)
        with pytest.raises(AssertionError):
            assert_copy(other.storage, original.storage)


_CHANGES: list[Callable[[MinariStorage], None]] = [
    lambda storage: storage.update_metadata({"gain": 0.2}),
    lambda storage: storage.update_episode_metadata([{"mine": {"number": 9, "array": [0, 1]}}], [2]),
    lambda storage: storage.update_episode_metadata([{"another": 1}], [2]),
    lambda storage: storage.update_from_storage(storage, [0]),
]


class _Interloper:
    """Tries to write while another storage is at it."""

    def __init__(self, storage: MinariStorage) -> None:
        self.storage, self.count = storage, 0

    def started(self, task: Any) -> None:
        for attempt in (lambda: self.storage.repack(), lambda: self.storage.update_metadata({"note": "b"})):
            with pytest.raises(DatasetBusyError), observe_progress(_Silence()):
                attempt()
            self.count += 1

    def advanced(self, task: Any, amount: int) -> None:
        assert_holds(self.storage, TRUTHS)  # reading is never in the way

    def finished(self, task: Any) -> None:
        pass


class _Silence:
    def started(self, task: Any) -> None: ...
    def advanced(self, task: Any, amount: int) -> None: ...
    def finished(self, task: Any) -> None: ...


def _without_room(work: Callable[[], Any]) -> str:
    """The name of the error when no file may have more than 100 KB."""
    import resource

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            work()
        except BaseException as error:
            os.write(writing, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        name = pipe.read()
    os.waitpid(child, 0)
    return name


def _forbid_h5py(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what reads through h5py, in another process, not be imported."""
    monkeypatch.setitem(sys.modules, "minari._storages.hdf5.process", None)


def _size(storage: MinariStorage) -> int:
    return sum(len(content) for content in _visible(storage.data_path).values() if content)


def _visible(directory: Path) -> dict[str, bytes | None]:
    """Return the content of a directory, without hidden files."""
    found = listing(directory)
    return {name: content for name, content in found.items() if not any(p.startswith(".") for p in name.split("/"))}
