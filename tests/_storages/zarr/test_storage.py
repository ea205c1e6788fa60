"""The Zarr store: read by other programs, its shards and chunks, and damage of compressed ones."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari._base.files import Directory
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError, EpisodeTypeError
from minari.testing.comparison import assert_same
from minari.testing.examples import as_buffer, draw_truth
from minari.testing.storage_suites.suite import ACTIONS, OBSERVATIONS
from support.stored import TRUTHS, assert_holds, read_all, store


zarr = pytest.importorskip("zarr", minversion="3", reason="zarr 3 is not installed; it needs Python 3.11")
VECTOR = spaces.Box(-1.0, 1.0, (4,), np.float64)


def new(directory: Path, truths: Any = TRUTHS, *of: Any, **options: Any) -> Any:
    return MinariStorage.read(store(directory, "zarr", truths, *(of or (OBSERVATIONS, ACTIONS)), **options))


def store_of(storage: Any) -> Path:
    return storage.data_path / "main_data.zarr"


def opened(storage: Any) -> Any:
    return zarr.open_group(store_of(storage), mode="r")


def small_shards(monkeypatch: pytest.MonkeyPatch, size: int, chunk: int = 1 << 12) -> None:
    monkeypatch.setattr("minari._storages.zarr.arrays.SHARD_SIZE", size)
    monkeypatch.setattr("minari._storages.zarr.arrays.CHUNK_SIZE", chunk)


# As others read it


@pytest.mark.parametrize("compression", [None, "zstd:5", "blosc:9", "gzip:1"])
def test_store_is_plain_zarr(tmp_path: Path, compression: str | None) -> None:
    storage = new(tmp_path, [as_buffer(truth, seed=n) for n, truth in enumerate(TRUTHS)], compression=compression)
    root = opened(storage)
    assert root["meta/episode_ends"][:].tolist() == [2, 5, 45, 50]
    assert {array.shape[0] for _, array in root["data"].arrays()} == {50}
    assert root["data/rewards"][5:45].tolist() == TRUTHS[2]["rewards"].tolist()
    first, second = storage.get_episodes([0, 1])
    x, last = root["data/observations/x"][2:5], root["meta/final/observations/x"][1]
    assert np.array_equal(np.concatenate([x, last[None]]), second["observations"]["x"])
    assert root["meta/episodes/seed"][:].tolist() == [0, 1, 2, 3]
    lengths, texts = root["ragged/observations/t/lengths"][:], root["ragged/observations/t/bytes"][:].tobytes()
    assert root["meta/ends/observations/t/lengths"][:].tolist() == [3, 7, 48, 54]
    assert texts[: lengths[:3].sum()].decode() == "".join(first["observations"]["t"])
    named = {tuple(column["path"]): column["arrays"] for column in root.attrs["minari"]["columns"]}
    assert named["observations", "x"] == ["data/observations/x", "meta/final/observations/x"]
    assert {tuple(root[name].shards) for name in ("data/rewards", "data/actions")} == {(65536,)}


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_columns_may_come_and_go_over_many_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    small_shards(monkeypatch, 1 << 12)
    rng = np.random.default_rng(0)
    kinds: list[dict[str, Any]] = [
        {},
        {"a": np.float32},
        {"a": np.float64, "b": np.int8},
        {"b": np.int8, "B": np.bool_},
        {"a/deep": np.float32},
    ]
    truths = []
    for number in range(60):
        steps = int(rng.integers(1, 120))
        truth = draw_truth(VECTOR, ACTIONS, steps, number, {})
        truth["rewards"] = truth["rewards"].astype(np.float32 if number // 7 % 2 else np.float64)
        for name, dtype in kinds[number // 12].items():
            values = rng.integers(0, 2, (steps + 1, *((2,) if number % 5 == 0 else ()))).astype(dtype)
            outer, _, inner = name.partition("/")
            truth["infos"][outer] = {inner: values} if inner else values
        truths.append(truth)
    storage = new(tmp_path, [], VECTOR, ACTIONS, compression=compression)
    for start in range(0, 60, 17):
        storage.update_episodes(map(as_buffer, truths[start : start + 17]))
    for reader in (storage, MinariStorage.read(storage.data_path)):
        assert_holds(reader, truths, VECTOR, ACTIONS)
    (window,) = storage.get_episodes([59])
    assert_same(window["infos"], truths[59]["infos"], "infos")
    root = opened(storage)
    names = {"a", "a.2", "a.3", "a.4", "b", "b.2", "B.3", "B.4", "a.5"}
    assert {name for name, _ in root["data/infos"].members()} == names
    assert {array.shape[0] for _, array in root["data"].arrays()} == {storage.total_steps}
    rewards = [len(list((store_of(storage) / "data" / name).glob("c.*"))) for name in ("rewards", "rewards.2")]
    assert max(rewards) < -(-storage.total_steps // 128), "shards without rows are not written"


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_shards_are_written_in_turns_with_few_files_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str | None
) -> None:
    small_shards(monkeypatch, 1 << 14, 1 << 11)
    monkeypatch.setattr("minari._storages.zarr.appender.BLOCK", 1)
    monkeypatch.setattr("minari._storages.zarr.writer.MOST_OPEN", 1)
    truths = [draw_truth(VECTOR, ACTIONS, 700, seed) for seed in range(3)]
    storage = new(tmp_path, truths, VECTOR, ACTIONS, compression=compression)
    storage.update_episodes([as_buffer(truths[0])])
    verifying = MinariStorage.read(storage.data_path, verify_checksums=True)
    assert_holds(verifying, [*truths, truths[0]], VECTOR, ACTIONS)
    assert len(list((store_of(storage) / "data" / "observations").glob("c.*"))) > 3


def test_frames_are_compressed_and_numbers_are_not(tmp_path: Path) -> None:
    space = spaces.Dict({"camera": spaces.Box(0, 255, (40, 40, 3), np.uint8), "x": spaces.Box(-1.0, 1.0, (3,))})
    root = opened(new(tmp_path, [draw_truth(space, ACTIONS, 4, 0)], space, ACTIONS))
    codecs = {name: root[f"data/observations/{name}"].compressors for name in ("camera", "x")}
    found = {name: [codec.to_dict()["name"] for codec in each] for name, each in codecs.items()}
    assert found == {"camera": ["zstd", "crc32c"], "x": ["crc32c"]}


def test_large_rows_that_come_later_have_shards_of_fewer_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch, 1 << 14)
    space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    large = np.random.default_rng(0).integers(0, 9, (901, 16), dtype=np.int64)
    truths = [draw_truth(space, ACTIONS, 700, 0, {}), draw_truth(space, ACTIONS, 900, 1, {"large": large})]
    storage = new(tmp_path, truths[:1], space, ACTIONS)
    storage.update_episodes([as_buffer(truths[1])])
    root = opened(storage)
    assert (root["data/observations"].shards[0], root["data/infos/large"].shards[0]) == (2048, 128)
    assert_holds(storage.data_path, truths, space, ACTIONS)


def test_types_that_zarr_does_not_know_are_refused(tmp_path: Path) -> None:
    if np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("the longest floats of this system are float64")
    storage = new(tmp_path)
    truth = draw_truth(OBSERVATIONS, ACTIONS, 3, 0, {"long": np.arange(4, dtype=np.longdouble)})
    with pytest.raises(EpisodeTypeError, match=r"Episode 4 .*'infos/long' has float\d+ values.*float64"):
        storage.update_episodes([as_buffer(truth)])
    assert storage.total_episodes == 4


def test_every_key_has_a_directory_on_any_system(tmp_path: Path) -> None:
    names = ["zarr.json", "c.0", "..", ".x", "__y", "A", "a", "a:b", "x" * 300, "x" * 300 + "y", "größe", "0", " "]
    space = spaces.Dict({name: spaces.Discrete(9) for name in names})
    truth = draw_truth(space, space, 3, 0)
    storage = new(tmp_path, [truth], space, space)
    assert_holds(storage.data_path, [truth], space, space)
    directories = [entry.name.casefold() for entry in (store_of(storage) / "data" / "actions").iterdir()]
    assert len(directories) == len(set(directories)) == len(names) + 1  # with the zarr.json of the group


# Windows


@pytest.mark.parametrize("through", ["our own code", "zarr"])
def test_window_reads_two_chunks_of_each_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, through: str) -> None:
    """Of a compressed store with hundreds of shards, which stands for one of 10 GB."""
    from minari._storages.zarr import shards as zarr_shards
    from minari._storages.zarr import store as zarr_store

    small_shards(monkeypatch, 1 << 16, 1 << 10)
    space = spaces.Dict({"camera": spaces.Box(0, 255, (8, 8, 3), np.uint8), "x": spaces.Box(-1.0, 1.0, (6,))})
    truths = [draw_truth(space, ACTIONS, 999, seed) for seed in range(3)]
    storage = new(tmp_path, [truths[number % 3] for number in range(60)], space, ACTIONS, compression="zstd")
    assert len(list((store_of(storage) / "data" / "observations" / "camera").glob("c.*"))) > 200
    reads: Counter[str] = Counter()
    arrays: dict[int, str] = {}  # of open files
    open_file, read_into = Directory.open_sized, zarr_shards.read_into

    def opening(self: Directory, name: str, flags: int = os.O_RDONLY) -> tuple[int, int]:
        descriptor, size = open_file(self, name, flags)
        arrays[descriptor] = str(Path(self.path, name).parent)
        return descriptor, size

    def counting(descriptor: int, out: Any, offset: int) -> None:
        read_into(descriptor, out, offset)
        is_chunk = offset + len(out) < os.fstat(descriptor).st_size  # and not the index
        reads[arrays[descriptor]] += is_chunk
        assert not is_chunk or len(out) < 64 * 8 * 8 * 3 * 2, "a whole shard was read"

    if through == "zarr":
        for path in store_of(storage).rglob("zarr.json"):  # the same arrays, spelled as another program might
            path.write_text(path.read_text().replace('{"name": "crc32c"}', '{"name": "crc32c", "configuration": {}}'))
    storage = MinariStorage.read(storage.data_path)
    storage.get_window(0, 0, 1)
    monkeypatch.setattr(Directory, "open_sized", opening)
    for module in (zarr_shards, zarr_store):
        monkeypatch.setattr(module, "read_into", counting)
    rng, data = np.random.default_rng(2), str(store_of(storage) / "data")
    for _ in range(150):
        index, start = int(rng.integers(60)), int(rng.integers(999 - 64 + 1))
        reads.clear()
        window = storage.get_window(index, start, start + 64)
        of_data = [count for name, count in reads.items() if name.startswith(data)]
        assert (len(of_data), max(of_data)) <= (6, 2)
        assert reads.total() - sum(of_data) == (2 if start + 64 == 999 else 0)
        assert window["rewards"].tolist() == truths[index % 3]["rewards"][start : start + 64].tolist()
        camera = np.stack([step["camera"] for step in truths[index % 3]["observations"][start : start + 65]])
        assert np.array_equal(window["observations"]["camera"], camera)


# Damage


@pytest.mark.parametrize("compression", ["zstd", "blosc", "gzip"])
@pytest.mark.parametrize(("name", "other"), [("terminations", "actions"), ("actions", "truncations")])
def test_compressed_chunks_of_another_array_are_refused(
    tmp_path: Path, compression: str, name: str, other: str
) -> None:
    data = store_of(new(tmp_path, compression=compression)) / "data"
    shutil.copy(data / name / "c.0", data / other / "c.0")
    with pytest.raises(DatasetCorruptError, match=r"a chunk has \d+ bytes, expected \d+"):
        read_all(tmp_path / "data")


def test_store_without_metadata_is_replaced(tmp_path: Path) -> None:
    (new(tmp_path, [draw_truth(OBSERVATIONS, ACTIONS, 3, 9, {"n": np.arange(4)})]).data_path / "metadata.json").unlink()
    again = new(tmp_path)
    assert_holds(again, TRUTHS)
    assert not (store_of(again) / "data" / "infos").exists()


def test_array_rewritten_by_another_program_is_read_and_appended_to_after_repacking(tmp_path: Path) -> None:
    storage = new(tmp_path)
    values = zarr.open_array(store_of(storage), path="data/rewards", mode="r")[:]
    zarr.create_array(store_of(storage), name="data/rewards", data=values, chunks=(10,), overwrite=True)
    assert_holds(storage.data_path, TRUTHS)
    with pytest.raises(DatasetCorruptError, match=r"array data/rewards of .* cannot be appended to"):
        storage.update_episodes([as_buffer(TRUTHS[0])])
    storage.repack()
    storage.update_episodes([as_buffer(TRUTHS[0])])
    assert_holds(storage, [*TRUTHS, TRUTHS[0]])
