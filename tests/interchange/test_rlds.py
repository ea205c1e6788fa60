"""RLDS: every sample with its truth, round trips, and data sets that are damaged or lack something."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import subprocess
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minari
from interchange.conftest import Sample, sample
from minari.data_collector import EpisodeBuffer
from minari.errors import ArgumentError, InterchangeError, MissingDependencyError
from minari.interchange import export_dataset, import_dataset, read
from minari.interchange.rlds.directory import shard_name
from minari.interchange.tf_example import parse_example, written_example
from minari.interchange.tfrecord import RecordWriter, read_records


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.*assumed that"),
    pytest.mark.filterwarnings("ignore:.*precision lowered"),
]

KEEP = {"last_step_action": "keep", "final_observation": "repeat"}
SAMPLES = {
    "padded_robot-train": {},
    "padded_robot-test": {"split": "test"},
    "openx_lastaction-train": KEEP,
    "never_last-train": KEEP,
    "ragged_points-train": {},
    "minimal-train": {"rewards": "zeros"},
    "with_invalid-train": {},
}
ARRAY_RECORDS = {
    "padded_robot-train": {},
    "padded_robot-val": {"split": "val"},
    "openx_lastaction-train": KEEP,
    "ragged_points-train": {},
}
TABLE = [
    *(("rlds-tfds-tfrecord", name, options) for name, options in SAMPLES.items()),
    *(("rlds-tfds-array-record", name, options) for name, options in ARRAY_RECORDS.items()),
]


def leaves(values: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {name: values}
    return {path: leaf for key, part in values.items() for path, leaf in leaves(part, f"{name}/{key}").items()}


def assert_equal(ours: Any, theirs: Any, name: str) -> None:
    """Compare arrays, or lists of texts or arrays."""
    if isinstance(theirs, np.ndarray) and theirs.dtype != object:
        assert ours.dtype == theirs.dtype, name
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
        return
    assert len(ours) == len(theirs), name
    for mine, yours in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, yours, err_msg=name)


def assert_episode(episode: Any, found: Sample, number: int) -> None:
    facts, truth = found.truth["episodes"][number], found.episode(number)
    has_final = facts["final_observation_in_file"]
    for path, values in leaves(episode.observations, "observations").items():
        if path.endswith("/points"):
            for ours, theirs in zip(values, facts["points"], strict=True):
                np.testing.assert_array_equal(ours, np.array(theirs, np.float32).reshape(-1, 2))
            assert [len(points) for points in values] == truth["observations/points_flat_lengths"].tolist()
            continue
        expected = truth[path] if has_final else np.concatenate([truth[path][:-1], truth[path][-2:-1]])
        if path.endswith("precise"):
            expected = expected.astype(np.float32).astype(np.float64)
        assert_equal(values, expected, path)
    for path, values in leaves(episode.actions, "actions").items():
        assert_equal(values, truth[path], path)
    assert_equal(episode.rewards, truth["rewards"], "rewards")
    marked = slice(-1 if found.truth["convention"] == "nolast" else None)
    assert_equal(episode.terminations[marked], truth["terminated"][marked], "terminated")
    assert_equal(episode.truncations[marked], truth["truncated"][marked], "truncated")
    assert episode.terminations[-1] or episode.truncations[-1]
    if "language_instruction" in facts:
        texts = episode.infos["language_instruction"].tolist()
        assert set(texts[: facts["length"]]) == {facts["language_instruction"]}
    for key, value in facts.get("episode_metadata", {}).items():
        assert episode.metadata[key] == (np.float32(value) if key == "score" else value)


@pytest.mark.parametrize(("directory", "name", "options"), TABLE)
def test_samples_are_read_exactly(directory: str, name: str, options: dict[str, Any]) -> None:
    if directory.endswith("array-record"):
        pytest.importorskip("array_record", reason="the containers need array_record")
    found = sample(directory, name)
    dataset = import_dataset(found.path.with_name(name.rsplit("-", 1)[0]), "rlds/sample-v0", **options)
    assert isinstance(dataset, minari.MinariDataset)
    valid = {one["id"] for one in found.truth["episodes"] if not one.get("invalid")}
    order = [number for number in found.truth["file_order_of_episode_ids"] if number in valid]
    ids = [one["id"] for one in found.truth["episodes"]]
    if not order:  # nothing in the file names the episode
        first = [found.episode(number)["observations"][0].tolist() for number in range(len(ids))]
        order = [ids[first.index(episode.observations[0].tolist())] for episode in dataset]
    assert len(dataset) == len(order) == len(valid)
    for episode, number in zip(dataset, order, strict=True):
        assert_episode(episode, found, ids.index(number))
    report = dataset.storage.metadata["conversion"]
    assert (report["format"], report["episodes"], report["steps"]) == ("rlds", len(dataset), dataset.total_steps)
    assert minari.validate(dataset.id).ok


def bridge() -> Path:
    return sample("rlds-tfds-tfrecord", "minimal-train").path.parents[1] / "rlds-octo-bridge" / "bridge_dataset"


def test_bridge_is_read() -> None:
    dataset = import_dataset(bridge(), "rlds/bridge-v0", **KEEP)
    assert isinstance(dataset, minari.MinariDataset)
    assert len(dataset) == 13
    for episode in dataset:
        assert len(episode) == 10
        assert episode.truncations.tolist() == [False] * 9 + [True]
        assert not episode.terminations.any()
        assert not episode.rewards.any()
        assert np.abs(episode.actions[0, :6]).max() < 1e-6 < np.abs(episode.actions[-1]).max()
        assert all(episode.observations[f"image_{i}"].shape == (11, 64, 64, 3) for i in range(4))
        assert episode.observations["image_0"].std() > 10
        assert len(set(episode.infos["language_instruction"][:-1].tolist())) == 1
        assert episode.infos["language_embedding"].shape == (11, 512)
        assert not any(episode.metadata[f"has_image_{i}"] for i in range(4))
        assert episode.metadata["file_path"].endswith("out.npy")
    report = dataset.storage.metadata["conversion"]
    assert "13 episodes in which is_last is never set end with their records" in report["assumed"]
    assert dataset.storage.metadata["rlds"]["name"] == "bridge_dataset"


def test_last_action_that_is_not_zero_is_reported() -> None:
    source = read(bridge())
    assert [len(episode.rewards) for episode in source.episodes] == [9] * 13
    assert any("13 episodes whose last step has an action that is not zero" in line for line in source.report.assumed)
    padded = read(sample("rlds-tfds-tfrecord", "padded_robot-train").path.with_name("padded_robot"))
    assert sum(len(episode.rewards) for episode in padded.episodes) == 51
    assert not any("not zero" in line for line in padded.report.assumed)


def test_all_splits_are_named_in_the_metadata() -> None:
    path = sample("rlds-tfds-tfrecord", "padded_robot-train").path.with_name("padded_robot")
    splits = [episode.metadata["split"] for episode in read(path, split="all").episodes]
    assert splits == ["train"] * 7 + ["test"] * 2
    with pytest.raises(ArgumentError, match=r"split is 'trian', expected one of 'train', 'test', 'all'.*Did you mean"):
        read(path, split="trian")


def test_names_of_classes_and_description_are_kept() -> None:
    path = sample("rlds-tfds-tfrecord", "openx_lastaction-train").path.with_name("openx_lastaction")
    source = read(path)
    assert source.metadata["rlds"]["labels"] == {"steps/action/mode": ["reach", "grasp", "lift"]}
    assert source.metadata["description"] == "actiondict/lastaction fixture"
    assert source.action_space["mode"] == gym.spaces.Discrete(3)
    assert any("float" in line and "precise" in line for line in source.report.missing)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("BROKEN-crc", {}, "the checksum of record 2 is wrong"),
        ("BROKEN-cut-short", {}, "within a record"),
        ("BROKEN-shard-missing", {}, "lacks 1 of the 3 files of the split 'train'"),
        ("minimal", {"rewards": "error"}, "has no rewards; choose rewards='zeros'"),
        ("padded_robot", {"last_step_action": "keep"}, "no observation after the last step of an episode"),
    ],
)
def test_broken_samples_are_one_clear_error(name: str, options: dict[str, Any], message: str) -> None:
    path = sample("rlds-tfds-tfrecord", "minimal-train").path.with_name(name)
    with pytest.raises(InterchangeError, match=message) as raised:
        import_dataset(path, "rlds/broken-v0", "rlds", **{"rewards": "zeros", **options})
    assert "\n" not in str(raised.value)
    assert minari.list_local_datasets() == {}


def test_options_of_another_name_or_value_are_refused() -> None:
    for options, message in (
        ({"last_step_action": "guess"}, "last_step_action is 'guess', expected one of 'drop', 'keep'"),
        ({"final_observation": "next_row"}, "final_observation is 'next_row', expected one of"),
        ({"final": "repeat"}, "has no option 'final'"),
    ):
        with pytest.raises(ArgumentError, match=message):
            read(bridge(), "rlds", **options)


# Data sets that are made here.

TENSOR, SCALAR, DICT = "tensor_feature.Tensor", "scalar.Scalar", "features_dict.FeaturesDict"


def tensor(dtype: str = "float32", *shape: int, **more: Any) -> dict[str, Any]:
    shaped = {"dimensions": [str(size) for size in shape]} if shape else {}
    return {"pythonClassName": TENSOR, "tensor": {"dtype": dtype, "shape": shaped, "encoding": "none", **more}}


def picture(*shape: int) -> dict[str, Any]:
    return {"image": {"dtype": "uint8", "shape": {"dimensions": [str(size) for size in shape]}}}


def features(**parts: Any) -> dict[str, Any]:
    return {"pythonClassName": DICT, "featuresDict": {"features": parts}}


def sequence(inner: dict[str, Any], length: int = -1) -> dict[str, Any]:
    return {"sequence": {"feature": inner, "length": str(length)}}


FLAGS = {name: tensor("bool") for name in ("is_first", "is_last", "is_terminal")}


def steps(**parts: Any) -> dict[str, Any]:
    return features(steps=sequence(features(**{**BASE, **parts})))


BASE = {"observation": tensor("float32", 2), "action": tensor("int64"), "reward": tensor(), **FLAGS}
VALUES: dict[str, Any] = {
    "steps/observation": np.arange(8, dtype=np.float32),
    "steps/action": np.array([0, 2, 1, 0]),
    "steps/reward": np.array([1, 2, 3, 0], np.float32),
    "steps/is_first": np.array([1, 0, 0, 0]),
    "steps/is_last": np.array([0, 0, 0, 1]),
    "steps/is_terminal": np.array([0, 0, 0, 1]),
}


def write_dataset(path: Path, described: Any, records: list[Any], **info: Any) -> Path:
    """Write a data set of one file, from the lists of its records."""
    path.mkdir()
    with (path / shard_name("made", "train", 0, 1)).open("wb") as file:
        writer = RecordWriter(file)
        for values in records:
            writer.append(values if isinstance(values, bytes) else written_example(values))
    split = {"name": "train", "shardLengths": [str(len(records))]}
    content = {"name": "made", "version": "1.0.0", "fileFormat": "tfrecord", "splits": [split], **info}
    (path / "dataset_info.json").write_text(json.dumps(content))
    (path / "features.json").write_text(json.dumps(described))
    return path


def test_features_of_all_kinds_are_read(tmp_path: Path) -> None:
    described = steps(
        observation=features(
            big=tensor("uint64"),
            text={"text": {}},
            wide=sequence(tensor("float32"), 3),
            open=tensor("int16", -1),
            packed=tensor("float64", 2, encoding="zlib"),
            words=tensor("float16", 0),
        ),
        names=sequence({"text": {}}),
        odd={"audio": {}},
        bytes={"text": {}},
    )
    described["featuresDict"]["features"]["seed"] = {"text": {}}
    described["featuresDict"]["features"]["id"] = tensor("int32")
    described["featuresDict"]["features"]["tags"] = sequence({"text": {}})
    packed = np.arange(8.0).reshape(4, 2)
    values = {
        **{name: part for name, part in VALUES.items() if name != "steps/observation"},
        "steps/observation/big": np.array([2**64 - 1, 1, 2, 3], np.uint64),
        "steps/observation/text": [text.encode() for text in ("größe", "", "b", "c")],
        "steps/observation/wide/ragged_flat_values": np.arange(12, dtype=np.float32),
        "steps/observation/wide/ragged_row_lengths_0": np.array([3, 3, 3, 3]),
        "steps/observation/open": np.arange(8),
        "steps/observation/packed": [zlib.compress(row.tobytes()) for row in packed],
        "steps/observation/words": np.empty(0, np.float32),
        "steps/names/ragged_flat_values": [b"a", b"b"],
        "steps/names/ragged_row_lengths_0": np.array([0, 2, 0, 0]),
        "steps/bytes": [b"\xff", b"", b"a", b"b"],
        "seed": [b"abc"],
        "id": np.array([7]),
        "tags": [b"x", b"y"],
    }
    source = read(write_dataset(tmp_path / "a", described, [values]))
    (episode,) = source.episodes
    observations = episode.observations
    assert_equal(observations["big"], values["steps/observation/big"], "big")
    assert observations["text"] == ["größe", "", "b", "c"]
    assert_equal(observations["wide"], np.arange(12, dtype=np.float32).reshape(4, 3), "wide")
    assert [row.tolist() for row in observations["open"]] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert_equal(observations["packed"], packed, "packed")
    assert_equal(observations["words"], np.empty((4, 0), np.float16), "words")
    assert episode.infos == {"names": [[], ["a", "b"], [], []], "bytes": [b"\xff", b"", b"a", b"b"]}
    assert episode.metadata == {"rlds_seed": "abc", "rlds_id": 7, "tags": ["x", "y"]}
    assert source.action_space == gym.spaces.Discrete(3)
    assert set("größebc") == source.observation_space["text"].character_set
    assert any("steps/odd" in line for line in source.report.missing)
    dataset = import_dataset(tmp_path / "a", "rlds/kinds-v0")
    assert dataset[0].observations["text"] == observations["text"]
    assert dataset[0].observations["open"][1].tolist() == [2, 3]


def test_episodes_without_a_step_are_left_out(tmp_path: Path) -> None:
    one = {name: values[:2] if name == "steps/observation" else values[-1:] for name, values in VALUES.items()}
    none = {name: values[:0] for name, values in VALUES.items()}
    source = read(write_dataset(tmp_path / "a", steps(), [one, VALUES, none]))
    assert [len(episode.rewards) for episode in source.episodes] == [3]
    assert "2 episodes without a step" in source.report.missing


@pytest.mark.parametrize(
    ("options", "lengths", "last", "terminated"),
    [
        ({}, 3, [6, 7], True),
        (KEEP, 4, [6, 7], True),
        ({"last_step_action": "keep", "final_observation": "drop_last_step"}, 3, [6, 7], False),
    ],
)
def test_last_steps(tmp_path: Path, options: dict[str, str], lengths: int, last: list[int], terminated: bool) -> None:
    source = read(write_dataset(tmp_path / "a", steps(), [VALUES]), **options)
    (episode,) = source.episodes
    assert len(episode.rewards) == len(episode.actions) == lengths
    assert episode.observations[-1].tolist() == last
    assert len(episode.observations) == lengths + 1
    assert (bool(episode.terminations[-1]), bool(episode.truncations[-1])) == (terminated, not terminated)
    assert not episode.terminations[:-1].any()


@pytest.mark.parametrize(
    ("described", "changes", "info", "message"),
    [
        (steps(), {"steps/action": None}, {}, "it has no 'steps/action'"),
        (steps(), {"steps/action": np.array([1, 2])}, {}, "'steps/observation' has 4 values for 2 steps"),
        (steps(), {"steps/observation": np.zeros(7, np.float32)}, {}, "has 7 numbers for items of shape"),
        (steps(), {"steps/action": np.zeros(4, np.float32)}, {}, "floats where integers were expected"),
        (steps(), {"steps/is_last": np.array([0, 0, 0, 300])}, {}, "which are not of the dtype bool"),
        (steps(observation=tensor("uint8")), {"steps/observation": np.full(4, 256)}, {}, "not of the dtype uint8"),
        (steps(observation=picture(640, 640, 3)), {"steps/observation": [b"\x89PNG\r\n"] * 4}, {}, "cannot be those"),
        (steps(observation=picture(2, 2, 3)), {"steps/observation": [b"no picture"] * 4}, {}, "neither a PNG nor"),
        (steps(observation={"text": {}}), {"steps/observation": [b"\xff"] * 4}, {}, "which is no text"),
        (steps(observation={"text": {}}), {"steps/observation": [b"\0"] * 4}, {}, "which is no text"),
        (steps(observation={"audio": {}}), {}, {}, "of a kind that has no space"),
        (
            steps(observation=tensor("float64", 10**9, encoding="zlib")),
            {"steps/observation": [zlib.compress(b"")] * 4},
            {},
            "has too few bytes for 4 items",
        ),
        (
            steps(observation=tensor("uint8", 10, encoding="zlib")),
            {"steps/observation": [zlib.compress(bytes(2000))] * 4},
            {},
            "do not end where they should",
        ),
        (
            steps(observation=sequence(tensor())),
            {
                "steps/observation": None,
                "steps/observation/ragged_flat_values": np.zeros(4, np.float32),
                "steps/observation/ragged_row_lengths_0": np.array([2**62, 2**62, 2**62, 2**62 + 4]),
            },
            {},
            "lengths that do not fit",
        ),
        (features(steps=sequence(features(action=tensor()))), {}, {}, "have no observation"),
        (features(data=tensor()), {}, {}, "has no steps"),
        (tensor(), {}, {}, "has no dict of features"),
        ([], {}, {}, "it is no JSON object"),
        (steps(**{"a/b": tensor()}), {}, {}, "feature of the name 'a/b'"),
        (steps(), {}, {"fileFormat": "riegeli"}, "has files of the format 'riegeli'"),
        (steps(), {}, {"name": "../made"}, "is not a plain relative name"),
        (steps(), {}, {"splits": [{"name": "train", "shardLengths": ["1"], "filepathTemplate": "/{X}"}]}, "'X'"),
        (steps(), {}, {"splits": [{"name": "train", "shardLengths": ["2"]}]}, "it has 1 records, and dataset_info"),
        (steps(), {}, {"splits": [{"name": "train", "shardLengths": ["9" * 9000]}]}, "cannot be read"),
    ],
)  # fmt: skip
def test_other_contents_are_refused(
    tmp_path: Path, described: Any, changes: dict[str, Any], info: dict[str, Any], message: str
) -> None:
    values = {name: part for name, part in {**VALUES, **changes}.items() if part is not None}
    with pytest.raises(InterchangeError, match=message) as raised:
        list(read(write_dataset(tmp_path / "a", described, [values], **info), "rlds").episodes)
    assert "\n" not in str(raised.value)


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "a", steps(), [VALUES])
    shard = path / shard_name("made", "train", 0, 1)
    shard.rename(tmp_path / "outside")
    shard.symlink_to(tmp_path / "outside")
    with pytest.raises(InterchangeError, match="cannot be opened"):
        list(read(path).episodes)


def test_several_data_sets_have_to_be_chosen_from(tmp_path: Path) -> None:
    for version in ("1.0.0", "2.0.0"):
        write_dataset(tmp_path / version, steps(), [VALUES])
    with pytest.raises(InterchangeError, match="has 2 data sets or versions"):
        read(tmp_path, "rlds")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InterchangeError, match=r"has no features.json beside a dataset_info.json"):
        read(tmp_path / "empty", "rlds")


def test_missing_reader_of_containers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_dataset(tmp_path / "a", steps(), [VALUES], fileFormat="array_record")
    (path / shard_name("made", "train", 0, 1)).rename(path / shard_name("made", "train", 0, 1, kind="array_record"))

    def fail(name: str) -> Any:
        raise ImportError(name=name)

    monkeypatch.setattr("minari.interchange.rlds.array_records.import_late", fail)
    with pytest.raises(MissingDependencyError, match=r'pip install "minari\[array_record\]"'):
        list(read(path, "rlds").episodes)


# Damage.


def outcome(path: Path, **options: Any) -> list[EpisodeBuffer] | None:
    """The episodes of a data set that may be damaged, None if it is found to be."""
    try:
        return list(read(path, "rlds", **options).episodes)
    except InterchangeError as error:
        message = str(error)
    assert "\n" not in message
    return None


@pytest.mark.parametrize("directory", ["rlds-tfds-tfrecord", "rlds-tfds-array-record"])
@pytest.mark.parametrize("seed", range(6))
def test_flipped_and_cut_files_are_found_damaged(tmp_path: Path, directory: str, seed: int) -> None:
    if directory.endswith("array-record"):
        pytest.importorskip("array_record", reason="the containers need array_record")
    source = sample(directory, "ragged_points-train").path.with_name("ragged_points")
    path = tmp_path / "copy"
    shutil.copytree(source, path, copy_function=shutil.copyfile)
    generator = random.Random(seed)
    file = generator.choice(sorted(path.glob("*/*-00000-of-*")))
    file.chmod(0o600)
    data = bytearray(file.read_bytes())
    used = [place for place in range(len(data)) if data[place]]
    if seed % 2:
        data[generator.choice(used)] ^= 1 << generator.randrange(8)
    else:
        del data[generator.randrange(used[-1]) :]
    file.write_bytes(data)
    assert outcome(path) is None


@pytest.mark.parametrize("seed", range(12))
def test_records_with_other_contents_raise_no_other_error(tmp_path: Path, seed: int) -> None:
    """A record that is damaged before its checksum is made is read, or is one error."""
    source = sample("rlds-tfds-tfrecord", "ragged_points-train").path.with_name("ragged_points") / "1.0.0"
    (shard,) = source.glob("*.tfrecord-*")
    generator = random.Random(seed)
    record = bytearray(next(read_records(shard)))
    for _ in range(generator.randrange(1, 30)):
        record[generator.randrange(len(record))] = generator.randrange(256)
    described = json.loads((source / "features.json").read_text())
    outcome(write_dataset(tmp_path / "a", described, [bytes(record)]))


@pytest.mark.parametrize("seed", range(12))
def test_other_descriptions_raise_no_other_error(tmp_path: Path, seed: int) -> None:
    source = sample("rlds-tfds-tfrecord", "openx_lastaction-train").path.with_name("openx_lastaction") / "1.0.0"
    generator = random.Random(seed)
    shutil.copytree(source, tmp_path / "a", copy_function=shutil.copyfile)
    name = generator.choice(["features.json", "dataset_info.json"])

    def changed(value: Any) -> Any:
        if generator.random() < 0.03:
            return generator.choice([None, 7, -1, "x", [], {}, "../../x", 2**70, "999999999999", True, 1.5])
        if isinstance(value, dict):
            return {key: changed(part) for key, part in value.items()}
        return [changed(part) for part in value] if isinstance(value, list) else value

    content = changed(json.loads((source / name).read_text()))
    (tmp_path / "a" / name).chmod(0o600)
    (tmp_path / "a" / name).write_text(json.dumps(content))
    with suppress(ArgumentError):  # without any split
        outcome(tmp_path / "a", rewards="zeros")


def test_length_beyond_the_file_is_refused(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "a", steps(), [VALUES])
    from minari.interchange.tfrecord import masked_checksum

    header = struct.pack("<Q", 2**60)
    (path / shard_name("made", "train", 0, 1)).write_bytes(header + struct.pack("<I", masked_checksum(header)) + b"x")
    with pytest.raises(InterchangeError, match="cannot be read"):
        list(read(path).episodes)


# Records.


@settings(deadline=None, max_examples=60)
@given(
    integers=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 300), max_size=30),
    floats=st.lists(st.floats(width=32), max_size=10),
    strings=st.lists(st.binary(max_size=200), max_size=5),
)
def test_examples_are_read_as_written(integers: list[int], floats: list[float], strings: list[bytes]) -> None:
    lists: dict[str, Any] = {
        "integers": np.array(integers, np.int64),
        "floats": np.array(floats, np.float32),
        "größe": strings,
    }
    found = parse_example(written_example(lists))
    assert found["integers"].integers().tolist() == integers
    np.testing.assert_array_equal(found["floats"].floats(), lists["floats"])
    assert [bytes(part) for part in found["größe"].strings()] == strings


def test_lists_that_are_not_packed_are_read() -> None:
    feature = {"a": b"\x1a\x05\x08\x05\x08\x96\x01", "b": b"\x12\x05\x0d\x00\x00\x80\x3f"}
    entries = b""
    for name, value in feature.items():
        entry = b"\x0a\x01" + name.encode() + b"\x12" + bytes([len(value)]) + value
        entries += b"\x0a" + bytes([len(entry)]) + entry
    found = parse_example(b"\x0a" + bytes([len(entries)]) + entries)
    assert found["b"].floats().tolist() == [1.0]
    assert found["a"].integers().tolist() == [5, 150]


# Export.


def drawn_space(draw: st.DrawFn, depth: int = 0) -> gym.Space[Any]:
    kinds = ["box", "image", "discrete", "binary", "sequence", "text", *(["dict"] if depth < 2 else [])]
    kind = draw(st.sampled_from(kinds))
    if kind == "dict":
        return gym.spaces.Dict(
            {name: drawn_space(draw, depth + 1) for name in draw(st.sampled_from([["a"], ["b", "c.ü"]]))}
        )
    if kind == "image":
        return gym.spaces.Box(0, 255, (32, 33, draw(st.sampled_from([1, 3]))), np.uint8)
    if kind == "discrete":
        return gym.spaces.Discrete(5, start=draw(st.sampled_from([0, -2])))
    if kind == "binary":
        return gym.spaces.MultiBinary(3)
    if kind == "text":
        return gym.spaces.Text(4, min_length=0, charset="aü緑")
    shape = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    dtype = draw(st.sampled_from([np.float32, np.float64, np.uint8, np.int16, np.uint64, np.float16]))
    bounds = (-2, 2) if np.dtype(dtype).kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    box = gym.spaces.Box(*bounds, shape, dtype)
    return gym.spaces.Sequence(box, stack=True) if kind == "sequence" else box


def sampled(space: gym.Space[Any], count: int) -> Any:
    if isinstance(space, gym.spaces.Dict):
        return {key: sampled(part, count) for key, part in space.spaces.items()}
    values = [space.sample() for _ in range(count)]
    if isinstance(space, (gym.spaces.Sequence, gym.spaces.Text)):
        return values
    return np.array(values, space.dtype).reshape(count, *(space.shape or ()))


@st.composite
def datasets(draw: st.DrawFn) -> minari.MinariDataset:
    """A dataset that RLDS can hold."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spaces = drawn_space(draw), drawn_space(draw)
    for space in spaces:
        space.seed(draw(st.integers(0, 1000)))
    infos, number = draw(st.booleans()), draw(st.integers(1, 3))
    reward_shape = draw(st.sampled_from([(), (2,)]))
    episodes = []
    for count in range(number):
        length = draw(st.integers(1, 4))
        end = draw(st.sampled_from(["terminations", "truncations"]))
        flags = {
            name: np.arange(length) == (length - 1 if name == end else -1) for name in ("terminations", "truncations")
        }
        texts = [f"größe {row}" for row in range(length + 1)]
        more = {"x": generator.random((length + 1, 2)), "deep": {"y": texts}, "discount": np.ones(length + 1)}
        episodes.append(
            EpisodeBuffer(
                observations=sampled(spaces[0], length + 1),
                actions=sampled(spaces[1], length),
                rewards=generator.random((length, *reward_shape)),
                infos=more if infos else {},
                seed=count + 2**40,
                metadata={"task": f"緑 {count}", "deep": {"score": 0.1 * count, "ok": True}, "half": np.float32(0.5)},
                **flags,
            )
        )
    return minari.create_dataset_from_buffers(
        "rlds/drawn-v0", episodes, observation_space=spaces[0], action_space=spaces[1]
    )


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_import_of_an_export_is_the_same(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in ("rlds/drawn-v0", "rlds/again-v0"):
        if name in minari.list_local_datasets():
            minari.delete_dataset(name)
    dataset = data.draw(datasets())
    path = tmp_path_factory.mktemp("out") / "a"
    report = export_dataset(dataset, path, "rlds", images=data.draw(st.sampled_from(["png", "tensor"])))
    assert (report.episodes, report.steps) == (dataset.total_episodes, dataset.total_steps)
    again = import_dataset(path, "rlds/again-v0")
    assert isinstance(again, minari.MinariDataset)
    assert len(again) == len(dataset)
    for ours, theirs in zip(again, dataset, strict=True):
        assert ours == theirs
        for name in ("observations", "actions", "infos"):
            mine, yours = leaves(getattr(ours, name)), leaves(getattr(theirs, name))
            assert mine.keys() == yours.keys()
            for key in mine:
                assert_equal(mine[key], yours[key], key)
        assert_equal(ours.rewards, theirs.rewards, "rewards")
        assert ours.metadata == theirs.metadata


def lossy_dataset() -> minari.MinariDataset:
    end = {"terminations": np.array([False, False, True]), "truncations": np.array([False, True, True])}
    frames = np.random.default_rng(1).integers(255, size=(4, 40, 40, 3)).astype(np.uint8)
    first = EpisodeBuffer(
        observations=(frames, np.zeros(4)),
        actions=np.zeros(3),
        rewards=np.zeros(3),
        infos={"reward": np.zeros(4), "mixed": [{"a": 1}, None, 2, 3], "some": np.zeros(4), 3: np.zeros(4)},
        metadata={"list": [1, "a"], "some": 1, "text": "x"},
        **end,
    )
    second = EpisodeBuffer(
        observations=(frames[:2], np.zeros(2)),
        actions=np.zeros(1),
        rewards=np.zeros(1),
        terminations=[False],
        truncations=[False],
        metadata={"text": "y"},
    )
    pixels = gym.spaces.Box(0, 255, (40, 40, 3), np.uint8)
    number = gym.spaces.Box(-1, 1, (), np.float64)
    return minari.create_dataset_from_buffers(
        "rlds/lossy-v0", [first, second], observation_space=gym.spaces.Tuple([pixels, number]), action_space=number
    )


def test_export_says_what_it_cannot_hold(tmp_path: Path) -> None:
    report = export_dataset(lossy_dataset(), tmp_path / "a", "rlds", images="jpeg", name="lossy", split="test")
    text = json.dumps(report.as_dict())
    for part in (
        "tuple", "bounds", "truncations of steps", "before the last step", "'reward'", "steps/mixed", "steps/some",
        "whose name", "episode_metadata/list", "episode_metadata/some", "lose details", "float64", "without an end",
    ):  # fmt: skip
        assert part in text, part
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "dataset_info.json", "features.json", "lossy-test.tfrecord-00000-of-00001",
    ]  # fmt: skip
    again = list(read(tmp_path / "a").episodes)
    assert [len(episode.rewards) for episode in again] == [3, 1]
    assert again[0].observations["0"].shape == (4, 40, 40, 3)
    assert [episode.metadata for episode in again] == [{"text": "x", "split": "test"}, {"text": "y", "split": "test"}]
    with pytest.raises(ArgumentError, match=r"name is '../x', expected a letter"):
        export_dataset(lossy := minari.load_dataset("rlds/lossy-v0"), tmp_path / "b", "rlds", name="../x")
    dry = export_dataset(lossy, tmp_path / "b", "rlds", dry_run=True)
    assert dry.steps == 4
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_large_datasets_become_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minari.interchange.rlds.output._SHARD", 600)
    dataset = minari.create_dataset_from_arrays(
        "rlds/many-v0",
        observations=np.arange(60.0, dtype=np.float32),
        actions=np.zeros(54),
        rewards=np.zeros(54),
        terminations=np.arange(54) % 9 == 8,
    )
    export_dataset(dataset, tmp_path / "a", "rlds")
    assert len(list((tmp_path / "a").glob("*.tfrecord-*"))) > 2
    again = import_dataset(tmp_path / "a", "rlds/again-v0")
    assert [episode.observations.tolist() for episode in again] == [
        episode.observations.tolist() for episode in dataset
    ]


# TensorFlow Datasets itself.

PROGRAM = """
import json, sys
import numpy as np
import tensorflow_datasets as tfds

def plain(value):
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return np.asarray(value.numpy()).tolist() if hasattr(value, "numpy") else value

def text(value):
    if isinstance(value, dict):
        return {key: text(part) for key, part in value.items()}
    if isinstance(value, list):
        return [text(part) for part in value]
    return value.decode() if isinstance(value, bytes) else value

builder = tfds.builder_from_directory(sys.argv[1])
for episode in builder.as_dataset(split=sys.argv[2], shuffle_files=False):
    steps = [text(plain(step)) for step in episode.pop("steps")]
    print(json.dumps({"steps": steps, "more": text(plain(episode))}))
"""


def opened_by_tfds(path: Path, split: str) -> list[dict[str, Any]]:
    python = os.environ.get("MINARI_TFDS_PYTHON")
    if python is None:
        pytest.skip("MINARI_TFDS_PYTHON does not name an interpreter with tensorflow_datasets")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    del environment["PYTHONPATH"]
    done = subprocess.run(
        [python, "-c", PROGRAM, str(path), split], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def at(step: dict[str, Any], path: str) -> Any:
    for part in path.split("/")[1:]:
        step = step[part]
    return step


def assert_as_tfds(episodes: Any, opened: list[dict[str, Any]], lossy: tuple[str, ...] = ()) -> None:
    for episode, record in zip(episodes, opened, strict=True):
        rows = record["steps"]
        assert len(rows) == len(episode.rewards) + 1
        for name, values in (("observation", episode.observations), ("action", episode.actions)):
            for path, leaf in leaves(values).items():
                if path.endswith(lossy) and lossy:
                    continue
                for value, step in zip(leaf, rows, strict=False):
                    np.testing.assert_array_equal(value, np.reshape(at(step[name], path), np.shape(value)))
        assert np.asarray(episode.rewards).tolist() == [step["reward"] for step in rows[:-1]]
        assert [step["is_last"] for step in rows] == [False] * (len(rows) - 1) + [True]
        assert [step["is_terminal"] for step in rows][1:] == np.asarray(episode.terminations).tolist()


def test_samples_are_read_as_by_tfds() -> None:
    path = sample("rlds-tfds-tfrecord", "ragged_points-train").path.with_name("ragged_points")
    # JPEG decoders differ by some units
    assert_as_tfds(read(path).episodes, opened_by_tfds(path / "1.0.0", "train"), lossy=("wrist_image",))


def test_tfds_opens_exports(tmp_path: Path) -> None:
    generator = np.random.default_rng(7)
    space = gym.spaces.Dict(
        {
            "frame": gym.spaces.Box(0, 255, (32, 32, 3), np.uint8),
            "small": gym.spaces.Box(0, 255, (3, 2), np.uint8),
            "exact": gym.spaces.Box(-9, 9, (2,), np.float64),
            "big": gym.spaces.Box(0, 2**64 - 1, (1,), np.uint64),
            "half": gym.spaces.Box(-9, 9, (), np.float16),
            "points": gym.spaces.Sequence(gym.spaces.Box(-9, 9, (2,), np.float64), stack=True),
            "text": gym.spaces.Text(4, charset="aü緑"),
        }
    )
    space.seed(1)
    episodes = [
        EpisodeBuffer(
            observations=sampled(space, length + 1),
            actions=generator.integers(3, size=length),
            rewards=generator.random(length),
            terminations=np.arange(length) == (length - 1 if length % 2 else -1),
            truncations=np.arange(length) == (-1 if length % 2 else length - 1),
            infos={
                "language_instruction": ["größe"] * (length + 1),
                "ragged": [np.arange(i) for i in range(length + 1)],
            },
            metadata={"score": 0.1, "name": "緑"},
        )
        for length in (3, 4)
    ]
    dataset = minari.create_dataset_from_buffers(
        "rlds/tfds-v0", episodes, observation_space=space, action_space=gym.spaces.Discrete(3)
    )
    export_dataset(dataset, tmp_path / "a", "rlds")
    opened = opened_by_tfds(tmp_path / "a", "train")
    assert_as_tfds(list(dataset), opened)
    assert opened[0]["more"] == {"episode_metadata": {"score": 0.1, "name": "緑"}}
    assert [step["language_instruction"] for step in opened[0]["steps"]] == ["größe"] * 4
    assert [step["ragged"] for step in opened[0]["steps"]] == [[], [0], [0, 1], [0, 1, 2]]
