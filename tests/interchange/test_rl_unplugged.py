"""RL Unplugged: the samples with their truth, choices of files and rewards, and files that are damaged."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import zlib
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari
from interchange.conftest import Sample, sample
from minari.data_collector import EpisodeBuffer
from minari.errors import ArgumentError, InterchangeError
from minari.interchange import export_dataset, import_dataset, read
from minari.interchange.pictures import encode_picture
from minari.interchange.tf_example import written_example
from minari.interchange.tfrecord import RecordWriter


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.*assumed that"),
]

DIRECTORIES = {"atari": "atari_episodes_ordered", "control": "dm_control_suite_episodes"}


def directory(found: Sample, name: str) -> Path:
    return found.path.with_name(DIRECTORIES[name])


def leaves(values: Any, name: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        return {name: values}
    return {path: leaf for key, part in values.items() for path, leaf in leaves(part, f"{name}/{key}").items()}


@pytest.mark.parametrize("name", DIRECTORIES)
@pytest.mark.parametrize("given", [None, "rl_unplugged"])
def test_samples_are_read_exactly(name: str, given: str | None) -> None:
    found = sample("rl-unplugged-raw", name)
    dataset = import_dataset(directory(found, name), "rlu/sample-v0", given)
    assert isinstance(dataset, minari.MinariDataset)
    assert len(dataset) == found.truth["total_episodes"]
    for number, episode in enumerate(dataset):
        truth, facts = found.episode(number), found.truth["episodes"][number]
        pairs = {
            **leaves(episode.observations, "observations"),
            "actions": episode.actions,
            "rewards": episode.rewards,
            "terminated": episode.terminations,
            "truncated": episode.truncations,
        }
        assert pairs.keys() == truth.keys()
        for key, values in pairs.items():
            assert values.dtype == truth[key].dtype, key
            np.testing.assert_array_equal(values, truth[key], err_msg=key)
        for key in ("episode_id", "episode_idx", "checkpoint_idx"):
            assert episode.metadata.get(key) == facts.get(key)
        assert len(episode.infos["discount"]) == len(episode) + 1
    report = dataset.storage.metadata["conversion"]
    assert (report["format"], report["episodes"], report["steps"]) == ("rl_unplugged", 6, dataset.total_steps)
    assert minari.validate(dataset.id).ok
    if name == "atari":
        assert dataset.action_space == gym.spaces.Discrete(6)
        assert dataset.observation_space == gym.spaces.Box(0, 255, (84, 84, 1), np.uint8)


def test_one_file_is_read() -> None:
    path = directory(sample("rl-unplugged-raw", "atari"), "atari") / "Pong" / "run_1-00001-of-00002"
    source = read(path)
    assert [episode.metadata["episode_idx"] for episode in source.episodes] == [103, 104, 105]
    assert "the other 1 files of run_1" in source.report.missing


def test_nothing_is_exported(tmp_path: Path) -> None:
    dataset = minari.create_dataset_from_arrays(
        "rlu/none-v0", observations=np.zeros(2), actions=np.zeros(1), rewards=np.zeros(1), terminations=[True]
    )
    with pytest.raises(InterchangeError, match="can be read and not written"):
        export_dataset(dataset, tmp_path / "a", "rl_unplugged")


FRAMES = [encode_picture(np.full((8, 9, 1), shade, np.uint8), "png") for shade in (1, 2, 3)]
ATARI: dict[str, Any] = {
    "observations": FRAMES,
    "actions": np.array([3, 1, 0]),
    "unclipped_rewards": np.array([5, -2, 0], np.float32),
    "clipped_rewards": np.array([1, -1, 0], np.float32),
    "discounts": np.array([1, 1, 0], np.float32),
    "episode_idx": np.array([4]),
}
CONTROL: dict[str, Any] = {
    "observation/walker/joints": np.arange(6, dtype=np.float32),
    "observation/walker/egocentric_camera": [bytes([shade]) * (64 * 64 * 3) for shade in (1, 2, 3)],
    "action": np.arange(6, dtype=np.float32),
    "reward": np.array([0, 5, 6], np.float32),
    "discount": np.array([1, 1, 1], np.float32),
    "step_type": np.array([0, 1, 1], np.float32),
    "seed": np.array([3]),
}


def write_file(path: Path, *records: Any) -> Path:
    stream = io.BytesIO()
    writer = RecordWriter(stream)
    for values in records:
        writer.append(values if isinstance(values, bytes) else written_example(values))
    path.write_bytes(gzip.compress(stream.getvalue()))
    return path


def test_rewards_are_chosen(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a", ATARI)
    assert [episode.rewards.tolist() for episode in read(path).episodes] == [[5, -2]]
    source = read(path, rewards="clipped")
    assert [episode.rewards.tolist() for episode in source.episodes] == [[1, -1]]
    assert "the unclipped rewards, which rewards='unclipped' would take" in source.report.missing
    with pytest.raises(ArgumentError, match="rewards is 'both', expected one of 'unclipped', 'clipped'"):
        read(path, "rl_unplugged", rewards="both")


def test_locomotion_is_read(tmp_path: Path) -> None:
    source = read(write_file(tmp_path / "a", CONTROL))
    (episode,) = source.episodes
    assert episode.observations["walker"]["joints"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert episode.observations["walker"]["egocentric_camera"].shape == (3, 64, 64, 3)
    assert episode.actions.tolist() == [[0, 1], [2, 3]]
    assert episode.rewards.tolist() == [5, 6]
    assert episode.truncations.tolist() == [False, True]
    assert episode.metadata == {"rlu_seed": 3}
    assert any("not marked as the last one" in line for line in source.report.assumed)


def test_files_of_several_runs_are_chosen_by_name(tmp_path: Path) -> None:
    for run in (1, 2):
        write_file(tmp_path / f"run_{run}-00000-of-00001", {**ATARI, "episode_idx": np.array([run])})
    with pytest.raises(InterchangeError, match=r"has files of 2 names \('run_1', 'run_2'\)"):
        read(tmp_path, "rl_unplugged")
    assert [episode.metadata["episode_idx"] for episode in read(tmp_path, name="run_2").episodes] == [2]
    write_file(tmp_path / "run_3-00001-of-00002", ATARI)
    with pytest.raises(InterchangeError, match="lacks 1 of 2 files of run_3, such as number 0"):
        read(tmp_path, "rl_unplugged", name="run_3")


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        (ATARI, {"observations": FRAMES[:2]}, "2 frames for 2 steps"),
        (ATARI, {"observations": [*FRAMES[:2], FRAMES[2][:40]]}, "a picture that cannot be decoded"),
        (ATARI, {"observations": [*FRAMES[:2], encode_picture(np.zeros((9, 9, 1), np.uint8), "png")]}, "expected"),
        (ATARI, {"actions": np.array([1])}, "1 actions for 2 steps"),
        (ATARI, {"actions": np.array([1.0, 1, 1])}, "floats where integers"),
        (ATARI, {"unclipped_rewards": None}, "it has no unclipped_rewards"),
        (ATARI, {"discounts": np.zeros(1, np.float32)}, "has no episode with a step"),
        (ATARI, {"actions": None}, "is it another kind of file"),
        (CONTROL, {"action": np.zeros(7, np.float32)}, "7 numbers for 2 steps"),
        (CONTROL, {"reward": np.zeros(2, np.float32)}, "2 values of reward for 2 steps"),
        (CONTROL, {"observation/walker/joints": [b"x", b"y", b"z"]}, "neither a PNG nor a JPEG"),
    ],
)
def test_other_contents_are_refused(
    tmp_path: Path, base: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    values = {name: part for name, part in {**base, **changes}.items() if part is not None}
    with pytest.raises(InterchangeError, match=message) as raised:
        list(read(write_file(tmp_path / "a", values), "rl_unplugged").episodes)
    assert "\n" not in str(raised.value)


def outcome(path: Path) -> list[EpisodeBuffer] | None:
    """The episodes of files that may be damaged, None if they are found to be."""
    try:
        return list(read(path, "rl_unplugged").episodes)
    except InterchangeError as error:
        message = str(error)
    assert "\n" not in message
    return None


@pytest.mark.parametrize("name", DIRECTORIES)
@pytest.mark.parametrize("seed", range(8))
def test_flipped_and_cut_files_are_found_damaged(tmp_path: Path, name: str, seed: int) -> None:
    generator = random.Random(seed)
    files = sorted(directory(sample("rl-unplugged-raw", name), name).glob("*/*-of-*"))
    data = bytearray(files[0].read_bytes())
    if seed % 2:
        data[generator.randrange(10, len(data))] ^= 1 << generator.randrange(8)  # the first ten have a time and flags
    else:
        del data[generator.randrange(len(data)) :]
    (tmp_path / "a").write_bytes(data)
    found = outcome(tmp_path / "a")
    assert found is None or not data


@pytest.mark.parametrize("seed", range(10))
def test_records_with_other_contents_raise_no_other_error(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    record = bytearray(written_example(ATARI if seed % 2 else CONTROL))
    for _ in range(generator.randrange(1, 20)):
        record[generator.randrange(len(record))] = generator.randrange(256)
    outcome(write_file(tmp_path / "a", bytes(record)))


def test_records_that_inflate_too_much_are_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    RecordWriter(stream).append(bytes(2**26))
    (tmp_path / "a").write_bytes(gzip.compress(stream.getvalue()))
    assert (tmp_path / "a").stat().st_size < 2**17
    with pytest.raises(InterchangeError, match=f"record 0 has {2**26} bytes"):
        read(tmp_path / "a", "rl_unplugged")


@pytest.mark.parametrize(
    "data",
    [b"", b"\x1f\x8b", b"no gzip", gzip.compress(b"no record"), zlib.compress(bytes(100))],
    ids=["empty", "cut", "text", "no-record", "zlib"],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(InterchangeError):
        read(tmp_path / "a", "rl_unplugged")
    with pytest.raises(InterchangeError, match="looks like none of the formats"):
        read(tmp_path / "a")
    shutil.rmtree(tmp_path)
