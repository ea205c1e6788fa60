"""JPEG frames that stay as they are on their way into a dataset and out of one, byte for byte."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import minari
from interchange.checks import assert_same_episodes, fresh, run_library
from minari.data_collector import EpisodeBuffer
from minari.errors import DatasetCorruptError, InterchangeError
from minari.interchange import export_dataset, import_dataset, read
from minari.interchange.rlds.directory import shard_name
from minari.interchange.tf_example import parse_example, written_example
from minari.interchange.tfrecord import RecordWriter, read_records
from support.official import fixtures_directory


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

KEEP: dict[str, Any] = {"last_step_action": "keep", "final_observation": "repeat"}
SPACE = gym.spaces.Dict(
    {
        "front": gym.spaces.Box(0, 255, (40, 32, 3), np.uint8),
        "gray": gym.spaces.Box(0, 255, (32, 33, 1), np.uint8),
        "state": gym.spaces.Box(-1, 1, (2,), np.float32),
    }
)


def bridge() -> Path:
    root = fixtures_directory()
    if root is None or not (root / "foreign").is_dir():
        pytest.skip("the samples of other formats are not there; MINARI_FIXTURES names their directory")
    return root / "foreign" / "rlds-octo-bridge"


def picture(image: Image.Image, kind: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def jpeg(pixels: np.ndarray[Any, Any]) -> bytes:
    return picture(Image.fromarray(pixels), "JPEG")


def png(data: bytes) -> bytes:
    return picture(Image.open(io.BytesIO(data)), "PNG")


def resized(data: bytes, height: int, width: int) -> bytes:
    """Let the header of a JPEG image claim another size."""
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + data[place + 4 :]


def noise(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def made(dataset_id: str, space: gym.Space[Any] = SPACE, lengths: tuple[int, ...] = (3, 1, 5), **options: Any) -> Any:
    """A dataset of noise, stored as JPEG unless the options say otherwise."""
    fresh(dataset_id)
    space.seed(7)
    buffers = [
        EpisodeBuffer(
            observations=[space.sample() for _ in range(length + 1)],
            actions=np.arange(length) % 3,
            rewards=np.arange(length, dtype=np.float32),
            terminations=np.arange(length) == length - 1,
            truncations=np.zeros(length, bool),
            seed=length,
        )
        for length in lengths
    ]
    return minari.create_dataset_from_buffers(
        dataset_id,
        buffers,
        observation_space=space,
        action_space=gym.spaces.Discrete(3),
        **{"jpeg_encoding": True, **options},
    )


def stored_bytes(dataset: Any) -> list[dict[Any, list[bytes]]]:
    """The frames of each episode as they are stored, by their paths."""
    paths = [leaf.path for leaf in dataset.storage.image_leaves]
    return [
        {path: [bytes(frame) for frame in columns[path]] for path in paths}
        for _, columns in dataset.storage.stored_columns(dataset.episode_indices.tolist())
    ]


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path[1:]:
        tree = tree[key]
    return tree


# Imports.


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet", "zarr"])
def test_frames_of_bridge_stay_as_they_are(data_format: str) -> None:
    encoded = import_dataset(bridge(), "frames/encoded-v0", "rlds", **KEEP, images="encoded", data_format=data_format)
    assert not isinstance(encoded, minari.interchange.Report)
    assert encoded.storage.jpeg_encoding
    assert any("byte for byte" in sentence for sentence in encoded.storage.metadata["conversion"]["taken"])
    records = [parse_example(data) for shard in sorted(bridge().rglob("*tfrecord-*")) for data in read_records(shard)]
    for record, stored, episode in zip(records, stored_bytes(encoded), encoded, strict=True):
        for number in range(4):
            source = [bytes(part) for part in record[f"steps/observation/image_{number}"].strings()]
            assert stored["observations", f"image_{number}"] == [*source, source[-1]]
            pixels = [np.asarray(Image.open(io.BytesIO(frame))) for frame in source]
            np.testing.assert_array_equal(episode.observations[f"image_{number}"][:-1], pixels)
    decoded = import_dataset(bridge(), "frames/decoded-v0", "rlds", **KEEP)
    assert_same_episodes(encoded, decoded)
    np.testing.assert_array_equal(encoded[3].observations["image_1"][2], decoded[3].observations["image_1"][2])


def test_frames_in_array_records_stay_as_they_are(tmp_path: Path) -> None:
    module = pytest.importorskip("array_record.python.array_record_module")
    records = [data for shard in sorted(bridge().rglob("*tfrecord-*")) for data in read_records(shard)]
    (source,) = [path.parent for path in bridge().rglob("features.json")]
    info = json.loads((source / "dataset_info.json").read_text())
    info |= {"fileFormat": "array_record", "splits": [{"name": "train", "shardLengths": [str(len(records))]}]}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    (tmp_path / "features.json").write_bytes((source / "features.json").read_bytes())
    name = shard_name(info["name"], "train", 0, 1).replace("tfrecord", "array_record")
    writer = module.ArrayRecordWriter(str(tmp_path / name), "group_size:1")
    for data in records:
        writer.write(bytes(data))
    writer.close()
    ours = read(tmp_path, "rlds", **KEEP, images="encoded")
    theirs = read(bridge(), "rlds", **KEEP, images="encoded")
    assert len(ours.encoded) == 4
    for a, b in zip(ours.episodes, theirs.episodes, strict=True):
        assert all(list(a.observations[f"image_{n}"]) == list(b.observations[f"image_{n}"]) for n in range(4))


@pytest.mark.parametrize("name", ["rlds", "lerobot"])
def test_import_of_an_export_has_the_same_bytes(tmp_path: Path, name: str) -> None:
    dataset = made("frames/source-v0")
    report = export_dataset(dataset, tmp_path / "a", name, images="jpeg")
    assert sum("byte for byte" in sentence for sentence in report.taken) == 2
    again = import_dataset(tmp_path / "a", "frames/again-v0", name, images="encoded")
    assert stored_bytes(again) == stored_bytes(dataset)
    assert_same_episodes(again, dataset)
    decoded = import_dataset(tmp_path / "a", "frames/decoded-v0", name)
    assert not decoded.storage.jpeg_encoding
    assert_same_episodes(decoded, dataset)
    view = dataset[1:]
    export_dataset(view, tmp_path / "b", name, images="jpeg")
    again = import_dataset(tmp_path / "b", "frames/view-v0", name, images="encoded")
    assert stored_bytes(again) == stored_bytes(view)


def test_frames_without_channels_or_names_stay_as_they_are_in_lerobot(tmp_path: Path) -> None:
    gray, color = gym.spaces.Box(0, 255, (32, 48), np.uint8), gym.spaces.Box(0, 255, (32, 48, 3), np.uint8)
    for number, space in enumerate((gray, color, gym.spaces.Tuple([gray, gym.spaces.Dict({"x.y/z": color})]))):
        dataset = made(f"frames/tree-v{number}", space)
        export_dataset(dataset, tmp_path / f"{number}", "lerobot", images="jpeg")
        again = import_dataset(tmp_path / f"{number}", f"frames/again-v{number}", images="encoded")
        assert stored_bytes(again) == stored_bytes(dataset)
        assert_same_episodes(again, dataset)


def test_stacks_are_exported_from_their_frames(tmp_path: Path) -> None:
    space = gym.spaces.Dict({"stack": gym.spaces.Box(0, 255, (3, 32, 32), np.uint8), **SPACE.spaces})
    frames = noise(6, 32, 32)
    stacks = np.stack([frames[step : step + 3] for step in range(4)])
    buffer = EpisodeBuffer(
        observations={
            "stack": stacks,
            "front": noise(4, 40, 32, 3),
            "gray": noise(4, 32, 33, 1),
            "state": np.zeros((4, 2), np.float32),
        },
        actions=np.zeros(3, int),
        rewards=np.zeros(3),
        terminations=np.zeros(3, bool),
        truncations=np.arange(3) == 2,
    )
    dataset = minari.create_dataset_from_buffers(
        "frames/stacks-v0",
        [buffer],
        observation_space=space,
        action_space=gym.spaces.Discrete(2),
        jpeg_encoding=True,
        frame_stack="deduplicate",
    )
    export_dataset(dataset, tmp_path / "a", "rlds", images="jpeg")
    again = import_dataset(tmp_path / "a", "frames/again-v0", images="encoded")
    assert_same_episodes(again, dataset)
    (ours,), (theirs,) = stored_bytes(again), stored_bytes(dataset)
    assert ours.items() <= theirs.items()
    assert {path[-1] for path in ours} == {"front", "gray"}


def test_exact_frames_become_jpeg_only_if_asked_for(tmp_path: Path) -> None:
    dataset = made("frames/exact-v0", jpeg_encoding=False)
    report = export_dataset(dataset, tmp_path / "a", "lerobot", images="jpeg")
    assert sum("JPEG is lossy" in sentence for sentence in report.missing) == 2
    again = import_dataset(tmp_path / "a", "frames/lossy-v0", images="encoded")
    assert [len(episode) for episode in again] == [3, 1, 5]
    export_dataset(made("frames/jpeg-v0"), tmp_path / "b", "lerobot")
    source = read(tmp_path / "b", images="encoded")
    assert not source.encoded
    assert any("not all are JPEG here" in sentence for sentence in source.report.taken)


def test_frames_are_decoded_unless_all_images_are_jpeg(tmp_path: Path) -> None:
    dataset = made("frames/source-v0")
    export_dataset(dataset, tmp_path / "a", "lerobot", images="jpeg")
    change_pictures(tmp_path / "a", "observation.gray", lambda row, data: png(data))
    again = import_dataset(tmp_path / "a", "frames/mixed-v0", images="encoded")
    assert not again.storage.jpeg_encoding
    assert_same_episodes(again, dataset)
    assert "others: observations/gray" in str(again.storage.metadata["conversion"]["taken"])


def test_statistics_are_those_of_the_decoded_frames(tmp_path: Path) -> None:
    dataset = made("frames/source-v0")
    export_dataset(dataset, tmp_path / "a", "lerobot", images="jpeg")
    export_dataset(dataset, tmp_path / "b", "lerobot")
    ours, theirs = ((tmp_path / name / "meta/stats.json").read_text() for name in "ab")
    assert ours == theirs


def change_pictures(path: Path, column: str, change: Any) -> None:
    """Change the images of a column of an export to LeRobot, also the final ones."""
    for file in (*path.glob("data/*/*.parquet"), *path.glob("meta/episodes/*/*.parquet")):
        table = pq.read_table(file)
        for number, name in enumerate(table.schema.names):
            if name in (column, f"minari/final/{column}"):
                rows = [
                    {**value, "bytes": change(row if name == column else -1, value["bytes"])}
                    for row, value in enumerate(table[name].to_pylist())
                ]
                field = table.schema.field(number)
                table = table.set_column(number, field, pa.array(rows, field.type))
        pq.write_table(table, file, row_group_size=1)


# Frames that do not fit.

COLOR, GRAY = jpeg(noise(40, 32, 3)), jpeg(noise(40, 32))
ODD = {
    "png": (png(COLOR), "is no JPEG image, or is cut off"),
    "cut off": (COLOR[:-40], "is no JPEG image, or is cut off"),
    "gray": (GRAY, r"has the shape \(40, 32\), expected \(40, 32, 3\)"),
    "turned": (jpeg(noise(32, 40, 3)), r"has the shape \(32, 40, 3\), expected \(40, 32, 3\)"),
    "of four channels": (
        picture(Image.new("CMYK", (32, 40)), "JPEG"),
        r"has the shape \(40, 32, 0\), expected \(40, 32, 3\)",
    ),
    "of a claimed size": (resized(COLOR, 65000, 65000), r"has the shape \(65000, 65000, 3\), expected \(40, 32, 3\)"),
    "without a size": (b"\xff\xd8\xff\xe0" + bytes(3000) + b"\xff\xd9", "is no JPEG image"),
    "of too many scans": (COLOR[:-2] + b"\xff\xda" * 300 + b"\xff\xd9", "cannot be those of an image"),
    "empty": (b"", "is no JPEG image, or is cut off"),
}


@pytest.mark.parametrize(("frame", "problem"), ODD.values(), ids=ODD)
def test_frames_that_do_not_fit_are_refused(tmp_path: Path, frame: bytes, problem: str) -> None:
    export_dataset(made("frames/source-v0"), tmp_path / "a", "lerobot", images="jpeg")
    change_pictures(tmp_path / "a", "observation.front", lambda row, data: frame if row == 5 else data)
    with pytest.raises(
        InterchangeError, match=f"frames of episode 2 .*Frame 1 of observations/front.*{problem}"
    ) as one:
        import_dataset(tmp_path / "a", "frames/odd-v0", images="encoded")
    assert "\n" not in str(one.value)
    assert str(one.value).endswith("import them with images='decoded'.")
    assert "frames/odd-v0" not in minari.list_local_datasets()


def test_gray_frames_among_others_are_imported_decoded(tmp_path: Path) -> None:
    export_dataset(made("frames/source-v0"), tmp_path / "a", "lerobot", images="jpeg")
    change_pictures(tmp_path / "a", "observation.front", lambda row, data: GRAY if row == 5 else data)
    again = import_dataset(tmp_path / "a", "frames/gray-v0")
    np.testing.assert_array_equal(again[2].observations["front"][1][..., 0], np.asarray(Image.open(io.BytesIO(GRAY))))


def test_frames_of_records_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    export_dataset(made("frames/source-v0"), tmp_path / "a", "rlds", images="jpeg")
    (file,) = (tmp_path / "a").glob("*.tfrecord-*")
    with file.open("rb+") as stream:
        records = list(read_records(file))
        stream.truncate(0)
        writer = RecordWriter(stream)
        for number, data in enumerate(records):
            writer.append(with_frame(bytes(data), GRAY) if number == 1 else bytes(data))
    with pytest.raises(InterchangeError, match=r"frames of episode 1 .*Frame 0 of observations/front has the shape"):
        import_dataset(tmp_path / "a", "frames/odd-v0", images="encoded")


def with_frame(record: bytes, frame: bytes) -> bytes:
    """Replace the first frame of a record."""
    found: dict[str, Any] = {}
    for name, feature in parse_example(record).items():
        if feature.kind == "byte strings":
            found[name] = [bytes(part) for part in feature.strings()]
        else:
            found[name] = feature.floats() if feature.kind == "floats" else feature.integers()
    found["steps/observation/front"][0] = frame
    return written_example(found)


def damaged_frames(data: bytes, count: int) -> Iterator[bytes]:
    generator = np.random.default_rng(3)
    for _ in range(count):
        changed = bytearray(data)
        for place in generator.integers(2, min(len(data) - 2, 700), size=3):
            changed[place] = int(generator.integers(256))
        yield bytes(changed)


def test_damaged_frames_are_refused_or_found_damaged_later(tmp_path: Path) -> None:
    export_dataset(made("frames/source-v0", lengths=(1,)), tmp_path / "a", "lerobot", images="jpeg")
    outcomes, messages = set(), ""
    for frame in damaged_frames(COLOR, 24):
        change_pictures(tmp_path / "a", "observation.front", lambda row, data, frame=frame: COLOR if row else frame)
        fresh("frames/damaged-v0")
        try:
            dataset = import_dataset(tmp_path / "a", "frames/damaged-v0", images="encoded")
            assert dataset[0].observations["front"].shape == (2, 40, 32, 3)
            outcomes.add("read")
        except (InterchangeError, DatasetCorruptError) as error:
            messages += str(error)
            outcomes.add(type(error))
    assert outcomes >= {"read", InterchangeError}
    assert "\n" not in messages


def test_images_of_another_environment_are_refused() -> None:
    spec = gym.spec("CartPole-v1")
    with pytest.raises(InterchangeError, match="The images in the spaces of the dataset are not the JPEG frames of"):
        import_dataset(bridge(), "frames/other-v0", "rlds", **KEEP, images="encoded", env=spec)


def test_damaged_dataset_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = made("frames/source-v0")
    (found,) = dataset.storage.stored_columns([0])
    odd = {**found[1], ("observations", "front"): np.array([COLOR, GRAY, COLOR, COLOR], object)}
    monkeypatch.setattr(dataset.storage, "stored_columns", lambda indices: iter([(0, odd)]))
    with pytest.raises(
        DatasetCorruptError, match=r"Episode 0 is damaged \(Frame 1 of observations/front has the shape"
    ):
        export_dataset(dataset[:1], tmp_path / "a", "rlds", images="jpeg")
    assert list(tmp_path.iterdir()) == []


# Other programs.

TFDS = """
import hashlib, json, sys
import tensorflow_datasets as tfds
builder = tfds.builder_from_directory(sys.argv[1])
name = {"steps": {"observation": {"front": tfds.decode.SkipDecoding(), "gray": tfds.decode.SkipDecoding()}}}
plain, raw = (builder.as_dataset("train", shuffle_files=False, decoders=d) for d in (None, name))
found = [[hashlib.sha256(step["observation"][key].numpy()).hexdigest() for step in episode["steps"]]
         for episode in raw for key in ("front", "gray")]
shapes = {str((*step["observation"]["front"].shape, *step["observation"]["gray"].shape))
          for episode in plain for step in episode["steps"]}
print(json.dumps([found, sorted(shapes)]))
"""

LEROBOT = """
import json, sys
from lerobot.datasets.lerobot_dataset import LeRobotDataset
found = LeRobotDataset("local/x", root=sys.argv[1], video_backend="pyav")
print(json.dumps([[int((row[f"observation.{key}"] * 255).round().long().sum()) for key in ("front", "gray")]
                  for row in (found[i] for i in range(len(found)))]))
"""


@pytest.mark.integrations
def test_tfds_finds_the_stored_bytes(tmp_path: Path) -> None:
    dataset = made("frames/source-v0")
    export_dataset(dataset, tmp_path / "a", "rlds", images="jpeg")
    found, shapes = json.loads(run_library("MINARI_TFDS_PYTHON", TFDS, tmp_path / "a").splitlines()[-1])
    assert shapes == ["(40, 32, 3, 32, 33, 1)"]
    assert found == [
        [hashlib.sha256(frame).hexdigest() for frame in frames]
        for episode in stored_bytes(dataset)
        for frames in episode.values()
    ]


@pytest.mark.integrations
def test_lerobot_decodes_the_stored_frames(tmp_path: Path) -> None:
    dataset = made("frames/source-v0")
    export_dataset(dataset, tmp_path / "a", "lerobot", images="jpeg")
    found = json.loads(run_library("MINARI_LEROBOT_PYTHON", LEROBOT, tmp_path / "a").splitlines()[-1])
    ours = [
        [int(episode.observations[key][step].sum()) for key in ("front", "gray")]
        for episode in dataset
        for step in range(len(episode))
    ]
    assert found == ours
