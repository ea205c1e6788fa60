"""Datasets whose leaves are compressed or in chunks: read without HDF5, copied byte for byte, changed, damaged."""

from __future__ import annotations

import importlib
import os
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given

from minari._storages.hdf5 import process
from minari._storages.hdf5 import reader as hdf5_reader
from minari._storages.hdf5.format.codecs import DEFLATE
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError, MissingDependencyError
from minari.testing.comparison import assert_same
from minari.testing.examples import as_buffer, as_continuation, nested
from support.compressed import (
    ACTIONS,
    CODECS,
    FILE,
    SPACE,
    WITH_TEXT,
    assert_holds,
    draw,
    new,
    refusing,
    stored,
    without_index,
)
from support.hdf5_files import run_tool
from support.programs import run
from support.stored import assert_holds as holds
from support.stored import flip, in_child


LENGTHS = (1, 31, 64, 100)
PIXELS = "observations/pixels"
every_codec = pytest.mark.parametrize("codec", CODECS)


def file_of(storage: MinariStorage) -> Path:
    return storage.data_path / FILE


def append(storage: MinariStorage) -> None:
    storage.update_episodes([as_buffer(draw(SPACE, 5), seed=5)])


# Writing and reading


@every_codec
def test_every_leaf_is_compressed_and_read_by_hdf5(tmp_path: Path, codec: str) -> None:
    storage = new(tmp_path, codec=codec)
    truth = draw(SPACE, 100)
    columns = {name: truth[name] for name in ("actions", "rewards", "terminations")}
    columns |= {f"observations/{name}": column for name, column in nested(SPACE, truth["observations"]).items()}
    columns |= {f"infos/{name}": column for name, column in truth["infos"].items()}
    with h5py.File(file_of(storage)) as file:
        for name, values in columns.items():
            assert file[f"episode_3/{name}"].chunks is not None
            assert file[f"episode_3/{name}"][()].tobytes() == np.asarray(values).tobytes()
    before = [stored(storage, PIXELS, index) for index in range(4)]
    storage.update_episode_metadata([{"note": f"{index}" * 100} for index in range(4)])
    assert [stored(storage, PIXELS, index) for index in range(4)] == before
    assert [metadata["note"] for metadata in storage.get_episode_metadata([2, 0])] == ["2" * 100, "0" * 100]
    whole, buffer = as_continuation(draw(SPACE, 31), truth, 1, SPACE, ACTIONS)
    storage.update_episodes([buffer])
    for reader in (storage, MinariStorage.read(storage.data_path), without_index(storage)):
        holds(reader, [draw(SPACE, 1), whole, draw(SPACE, 64), truth], SPACE, ACTIONS)
    with h5py.File(file_of(storage)) as file:
        assert file[f"episode_1/{PIXELS}"].chunks == (128, 40, 16, 3)


def test_frames_are_compressed_with_gzip_unless_told_otherwise(tmp_path: Path) -> None:
    storage, plain = new(tmp_path), new(tmp_path / "plain", codec="none")
    assert_holds(storage)
    assert [number for number, _ in stored(storage, PIXELS, 3)[0]] == [DEFLATE]
    with h5py.File(file_of(storage)) as file, h5py.File(file_of(plain)) as other:
        assert file[f"episode_3/{PIXELS}"].compression == "gzip"
        assert file["episode_3/observations/x"].chunks is other[f"episode_3/{PIXELS}"].chunks is None
    assert file_of(storage).stat().st_size < file_of(plain).stat().st_size / 2


def test_compressed_and_chunked_leaves_are_located_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also copies of them, and those that another program has stored in chunks."""
    storage = new(tmp_path, codec="gzip")
    target = new(tmp_path / "b", [], codec="none")
    target.update_from_storage(without_index(storage), [3, 1])
    list(without_index(storage).get_episodes(range(4)))
    chunked = rewritten(tmp_path / "c", chunks=(7, 20, 16, 3))
    list(chunked.get_episodes(range(2)))
    monkeypatch.setattr(hdf5_reader, "read_messages", None)
    holds(storage.data_path, [draw(SPACE, length) for length in LENGTHS], SPACE, ACTIONS)
    holds(target.data_path, [draw(SPACE, 100), draw(SPACE, 31)], SPACE, ACTIONS)
    holds(chunked.data_path, [draw(SPACE, 40), draw(SPACE, 3)], SPACE, ACTIONS)


@pytest.mark.parametrize("codec", ["gzip", "zstd", "lz4"])
def test_long_episode_whose_steps_are_equal_has_more_rows_than_its_file_bytes(tmp_path: Path, codec: str) -> None:
    storage = MinariStorage.new(tmp_path / "data", spaces.Discrete(2), spaces.Discrete(3), compression=codec)
    steps = 200_000
    flags = np.zeros(steps, bool)
    storage.update_episodes(
        [
            EpisodeBuffer(
                observations=np.zeros(steps + 1, np.int64),
                actions=np.zeros(steps, np.int64),
                rewards=np.zeros(steps),
                terminations=flags,
                truncations=flags,
            )
        ]
    )
    assert file_of(storage).stat().st_size < steps
    for reader in (storage, MinariStorage.read(storage.data_path), without_index(storage)):
        (episode,) = reader.get_episodes([0])
        assert len(episode["rewards"]) == steps
        assert not episode["observations"].any()


def test_bytes_do_not_depend_on_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = new(tmp_path / "a", [600])
    monkeypatch.setattr("minari._storages.hdf5.format.chunks.ENOUGH_FOR_A_THREAD", 2**60)
    second = new(tmp_path / "b", [600])
    assert file_of(first).read_bytes() == file_of(second).read_bytes()
    assert_holds(first, [600])


def test_forked_children_and_ending_programs_need_no_threads(tmp_path: Path) -> None:
    storage = new(tmp_path, [600])
    assert_holds(storage, [600])
    if hasattr(os, "fork"):
        assert in_child(lambda: assert_holds(storage, [600])) == "None"
    program = """
        import atexit, sys
        from minari.dataset.minari_storage import MinariStorage
        storage = MinariStorage.read(sys.argv[1])
        atexit.register(lambda: print(next(storage.get_episodes([0]))["observations"]["pixels"].shape))
    """
    assert run(program, str(storage.data_path)) == "(601, 40, 16, 3)\n"


@pytest.mark.parametrize("codec", ["gzip", "lzf"])
def test_about_one_episode_at_a_time_is_decompressed(
    tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = new(tmp_path, [100] * 8, codec=codec)
    monkeypatch.setattr("minari._storages.hdf5.storage.MOST_AT_A_TIME", 2**18)
    list(storage.get_episodes([0]))  # what is used for the first time
    for reader in (storage, without_index(storage)):
        tracemalloc.start()
        assert [len(episode["rewards"]) for episode in reader.get_episodes(range(8))] == [100] * 8
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 5 * 101 * 40 * 16 * 3


# Copies


@every_codec
@pytest.mark.parametrize("space", [SPACE, WITH_TEXT], ids=["by us", "by HDF5"])
def test_stored_bytes_are_copied_whatever_the_choice(
    tmp_path: Path, codec: str, space: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the plug-in is missing; a second time too."""
    source = new(tmp_path / "a", codec=codec, space=space)
    targets = [new(tmp_path / f"{choice}", [3], space=space, codec=choice) for choice in ("none", "gzip:1", None)]
    with monkeypatch.context() as context:
        context.setattr(importlib, "import_module", refusing(importlib.import_module, "hdf5plugin"))
        for target in targets:
            target.update_from_storage(source)
            target.update_from_storage(target, [4, 1])
    for target in targets:
        for index, origin in ((1, 0), (4, 3), (5, 3), (6, 0)):
            assert stored(target, PIXELS, index) == stored(source, PIXELS, origin)
        assert_holds(target, (3, *LENGTHS, 100, 1), space=space)


def test_plain_leaves_are_copied_as_they_are_and_new_ones_compressed(tmp_path: Path) -> None:
    target = new(tmp_path / "b", [2], codec="gzip")
    target.update_from_storage(new(tmp_path / "a", codec="none"))
    append(target)
    assert_holds(target, (2, *LENGTHS, 5))
    with h5py.File(file_of(target)) as file:
        chunked = [file[f"episode_{index}/{PIXELS}"].chunks is not None for index in range(6)]
    assert chunked == [True, False, False, False, False, True]


@pytest.mark.parametrize("codec", ["gzip", None])
def test_file_rewritten_by_the_tools_of_hdf5_is_read_and_extended(tmp_path: Path, codec: str | None) -> None:
    storage = new(tmp_path, codec=codec)
    run_tool("h5repack", file_of(storage), tmp_path / "new")
    (tmp_path / "new").replace(file_of(storage))
    assert_holds(MinariStorage.read(storage.data_path))
    append(storage)
    assert_holds(storage, (*LENGTHS, 5))


def rewritten(
    directory: Path, lengths: Any = (40, 3), library: str = "earliest", name: str = PIXELS, **options: Any
) -> MinariStorage:
    """A dataset in which another program has stored a leaf in another way."""
    storage = new(directory, lengths, codec="none")
    with h5py.File(file_of(storage), "r+", libver=library) as file:
        for episode in file.values():
            values = episode[name][()]
            del episode[name]
            if options.get("chunks"):
                sides = zip(options["chunks"], values.shape, strict=True)
                given_options = {**options, "chunks": tuple(max(1, min(pair)) for pair in sides)}
            else:
                given_options = options
            episode.create_dataset(name, data=values, **given_options)
    return MinariStorage.read(storage.data_path)


@given(chunks=st.tuples(st.integers(1, 41), st.integers(1, 3)), grows=st.booleans())
def test_chunks_of_any_shape_are_read(tmp_path_factory: Any, chunks: tuple[int, int], grows: bool) -> None:
    """Also those that reach beyond the edges, and those of arrays that can grow."""
    options = {"chunks": chunks, **({"maxshape": (None, 3)} if grows else {})}
    storage = rewritten(tmp_path_factory.mktemp("chunks"), name="observations/x", **options)
    for _ in range(2):  # located in the file first, then by the index
        holds(storage.data_path, [draw(SPACE, 40), draw(SPACE, 3)], SPACE, ACTIONS)


@pytest.mark.parametrize("library", ["earliest", "latest"])
@pytest.mark.parametrize("name", [PIXELS, "rewards"])
def test_leaves_that_others_compressed_are_read_and_copied(tmp_path: Path, library: str, name: str) -> None:
    storage = rewritten(tmp_path, LENGTHS, library, name, compression="gzip", shuffle=True, fletcher32=True)
    assert_holds(storage)
    target = new(tmp_path / "b", [])
    target.update_from_storage(storage)
    if library == "earliest":  # data that older libraries cannot read is rewritten
        assert stored(target, name, 3) == stored(storage, name, 3)
    assert_holds(target)


def test_uncompressed_chunks_are_copied_in_one_piece_and_missing_ones_filled(tmp_path: Path) -> None:
    storage = new(tmp_path, [40], codec="none")
    with h5py.File(file_of(storage), "r+") as file:
        values = file["episode_0/rewards"][()]
        del file["episode_0/rewards"]
        dataset = file.create_dataset("episode_0/rewards", values.shape, chunks=(10,), fillvalue=0.5, dtype="f8")
        dataset[:10] = values[:10]
    target = new(tmp_path / "b", [4], codec="none")
    target.update_from_storage(MinariStorage.read(storage.data_path))
    with h5py.File(file_of(target)) as file:
        assert file["episode_1/rewards"].chunks is None
    for reader, index in ((without_index(storage), 0), (target, 1)):
        assert_same(next(reader.get_episodes([index]))["rewards"], np.r_[values[:10], np.full(30, 0.5)])


def test_text_beside_copied_frames_is_read_through_hdf5_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = new(tmp_path / "b", [2], space=WITH_TEXT)
    target.update_from_storage(new(tmp_path / "a", space=WITH_TEXT))
    asked: list[Any] = []
    monkeypatch.setattr(process, "columns", lambda path, wanted: asked.extend(wanted))
    for reader in (target, without_index(target)):
        list(reader.get_episodes(range(5)))
    assert not any(PIXELS in names for _, names in asked)


# Plug-ins that are missing


def test_missing_plugin_is_named_when_writing_and_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = new(tmp_path / "a", codec="blosc:5")
    monkeypatch.setattr(importlib, "import_module", refusing(importlib.import_module, "hdf5plugin"))
    with pytest.raises(MissingDependencyError, match=r'hdf5plugin; install it with: pip install "minari\[compression'):
        MinariStorage.new(tmp_path / "b" / "data", SPACE, ACTIONS, compression="blosc:5")
    assert not (tmp_path / "b").exists()
    (tmp_path / "hdf5plugin.py").write_text("raise ImportError")
    with monkeypatch.context() as context:
        context.syspath_prepend(tmp_path)
        process.end()  # the next one does not find the package either
        for reader in (storage, without_index(storage)):
            with pytest.raises(MissingDependencyError, match=rf'{FILE} .*pip install "minari\[compression\]"'):
                list(reader.get_episodes([3]))
            assert [metadata["seed"] for metadata in reader.get_episode_metadata([3])] == [100]
    process.end()


def test_missing_codec_is_named_when_writing_and_found_by_hdf5_when_reading(tmp_path: Path) -> None:
    storages = [new(tmp_path / codec, codec=codec) for codec in ("zstd", "lz4")]
    program = """
        import sys
        sys.modules.update({"zstandard": None, "lz4.block": None})
        import h5py, hdf5plugin, numpy as np
        from minari.dataset.minari_storage import MinariStorage
        from minari.errors import MissingDependencyError
        for path in sys.argv[1:]:
            storage = MinariStorage.read(path)
            with h5py.File(f"{path}/main_data.hdf5") as file:
                expected = file["episode_3/observations/pixels"][()]
            (episode,) = storage.get_episodes([3])
            print(np.array_equal(episode["observations"]["pixels"], expected))
            try:
                MinariStorage.new(path + "-new", storage.observation_space, storage.action_space,
                                  compression=storage.compression)
            except MissingDependencyError as error:
                print(error)
    """
    zstd, lz4 = (
        f"True\nThe codec '{codec}' needs the package {package}; install it with: pip install \"minari[compression]\"\n"
        for codec, package in (("zstd", "zstandard"), ("lz4", "lz4"))
    )
    assert run(program, *(str(storage.data_path) for storage in storages)) == zstd + lz4


# Damage


@pytest.fixture
def small(tmp_path: Path) -> MinariStorage:
    return new(tmp_path, [2, 33], codec="gzip")


def is_noticed(storage: MinariStorage) -> bool:
    """Return whether damage is reported; otherwise the values must be correct."""
    try:
        episodes = list(MinariStorage.read(storage.data_path).get_episodes(range(2)))
    except DatasetCorruptError:
        return True
    for episode, length in zip(episodes, (2, 33), strict=True):
        truth = nested(SPACE, draw(SPACE, length)["observations"])
        for name in ("pixels", "x"):  # what is compressed in both
            assert_same(episode["observations"][name], np.stack(truth[name]))
    return False


def test_no_changed_byte_leads_to_wrong_values_with_an_index(small: MinariStorage) -> None:
    content = file_of(small).read_bytes()
    damaged = 0
    for position in range(0, len(content), max(1, len(content) // 400)):
        flip(file_of(small), position, 1 << position % 8, keep_time=True)
        damaged += is_noticed(small)
        flip(file_of(small), position, 1 << position % 8, keep_time=True)
    assert damaged > 200


def test_no_changed_byte_of_chunks_or_tables_leads_to_wrong_values_without_one(small: MinariStorage) -> None:
    """Headers have no checksum of their own."""
    file = file_of(small)
    table = file.read_bytes().index(b"FAHD")
    positions = [*range(table, table + 60, 5)]
    with h5py.File(file) as opened:
        for name in (PIXELS, "rewards", "infos/n"):
            chunk = opened[f"episode_1/{name}"].id.get_chunk_info(0)
            positions += range(chunk.byte_offset, chunk.byte_offset + chunk.size, max(1, chunk.size // 20))
    for position in positions:
        flip(file, position, 0x40)
        without_index(small)
        is_noticed(small)
        flip(file, position, 0x40)


def test_damaged_leaf_is_named_and_not_copied(small: MinariStorage) -> None:
    with h5py.File(file_of(small)) as file:
        chunk = file[f"episode_1/{PIXELS}"].id.get_chunk_info(0)
    with file_of(small).open("r+b") as raw:
        raw.seek(chunk.byte_offset + chunk.size // 2)
        raw.write(b"damage")
    for reader in (small, without_index(small)):
        with pytest.raises(DatasetCorruptError, match=rf"'{PIXELS}' of episode 1 in .*{FILE} cannot be decomp"):
            list(reader.get_episodes([0, 1]))
        assert len(list(reader.get_episodes([0]))) == 1
    content = file_of(small).read_bytes()
    file_of(small).write_bytes(content.replace(b"FADB", b"FADC"))  # tables of chunks
    with pytest.raises(DatasetCorruptError, match="cannot be decompressed"):
        new(small.data_path.parent / "copy", [1]).update_from_storage(small)
    file_of(small).write_bytes(content.replace(b"TREE", b"TREF"))  # the list of episodes
    with pytest.raises(DatasetCorruptError, match=rf"{FILE} cannot be read as HDF5"):
        without_index(small)


@pytest.mark.parametrize("name", [PIXELS, "observations/x"])
def test_no_room_is_made_for_more_than_the_file_can_hold(tmp_path: Path, name: str) -> None:
    storage = new(tmp_path, [33], codec="gzip")
    with h5py.File(file_of(storage)) as opened:
        address = h5py.h5o.get_info(opened[f"episode_0/{name}"].id).addr
    content = bytearray(file_of(storage).read_bytes())
    content[content.index((34).to_bytes(8, "little"), address) + 5] = 1  # 2 to the power of 40 rows more
    file_of(storage).write_bytes(content)
    with pytest.raises(DatasetCorruptError, match="Episode 0"):
        list(without_index(storage).get_episodes([0]))
