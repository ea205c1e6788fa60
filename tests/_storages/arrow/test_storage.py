"""The directories of episodes: damaged, half written, written by two at once."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError
from minari.testing._suite import ACTIONS, OBSERVATIONS
from minari.testing.comparison import assert_episode
from minari.testing.examples import Truth, as_buffer, as_continuation, draw_truth


pytest.importorskip("pyarrow")

TRUTHS = [draw_truth(OBSERVATIONS, ACTIONS, steps, steps) for steps in (2, 3, 40, 5)]

both_formats = pytest.mark.parametrize("data_format", ["arrow", "parquet"])
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")


def make(directory: Path, data_format: str, truths: list[Truth] = TRUTHS) -> Path:
    storage = MinariStorage.new(directory / "data", OBSERVATIONS, ACTIONS, data_format=data_format)
    storage.update_episodes(map(as_buffer, truths))
    return storage.data_path


def read_all(data_path: Path) -> list[dict[str, Any]]:
    storage = MinariStorage.read(data_path)
    list(storage.get_episode_metadata(range(storage.total_episodes)))
    return list(storage.get_episodes(range(storage.total_episodes)))


def holds(data_path: Path, truths: list[Truth]) -> bool:
    storage = MinariStorage.read(data_path)
    if storage.total_episodes != len(truths) or storage.total_steps != sum(len(t["rewards"]) for t in truths):
        return False
    for episode, truth in zip(read_all(data_path), truths, strict=True):
        assert_episode(episode, OBSERVATIONS, ACTIONS, truth)
    return True


# Damage


@both_formats
def test_files_that_are_missing_or_no_tables(tmp_path: Path, data_format: str) -> None:
    data_path = make(tmp_path, data_format)
    part = data_path / "2" / f"part-0.{data_format}"
    content = part.read_bytes()
    damaged = [b"", b"no table at all", content[:-1], content[-40:], b"\0" * len(content)]
    damaged += [content[:length] for length in range(1, len(content), len(content) // 11)]
    for wrong in damaged:
        part.write_bytes(wrong)
        with pytest.raises(DatasetCorruptError, match=f"{part} cannot be read"):
            read_all(data_path)
    part.unlink()
    with pytest.raises(DatasetCorruptError, match=f"{part} .*missing"):
        read_all(data_path)
    assert len(list(MinariStorage.read(data_path).get_episodes([0, 1, 3]))) == 3
    shutil.rmtree(part.parent)
    with pytest.raises(DatasetCorruptError, match=f"{part.parent} is missing"):
        MinariStorage.read(data_path)


@both_formats
def test_tables_that_belong_elsewhere(tmp_path: Path, data_format: str) -> None:
    """Of an episode of another length; of other spaces."""
    data_path = make(tmp_path, data_format)
    name = f"part-0.{data_format}"
    shutil.copy(data_path / "2" / name, data_path / "0" / name)
    with pytest.raises(DatasetCorruptError, match=rf"{data_path / '0' / name} has 41 rows, expected 3"):
        read_all(data_path)

    other = MinariStorage.new(tmp_path / "other" / "data", ACTIONS, ACTIONS, data_format=data_format)
    other.update_episodes([as_buffer(draw_truth(ACTIONS, ACTIONS, 2, 0))])
    shutil.copy(other.data_path / "0" / name, data_path / "0" / name)
    with pytest.raises(DatasetCorruptError, match="Episode 0 has no 'observations/"):
        read_all(data_path)


@both_formats
def test_rows_of_another_shape(tmp_path: Path, data_format: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    data_path = make(tmp_path, data_format, TRUTHS[:1])
    part = data_path / "0" / f"part-0.{data_format}"
    table = pq.ParquetFile(part).read() if data_format == "parquet" else pa.ipc.open_file(part.read_bytes()).read_all()
    x = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(9, np.float32)), 3)
    struct = pa.StructArray.from_arrays([pa.array(["a"] * 3), x], names=["t", "x"])
    table = table.set_column(0, "observations", struct)
    if data_format == "parquet":
        pq.write_table(table, part)
    else:
        with pa.ipc.new_file(str(part), table.schema) as writer:
            writer.write_table(table)
    with pytest.raises(DatasetCorruptError, match=f"{part} does not fit the spaces"):
        read_all(data_path)


@both_formats
@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"total_steps": "3"}', '{"id": 0}'])
def test_damaged_episode_metadata(tmp_path: Path, data_format: str, text: str) -> None:
    data_path = make(tmp_path, data_format)
    file = data_path / "1" / "metadata.json"
    file.write_text(text)
    storage = MinariStorage.read(data_path)
    for read in (storage.get_episodes, storage.get_episode_metadata, storage.get_episode_lengths):
        with pytest.raises(DatasetCorruptError, match=f"{file} is damaged"):
            list(read([1]))
        assert len(list(read([0, 2]))) == 2
    file.unlink()
    with pytest.raises(DatasetCorruptError, match=f"{file} .*missing"):
        list(storage.get_episode_metadata([1]))


@both_formats
def test_leftovers_are_ignored_and_overwritten(tmp_path: Path, data_format: str) -> None:
    """Leftovers of killed writers of any release: directories beyond the total, partial episodes."""
    data_path = make(tmp_path, data_format)
    (data_path / "4").mkdir()
    (data_path / "4" / "part-0.tmp").write_bytes(b"half")
    shutil.copytree(data_path / "2", data_path / "5")
    (data_path / ".staged" / "4").mkdir(parents=True)
    (data_path / ".staged" / "9").mkdir()
    assert holds(data_path, TRUTHS)
    MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[1])])
    assert holds(data_path, [*TRUTHS, TRUTHS[1]])
    assert {file.name for file in (data_path / "4").iterdir()} == {"metadata.json", f"part-0.{data_format}"}
    assert {entry.name for entry in data_path.iterdir()} == {*"012345", "metadata.json", ".lock"}


# Changes


def change(data_path: Path) -> None:
    """An episode that is continued, two that are appended, in one call."""
    _, continues = as_continuation(TRUTHS[1], TRUTHS[3], 1, OBSERVATIONS, ACTIONS)
    MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[0]), continues, as_buffer(TRUTHS[2])])


def changed() -> list[Truth]:
    whole, _ = as_continuation(TRUTHS[1], TRUTHS[3], 1, OBSERVATIONS, ACTIONS)
    return [TRUTHS[0], whole, *TRUTHS[2:], TRUTHS[0], TRUTHS[2]]


def note(data_path: Path) -> None:
    MinariStorage.read(data_path).update_episode_metadata([{"note": index} for index in range(4)])


def in_fork(function: Callable[[], Any]) -> int:
    """Run a function in a process of its own, and return its exit code."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    try:
        function()
    except BaseException:
        os._exit(1)
    os._exit(0)


def killed_at(number: int, change: Callable[[Path], None], data_path: Path) -> bool:
    """Kill the program right before it renames, replaces or deletes for that time; whether it came so far."""
    calls = 0

    def dying(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                os._exit(9)
            return original(*arguments, **keywords)

        return call

    def run() -> None:
        for name in ("rename", "replace", "unlink", "rmdir"):
            setattr(os, name, dying(getattr(os, name)))
            if sys.version_info < (3, 11):  # where paths keep the functions that they found in os
                setattr(Path, name, dying(getattr(Path, name)))
        change(data_path)

    code = in_fork(run)
    assert code in (0, 9)
    return code == 9


def kills(change: Callable[[Path], None], whole: Path) -> Iterator[MinariStorage]:
    """Copies of a dataset, opened before a change in them was interrupted, each at a later moment."""
    for number in itertools.count(1):
        storage = MinariStorage.read(shutil.copytree(whole, whole.with_name(f"killed-{number}")))
        if not killed_at(number, change, storage.data_path):
            return
        yield storage


@needs_fork
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Everything or nothing of a change is there, whoever opens the dataset next: a reader or a writer."""
    outcomes = []
    for data_path in (storage.data_path for storage in kills(change, make(tmp_path, "arrow"))):
        copy = shutil.copytree(data_path, data_path.with_name(f"{data_path.name}-copy"))
        outcomes.append(holds(data_path, changed()))
        assert outcomes[-1] or holds(data_path, TRUTHS)
        truths = changed() if outcomes[-1] else TRUTHS
        MinariStorage.read(copy).update_episodes([as_buffer(TRUTHS[3])])
        assert holds(copy, [*truths, TRUTHS[3]])
        assert not any(entry.name in (".staged", ".changes") for entry in copy.iterdir())
    assert outcomes == sorted(outcomes)  # nothing until one moment, everything from then on
    assert outcomes.count(False) >= 2
    assert outcomes.count(True) >= 7


@needs_fork
def test_killed_while_metadata_change(tmp_path: Path) -> None:
    outcomes = []
    for storage in kills(note, make(tmp_path, "parquet")):
        metadatas = MinariStorage.read(storage.data_path).get_episode_metadata(range(4))
        outcomes.append([metadata.get("note") for metadata in metadatas])
        assert holds(storage.data_path, TRUTHS)
    assert set(map(tuple, outcomes)) == {(None,) * 4, (0, 1, 2, 3)}


@needs_fork
def test_a_storage_that_was_open_when_a_writer_died(tmp_path: Path) -> None:
    for storage in kills(change, make(tmp_path, "arrow")):
        if not (storage.data_path / "1").is_dir():
            break
    else:
        raise AssertionError("the directory of the episode was there all the time")
    (episode,) = storage.get_episodes([1])  # its directory was just being replaced
    assert_episode(episode, OBSERVATIONS, ACTIONS, changed()[1])
    assert storage.total_episodes == 6


@both_formats
def test_reading_while_episodes_are_replaced(tmp_path: Path, data_format: str) -> None:
    """A reader sees an episode as it was or as it is, never a part of each."""
    data_path = make(tmp_path, data_format)
    storage = MinariStorage.read(data_path)
    stop = threading.Event()

    def keep_changing() -> None:
        writer = MinariStorage.read(data_path)
        for number in range(25):
            _, continues = as_continuation(TRUTHS[0], TRUTHS[1], 0, OBSERVATIONS, ACTIONS)
            writer.update_episodes([continues, as_buffer(TRUTHS[1])])
            writer.update_episode_metadata([{"n": number}], [0])
        stop.set()

    thread = threading.Thread(target=keep_changing)
    thread.start()
    lengths = []
    try:
        while not stop.is_set():
            (episode,) = storage.get_episodes([0])
            lengths.append(len(episode["rewards"]))
            assert np.array_equal(episode["rewards"][:2], TRUTHS[0]["rewards"])
            assert np.array_equal(episode["rewards"][-3:], TRUTHS[1]["rewards"]) or lengths[-1] == 2
            (metadata,) = storage.get_episode_metadata([0])
            assert metadata["total_steps"] >= lengths[-1]
    finally:
        thread.join()
    assert lengths == sorted(lengths)
    assert {(length - 2) % 3 for length in lengths} == {0}
    assert storage.total_episodes == 29


@both_formats
def test_metadata_are_changed_without_touching_the_tables(tmp_path: Path, data_format: str) -> None:
    data_path = make(tmp_path, data_format)
    before = {part: part.stat().st_ino for part in data_path.glob("*/part-*")}
    note(data_path)
    assert {part: part.stat().st_ino for part in data_path.glob("*/part-*")} == before
    metadata = json.loads((data_path / "3" / "metadata.json").read_text())
    assert metadata.pop("_checksums")["rows"] == 6
    assert metadata == {"id": 3, "total_steps": 5, "note": 3}


@both_formats
def test_stored_size(tmp_path: Path, data_format: str) -> None:
    """The size in the metadata is that of the files, however they came about."""
    noise = np.random.default_rng(0).random((6, 60_000))
    data_path = make(tmp_path, data_format)
    storage = MinariStorage.read(data_path)
    for _ in range(3):
        storage.update_episodes([as_buffer(draw_truth(OBSERVATIONS, ACTIONS, 5, 1, {"noise": noise}))])
        _, continues = as_continuation(TRUTHS[0], TRUTHS[2], 0, OBSERVATIONS, ACTIONS)
        storage.update_episodes([continues])
        storage.update_episode_metadata([{"long": "x" * 200_000}], [1])
        MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[0])])
    files = [file for file in data_path.glob("*/*") if file.is_file()]
    size = sum(file.stat().st_size for file in files) / 1e6
    assert size > 8
    assert storage.metadata["dataset_size"] == round(size, 1)


@both_formats
def test_copies_are_rewritten(tmp_path: Path, data_format: str) -> None:
    """An episode of the first releases is in today's layout once it is copied."""
    data_path = make(tmp_path, data_format)
    storage = MinariStorage.new(tmp_path / "copy", OBSERVATIONS, ACTIONS, data_format=data_format)
    source = MinariStorage.read(data_path)
    source.update_episode_metadata([{"state": np.float32([index])} for index in range(4)])
    storage.update_from_storage(source, [3, 0, 3])
    assert holds(storage.data_path, [TRUTHS[3], TRUTHS[0], TRUTHS[3]])
    states = [metadata["state"] for metadata in storage.get_episode_metadata(range(3))]
    assert [state.dtype for state in states] == [np.float32] * 3
    assert [float(state[0]) for state in states] == [3, 0, 3]
