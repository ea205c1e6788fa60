"""A dataset with something of everything, and whether another one holds the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari._storages.registry import get_minari_storage, get_storage_keys
from minari.dataset.compression import Codec
from minari.dataset.minari_storage import MinariStorage
from minari.errors import MissingDependencyError
from minari.testing import register_memory_storage
from minari.testing.comparison import assert_episode, assert_metadata, assert_same
from minari.testing.examples import Truth, as_buffer, draw_truth


register_memory_storage()

#: Every format that there is, also where what it needs is not installed.
FORMATS = get_storage_keys()

#: What describes one copy of a dataset and not another.
OF_ONE_COPY = {
    *("dataset_id", "data_format", "dataset_size", "minari_version", "compression", "jpeg_encoding", "frame_layout"),
}

OBSERVATIONS = spaces.Dict(
    {
        "pixels": spaces.Box(0, 255, (40, 36, 3), np.uint8),
        "state": spaces.Tuple((spaces.Box(-np.inf, np.inf, (3,), np.float32), spaces.Discrete(4, start=-2))),
        "name": spaces.Text(5, charset="aé漢🎉"),
        "seen": spaces.Sequence(spaces.Box(-1.0, 1.0, (2,), np.float64)),
    }
)
ACTIONS = spaces.Dict({"move": spaces.MultiDiscrete([3, 4]), "bits": spaces.MultiBinary(3)})
LENGTHS = (3, 1, 64, 2, 65)

METADATA: dict[str, Any] = {
    "eval_env": "MountainCar-v0",
    "algorithm_name": "count 漢",
    "author": {"Ada", "Grace"},
    "author_email": {"ada@example.org", "grace@example.org"},
    "code_permalink": "https://example.org/code",
    "description": "# Everything\n\nOf each kind one.",
    "ref_min_score": -1.5,
    "ref_max_score": 1e300,
    "num_episodes_average_score": 7,
    "requirements": ["nothing>=1", "little"],
    "extra_metadata": {
        "combined_datasets": ["toy/a-v0", "toy/b-v1"],
        "gain": 0.1,
        "table": {"a": [1, None, {"b": "c"}], "": True},
        "nothing": None,
    },
}
SEEDS = (0, 2**31, 2**63, 2**64 - 1, 2**200)
OPTIONS: dict[str, Any] = {"state": {"qpos": np.arange(6.0).reshape(2, 3), "deep": {"flag": True}}, "level": "low"}


def require_format(data_format: str) -> None:
    """Skip the test where the format cannot be used here."""
    try:
        get_minari_storage(data_format)
    except MissingDependencyError as error:
        pytest.skip(str(error))


def is_installed(data_format: str) -> bool:
    """Return whether the format can be used here."""
    try:
        get_minari_storage(data_format)
    except MissingDependencyError:
        return False
    return True


def installed_codecs(data_format: str) -> Iterator[str]:
    """The codecs of a format that can be used here."""
    storage_type = get_minari_storage(data_format)
    for name in storage_type.CODECS:
        try:
            storage_type.check_codec(Codec(name))
        except MissingDependencyError:
            continue
        yield name


needs_zarr = pytest.mark.skipif(not is_installed("zarr"), reason="zarr 3 is not installed; it needs Python 3.11")
in_every_format = pytest.mark.parametrize(
    "data_format", ["hdf5", "arrow", "parquet", pytest.param("zarr", marks=needs_zarr)]
)


def draw_truths() -> list[Truth]:
    """The episodes of the dataset."""
    return [
        draw_truth(OBSERVATIONS, ACTIONS, length, number, _infos(length + 1)) for number, length in enumerate(LENGTHS)
    ]


def _infos(rows: int) -> dict[str, Any]:
    nested = {"flag": np.arange(rows) % 2 == 0, "name": np.array([f"n{row}" for row in range(rows)], object)}
    return {"x": np.arange(rows, dtype=np.int16), "matrix": np.full((rows, 2, 3), 0.1, np.float32), "nested": nested}


def make_rich(dataset_id: str, data_format: str, **options: Any) -> minari.MinariDataset:
    """The dataset, in a format of choice."""
    require_format(data_format)
    buffers = [as_buffer(truth, seed=SEEDS[i], options=OPTIONS) for i, truth in enumerate(draw_truths())]
    dataset = minari.create_dataset_from_buffers(
        dataset_id,
        buffers,
        env="CartPole-v1",
        observation_space=OBSERVATIONS,
        action_space=ACTIONS,
        data_format=data_format,
        **METADATA,
        **options,
    )
    own: list[dict[str, Any]] = [
        {"rewards_mean": np.float64(i) / 3, "mine": {"number": i, "array": np.arange(i)}, "list": [1, "a", None]}
        for i in range(len(buffers))
    ]
    dataset.storage.update_episode_metadata(own)
    return dataset


def assert_rich(dataset: minari.MinariDataset, indices: Sequence[int] | None = None, *, pixels: bool = True) -> None:
    """The dataset holds these episodes of the rich one, and what is said of them, compared with what was put in."""
    truths = draw_truths()
    indices = range(len(truths)) if indices is None else indices
    storage = dataset.storage
    assert (dataset.observation_space, dataset.action_space) == (OBSERVATIONS, ACTIONS)
    assert dataset.total_steps == sum(LENGTHS[index] for index in indices)
    assert len(list(dataset)) == len(indices)
    metadatas = list(storage.get_episode_metadata(range(storage.total_episodes)))
    for number, (index, episode, metadata) in enumerate(zip(indices, dataset, metadatas, strict=True)):
        fields = {name: getattr(episode, name) for name in truths[index]}
        truth = truths[index] if pixels else _without_pixels(truths[index])
        if not pixels:
            del fields["observations"]["pixels"]
        assert_episode(fields, OBSERVATIONS if pixels else _without_space(), ACTIONS, truth)
        assert episode.id == number
        expected = {
            "id": number,
            "total_steps": LENGTHS[index],
            "seed": SEEDS[index],
            "options": OPTIONS,
            "rewards_mean": index / 3,
            "mine": {"number": index, "array": np.arange(index)},
            "list": [1, "a", None],
        }
        assert metadata.keys() == expected.keys()
        assert_metadata(metadata, expected)
        assert type(metadata["seed"]) is int
    _assert_described(dataset)


def _without_space() -> spaces.Dict:
    return spaces.Dict({key: space for key, space in OBSERVATIONS.spaces.items() if key != "pixels"})


def _without_pixels(truth: Truth) -> Truth:
    rows = [{key: value for key, value in row.items() if key != "pixels"} for row in truth["observations"]]
    return {**truth, "observations": rows}


def _assert_described(dataset: minari.MinariDataset) -> None:
    metadata = dataset.storage.metadata
    expected = {key: value for key, value in METADATA.items() if key not in ("eval_env", "extra_metadata")}
    expected |= METADATA["extra_metadata"]
    assert {key: metadata[key] for key in expected} == expected
    assert dataset.env_spec is not None
    assert dataset.env_spec.id == "CartPole-v1"
    assert '"MountainCar-v0"' in metadata["eval_env_spec"]


def assert_copy(copy: MinariStorage, original: MinariStorage, indices: Sequence[int] | None = None) -> None:
    """Require the same values, dtypes and metadata of two storages as they are read, for episodes of these numbers."""
    indices = range(original.total_episodes) if indices is None else indices
    assert copy.total_episodes == len(indices)
    episodes = zip(copy.get_episodes(range(len(indices))), original.get_episodes(indices), strict=True)
    for number, (episode, expected) in enumerate(episodes):
        assert_same(episode, {**expected, "id": number}, f"episode {number}")
    metadatas = zip(copy.get_episode_metadata(range(len(indices))), original.get_episode_metadata(indices), strict=True)
    for number, (metadata, expected) in enumerate(metadatas):
        assert metadata.keys() == expected.keys()
        assert_metadata(metadata, {**expected, "id": number})
    assert described(copy) == described(original) | {
        "total_episodes": len(indices),
        "total_steps": int(original.get_episode_lengths(indices).sum()),
    }


def described(storage: MinariStorage) -> dict[str, Any]:
    """The metadata of a dataset that any copy of it has."""
    return {key: value for key, value in storage.metadata.items() if key not in OF_ONE_COPY}


def stored_jpeg(storage: MinariStorage) -> list[list[bytes]]:
    """The bytes of every JPEG frame of every episode, as they are stored."""
    leaves = storage.image_leaves
    assert storage.jpeg_encoding
    assert leaves
    return [
        [row if isinstance(row, bytes) else np.asarray(row, np.uint8).tobytes() for row in columns[leaf.path]]
        for _, columns in storage._read_columns(range(storage.total_episodes))
        for leaf in leaves
    ]
