"""Compression in Arrow and Parquet: which columns have which codec, what it saves, and that nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from minari.dataset.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import CompressionError, DatasetCorruptError, MissingDependencyError
from minari.testing.comparison import assert_episode, assert_same
from minari.testing.examples import as_buffer, draw_truth


pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

FRAMES = spaces.Box(0, 255, (96, 96, 3), np.uint8)
CAMERAS = spaces.Dict({"left": FRAMES, "right": FRAMES, "speed": spaces.Box(-1, 1, (3,), np.float32)})
VECTOR = spaces.Box(-np.inf, np.inf, (8,), np.float64)
ACTIONS = spaces.Discrete(4)

ARROW = ["none", "lz4", "zstd", "zstd:1", "zstd:22"]
PARQUET = ["none", "snappy", "gzip", "gzip:9", "zstd", "zstd:19", "lz4", "brotli", "brotli:0", "brotli:11"]

both_formats = pytest.mark.parametrize("data_format", ["arrow", "parquet"])


def new(directory: Path, data_format: str, space: Any, compression: Any = None) -> MinariStorage:
    return MinariStorage.new(directory / "data", space, ACTIONS, data_format=data_format, compression=compression)


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


@pytest.mark.parametrize(
    ("data_format", "codec"), [*(("arrow", codec) for codec in ARROW), *(("parquet", codec) for codec in PARQUET)]
)
def test_every_codec(tmp_path: Path, data_format: str, codec: str) -> None:
    """Nothing is lost, whatever the type; what comes later is compressed alike; it is smaller."""
    space = spaces.Dict(
        {"x": VECTOR, "flags": spaces.MultiBinary(9), "text": spaces.Text(8), "seen": spaces.Sequence(VECTOR)}
    )
    infos = {"count": np.zeros(801, np.int64), "deep": {"zeros": np.zeros((801, 7), np.float32)}}
    truths = [draw_truth(space, ACTIONS, 800, seed, infos) for seed in range(3)]
    storage, plain = new(tmp_path / "a", data_format, space, codec), new(tmp_path / "b", data_format, space)
    for truth in truths:
        MinariStorage.read(storage.data_path).update_episodes([as_buffer(truth)])
        plain.update_episodes([as_buffer(truth)])
    for episode, truth in zip(storage.get_episodes(range(3)), truths, strict=True):
        assert_episode(episode, space, ACTIONS, truth)
    if codec == "none":
        assert size(storage) == size(plain)
    else:
        assert size(storage) < 0.95 * size(plain)
    if data_format == "parquet":
        name = {"none": "uncompressed"}.get(codec, codec.partition(":")[0])
        assert {*codecs(storage, 2).values()} == {name}


@both_formats
def test_a_higher_level_is_handed_on(tmp_path: Path, data_format: str) -> None:
    noise = np.cumsum(np.random.default_rng(0).integers(-2, 3, (5001, 8)), 0).astype(np.float64)
    sizes = []
    for level in (1, 19):
        storage = new(tmp_path / str(level), data_format, VECTOR, f"zstd:{level}")
        storage.update_episodes([buffer_of(noise)])
        sizes.append(size(storage))
    assert sizes[1] < 0.9 * sizes[0]


def buffer_of(observations: Any) -> EpisodeBuffer:
    leaf = next(iter(observations.values())) if isinstance(observations, dict) else observations
    steps = len(leaf) - 1
    return EpisodeBuffer(
        observations=observations,
        actions=np.zeros(steps, np.int64),
        rewards=np.zeros(steps),
        terminations=np.zeros(steps, np.bool_),
        truncations=np.zeros(steps, np.bool_),
    )


def cameras(steps: int) -> dict[str, Any]:
    """Frames of which each is like the one before it."""
    rng = np.random.default_rng(3)
    background = rng.integers(0, 256, (96, 96, 3), np.uint8)
    frames = np.repeat(background[None], steps + 1, 0)
    for time in range(steps + 1):
        frames[time, time % 80 : time % 80 + 8, 20:30] = 255
    return {"left": frames, "right": frames[::-1].copy(), "speed": rng.random((steps + 1, 3), np.float32)}


@both_formats
def test_frames_are_compressed_over_time_and_numbers_are_not(tmp_path: Path, data_format: str) -> None:
    given = cameras(60)
    storage = new(tmp_path, data_format, CAMERAS)
    storage.update_episodes([buffer_of(given)] * 3)
    for episode in storage.get_episodes(range(3)):
        assert_same(episode["observations"], given, "observations")
    # A frame of noise by itself takes all its bytes; those that follow it hardly any.
    assert size(storage) < 3 * 1.3 * 2 * given["left"][0].nbytes
    if data_format == "parquet":
        found = codecs(storage, 2)
        assert {path for path, codec in found.items() if codec == "zstd"} == {"observations.left", "observations.right"}
        assert {*found.values()} == {"zstd", "uncompressed"}


@both_formats
def test_without_frames_nothing_is_compressed(tmp_path: Path, data_format: str) -> None:
    storage = new(tmp_path, data_format, VECTOR)
    storage.update_episodes([buffer_of(np.zeros((1001, 8)))])
    assert size(storage) > 64_000
    if data_format == "parquet":
        assert {*codecs(storage).values()} == {"uncompressed"}
        assert not any(chunk.has_dictionary_page or chunk.is_stats_set for chunk in chunks(storage).values())


@both_formats
def test_no_compression_of_frames_when_that_is_asked_for(tmp_path: Path, data_format: str) -> None:
    given = cameras(20)
    storage = new(tmp_path, data_format, CAMERAS, "none")
    storage.update_episodes([buffer_of(given)] * 3)
    assert size(storage) > 3 * 2 * given["left"].nbytes
    # Not four times as much, which is what Parquet spends on numbers of eight bits.
    assert size(storage) < 3 * 2.1 * given["left"].nbytes
    for episode in storage.get_episodes(range(3)):
        assert_same(episode["observations"], given, "observations")


def test_columns_of_parquet_have_codecs_of_their_own(tmp_path: Path) -> None:
    choice = {"observations": "gzip:1", "observations/right": "none", "rewards": "snappy", "infos/pose": "brotli"}
    storage = new(tmp_path, "parquet", CAMERAS, choice)
    given = cameras(10)
    infos = {"pose": {"x": np.zeros(11), "y": np.zeros((11, 3))}, "other": np.zeros(11)}
    for _ in range(3):
        MinariStorage.read(storage.data_path).update_episodes(
            [EpisodeBuffer(**{**vars(buffer_of(given)), "infos": infos})]
        )
    for index in range(3):
        assert codecs(storage, index) == {
            "observations.left": "gzip",
            "observations.right": "uncompressed",
            "observations.speed": "gzip",
            "actions": "uncompressed",
            "rewards": "snappy",
            "terminations": "uncompressed",
            "truncations": "uncompressed",
            "infos.pose.x": "brotli",
            "infos.pose.y": "brotli",
            "infos.other": "uncompressed",
        }
    for episode in storage.get_episodes(range(3)):
        assert_same(episode["observations"], given, "observations")
        assert_same(episode["infos"], infos, "infos")


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


@pytest.mark.parametrize("choice", [{"observations": "lz4"}, {"observations": "zstd:3", "rewards": "zstd:3"}, "lz4"])
def test_arrow_compresses_a_file_as_a_whole(tmp_path: Path, choice: Any) -> None:
    storage = new(tmp_path, "arrow", CAMERAS, choice)
    storage.update_episodes([buffer_of({**cameras(2), "speed": np.zeros((3, 3), np.float32)})])
    assert_same(next(iter(storage.get_episodes([0])))["rewards"], np.zeros(2), "rewards")


@pytest.mark.parametrize(
    ("data_format", "codec"),
    [("arrow", "gzip"), ("arrow", "snappy"), ("arrow", "lz4:3"), ("arrow", "zstd:23"), ("parquet", "lzf")]
    + [("parquet", codec) for codec in ("snappy:1", "gzip:0", "gzip:10", "brotli:12")],
)
def test_codecs_that_there_are_not(tmp_path: Path, data_format: str, codec: str) -> None:
    with pytest.raises(CompressionError, match=rf"{codec.partition(':')[0]}"):
        new(tmp_path, data_format, VECTOR, codec)


@both_formats
def test_a_codec_that_pyarrow_was_built_without(
    tmp_path: Path, data_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minari._storages.arrow.storage.has_codec", lambda name: name != "lz4")
    with pytest.raises(MissingDependencyError, match=r"'lz4' is missing .* pip install"):
        new(tmp_path, data_format, VECTOR, "lz4")
    new(tmp_path, data_format, VECTOR, "zstd")


@both_formats
def test_jpeg_frames_are_not_compressed_again(tmp_path: Path, data_format: str) -> None:
    pytest.importorskip("PIL")
    storage = MinariStorage.new(tmp_path / "data", FRAMES, ACTIONS, data_format=data_format, jpeg_encoding=True)
    storage.update_episodes([buffer_of(cameras(4)["left"])])
    if data_format == "parquet":
        assert codecs(storage)["observations"] == "uncompressed"


@both_formats
def test_frames_of_a_simulator(tmp_path: Path, data_format: str) -> None:
    """161 frames as in the documentation: lossless, and smaller than PNG makes each of them (186 KB)."""
    pytest.importorskip("Box2D")
    import gymnasium as gym

    env = gym.make("CarRacing-v3")
    env.action_space.seed(0)
    frames = [env.reset(seed=0)[0]]
    while len(frames) < 161:
        frames.append(env.step(env.action_space.sample())[0])
    env.close()
    storage = new(tmp_path, data_format, FRAMES)
    storage.update_episodes([buffer_of(np.stack(frames))])
    assert size(storage) <= 150_000
    assert_same(next(iter(storage.get_episodes([0])))["observations"], np.stack(frames), "frames")


@both_formats
def test_files_are_copied_as_they_are(tmp_path: Path, data_format: str) -> None:
    """Files are copied regardless of the choice of their new dataset, if its tables have the same layout."""
    source = new(tmp_path / "source", data_format, VECTOR, "zstd:19")
    truths = [draw_truth(VECTOR, ACTIONS, steps, steps) for steps in (40, 3, 70)]
    source.update_episodes([as_buffer(truth, seed=2**63) for truth in truths])
    target = new(tmp_path / "target", data_format, VECTOR, "none")
    target.update_from_storage(source, [2, 0])
    target.update_from_storage(source, [1])
    for index, origin in enumerate((2, 0, 1)):
        copied, original = (
            (storage.data_path / str(number) / f"part-0.{data_format}").read_bytes()
            for storage, number in ((target, index), (source, origin))
        )
        assert copied == original
        (episode,) = target.get_episodes([index])
        assert_episode(episode, VECTOR, ACTIONS, truths[origin])
        (metadata,) = target.get_episode_metadata([index])
        assert (metadata["id"], metadata["seed"]) == (index, 2**63)


@both_formats
def test_tables_with_another_layout_are_rewritten(tmp_path: Path, data_format: str) -> None:
    """Other programs read the tables of all episodes as one, so that they must have the same schema."""
    truth = draw_truth(VECTOR, ACTIONS, 5, 0)
    whole = {**truth, "rewards": np.arange(5)}  # whole numbers, which are stored as such where they come first
    target, source = (new(tmp_path / name, data_format, VECTOR) for name in ("target", "source"))
    target.update_episodes([as_buffer({**truth, "infos": {"n": np.arange(6)}})])
    source.update_episodes([as_buffer({**whole, "infos": {"n": np.arange(6) / 2}})])
    target.update_from_storage(source)
    (episode,) = target.get_episodes([1])
    assert_episode(episode, VECTOR, ACTIONS, {**whole, "infos": {"n": np.arange(6) / 2}})


@both_formats
def test_a_file_that_is_cut_off_is_not_copied(tmp_path: Path, data_format: str) -> None:
    """It is reported with its name, and nothing of the others appears."""
    source, target = (new(tmp_path / name, data_format, VECTOR) for name in ("source", "target"))
    source.update_episodes([as_buffer(draw_truth(VECTOR, ACTIONS, 5, seed)) for seed in range(3)])
    part = source.data_path / "1" / f"part-0.{data_format}"
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(DatasetCorruptError, match=rf"1.part-0\.{data_format}"):
        target.update_from_storage(source)
    assert target.total_episodes == 0
    assert MinariStorage.read(target.data_path).total_episodes == 0
