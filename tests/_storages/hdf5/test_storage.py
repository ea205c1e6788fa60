"""The layout of the HDF5 file, which is a contract with other programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces

from minari._storages.hdf5.names import from_hdf5_name, group_name, to_hdf5_name
from minari.dataset.minari_storage import MinariStorage
from minari.errors import EpisodeError
from minari.testing.examples import as_buffer, as_continuation, draw_truth


OBSERVATIONS = spaces.Dict(
    {
        "x": spaces.Box(-1.0, 1.0, (2, 3), np.float32),
        "t": spaces.Text(4),
        "pair": spaces.Tuple((spaces.Discrete(3), spaces.Dict({"flag": spaces.MultiBinary(2)}))),
        "empty": spaces.Box(-1.0, 1.0, (0,), np.float32),
        "camera": spaces.Box(0, 255, (40, 40, 3), np.uint8),
    }
)
ACTIONS = spaces.Tuple((spaces.Discrete(5), spaces.Box(-1.0, 1.0, (), np.float64)))


def storage_with(directory: Path, jpeg: bool = False) -> tuple[MinariStorage, list[Any]]:
    storage = MinariStorage.new(directory / "data", OBSERVATIONS, ACTIONS, jpeg_encoding=jpeg)
    infos = {"n": {"a": np.arange(4), "b": [f"{i}" for i in range(4)]}, "flag": np.array([True] * 4)}
    truths = [draw_truth(OBSERVATIONS, ACTIONS, 3, seed, infos if seed else None) for seed in range(3)]
    storage.update_episodes(
        as_buffer(truth, seed=seed or None, options={"level": 3, "deep": {"array": np.arange(2.0)}})
        for seed, truth in enumerate(truths)
    )
    return storage, truths


def layout(group: h5py.Group, prefix: str = "") -> dict[str, tuple[str, tuple[int, ...]]]:
    found = {}
    for name, item in group.items():
        if isinstance(item, h5py.Dataset):
            text = h5py.check_string_dtype(item.dtype)
            found[prefix + name] = (text.encoding if text else str(item.dtype), item.shape)
        else:
            found[f"{prefix}{name}/"] = ("group", ())
            found |= layout(item, f"{prefix}{name}/")
    return found


def test_layout(tmp_path: Path) -> None:
    storage, _ = storage_with(tmp_path)
    with h5py.File(storage.data_path / "main_data.hdf5") as file:
        assert list(file) == ["episode_0", "episode_1", "episode_2"]
        assert layout(file["episode_1"]) == {
            "observations/": ("group", ()),
            "observations/x": ("float32", (4, 2, 3)),
            "observations/t": ("utf-8", (4,)),
            "observations/pair/": ("group", ()),
            "observations/pair/_index_0": ("int64", (4,)),
            "observations/pair/_index_1/": ("group", ()),
            "observations/pair/_index_1/flag": ("int8", (4, 2)),
            "observations/empty": ("float32", (4, 0)),
            "observations/camera": ("uint8", (4, 40, 40, 3)),
            "actions/": ("group", ()),
            "actions/_index_0": ("int64", (3,)),
            "actions/_index_1": ("float64", (3,)),
            "rewards": ("float64", (3,)),
            "terminations": ("bool", (3,)),
            "truncations": ("bool", (3,)),
            "infos/": ("group", ()),
            "infos/n/": ("group", ()),
            "infos/n/a": ("int64", (4,)),
            "infos/n/b": ("utf-8", (4,)),
            "infos/flag": ("bool", (4,)),
        }
        assert layout(file["episode_0/infos"]) == {}


def test_attributes(tmp_path: Path) -> None:
    storage, _ = storage_with(tmp_path)
    storage.update_episode_metadata([{"mean": 0.5, "name": "a", "mine": {"x": [1, 2]}, "none": None}], [1])
    with h5py.File(storage.data_path / "main_data.hdf5") as file:
        first, second = (dict(file[f"episode_{i}"].attrs) for i in (0, 1))
    assert first.keys() == {"id", "total_steps", "options/level", "options/deep/array"}
    assert second.keys() == first.keys() | {"seed", "mean", "name", "mine/x", "none:json"}
    assert (second["id"], second["total_steps"], second["seed"]) == (1, 3, 1)
    assert second["options/level"] == 3
    assert second["options/deep/array"].tolist() == [0.0, 1.0]
    assert (second["mean"], second["name"], second["mine/x"].tolist()) == (0.5, "a", [1, 2])
    assert second["none:json"] == "null"


def test_values_as_other_programs_read_them(tmp_path: Path) -> None:
    """Through plain h5py, in another process, without this library."""
    storage, truths = storage_with(tmp_path)
    code = """
import sys, h5py
with h5py.File(sys.argv[1], "r") as file:
    episode = file["episode_2"]
    print(episode["observations/x"][:].tolist())
    print(episode["observations/t"].asstr()[:].tolist())
    print(episode["actions/_index_1"][:].tolist())
    print(episode["terminations"][:].tolist())
"""
    command = [sys.executable, "-c", code, str(storage.data_path / "main_data.hdf5")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    observations, actions = truths[2]["observations"], truths[2]["actions"]
    assert output == [
        str([value["x"].tolist() for value in observations]),
        str([value["t"] for value in observations]),
        str([float(value[1]) for value in actions]),
        str(truths[2]["terminations"].tolist()),
    ]


def test_jpeg_rows(tmp_path: Path) -> None:
    """A uint8 matrix where all byte strings are of one length, else one of variable length each."""
    storage, _ = storage_with(tmp_path, jpeg=True)
    black = np.zeros((4, 40, 40, 3), np.uint8)
    truth = draw_truth(OBSERVATIONS, ACTIONS, 3, 5)
    for value, frame in zip(truth["observations"], black, strict=True):
        value["camera"] = frame
    storage.update_episodes([as_buffer(truth)])
    with h5py.File(storage.data_path / "main_data.hdf5") as file:
        vlen, matrix = (file[f"episode_{i}/observations/camera"] for i in (0, 3))
        assert h5py.check_vlen_dtype(vlen.dtype) == np.uint8
        assert vlen.shape == (4,)
        assert matrix.dtype == np.uint8
        assert matrix.ndim == 2
        for rows in (vlen, matrix):
            assert all(bytes(row)[:3] == b"\xff\xd8\xff" for row in rows[:])


def test_nothing_is_left_of_an_episode_that_was_continued(tmp_path: Path) -> None:
    storage, truths = storage_with(tmp_path)
    _, buffer = as_continuation(
        {**truths[0], "infos": {}}, draw_truth(OBSERVATIONS, ACTIONS, 3, 9), 0, OBSERVATIONS, ACTIONS
    )
    storage.update_episodes([buffer, buffer])
    with h5py.File(storage.data_path / "main_data.hdf5") as file:
        assert sorted(file) == ["episode_0", "episode_1", "episode_2"]
        assert file["episode_0"].attrs["total_steps"] == 9
        assert file["episode_0/rewards"].shape == (9,)


def test_readable_by_every_library_from_1_10_on(tmp_path: Path) -> None:
    """Nothing is written in a newer version of the format than 1.10 knows."""
    storage, _ = storage_with(tmp_path)
    content = (storage.data_path / "main_data.hdf5").read_bytes()
    assert content[:8] == b"\x89HDF\r\n\x1a\n"
    assert content[8] <= 3, "the version of the superblock"
    with h5py.File(storage.data_path / "main_data.hdf5", "r", libver=("earliest", "v110")) as file:
        assert len(file) == 3


def test_the_data_directory_holds_what_it_should(tmp_path: Path) -> None:
    """Two files that count; the rest is hidden and can be deleted."""
    storage, _ = storage_with(tmp_path)
    visible = {path.name for path in storage.data_path.iterdir() if not path.name.startswith(".")}
    assert visible == {"metadata.json", "main_data.hdf5"}


@pytest.mark.parametrize("keys", [("a", "a/b"), ("a/b", "a"), ("",), (".",), ("a/",), ("a//b",), ("\ud800",)])
def test_keys_that_hdf5_cannot_have(tmp_path: Path, keys: tuple[str, ...]) -> None:
    box = spaces.Box(-1.0, 1.0, (2,), np.float32)
    space = spaces.Dict(dict.fromkeys(keys, box))
    storage = MinariStorage.new(tmp_path / "data", space, ACTIONS)
    with pytest.raises(EpisodeError, match="Episode 0 cannot be stored"):
        storage.update_episodes([as_buffer(draw_truth(space, ACTIONS, 2))])
    assert storage.total_episodes == 0


def test_names() -> None:
    assert group_name(7) == "episode_7"
    assert to_hdf5_name(("observations", 0, "a b", 12)) == "observations/_index_0/a b/_index_12"
    assert from_hdf5_name("observations/_index_0/a b/_index_12") == ("observations", 0, "a b", 12)
    assert from_hdf5_name("infos/_index_x") == ("infos", "_index_x")


def test_reading_needs_no_h5py(tmp_path: Path) -> None:
    """Arrays of a dataset with an index are mapped; loading h5py would take longer than reading them."""
    space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    storage = MinariStorage.new(tmp_path / "data", space, spaces.Discrete(3))
    storage.update_episodes(as_buffer(draw_truth(space, spaces.Discrete(3), 2, seed)) for seed in range(3))
    code = """
import sys
from minari.dataset.minari_storage import MinariStorage
storage = MinariStorage.read(sys.argv[1])
print(sum(len(episode["rewards"]) for episode in storage.get_episodes([2, 0])), storage.get_episode_lengths())
print("h5py" in sys.modules)
"""
    root = Path(__file__).parents[3]
    output = subprocess.run(
        [sys.executable, "-c", code, str(storage.data_path)], capture_output=True, text=True, check=True, cwd=root
    ).stdout
    assert output == "4 [2 2 2]\nFalse\n"
