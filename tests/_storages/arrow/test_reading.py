"""Arrow and Parquet: what reading costs in memory, which indices it takes, and what a damaged dataset still tells."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari.dataset.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError
from minari.testing.comparison import assert_same


pytest.importorskip("pyarrow")

VECTOR = spaces.Box(-np.inf, np.inf, (20,), np.float64)
ACTIONS = spaces.Discrete(4)
MAPS = Path("/proc/self/maps")

both_formats = pytest.mark.parametrize("data_format", ["arrow", "parquet"])


def buffer_of(number: int, steps: int, infos: dict[str, Any] | None = None) -> EpisodeBuffer:
    return EpisodeBuffer(
        observations=np.full((steps + 1, 20), float(number)),
        actions=np.full(steps, number % 4),
        rewards=np.full(steps, float(number)),
        terminations=np.zeros(steps, np.bool_),
        truncations=np.zeros(steps, np.bool_),
        infos=infos,
    )


def store(directory: Path, data_format: str, count: int, steps: int) -> MinariStorage:
    storage = MinariStorage.new(directory, VECTOR, ACTIONS, data_format=data_format)
    storage.update_episodes(buffer_of(number, steps) for number in range(count))
    return storage


def mapped_files(array: Any) -> str:
    """The file that the memory of an array is a map of."""
    address = array.__array_interface__["data"][0]
    for line in MAPS.read_text().splitlines():
        begin, end = (int(place, 16) for place in line.split()[0].split("-"))
        if begin <= address < end:
            return line
    return ""


@pytest.mark.skipif(not MAPS.exists(), reason="what is mapped is read from Linux's /proc")
def test_arrays_of_a_large_arrow_file_are_its_map(tmp_path: Path) -> None:
    """For who asks for views: at the first reading, by way of pyarrow, and at the second, through the template."""
    storage = store(tmp_path / "data", "arrow", 2, 5000)
    for _ in range(2):
        for index, episode in enumerate(storage.get_episodes([0, 1], copy=False)):
            for name in ("observations", "actions", "rewards"):
                assert f"{storage.data_path / str(index) / 'part-0.arrow'}" in mapped_files(episode[name])
                assert not episode[name].flags.writeable


READING = """
import re, sys
from pathlib import Path
from minari.dataset.minari_storage import MinariStorage

def resident(key):
    return int(re.search(rf"^{key}:\\s+(\\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)[1]) / 1024

storage = MinariStorage.read(sys.argv[1])
for index, episode in enumerate(storage.get_episodes(range(4))):  # what is used for the first time
    episode["observations"].sum()
before = resident("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
for index, episode in enumerate(storage.get_episodes(range(storage.total_episodes))):
    assert (episode["observations"] == index).all() and (episode["rewards"] == index).all()
print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
@both_formats
def test_iterating_holds_an_episode_or_two(tmp_path: Path, data_format: str) -> None:
    steps, count = 20_000, 40  # 3.7 MB each, 150 MB in all
    store(tmp_path / "data", data_format, count, steps)
    done = subprocess.run(
        [sys.executable, "-c", READING, tmp_path / "data"], capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 40


@both_formats
def test_any_iterable_of_indices(tmp_path: Path, data_format: str) -> None:
    storage = store(tmp_path / "data", data_format, 6, 3)
    for indices in ([4, 1, 1, 5], range(5, 0, -2), np.array([2, 0], np.uint8), (3,), {5, 2}, dict.fromkeys([4, 0])):
        for given in (indices, iter(indices), (index for index in indices)):
            found = [(episode["id"], episode["rewards"][0]) for episode in storage.get_episodes(given)]
            assert found == [(index, index) for index in indices]
    assert list(storage.get_episodes(iter([]))) == []


@both_formats
def test_nested_infos_stay_nested(tmp_path: Path, data_format: str) -> None:
    """Also in episodes that are all alike, and whose infos are not."""
    storage = MinariStorage.new(tmp_path / "data", VECTOR, ACTIONS, data_format=data_format)
    infos = [
        {"a": {"b": {"c": np.arange(4) + number, "d": np.ones((4, 2, 3), np.float32)}}, "t": (np.zeros(4), np.ones(4))}
        for number in range(5)
    ]
    infos += [{"a": {"b": np.arange(4.0)}}, {}, {"a": {"b": np.arange(4.0)}}]
    storage.update_episodes(buffer_of(number, 3, given) for number, given in enumerate(infos))
    for _ in range(2):
        for episode, given in zip(storage.get_episodes(range(8)), infos, strict=True):
            assert_same(episode["infos"], given, "infos")


@both_formats
def test_columns_of_another_length(tmp_path: Path, data_format: str) -> None:
    """A table that is shorter than in its metadata; the others can be read, whichever was read before."""
    storage = store(tmp_path / "data", data_format, 4, 10)
    shorter = store(tmp_path / "shorter", data_format, 1, 9)
    list(storage.get_episodes(range(4)))
    name = f"part-0.{data_format}"
    shutil.copy(shorter.data_path / "0" / name, storage.data_path / "2" / name)
    for opened in (storage, MinariStorage.read(storage.data_path)):
        with pytest.raises(DatasetCorruptError, match=rf"{storage.data_path / '2' / name} has 10 rows, expected 11"):
            list(opened.get_episodes([1, 2]))
        assert [episode["id"] for episode in opened.get_episodes([3, 0, 1])] == [3, 0, 1]


@both_formats
@pytest.mark.parametrize("damage", ["missing", "cut", "foreign", "metadata"])
def test_a_damaged_dataset_is_listed(
    tmp_path: Path, data_format: str, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The metadata of the dataset need no episode; the error names the file."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    minari.create_dataset_from_buffers(
        "arm/reach-v0",
        [buffer_of(number, 5) for number in range(3)],
        observation_space=VECTOR,
        action_space=ACTIONS,
        data_format=data_format,
        algorithm_name="a",
        author="b",
        author_email="c",
        code_permalink="d",
        description="e",
        eval_env="CartPole-v1",
    )
    part = tmp_path / "arm" / "reach-v0" / "data" / "1" / f"part-0.{data_format}"
    file = part.with_name("metadata.json") if damage == "metadata" else part
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"cut": content[:-9], "foreign": b"PK" + content, "metadata": content[:-1]}[damage])
    listed = minari.list_local_datasets()
    assert (listed["arm/reach-v0"]["total_episodes"], listed["arm/reach-v0"]["total_steps"]) == (3, 15)
    assert MinariStorage.read_raw_metadata(part.parents[1])["data_format"] == data_format
    dataset = minari.load_dataset("arm/reach-v0")
    assert dataset.storage.total_steps == 15
    with pytest.raises(DatasetCorruptError, match=re.escape(str(file))):
        list(dataset)
    assert len(dataset[2]) == 5
