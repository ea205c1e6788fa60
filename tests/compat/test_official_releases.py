"""Datasets of official releases since 0.3: every value of every recorded dataset can be read."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest
from packaging.specifiers import SpecifierSet

import minari
from minari.dataset.minari_storage import MinariStorage
from support.copies import require_format
from support.official import (
    COMBINED_DATASETS,
    RECORDED_DATASETS,
    TOY_SPACES,
    OfficialDataset,
    official_datasets,
    official_releases,
)
from support.values import assert_identical, leaves


FIELDS = ("observations", "actions", "rewards", "terminations", "truncations", "infos")

#: The leaves that were stored as JPEG, with the mean error that JPEG makes of their random pixels.
#: Blue and red exchanged make it 53 in the frames, frames in another order 75.
JPEG_LEAVES = {
    ("0.5.3", "toy/frames-v0"): {("observations",): 50.0},
    ("0.5.4", "toy/frames-v0"): {("observations",): 50.0},
    ("0.5.3", "toy/dict-v0"): {("observations", "img"): 60.0},
}

CopyFixture = Callable[[str, str], Path]
CopyRelease = Callable[[str], Path]

DATASETS = official_datasets()
JPEG_DATASETS = [official for official in DATASETS if (official.release, official.dataset_id) in JPEG_LEAVES]
ABSENT = pytest.param(None, id="absent", marks=pytest.mark.skip(reason="no recorded datasets: set MINARI_FIXTURES"))
every_dataset = pytest.mark.parametrize("official", DATASETS or [ABSENT], ids=str)
every_jpeg_dataset = pytest.mark.parametrize("official", JPEG_DATASETS or [ABSENT], ids=str)
every_release = pytest.mark.parametrize("release", [root.name for root in official_releases()] or [ABSENT])


def load(official: OfficialDataset, copy_release: CopyRelease) -> Any:
    require_format(official.data_format)
    copy_release(official.release)
    return minari.load_dataset(official.dataset_id)


def stored_episode_metadata(official: OfficialDataset) -> list[dict[str, Any]]:
    """The metadata of each episode as they lie on disk, read without the library."""
    if official.data_format == "hdf5":
        with h5py.File(official.data_path / "main_data.hdf5") as file:
            return [_attributes(file[f"episode_{index}"]) for index in range(len(file))]
    directories = sorted((path for path in official.data_path.iterdir() if path.is_dir()), key=lambda p: int(p.name))
    return [json.loads((directory / "metadata.json").read_text(encoding="utf-8")) for directory in directories]


def _attributes(group: h5py.Group) -> dict[str, Any]:
    """The attributes of an episode; before 0.4.3 the statistics were attributes of its rewards."""
    statistics = {f"rewards_{name}": value for name, value in group["rewards"].attrs.items()}
    return dict(group.attrs) | statistics


def stored_metadata(official: OfficialDataset) -> dict[str, Any]:
    """The metadata of the dataset as they lie on disk, read without the library."""
    if official.raw_metadata is not None:
        return official.raw_metadata
    with h5py.File(official.data_path / "main_data.hdf5") as file:
        return dict(file.attrs)


def test_the_collection_is_complete(fixtures_dir: Path) -> None:
    combined = [official for official in DATASETS if official.combines]
    assert len(DATASETS) - len(combined) == RECORDED_DATASETS
    assert len(combined) == COMBINED_DATASETS


@every_dataset
def test_every_value_is_read_as_it_was_recorded(official: OfficialDataset, copy_release: CopyRelease) -> None:
    dataset = load(official, copy_release)
    truth = official.truth()
    assert dataset.total_episodes == len(dataset) == len(truth)
    lossy = JPEG_LEAVES.get((official.release, official.dataset_id))
    # Dtypes are those of the spaces, also where arrow files before 0.5.2 hold int32 for a Discrete.
    for index, (episode, expected) in enumerate(zip(dataset, truth, strict=True)):
        assert episode.id == index
        assert len(episode) == len(expected["rewards"])
        for field in FIELDS:
            assert_identical(getattr(episode, field), expected[field], (field,), lossy=lossy)
    # An index may appear beside the data; what the old release wrote stays as it is, byte for byte.
    for file in (file for file in official.data_path.rglob("*") if file.is_file()):
        name = file.relative_to(official.data_path)
        assert (dataset.storage.data_path / name).read_bytes() == file.read_bytes(), name


@every_jpeg_dataset
def test_frames_are_decoded_as_pillow_decodes_them(official: OfficialDataset, copy_release: CopyRelease) -> None:
    image = pytest.importorskip("PIL.Image")
    dataset = load(official, copy_release)
    (path,) = JPEG_LEAVES[official.release, official.dataset_id]
    with h5py.File(official.data_path / "main_data.hdf5") as file:
        for episode in dataset:
            stored = file[f"episode_{episode.id}"]["/".join(path)][()]
            frames = np.stack([np.asarray(image.open(io.BytesIO(bytes(frame)))) for frame in stored])
            assert_identical(leaves({"observations": episode.observations})[path], frames, path)


@every_dataset
def test_episode_metadata_are_read_as_stored(official: OfficialDataset, copy_release: CopyRelease) -> None:
    dataset = load(official, copy_release)
    stored = stored_episode_metadata(official)
    read = list(dataset.storage.get_episode_metadata(range(dataset.total_episodes)))
    assert len(read) == len(stored)
    for metadata, expected, episode in zip(read, stored, official.truth(), strict=True):
        assert set(metadata) == set(expected)
        for key, value in expected.items():
            assert metadata[key] == value, key
        # A combined dataset of these releases has lost its seeds.
        if not official.combines:
            assert type(metadata["seed"]) is int
            assert metadata["seed"] == episode["seed"]
        assert metadata["total_steps"] == len(episode["rewards"])
        if not official.combines:
            assert np.isclose(metadata["rewards_sum"], episode["rewards"].sum(), rtol=1e-12)
            assert np.isclose(metadata["rewards_std"], episode["rewards"].std(), rtol=1e-12)


@every_dataset
def test_totals_spaces_and_metadata(official: OfficialDataset, copy_release: CopyRelease, datasets_root: Path) -> None:
    dataset = load(official, copy_release)
    stored = stored_metadata(official)
    metadata = dataset.storage.metadata

    assert dataset.id == official.dataset_id
    assert dataset.total_steps == sum(len(episode["rewards"]) for episode in official.truth())
    assert list(dataset.episode_indices) == list(range(dataset.total_episodes))
    assert type(metadata["total_steps"]) is int
    assert type(metadata["total_episodes"]) is int
    assert metadata["data_format"] == dataset.storage.FORMAT == official.data_format
    assert list(dataset.combined_datasets) == official.combines
    assert_version(dataset.minari_version, stored, official)

    assert metadata["author"] == {"Fixture Author"}
    assert metadata["author_email"] == {"fixture@example.org"}
    for key in ("algorithm_name", "code_permalink", "description"):
        assert metadata.get(key) == stored.get(key), key
    if not official.combines:
        assert metadata["algorithm_name"] == "random"
        assert metadata["code_permalink"] == "https://example.org/gen"

    assert_spaces(dataset, official)
    assert metadata["observation_space"] == dataset.observation_space
    assert metadata["action_space"] == dataset.action_space

    spec = dataset.spec
    namespace, _, name = official.dataset_id.rpartition("/")
    assert (spec.dataset_id, spec.namespace) == (official.dataset_id, namespace or None)
    assert f"{spec.dataset_name}-v{spec.version}" == name
    for field in ("total_episodes", "total_steps", "observation_space", "action_space", "env_spec", "minari_version"):
        assert getattr(spec, field) == getattr(dataset, field), field
    assert list(spec.combined_datasets) == official.combines
    assert type(spec.data_path) is str
    assert Path(spec.data_path).resolve() == datasets_root.resolve() / official.dataset_id / "data"


def assert_version(version: str, stored: dict[str, Any], official: OfficialDataset) -> None:
    """The stored version, word for word; 0.3 stored none, so any text will do that means it."""
    if "minari_version" in stored:
        assert version == stored["minari_version"]
    else:
        assert official.version < (0, 4)
        assert official.release in SpecifierSet(version if version[0] in "<>=~!" else f"=={version}")


def assert_spaces(dataset: Any, official: OfficialDataset) -> None:
    if official.name in TOY_SPACES:
        observation_space, action_space = TOY_SPACES[official.name]
    elif official.version < (0, 4):
        # Nothing is stored: the spaces are those of the environment that the stored spec makes today.
        env = gym.make("CartPole-v1" if "cartpole" in official.name else "Pendulum-v1")
        observation_space, action_space = env.observation_space, env.action_space
        env.close()
    else:
        stored = stored_metadata(official)
        box = json.loads(stored["observation_space"])
        observation_space = gym.spaces.Box(np.float32(box["low"]), np.float32(box["high"]), dtype=np.float32)
        action_space = (
            gym.spaces.Discrete(2) if "cartpole" in official.name else gym.spaces.Box(-2, 2, (1,), np.float32)
        )
    assert dataset.observation_space == observation_space
    assert dataset.action_space == action_space
    for episode in dataset.iterate_episodes([0]):
        first = first_step(episode.observations)
        if (official.release, official.dataset_id) not in JPEG_LEAVES:
            assert dataset.observation_space.contains(first)


def first_step(columns: Any) -> Any:
    if isinstance(columns, dict):
        return {key: first_step(part) for key, part in columns.items()}
    if isinstance(columns, tuple):
        return tuple(first_step(part) for part in columns)
    return columns[0]


@every_dataset
def test_environment_spec(official: OfficialDataset, copy_release: CopyRelease) -> None:
    dataset = load(official, copy_release)
    stored = stored_metadata(official).get("env_spec")
    spec = dataset.env_spec
    if stored is None:
        assert official.name in TOY_SPACES
        assert spec is None
        return
    expected = json.loads(stored)
    for field in ("id", "entry_point", "max_episode_steps", "reward_threshold", "kwargs"):
        assert getattr(spec, field) == expected[field], field

    if spec.entry_point == "toyfixtures:make":
        with pytest.raises(ValueError, match="toyfixtures"):
            dataset.recover_environment()
        return
    env = dataset.recover_environment()
    try:
        assert env.spec.id == spec.id
        assert env.spec.max_episode_steps == spec.max_episode_steps
        episode = official.truth()[0]
        observation, _ = env.reset(seed=episode["seed"])
        assert_identical(observation, episode["observations"][0])
    finally:
        env.close()


@every_release
def test_listing_names_exactly_what_is_there(release: str, copy_release: CopyRelease) -> None:
    copy_release(release)
    here = [official for official in DATASETS if official.release == release]
    listed = minari.list_local_datasets()
    # Ids sort by namespace first (none before any), then by name and version.
    order = sorted((d.dataset_id for d in here), key=lambda text: (text.rpartition("/")[0], text))
    assert list(listed) == order
    for official in here:
        metadata = listed[official.dataset_id]
        truth = official.truth()
        assert metadata["total_episodes"] == len(truth)
        assert metadata["total_steps"] == sum(len(episode["rewards"]) for episode in truth)
        assert set(metadata["author"]) == {"Fixture Author"}
        assert metadata["data_format"] == official.data_format
    assert list(minari.list_local_datasets(compatible_minari_version=True)) == order
    newest = list(minari.list_local_datasets(latest_version=True))
    assert newest == [text for text in order if not text.endswith("random-v0")]
    # A prefix is made of whole parts of an id.
    assert list(minari.list_local_datasets(prefix="cartpole")) == [t for t in order if t.startswith("cartpole/")]
    assert list(minari.list_local_datasets(prefix=order[-1])) == [order[-1]]


@every_dataset
def test_metadata_are_read_without_the_data(official: OfficialDataset, copy_fixture: CopyFixture) -> None:
    """A format that is not installed, or data that are gone, leave the metadata readable."""
    directory = copy_fixture(official.release, official.dataset_id)
    raw = MinariStorage.read_raw_metadata(directory / "data")
    truth = official.truth()
    assert int(raw["total_episodes"]) == len(truth)
    assert int(raw["total_steps"]) == sum(len(episode["rewards"]) for episode in truth)
    assert raw.get("data_format", "hdf5") == official.data_format
    if official.raw_metadata is not None:
        for file in (directory / "data").iterdir():
            if file.is_dir():
                shutil.rmtree(file)
            elif file.name != "metadata.json":
                file.unlink()
        assert MinariStorage.read_raw_metadata(directory / "data") == raw
