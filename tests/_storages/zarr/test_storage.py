"""The Zarr store: read by other programs, positions of its rows, and reports of damage."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError, EpisodeTypeError
from minari.testing._suite import ACTIONS, OBSERVATIONS
from minari.testing.comparison import assert_episode, assert_same
from minari.testing.examples import Truth, as_buffer, draw_truth


zarr = pytest.importorskip("zarr", minversion="3", reason="zarr 3 is not installed; it needs Python 3.11")

TRUTHS = [draw_truth(OBSERVATIONS, ACTIONS, steps, steps, {"n": np.arange(steps + 1.0)}) for steps in (2, 3, 40, 5)]


def make(directory: Path, truths: list[Truth] = TRUTHS, *pair: Any, **options: Any) -> Any:
    storage = MinariStorage.new(directory / "data", *(pair or (OBSERVATIONS, ACTIONS)), data_format="zarr", **options)
    storage.update_episodes([as_buffer(truth, seed=n) for n, truth in enumerate(truths)])
    return storage


def store_of(storage: Any) -> Path:
    return storage.data_path / "main_data.zarr"


def small_shards(monkeypatch: pytest.MonkeyPatch, size: int, chunk: int = 1 << 12) -> None:
    from minari._storages.zarr import arrays as zarr_arrays

    monkeypatch.setattr(zarr_arrays, "SHARD_SIZE", size)
    monkeypatch.setattr(zarr_arrays, "CHUNK_SIZE", chunk)


# As others read it


@pytest.mark.parametrize("compression", [None, "zstd:5", "blosc", "blosc:9", "gzip:1"])
def test_plain_zarr_reads_it(tmp_path: Path, compression: str | None) -> None:
    storage = make(tmp_path, compression=compression)
    root = zarr.open_group(store_of(storage), mode="r")
    ends = root["meta/episode_ends"][:]
    assert ends.tolist() == [2, 5, 45, 50]
    assert {array.shape[0] for _, array in root["data"].arrays()} == {50}
    assert root["data/rewards"][5:45].tolist() == TRUTHS[2]["rewards"].tolist()
    x, last = root["data/observations/x"][2:5], root["meta/final/observations/x"][1]
    (episode,) = storage.get_episodes([1])
    assert np.array_equal(np.concatenate([x, last[None]]), episode["observations"]["x"])
    assert root["meta/episodes/seed"][:].tolist() == [0, 1, 2, 3]
    lengths, text_ends = root["ragged/observations/t/lengths"][:], root["meta/ends/observations/t/lengths"][:]
    texts = root["ragged/observations/t/bytes"][:].tobytes()
    assert text_ends.tolist() == [3, 7, 48, 54]
    (first,) = storage.get_episodes([0])
    assert texts[: lengths[:3].sum()].decode() == "".join(first["observations"]["t"])
    named = {tuple(column["path"]): column["arrays"] for column in root.attrs["minari"]["columns"]}
    assert named["observations", "x"] == ["data/observations/x", "meta/final/observations/x"]
    assert {tuple(root[name].shards) for name in ("data/rewards", "data/actions")} == {(65536,)}


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_many_shards_and_episodes_that_lack_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    """Columns that come and go, in another dtype or shape, over shards of which some have no rows at all."""
    small_shards(monkeypatch, 1 << 12)
    space, rng = spaces.Box(-1.0, 1.0, (4,), np.float64), np.random.default_rng(0)
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
        truth = draw_truth(space, ACTIONS, steps, number, {})
        truth["rewards"] = truth["rewards"].astype(np.float32 if number // 7 % 2 else np.float64)
        for name, dtype in kinds[number // 12].items():
            values = rng.integers(0, 2, (steps + 1, *((2,) if number % 5 == 0 else ()))).astype(dtype)
            outer, _, inner = name.partition("/")
            truth["infos"][outer] = {inner: values} if inner else values
        truths.append(truth)
    storage = MinariStorage.new(tmp_path / "data", space, ACTIONS, data_format="zarr", compression=compression)
    for start in range(0, 60, 17):
        storage.update_episodes(map(as_buffer, truths[start : start + 17]))
    for opened in (storage, MinariStorage.read(storage.data_path)):
        order = rng.permutation(60)
        for episode, index in zip(opened.get_episodes(order), order, strict=True):
            assert_episode(episode, space, ACTIONS, truths[index])
            assert_same(episode["infos"], truths[index]["infos"], "infos")
    root = zarr.open_group(store_of(storage), mode="r")
    names = {"a", "a.2", "a.3", "a.4", "b", "b.2", "B.3", "B.4", "a.5"}
    assert {name for name, _ in root["data/infos"].members()} == names
    assert {array.shape[0] for _, array in root["data"].arrays()} == {storage.total_steps}
    rewards = [len(list((store_of(storage) / "data" / name).glob("c.*"))) for name in ("rewards", "rewards.2")]
    assert max(rewards) < -(-storage.total_steps // 128), "shards without rows are not written"


def test_frames_are_compressed_and_numbers_are_not(tmp_path: Path) -> None:
    space = spaces.Dict({"camera": spaces.Box(0, 255, (40, 40, 3), np.uint8), "x": spaces.Box(-1.0, 1.0, (3,))})
    storage = make(tmp_path, [draw_truth(space, ACTIONS, 4, 0)], space, ACTIONS)
    root = zarr.open_group(store_of(storage), mode="r")
    codecs = {name: root[f"data/observations/{name}"].compressors for name in ("camera", "x")}
    assert {name: [codec.to_dict()["name"] for codec in found] for name, found in codecs.items()} == {
        "camera": ["zstd", "crc32c"],
        "x": ["crc32c"],
    }


def test_large_rows_that_come_later_have_shards_of_fewer_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a shard of them would take any amount of memory while it is filled."""
    small_shards(monkeypatch, 1 << 14)
    space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    large = np.random.default_rng(0).integers(0, 9, (901, 16), dtype=np.int64)
    truths = [draw_truth(space, ACTIONS, 700, 0, {}), draw_truth(space, ACTIONS, 900, 1, {"large": large})]
    storage = make(tmp_path, truths[:1], space, ACTIONS)
    storage.update_episodes([as_buffer(truths[1], seed=1)])
    root = zarr.open_group(store_of(storage), mode="r")
    assert (root["data/observations"].shards[0], root["data/infos/large"].shards[0]) == (2048, 128)
    for episode, truth in zip(MinariStorage.read(storage.data_path).get_episodes(range(2)), truths, strict=True):
        assert_episode(episode, space, ACTIONS, truth)


def test_types_that_zarr_does_not_know(tmp_path: Path) -> None:
    storage = make(tmp_path)
    truth = draw_truth(OBSERVATIONS, ACTIONS, 3, 0, {"long": np.arange(4, dtype=np.longdouble)})
    if np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("the longest floats of this system are float64")
    with pytest.raises(EpisodeTypeError, match=r"Episode 4 .*'infos/long' has float\d+ values.*float64"):
        storage.update_episodes([as_buffer(truth)])
    assert storage.total_episodes == 4


def test_keys_that_are_no_names_of_files(tmp_path: Path) -> None:
    """Every key has a directory of its own on any system, and comes back as it was."""
    names = ["zarr.json", "c.0", "..", ".x", "__y", "A", "a", "a:b", "x" * 300, "x" * 300 + "y", "größe", "0", " "]
    space = spaces.Dict({name: spaces.Discrete(9) for name in names})
    truth = draw_truth(space, space, 3, 0)
    storage = make(tmp_path, [truth], space, space)
    (episode,) = MinariStorage.read(storage.data_path).get_episodes([0])
    assert_episode(episode, space, space, truth)
    directories = [entry.name.casefold() for entry in (store_of(storage) / "data" / "actions").iterdir()]
    assert len(directories) == len(set(directories)) == len(names) + 1  # with the zarr.json of the group


# Windows


@pytest.mark.parametrize("through", ["our own code", "zarr"])
def test_a_window_reads_two_chunks_of_each_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, through: str) -> None:
    """Of a compressed store with hundreds of shards, which stands for one of 10 GB."""
    from minari._base.files import Directory
    from minari._storages.zarr import shards as zarr_shards
    from minari._storages.zarr import store as zarr_store

    small_shards(monkeypatch, 1 << 16, 1 << 10)
    space = spaces.Dict({"camera": spaces.Box(0, 255, (8, 8, 3), np.uint8), "x": spaces.Box(-1.0, 1.0, (6,))})
    truths = [draw_truth(space, ACTIONS, 999, seed) for seed in range(3)]
    storage = MinariStorage.new(tmp_path / "data", space, ACTIONS, data_format="zarr", compression="zstd")
    storage.update_episodes(as_buffer(truths[number % 3], seed=number) for number in range(60))
    shards = list((store_of(storage) / "data" / "observations" / "camera").glob("c.*"))
    assert len(shards) > 200

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
    monkeypatch.setattr(zarr_shards, "read_into", counting)
    monkeypatch.setattr(zarr_store, "read_into", counting)
    rng = np.random.default_rng(2)
    for _ in range(150):
        index, start = int(rng.integers(60)), int(rng.integers(999 - 64 + 1))
        reads.clear()
        window = storage.get_window(index, start, start + 64)
        of_data = {
            name: count for name, count in reads.items() if "/data/" in name.removeprefix(str(tmp_path / "data"))
        }
        assert len(of_data) == 6
        assert max(of_data.values()) <= 2
        of_finals = {name: count for name, count in reads.items() if name not in of_data}
        assert sum(of_finals.values()) == (2 if start + 64 == 999 else 0)
        assert window["rewards"].tolist() == truths[index % 3]["rewards"][start : start + 64].tolist()
        camera = np.stack([step["camera"] for step in truths[index % 3]["observations"][start : start + 65]])
        assert np.array_equal(window["observations"]["camera"], camera)


# Damage


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_bytes())
    change(value)
    path.write_text(json.dumps(value))


def other_shard(store: Path) -> None:
    shutil.copy(store / "data" / "terminations" / "c.0", store / "data" / "rewards" / "c.0")


def flip_index(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 255
    path.write_bytes(content)


#: What is done to the store, and what the message says.
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no store": (shutil.rmtree, r"meta/episode_ends of .*main_data.zarr has no zarr.json"),
    "no zarr.json": (lambda s: (s / "zarr.json").unlink(), r"zarr.json of .*main_data.zarr is missing"),
    "cut zarr.json": (lambda s: (s / "zarr.json").write_text('{"zarr_'), r"zarr.json of .* is damaged"),
    "zarr.json of something else": (
        lambda s: (s / "zarr.json").write_text('{"attributes": {}}'),
        r"zarr.json of .* not of a dataset of Minari",
    ),
    "newer layout": (
        lambda s: edit(s / "zarr.json", lambda v: v["attributes"]["minari"].update(version=9)),
        "version of its layout is 9, expected 1",
    ),
    "no array": (lambda s: shutil.rmtree(s / "data" / "actions"), r"array data/actions of .* has no zarr.json"),
    "cut zarr.json of an array": (
        lambda s: (s / "data" / "actions" / "zarr.json").write_text("{"),
        r"array data/actions of .* has no zarr.json, or a damaged one",
    ),
    "no shard": (lambda s: (s / "data" / "rewards" / "c.0").unlink(), r"shard data/rewards/c.0 of .* is missing"),
    "no shard of metadata": (
        lambda s: (s / "meta" / "episodes" / "seed" / "c.0").unlink(),
        r"shard meta/episodes/seed/c.0 of .* is missing",
    ),
    "cut shard": (
        lambda s: (s / "data" / "rewards" / "c.0").write_bytes((s / "data" / "rewards" / "c.0").read_bytes()[:-7]),
        "shard of the array data/rewards of .* is damaged",
    ),
    "empty shard": (
        lambda s: (s / "data" / "rewards" / "c.0").write_bytes(b""),
        "shard of the array data/rewards of .* is damaged",
    ),
    "index of a shard": (
        lambda s: flip_index(s / "data" / "rewards" / "c.0"),
        "shard of the array data/rewards of .* is damaged",
    ),
    "shard of another array": (other_shard, "shard of the array data/rewards of .* is damaged"),
    "short array": (
        lambda s: edit(s / "data" / "rewards" / "zarr.json", lambda v: v.update(shape=[49])),
        "array data/rewards of .* has 49 rows, expected 50",
    ),
    "short ends": (
        lambda s: edit(s / "meta" / "episode_ends" / "zarr.json", lambda v: v.update(shape=[3])),
        "claims 4 episodes and the data has 3",
    ),
    "other dtype": (
        lambda s: edit(s / "data" / "rewards" / "zarr.json", lambda v: v.update(data_type="int64")),
        "array data/rewards of .* holds int64 values of the shape",
    ),
    "no array of the layout": (
        lambda s: edit(s / "zarr.json", lambda v: v["attributes"]["minari"].update(layouts=[[99]])),
        "zarr.json of .* is damaged",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_told(tmp_path: Path, damage: str) -> None:
    data_path = make(tmp_path).data_path
    change, message = DAMAGE[damage]
    change(data_path / "main_data.zarr")

    def read_all() -> None:
        storage = MinariStorage.read(data_path)
        list(storage.get_episode_metadata(range(4)))
        list(storage.get_episodes(range(4)))

    with pytest.raises(DatasetCorruptError, match=message):
        read_all()
    assert MinariStorage.read_raw_metadata(data_path)["total_episodes"] == 4


def test_steps_that_do_not_belong_to_the_metadata(tmp_path: Path) -> None:
    data_path = make(tmp_path).data_path
    edit(data_path / "metadata.json", lambda value: value.update(total_steps=51))
    with pytest.raises(DatasetCorruptError, match=r"claims 51 steps and the episodes of .* have 50"):
        list(MinariStorage.read(data_path).get_episodes([0]))


def test_compressed_chunks_that_are_damaged(tmp_path: Path) -> None:
    data_path = make(tmp_path, compression="zstd").data_path
    shard = data_path / "main_data.zarr" / "data" / "rewards" / "c.0"
    shard.write_bytes(bytes(16) + shard.read_bytes()[16:])
    with pytest.raises(DatasetCorruptError, match=r"shard of the array data/rewards of .* is damaged"):
        list(MinariStorage.read(data_path).get_episodes([0]))


@pytest.mark.parametrize("compression", ["zstd", "blosc", "gzip"])
def test_a_compressed_shard_with_one_byte_wrong(tmp_path: Path, compression: str) -> None:
    """Errors are reported or harmless; for Zstandard and gzip, checksums detect them."""
    data_path = make(tmp_path, compression=compression).data_path
    shard = data_path / "main_data.zarr" / "data" / "observations" / "x" / "c.0.0"
    content = shard.read_bytes()
    assert len(content) > 4096 > len(content) - 4100
    told: list[str] = []
    positions = range(0, len(content) - 4100, 7)
    for position in positions:
        wrong = bytearray(content)
        wrong[position] ^= 16
        shard.write_bytes(wrong)
        try:
            episodes = list(MinariStorage.read(data_path).get_episodes(range(4)))
        except DatasetCorruptError as error:
            told.append(str(error))
        else:
            assert len(episodes) == 4
            if compression != "blosc":
                for episode, truth in zip(episodes, TRUTHS, strict=True):
                    assert_episode(episode, OBSERVATIONS, ACTIONS, truth)
    assert all("shard of the array data/observations/x" in message for message in told)
    assert len(told) > len(positions) / 2 or compression == "blosc"


@pytest.mark.parametrize("compression", ["zstd", "blosc", "gzip"])
@pytest.mark.parametrize("name", ["terminations", "actions"])
def test_compressed_chunks_of_another_size(tmp_path: Path, compression: str, name: str) -> None:
    """Those of another array, which a decoder would take without a word."""
    store = store_of(make(tmp_path, compression=compression))
    other = "truncations" if name == "actions" else "actions"
    shutil.copy(store / "data" / name / "c.0", store / "data" / other / "c.0")
    with pytest.raises(DatasetCorruptError, match=r"a chunk has \d+ bytes, expected \d+"):
        list(MinariStorage.read(store.parent).get_episodes([0]))


def test_what_lies_in_a_directory_without_metadata_is_replaced(tmp_path: Path) -> None:
    storage = make(tmp_path)
    (storage.data_path / "metadata.json").unlink()
    truth = draw_truth(OBSERVATIONS, ACTIONS, 3, 9)
    again = make(tmp_path, [truth])
    (episode,) = again.get_episodes([0])
    assert_episode(episode, OBSERVATIONS, ACTIONS, truth)
    assert not (store_of(again) / "data" / "infos").exists()


def test_append_after_rewrite_by_another_program(tmp_path: Path) -> None:
    storage = make(tmp_path)
    array = zarr.open_array(store_of(storage), path="data/rewards", mode="r")
    values = array[:]
    zarr.create_array(store_of(storage), name="data/rewards", data=values, chunks=(10,), overwrite=True)
    for episode, truth in zip(MinariStorage.read(storage.data_path).get_episodes(range(4)), TRUTHS, strict=True):
        assert_episode(episode, OBSERVATIONS, ACTIONS, truth)
    with pytest.raises(DatasetCorruptError, match=r"array data/rewards of .* cannot be appended to"):
        storage.update_episodes([as_buffer(TRUTHS[0])])
    storage.repack()
    storage.update_episodes([as_buffer(TRUTHS[0])])
    for episode, truth in zip(storage.get_episodes(range(5)), [*TRUTHS, TRUTHS[0]], strict=True):
        assert_episode(episode, OBSERVATIONS, ACTIONS, truth)
