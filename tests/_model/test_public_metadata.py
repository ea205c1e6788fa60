"""The metadata of a dataset and of its episodes, as programs read and change them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import METADATA_FILE_NAME, MinariStorage
from minari.errors import DatasetExistsError, EpisodeIndexError, MetadataError, UnknownFormatError
from support.operations import METADATA
from support.scripted import PLANE, buffer_of, listing
from support.values import assert_identical


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

ACTIONS = spaces.Discrete(3)
FRESH = {"action_space", "observation_space", "total_episodes", "total_steps", "data_format", "jpeg_encoding"}
PROTECTED = [
    "dataset_id", "observation_space", "action_space", "env_spec", "data_format", "jpeg_encoding", "minari_version",
]  # fmt: skip


@pytest.fixture
def dataset() -> minari.MinariDataset:
    return minari.create_dataset_from_buffers(
        "test/described-v0", [buffer_of(2), buffer_of(3)], env="CartPole-v1",
        observation_space=PLANE, action_space=ACTIONS, **METADATA,
    )  # fmt: skip


def raw(dataset: minari.MinariDataset) -> dict[str, Any]:
    """Return the content of the file, read without the library."""
    value: dict[str, Any] = json.loads((dataset.storage.data_path / METADATA_FILE_NAME).read_text(encoding="utf-8"))
    return value


# A fresh storage


def test_a_fresh_storage_has_six_keys(tmp_path: Path) -> None:
    storage = MinariStorage.new(tmp_path / "data", PLANE, ACTIONS)
    assert set(storage.metadata) == FRESH
    assert storage.metadata["total_episodes"] == storage.metadata["total_steps"] == 0
    assert (storage.metadata["data_format"], storage.metadata["jpeg_encoding"]) == ("hdf5", False)
    assert (storage.metadata["observation_space"], storage.metadata["action_space"]) == (PLANE, ACTIONS)
    assert (storage.total_episodes, storage.total_steps, storage.FORMAT) == (0, 0, "hdf5")
    assert list(storage.get_episodes([])) == list(storage.get_episode_metadata([])) == list(storage.apply(len)) == []
    assert set(MinariStorage.read(tmp_path / "data").metadata) == FRESH


def test_a_fresh_storage_of_an_environment_has_its_spec_too(tmp_path: Path) -> None:
    storage = MinariStorage.new(tmp_path / "data", env_spec=gym.spec("CartPole-v1"), jpeg_encoding=True)
    assert set(storage.metadata) == FRESH | {"env_spec"}
    assert storage.observation_space == gym.make("CartPole-v1").observation_space
    assert storage.metadata["jpeg_encoding"] is True


def test_errors_that_callers_match(tmp_path: Path) -> None:
    MinariStorage.new(tmp_path / "data", PLANE, ACTIONS)
    with pytest.raises(ValueError, match=rf"The data path {tmp_path / 'no'} doesn't exist"):
        MinariStorage.read(tmp_path / "no")
    with pytest.raises(ValueError, match=f"No data found in data path {tmp_path}"):
        MinariStorage.read(tmp_path)
    with pytest.raises(DatasetExistsError, match="already holds a dataset") as taken:
        MinariStorage.new(tmp_path / "data", PLANE, ACTIONS)
    with pytest.raises(UnknownFormatError, match=r"'parrot'.*'hdf5'") as unknown:
        MinariStorage.new(tmp_path / "other", PLANE, ACTIONS, data_format="parrot")
    with pytest.raises(ValueError, match="observation_space and action_space"):
        MinariStorage.new(tmp_path / "other")
    assert isinstance(taken.value, ValueError)
    assert isinstance(unknown.value, ValueError)
    assert not (tmp_path / "other").exists()


# Metadata of a dataset


def test_metadata_for_people_and_as_they_are_stored(dataset: minari.MinariDataset) -> None:
    stored, public = raw(dataset), dataset.storage.metadata
    assert MinariStorage.read_raw_metadata(dataset.storage.data_path) == stored
    assert stored.keys() == public.keys()
    assert (stored["author"], public["author"]) == (["Ann Author", "Bo Author"], {"Ann Author", "Bo Author"})
    assert isinstance(stored["observation_space"], str)
    assert public["observation_space"] == PLANE
    assert json.loads(stored["env_spec"])["id"] == "CartPole-v1"
    assert minari.list_local_datasets() == {"test/described-v0": stored}
    public["author"].add("Mallory")
    public["ref_max_score"] = 99.0
    assert dataset.storage.metadata["author"] == {"Ann Author", "Bo Author"}
    assert dataset.storage.metadata["ref_max_score"] == METADATA["ref_max_score"]


def test_updating(dataset: minari.MinariDataset) -> None:
    other = minari.load_dataset(dataset.id)
    new = {
        "description": "new 🎲",
        "author": {"Cy"},
        "mine": {"deep": (1, np.float32(0.5)), "array": np.arange(3), "set": {"b", "a"}, "none": None},
        "ref_max_score": np.float64(9.5),
    }
    before = raw(dataset)
    dataset.storage.update_metadata(new)
    expected = before | {
        "description": "new 🎲",
        "author": ["Cy"],
        "mine": {"deep": [1, 0.5], "array": [0, 1, 2], "set": ["a", "b"], "none": None},
        "ref_max_score": 9.5,
    }
    assert raw(dataset) == expected
    for one in (dataset, other, minari.load_dataset(dataset.id)):
        assert one.storage.metadata["mine"] == expected["mine"]
        assert one.storage.metadata["author"] == {"Cy"}
        assert len(one) == 2


@pytest.mark.parametrize("key", PROTECTED)
def test_protected_keys(dataset: minari.MinariDataset, key: str) -> None:
    before = listing(dataset.storage.data_path)
    with pytest.raises(MetadataError, match=f"'{key}' is protected") as caught:
        dataset.storage.update_metadata({"description": "not stored either", key: "new"})
    assert isinstance(caught.value, ValueError)
    assert {name: content for name, content in listing(dataset.storage.data_path).items() if name != ".lock"} == {
        name: content for name, content in before.items() if name != ".lock"
    }


def test_what_was_never_set_may_be_set_once(tmp_path: Path) -> None:
    storage = MinariStorage.new(tmp_path / "data", PLANE, ACTIONS)
    storage.update_metadata({"dataset_id": "test/x-v0", "minari_version": "0.5.4"})
    with pytest.raises(MetadataError):
        storage.update_metadata({"dataset_id": "test/y-v0"})
    assert storage.metadata["dataset_id"] == "test/x-v0"


@pytest.mark.parametrize(
    "update",
    [
        {"x": object()},
        {"x": b"raw"},
        {"x": 1j},
        {"x": [{"y": {1: 2}}]},
        {3: 4},
        {"author": 3},
        {"x": np.datetime64("2024")},
    ],
)
def test_what_json_cannot_hold_leaves_the_file_as_it_was(dataset: minari.MinariDataset, update: Any) -> None:
    before = (dataset.storage.data_path / METADATA_FILE_NAME).read_bytes()
    with pytest.raises(MetadataError):
        dataset.storage.update_metadata({"fine": 1, **update})
    assert (dataset.storage.data_path / METADATA_FILE_NAME).read_bytes() == before
    assert "fine" not in dataset.storage.metadata
    dataset.storage.update_metadata({"fine": 1})
    assert raw(dataset)["fine"] == 1


def test_numbers_that_are_none(dataset: minari.MinariDataset) -> None:
    dataset.storage.update_metadata({"loss": float("nan"), "bound": np.inf})
    metadata = minari.load_dataset(dataset.id).storage.metadata
    assert np.isnan(metadata["loss"])
    assert metadata["bound"] == np.inf


def the_size(dataset_id: str) -> float:
    """The size of a dataset, which is the same number wherever it is asked for, and that of its files."""
    storage = minari.load_dataset(dataset_id).storage
    listed, measured = minari.list_local_datasets()[dataset_id]["dataset_size"], directory_size(storage.data_path)
    assert storage.metadata["dataset_size"] == storage.get_size() == listed == round(measured / 1e6, 1)
    return float(listed)


def directory_size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("[!.]*") if path.is_file())


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "zarr"])
def test_one_size_everywhere(data_format: str) -> None:
    def noise(seed: int) -> EpisodeBuffer:
        return buffer_of(20_000, observations=np.random.default_rng(seed).random((20_001, 2)).astype(np.float32))

    dataset = minari.create_dataset_from_buffers(
        "test/sized-v0", [noise(0)], observation_space=PLANE, action_space=ACTIONS, data_format=data_format
    )
    created = the_size("test/sized-v0")
    dataset.update_dataset_from_buffer([noise(1), noise(2)])
    appended = the_size("test/sized-v0")
    minari.load_dataset("test/sized-v0").storage.update_metadata({"note": "x" * 300_000})
    described = the_size("test/sized-v0")
    assert 0 < created < appended < described
    dataset.storage.update_episode_metadata([{"note": "y" * 60_000}] * 3)
    assert the_size("test/sized-v0") >= described
    minari.combine_datasets([dataset, dataset], "test/both-v0")
    assert the_size("test/both-v0") > appended
    dataset.convert("test/small-v0", "parquet" if data_format == "arrow" else data_format, compression="gzip")
    assert the_size("test/small-v0") > 0
    minari.split_dataset(dataset, [1, 2], seed=0)[0].save("test/part-v0")
    assert the_size("test/part-v0") < appended


def test_a_size_that_nobody_has_stored(dataset: minari.MinariDataset) -> None:
    """As in what 0.5.0 combined."""
    noise = np.random.default_rng(0).random((40_001, 2)).astype(np.float32)
    dataset.update_dataset_from_buffer([buffer_of(40_000, observations=noise)])
    size = the_size(dataset.id)
    file = dataset.storage.data_path / METADATA_FILE_NAME
    file.write_text(json.dumps({key: value for key, value in raw(dataset).items() if key != "dataset_size"}))
    assert the_size(dataset.id) == size > 0
    dataset.storage.update_metadata({"fine": 1})
    assert raw(dataset)["dataset_size"] == size


def test_a_size_that_the_last_writer_got_wrong(dataset: minari.MinariDataset) -> None:
    """0.5.4 does not measure again where only metadata change; lists and the dataset agree all the same."""
    (dataset.storage.data_path / METADATA_FILE_NAME).write_text(json.dumps(raw(dataset) | {"dataset_size": 7.5}))
    storage = minari.load_dataset(dataset.id).storage
    assert storage.get_size() == storage.metadata["dataset_size"] == 7.5
    assert minari.list_local_datasets()[dataset.id]["dataset_size"] == 7.5
    storage.update_metadata({"fine": 1})
    assert the_size(dataset.id) < 7.5


# Metadata of episodes


def test_metadata_of_episodes(dataset: minari.MinariDataset) -> None:
    values = {
        "grade": "gut 🎲", "count": 3, "ratio": 0.5, "flag": True, "array": np.arange(6).reshape(2, 3),
        "single": np.float32(1.5), "deep": {"er": {"x": np.array(["a", "bc"])}, "y": 2**63},
    }  # fmt: skip
    dataset.storage.update_episode_metadata([values, {"grade": "b"}])
    dataset.storage.update_episode_metadata([{"later": 1}], episode_indices=[1])
    first, second = minari.load_dataset(dataset.id).storage.get_episode_metadata([0, 1])
    assert (first["grade"], first["count"], first["ratio"], bool(first["flag"])) == ("gut 🎲", 3, 0.5, True)
    assert_identical(first["array"], values["array"])
    assert list(first["deep"]["er"]["x"]) == ["a", "bc"]
    assert (first["single"], first["deep"]["y"]) == (1.5, 2**63)
    assert (second["grade"], second["later"], second["id"], second["total_steps"]) == ("b", 1, 1, 3)
    dataset.storage.update_episode_metadata([{"grade": "changed"}], [0])
    first, _ = dataset.storage.get_episode_metadata([0, 1])
    assert (first["grade"], first["count"]) == ("changed", 3)


@pytest.mark.parametrize(
    ("metadatas", "indices"),
    [
        ([{}], None), ([{}, {}, {}], None), ([{"x": 1}], [0, 1]), ([{"id": 3}], [0]), ([{"total_steps": 3}], [0]),
        ([{"x": object()}], [0]), ([{"x": 1}, {"x": object()}], None),
    ],
)  # fmt: skip
def test_metadata_of_episodes_that_are_refused(
    dataset: minari.MinariDataset, metadatas: list[dict[str, Any]], indices: list[int] | None
) -> None:
    before = list(map(str, dataset.storage.get_episode_metadata([0, 1])))
    with pytest.raises(MetadataError) as caught:
        dataset.storage.update_episode_metadata(metadatas, indices)
    assert isinstance(caught.value, ValueError)
    assert list(map(str, minari.load_dataset(dataset.id).storage.get_episode_metadata([0, 1]))) == before


@pytest.mark.parametrize("indices", [[2], [-1], [0, 9], [0.5], ["0"]])
def test_episodes_that_are_not_there(dataset: minari.MinariDataset, indices: list[Any]) -> None:
    for use in (
        lambda: list(dataset.storage.get_episode_metadata(indices)),
        lambda: list(dataset.storage.get_episodes(indices)),
        lambda: list(dataset.storage.apply(len, indices)),
        lambda: dataset.storage.get_episode_lengths(indices),
        lambda: dataset.storage.update_episode_metadata([{}] * len(indices), indices),
        lambda: dataset.storage.update_from_storage(dataset.storage, indices),
    ):
        with pytest.raises(EpisodeIndexError, match="There is no episode"):
            use()


def test_applying_a_function(dataset: minari.MinariDataset) -> None:
    assert list(dataset.storage.apply(lambda episode: (episode["id"], len(episode["rewards"])))) == [(0, 2), (1, 3)]
    assert list(dataset.storage.apply(lambda episode: episode["id"], [1, 0, 1])) == [1, 0, 1]
