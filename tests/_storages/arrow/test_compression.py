"""Compression in Arrow and Parquet: which columns have which codec, and files that are copied as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari.dataset.minari_storage import MinariStorage
from minari.errors import CompressionError, DatasetCorruptError, MissingDependencyError
from minari.testing.comparison import assert_episode, assert_same
from minari.testing.examples import as_buffer, draw_truth
from support.stored import plain_buffer, store


pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

FRAMES = spaces.Box(0, 255, (96, 96, 3), np.uint8)
CAMERAS = spaces.Dict({"left": FRAMES, "right": FRAMES, "speed": spaces.Box(-1, 1, (3,), np.float32)})
VECTOR = spaces.Box(-np.inf, np.inf, (8,), np.float64)
ACTIONS = spaces.Discrete(4)


def new(directory: Path, data_format: str, space: Any, compression: Any = None, *episodes: Any) -> MinariStorage:
    return MinariStorage.read(store(directory, data_format, episodes, space, ACTIONS, compression=compression))


def chunks(storage: MinariStorage, index: int = 0) -> dict[str, Any]:
    """The column chunks of a Parquet file, by the path of the column."""
    with pq.ParquetFile(storage.data_path / str(index) / "part-0.parquet") as file:
        group = file.metadata.row_group(0)
        assert file.metadata.num_row_groups == 1
    columns = [group.column(number) for number in range(group.num_columns)]
    return {column.path_in_schema.removesuffix(".list.element"): column for column in columns}


def codecs(storage: MinariStorage, index: int = 0) -> dict[str, str]:
    return {path: column.compression.lower() for path, column in chunks(storage, index).items()}


def size(storage: MinariStorage) -> int:
    return sum(file.stat().st_size for file in storage.data_path.glob("*/part-0.*"))


def cameras(steps: int) -> dict[str, Any]:
    """Frames of which each is like the one before it."""
    rng = np.random.default_rng(3)
    frames = np.repeat(rng.integers(0, 256, (1, 96, 96, 3), np.uint8), steps + 1, 0)
    for time in range(steps + 1):
        frames[time, time % 80 : time % 80 + 8, 20:30] = 255
    return {"left": frames, "right": frames[::-1].copy(), "speed": rng.random((steps + 1, 3), np.float32)}


@pytest.mark.parametrize(
    ("data_format", "codec"),
    [*(("arrow", codec) for codec in ("lz4", "zstd", "zstd:1", "zstd:22"))]
    + [("parquet", codec) for codec in ("snappy", "gzip", "gzip:9", "zstd", "zstd:19", "lz4", "brotli", "brotli:11")],
)
def test_codec_makes_files_smaller_also_later_ones(tmp_path: Path, data_format: str, codec: str) -> None:
    episode = plain_buffer(np.cumsum(np.ones((801, 8)), 0))
    storage, plain = (new(tmp_path / name, data_format, VECTOR, choice) for name, choice in (("a", codec), ("b", None)))
    for _ in range(3):
        MinariStorage.read(storage.data_path).update_episodes([episode])
        plain.update_episodes([episode])
    assert size(storage) < 0.5 * size(plain)
    if data_format == "parquet":
        assert {*codecs(storage, 2).values()} == {codec.partition(":")[0]}


def test_level_is_handed_on(tmp_path: Path, data_format: str) -> None:
    noise = np.cumsum(np.random.default_rng(0).integers(-2, 3, (5001, 8)), 0).astype(np.float64)
    low, high = (
        size(new(tmp_path / codec, data_format, VECTOR, codec, plain_buffer(noise))) for codec in ("zstd:1", "zstd:19")
    )
    assert high < 0.9 * low


def test_frames_are_compressed_over_time_and_numbers_are_not(tmp_path: Path, data_format: str) -> None:
    given = cameras(60)
    storage = new(tmp_path, data_format, CAMERAS, None, *[plain_buffer(given)] * 3)
    # A frame of noise by itself takes all its bytes; those that follow it hardly any.
    assert size(storage) < 3 * 1.3 * 2 * given["left"][0].nbytes
    for episode in storage.get_episodes(range(3)):
        assert_same(episode["observations"], given, "observations")
    if data_format == "parquet":
        found = codecs(storage, 2)
        assert {path for path, codec in found.items() if codec == "zstd"} == {"observations.left", "observations.right"}
        assert {*found.values()} == {"zstd", "uncompressed"}
        jpeg = store(tmp_path / "jpeg", "parquet", [plain_buffer(given["left"])], FRAMES, ACTIONS, jpeg_encoding=True)
        assert codecs(MinariStorage.read(jpeg))["observations"] == "uncompressed"


def test_nothing_else_is_compressed_unless_asked_for(tmp_path: Path, data_format: str) -> None:
    storage = new(tmp_path, data_format, VECTOR, None, plain_buffer(np.zeros((1001, 8))))
    assert size(storage) > 64_000
    if data_format == "parquet":
        assert {*codecs(storage).values()} == {"uncompressed"}
        assert not any(chunk.has_dictionary_page or chunk.is_stats_set for chunk in chunks(storage).values())
    given = cameras(20)
    storage = new(tmp_path / "none", data_format, CAMERAS, "none", plain_buffer(given))
    # Not four times as much, which is what Parquet spends on numbers of eight bits.
    assert 2 * given["left"].nbytes < size(storage) < 2.1 * given["left"].nbytes
    assert_same(next(storage.get_episodes([0]))["observations"], given, "observations")


def test_columns_of_parquet_have_codecs_of_their_own(tmp_path: Path) -> None:
    choice = {"observations": "gzip:1", "observations/right": "none", "rewards": "snappy", "infos/pose": "brotli"}
    infos = {"pose": {"x": np.zeros(11), "y": np.zeros((11, 3))}, "other": np.zeros(11)}
    storage = new(tmp_path, "parquet", CAMERAS, choice)
    for _ in range(3):
        MinariStorage.read(storage.data_path).update_episodes([plain_buffer(cameras(10), infos=infos)])
    of_infos = {"infos.pose.x": "brotli", "infos.pose.y": "brotli", "infos.other": "uncompressed"}
    observations = {"left": "gzip", "right": "uncompressed", "speed": "gzip"}
    for index in range(3):
        assert codecs(storage, index) == {
            **{f"observations.{name}": codec for name, codec in observations.items()},
            **dict.fromkeys(("actions", "terminations", "truncations"), "uncompressed"),
            "rewards": "snappy",
            **of_infos,
        }


@pytest.mark.parametrize(
    "choice",
    [
        {"observations/left": "zstd", "rewards": "none"},
        {"observations/left": "zstd:3", "observations/right": "zstd:4"},
        {"observations/left": "lz4"},  # the other camera has the usual codec
        {"rewards": "none"},
        {"actions": "lz4", "observations": "zstd"},
    ],
)
def test_arrow_refuses_columns_that_differ(tmp_path: Path, choice: dict[str, str]) -> None:
    with pytest.raises(CompressionError, match="compresses a file as a whole; choose one, or the format 'parquet'"):
        new(tmp_path, "arrow", CAMERAS, choice)
    assert not (tmp_path / "data").exists()
    new(tmp_path, "parquet", CAMERAS, choice)


@pytest.mark.parametrize("choice", [{"observations": "lz4"}, {"observations": "zstd:3", "rewards": "zstd:3"}])
def test_arrow_compresses_a_file_as_a_whole(tmp_path: Path, choice: Any) -> None:
    storage = new(tmp_path, "arrow", CAMERAS, choice, plain_buffer(cameras(9)))
    assert size(storage) < 0.3 * 20 * FRAMES.low.size
    assert next(storage.get_episodes([0]))["rewards"].tolist() == [0] * 9


@pytest.mark.parametrize(
    ("data_format", "codec"),
    [("arrow", codec) for codec in ("gzip", "snappy", "lz4:3", "zstd:23")]
    + [("parquet", codec) for codec in ("lzf", "snappy:1", "gzip:0", "gzip:10", "brotli:12")],
)
def test_unknown_codecs_and_levels_are_refused(tmp_path: Path, data_format: str, codec: str) -> None:
    with pytest.raises(CompressionError, match=codec.partition(":")[0]):
        new(tmp_path, data_format, VECTOR, codec)


def test_codec_missing_from_pyarrow_is_named(tmp_path: Path, data_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minari._storages.arrow.storage.has_codec", lambda name: name != "lz4")
    with pytest.raises(MissingDependencyError, match=r"'lz4' is missing .* pip install"):
        new(tmp_path, data_format, VECTOR, "lz4")
    new(tmp_path, data_format, VECTOR, "zstd")


# Copies


def test_files_are_copied_as_they_are_whatever_the_choice(tmp_path: Path, data_format: str) -> None:
    truths = [draw_truth(VECTOR, ACTIONS, steps, steps) for steps in (40, 3, 70)]
    source = new(tmp_path / "source", data_format, VECTOR, "zstd:19", *truths)
    source.update_episode_metadata([{"n": number} for number in range(3)])
    target = new(tmp_path / "target", data_format, VECTOR, "none")
    target.update_from_storage(source, [2, 0])
    target.update_from_storage(source, [1])
    for index, origin in enumerate((2, 0, 1)):
        copied, original = (
            (storage.data_path / str(number) / f"part-0.{data_format}").read_bytes()
            for storage, number in ((target, index), (source, origin))
        )
        assert copied == original
        assert_episode(next(target.get_episodes([index])), VECTOR, ACTIONS, truths[origin])
        (metadata,) = target.get_episode_metadata([index])
        assert (metadata["id"], metadata["n"]) == (index, origin)


def test_tables_with_another_layout_are_rewritten(tmp_path: Path, data_format: str) -> None:
    """Other programs read the tables of all episodes as one, so that they must have the same schema."""
    truth = draw_truth(VECTOR, ACTIONS, 5, 0)
    whole = {
        **truth,
        "rewards": np.arange(5),
        "infos": {"n": np.arange(6) / 2},
    }  # stored as integers where they are first
    target = new(tmp_path / "a", data_format, VECTOR, None, {**truth, "infos": {"n": np.arange(6)}})
    target.update_from_storage(new(tmp_path / "b", data_format, VECTOR, None, whole))
    assert_episode(next(target.get_episodes([1])), VECTOR, ACTIONS, whole)


def test_file_that_is_cut_off_is_not_copied(tmp_path: Path, data_format: str) -> None:
    source = new(tmp_path / "a", data_format, VECTOR, None, *[as_buffer(draw_truth(VECTOR, ACTIONS, 5))] * 3)
    part = source.data_path / "1" / f"part-0.{data_format}"
    part.write_bytes(part.read_bytes()[:-9])
    target = new(tmp_path / "b", data_format, VECTOR)
    with pytest.raises(DatasetCorruptError, match=rf"1.part-0\.{data_format}"):
        target.update_from_storage(source)
    assert target.total_episodes == MinariStorage.read(target.data_path).total_episodes == 0
