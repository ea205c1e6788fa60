"""Frames in Parquet: one binary value each, or lists of numbers for earlier releases and in existing datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import DatasetCorruptError, DatasetVersionError, MinariError
from minari.testing.comparison import assert_same


pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

SHAPE = (40, 30)
FRAMES = spaces.Box(0, 255, SHAPE, np.uint8)
SPACES: dict[str, Any] = {
    "observation_space": spaces.Dict({"eye": FRAMES, "speed": spaces.Box(-1, 1, (3,), np.float32)}),
    "action_space": FRAMES,
}
AUTHORSHIP = {"author": "Ada", "author_email": "ada@example.org", "description": "Frames.", "algorithm_name": "none"}

pytestmark = pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning")


def episode(seed: int, steps: int = 5) -> EpisodeBuffer:
    rng = np.random.default_rng(seed)
    return EpisodeBuffer(
        seed=seed,
        observations={
            "eye": rng.integers(0, 256, (steps + 1, *SHAPE), np.uint8),
            "speed": rng.random((steps + 1, 3), np.float32),
        },
        actions=rng.integers(0, 256, (steps, *SHAPE), np.uint8),
        rewards=rng.random(steps),
        terminations=np.arange(steps) == steps - 1,
        truncations=np.zeros(steps, bool),
    )


def create(name: str, *seeds: int, **options: Any) -> minari.MinariDataset:
    episodes = [episode(seed) for seed in seeds]
    return minari.create_dataset_from_buffers(
        name,
        episodes,
        data_format="parquet",
        eval_env="CartPole-v1",
        code_permalink="x",
        **SPACES,
        **AUTHORSHIP,
        **options,
    )


def types(dataset: minari.MinariDataset) -> set[str]:
    """The types of all columns of frames."""
    paths = [Path(dataset.storage.data_path) / str(index) / "part-0.parquet" for index in range(len(dataset))]
    schemas = [pq.read_schema(path) for path in paths]
    return {
        str(kind)
        for one in schemas
        for kind in (one.field("actions").type, one.field("observations").type.field("eye").type)
    }


BYTES = {f"fixed_size_binary[{40 * 30}]"}


def check(dataset: minari.MinariDataset, *seeds: int) -> None:
    opened = minari.MinariDataset(dataset.storage.data_path, verify_checksums=True)
    assert len(opened) == len(seeds)
    for found, seed in zip(opened.iterate_episodes(), seeds, strict=True):
        expected = episode(seed)
        assert_same(found.observations, expected.observations)
        assert_same(found.actions, expected.actions)
        assert found.actions.flags.writeable


def test_new_datasets_have_bytes_and_others_are_for_earlier_releases() -> None:
    new, older = create("bytes/new-v0", 0, 1), create("bytes/older-v0", 0, 1, compatible_with="0.5")
    assert types(new) == BYTES
    assert not types(older) & BYTES
    assert (new.storage.metadata["minari_version"], older.storage.metadata["minari_version"]) == ("0.6", "0.5.4")
    check(new, 0, 1)
    check(older, 0, 1)
    columns = pq.read_table(new.storage.data_path / "1" / "part-0.parquet")
    assert columns["actions"][2].as_py() == episode(1).actions[2].tobytes()


@pytest.mark.parametrize("release", [None, "0.5"])
def test_datasets_keep_their_layout(release: str | None) -> None:
    dataset = create("layout/first-v0", 0, compatible_with=release)
    expected = types(dataset)
    dataset.storage.update_episodes([episode(1)])
    dataset.storage.repack()
    check(dataset, 0, 1)
    copy = dataset.convert("layout/copy-v0")
    both = minari.combine_datasets([dataset, copy], "layout/both-v0")
    minari.edit_dataset(both, drop_fields=["observations/speed"])
    for one in (dataset, copy, minari.load_dataset("layout/both-v0")):
        assert types(one) == expected
        assert one.storage.metadata["minari_version"] == ("0.6" if release is None else "0.5.4")


def test_datasets_are_converted_to_either_layout() -> None:
    older = create("either/older-v0", 0, 1, compatible_with="0.5")
    new = older.convert("either/new-v0", compression="zstd")
    assert types(new) == BYTES
    again = new.convert("either/again-v0", compatible_with="0.5")
    assert types(again) == types(older)
    mixed = minari.combine_datasets([older, new], "either/mixed-v0")
    assert types(mixed) == BYTES
    check(new, 0, 1)
    check(again, 0, 1)
    check(mixed, 0, 1, 0, 1)


def test_what_earlier_releases_cannot_read_is_refused() -> None:
    with pytest.raises(DatasetVersionError, match=r"compatible_with is '0\.4', expected '0\.5' or None"):
        create("refused/a-v0", 0, compatible_with="0.4")
    with pytest.raises(DatasetVersionError, match="do not have the format 'zarr'"):
        minari.create_dataset_from_buffers("refused/b-v0", [], data_format="zarr", compatible_with="0.5", **SPACES)
    assert not minari.list_local_datasets()


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [("uint8", "40,30", 40 * 30 - 1), ("uint8", "40,31", 40 * 30), ("float32", "10,30", 40 * 30), ("uint8", "", 7)],
)
def test_bytes_of_another_shape_are_damage(tmp_path: Path, dtype: str, shape: str, size: int) -> None:
    storage = MinariStorage.new(tmp_path / "data", FRAMES, spaces.Discrete(2), None, "parquet")
    made = episode(0)
    flags = {"rewards": made.rewards, "terminations": made.terminations, "truncations": made.truncations}
    storage.update_episodes([EpisodeBuffer(observations=made.observations["eye"], actions=np.zeros(5, int), **flags)])
    path = tmp_path / "data" / "0" / "part-0.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index("observations")
    field = pa.field("observations", pa.binary(size), metadata={"dtype": dtype, "shape": shape})
    values = pa.array([bytes(size)] * 6, pa.binary(size))
    pq.write_table(table.set_column(place, field, values), path)
    with pytest.raises(MinariError) as caught:
        list(MinariStorage.read(tmp_path / "data").get_episodes([0]))
    assert isinstance(caught.value, DatasetCorruptError)


def test_bytes_that_a_dictionary_has_once_are_limited(tmp_path: Path) -> None:
    storage = MinariStorage.new(tmp_path / "data", FRAMES, spaces.Discrete(2), None, "parquet")
    made = episode(0)
    flags = {"rewards": made.rewards, "terminations": made.terminations, "truncations": made.truncations}
    storage.update_episodes([EpisodeBuffer(observations=made.observations["eye"], actions=np.zeros(5, int), **flags)])
    path = tmp_path / "data" / "0" / "part-0.parquet"
    table = pa.table({"observations": pa.array([bytes(2**20)] * 6, pa.binary(2**20))})
    pq.write_table(table, path, compression="zstd", store_schema=False)
    data = path.read_bytes()
    begin = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    length = b"\x80\x80\x80\x01"  # of a value, in the schema
    assert length in data[begin:]
    path.write_bytes(data[:begin] + data[begin:].replace(length, b"\xfe\xff\xff\x7f", 1))
    with pytest.raises(DatasetCorruptError, match="claim to expand"):
        list(MinariStorage.read(tmp_path / "data").get_episodes([0]))
