"""Episodes of every kind as bytes, read by plain h5py."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given

from minari._base.data_file import DataFile
from minari._storages.hdf5.appender import template_of
from minari._storages.hdf5.format import template as hdf5_episode
from minari._storages.hdf5.format.btree import find_table
from minari._storages.hdf5.format.datatypes import BYTES, TEXT
from minari._storages.hdf5.format.objects import (
    CONTINUATION,
    HEADER,
    LONGEST_NAME,
    MESSAGE,
    MOST_MESSAGES,
    VARIABLE_LENGTH,
)
from minari._storages.hdf5.format.superblock import SUPERBLOCK_SIZE, read_superblock
from minari.dataset.minari_storage import MinariStorage
from minari.errors import EpisodeError, MetadataError
from minari.spaces import EpisodeColumns, object_column
from minari.testing.comparison import assert_episode, assert_metadata
from minari.testing.examples import as_buffer, draw_truth
from support.hdf5_files import (
    BytesFile,
    assert_episode_in,
    assert_value,
    attributes_at,
    episodes,
    steps_of,
    write_episodes,
)


FLOAT = np.dtype("<f8")
REWARDS = (("rewards",), FLOAT, (), None)


def assert_written(path: Path, *written: EpisodeColumns) -> None:
    """Write episodes, and find them in the file."""
    write_episodes(path, dict(enumerate(written)))
    with h5py.File(path) as file:
        assert list(file) == sorted(f"episode_{index}" for index in range(len(written)))
        for index, episode in enumerate(written):
            assert_episode_in(file, index, episode)


@given(drawn=st.lists(episodes(), min_size=1, max_size=3))
def test_any_episodes(tmp_path_factory: Any, drawn: list[EpisodeColumns]) -> None:
    """Values, dtypes, shapes, attributes, links and groups, whatever they are."""
    assert_written(tmp_path_factory.mktemp("episodes") / "file.h5", *drawn)


@given(first=episodes(), second=episodes())
def test_in_two_portions(tmp_path_factory: Any, first: EpisodeColumns, second: EpisodeColumns) -> None:
    """Further episodes are added to a file that h5py has changed in between."""
    path = tmp_path_factory.mktemp("episodes") / "file.h5"
    assert_written(path, first)
    with h5py.File(path, "r+") as file:
        file.attrs["note"] = "x" * 100
    write_episodes(path, {1: second})
    with h5py.File(path) as file:
        assert_episode_in(file, 0, first)
        assert_episode_in(file, 1, second)
        assert file.attrs["note"] == "x" * 100


def test_many_columns(tmp_path: Path) -> None:
    """Far more members in one group than HDF5 keeps in a header on its own."""
    infos = {("infos", f"n{number}"): np.full((3, 1), number, np.int16) for number in range(2000)}
    observations: dict[Any, Any] = {("observations", number): np.full(3, number) for number in range(300)}
    metadata = {f"m{number}": number for number in range(1500)}
    assert_written(tmp_path / "file.h5", EpisodeColumns(2, {**observations, **steps_of(2), **infos}, metadata))


def test_deep_paths(tmp_path: Path) -> None:
    path: tuple[Any, ...] = ("observations", *(part for number in range(40) for part in (f"d{number}", number)))
    assert_written(tmp_path / "file.h5", EpisodeColumns(2, {path: np.arange(3), **steps_of(2)}))


def test_keys_with_slashes(tmp_path: Path) -> None:
    """Are the same as nested ones, as long as no two are the same."""
    columns = {("infos", "a/b"): np.arange(3), ("infos", "a", "c"): np.arange(3.0), ("infos", "d/e", 0): np.zeros(3)}
    episode = EpisodeColumns(2, {**steps_of(2), **columns})
    assert_written(tmp_path / "file.h5", episode)
    with h5py.File(tmp_path / "file.h5") as file:
        assert list(file["episode_0/infos/a"]) == ["b", "c"]


def test_without_steps(tmp_path: Path) -> None:
    """Rows of nothing, and columns without rows, of text and of byte strings as well."""
    columns = {("observations",): np.zeros((1, 0, 3), np.float16), ("actions", "t"): object_column([])}
    assert_written(tmp_path / "file.h5", EpisodeColumns(0, {**columns, **steps_of(0)}), EpisodeColumns(0, steps_of(0)))


# The template


def test_a_template_is_made_once() -> None:
    """Making it takes as long as writing a hundred episodes."""
    kinds = (REWARDS, (("observations",), np.dtype(">i2"), (3,), None)), (("id", np.dtype("i8"), ()),)
    assert template_of(*kinds) is template_of(*kinds)
    other = (REWARDS, (("observations",), np.dtype("<i2"), (3,), None)), (("id", np.dtype("i8"), ()),)
    assert template_of(*other) is not template_of(*kinds)


def test_what_a_template_says() -> None:
    leaves = (
        REWARDS,
        (("observations",), np.dtype("<i2"), (3, 2), None),
        (("infos", "t"), TEXT, (), None),
        (("infos", "b"), BYTES, (), None),
        (("infos", "empty"), FLOAT, (2, 0), None),
    )
    template = template_of(leaves, (("id", np.dtype("i8"), ()), ("name", TEXT, ()), ("m", FLOAT, (2, 2))))
    assert template.item_sizes.tolist() == [8, 12, 16, 16, 0]
    assert (template.leaves, template.attributes) == (5, 3)
    assert len(template.links) == 4 + 3, "to observations, actions, rewards and infos, and below infos"
    assert template.fields.itemsize == len(template.image)
    assert template.fields["attribute 1"] == VARIABLE_LENGTH
    assert template.fields["attribute 2"].shape == (2, 2)
    assert template.image[template.header] == 1, "the version of the header of a group"


def test_episodes_are_filled_in_one_after_the_other() -> None:
    """Addresses count from the place of each; what is empty has none."""
    template = template_of((REWARDS,), (("id", np.dtype("i8"), ()),))
    rows, addresses = np.array([[3], [0]]), np.array([[160], [168]])
    objects = template.fill(4000, rows, addresses, [[np.int64(5)], [np.int64(6)]])
    assert objects["rows of 0"].tolist() == [3, 0]
    assert objects["address of 0"].tolist() == [160, 2**64 - 1]
    assert objects["size of 0"].tolist() == [24, 0]
    assert objects["attribute 0"].tolist() == [5, 6]
    for name in template.links:
        first, second = objects[name].tolist()
        assert 4000 <= first < 4000 + len(template.image)
        assert second == first + len(template.image)


# What cannot be written


@pytest.mark.parametrize(
    "paths",
    [
        [("infos", "")],
        [("infos", ".")],
        [("infos", "a/")],
        [("infos", "a//b")],
        [("infos", "a\0b")],
        [("infos", "\ud800")],
        [("infos", "a"), ("infos", "a", "b")],
        [("infos", "a", "b"), ("infos", "a")],
        [("infos", "a", "b"), ("infos", "a/b")],
        [("infos", 0), ("infos", "_index_0")],
        [("infos", "n" * (LONGEST_NAME + 1))],
        [("infos", "é" * (LONGEST_NAME // 2 + 1))],
        [("infos", "n" * 2**16, "x")],
    ],
    ids=lambda paths: " ".join("/".join(map(str, path))[:12] for path in paths).encode("unicode_escape").decode(),
)
def test_names_that_are_refused(paths: list[Any]) -> None:
    with pytest.raises(EpisodeError, match="cannot be written as HDF5; the keys of a space must not be"):
        template_of((REWARDS, *((path, FLOAT, (), None) for path in paths)), ())


def test_the_longest_name(tmp_path: Path) -> None:
    column = {("infos", "n" * LONGEST_NAME, "é" * (LONGEST_NAME // 2)): np.arange(3)}
    assert_written(tmp_path / "file.h5", EpisodeColumns(2, {**steps_of(2), **column}))


def test_too_many_dimensions(tmp_path: Path) -> None:
    """HDF5 has 32 with time; it cannot open an array that has more, nor the group that it is in."""
    assert_written(
        tmp_path / "file.h5", EpisodeColumns(2, {**steps_of(2), ("observations",): np.zeros((3, *[1] * 31))})
    )
    with pytest.raises(EpisodeError, match=r"'observations' .* 33 dimensions where HDF5 allows 32"):
        template_of((REWARDS, (("observations",), FLOAT, (1,) * 32, None)), ())
    space = spaces.Box(-1.0, 1.0, (1,) * 32, np.float32)
    storage = MinariStorage.new(tmp_path / "data", space, spaces.Discrete(2))
    with pytest.raises(EpisodeError, match="Episode 0 cannot be stored"):  # NumPy 1 has no such array itself
        storage.update_episodes([as_buffer(draw_truth(space, spaces.Discrete(2), 2))])
    assert storage.total_episodes == 0


def test_too_many_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a part of the header of the group, and these are counted in two bytes; making so many takes seconds."""
    assert MOST_MESSAGES == 2**16 - 1
    monkeypatch.setattr(hdf5_episode, "MOST_MESSAGES", 500)
    leaves = tuple((("infos", f"{number}"), FLOAT, (), None) for number in range(499))
    attributes = tuple((f"{number}", FLOAT, ()) for number in range(495))
    assert template_of((REWARDS, *leaves[:-1]), attributes[:-1]).leaves == 499
    for parts in (((REWARDS, *leaves), ()), ((REWARDS,), attributes)):
        with pytest.raises(EpisodeError, match="501 keys in one place where HDF5 allows 500"):
            template_of(*parts)


@pytest.mark.parametrize(
    ("name", "kind", "shape"),
    [("n" * 70_000, FLOAT, ()), ("n" * LONGEST_NAME, TEXT, ()), ("x", FLOAT, (8192,))],
    ids=["name", "name of a text", "value"],
)
def test_attributes_that_are_too_large(name: str, kind: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(MetadataError, match=r"The episode metadata .* cannot be written as HDF5: it"):
        template_of((REWARDS,), ((name, kind, shape),))


# Episodes that other programs change

SPACE = spaces.Dict({f"x{number}": spaces.Box(-1.0, 1.0, (number,), np.float32) for number in range(1, 4)})
ACTIONS = spaces.Discrete(3)
TRUTHS = [draw_truth(SPACE, ACTIONS, 3, seed) for seed in range(6)]


def stored(directory: Path) -> MinariStorage:
    storage = MinariStorage.new(directory / "data", SPACE, ACTIONS)
    storage.update_episodes(as_buffer(truth, seed=7) for truth in TRUTHS[:3])
    return storage


def assert_read(data_path: Path, truths: list[Any], metadata: dict[int, dict[str, Any]]) -> None:
    """By a storage that has to find everything, and by one that has an index of it; attributes as h5py has them."""
    for _ in range(2):
        storage = MinariStorage.read(data_path)
        assert storage.total_episodes == len(truths)
        for episode, truth in zip(storage.get_episodes(range(len(truths))), truths, strict=True):
            assert_episode(episode, SPACE, ACTIONS, truth)
        found = list(storage.get_episode_metadata(range(len(truths))))
        for index, expected in metadata.items():
            assert_metadata(found[index], expected)
    with DataFile(data_path / "main_data.hdf5") as data, h5py.File(data_path / "main_data.hdf5") as file:
        for index in range(len(truths)):
            group = file[f"episode_{index}"]
            attributes = attributes_at(data.read_at, data.size, h5py.h5o.get_info(group.id).addr)
            if attributes is not None:
                assert {name for name, _ in attributes} == set(group.attrs)
                for name, value in attributes:
                    assert_value(value, group.attrs[name], name)


def kinds_of_messages(block: bytes) -> list[int]:
    kinds, position = [], 0
    while position + MESSAGE.size <= len(block):
        kind, size, _ = MESSAGE.unpack_from(block, position)
        kinds.append(kind)
        position += MESSAGE.size + size
    return kinds


@pytest.mark.parametrize("options", [{}, {"libver": "earliest"}, {"libver": "latest"}], ids=str)
def test_attributes_that_h5py_changes(tmp_path: Path, options: dict[str, Any]) -> None:
    """So that the header has continuations, and holes where attributes were."""
    data_path = stored(tmp_path).data_path
    with h5py.File(data_path / "main_data.hdf5", "r+", **options) as file:
        attributes = file["episode_1"].attrs
        for number in range(60):
            attributes[f"a{number}"] = np.arange(number)
        for number in range(0, 60, 2):
            del attributes[f"a{number}"]
        del attributes["seed"]
        attributes["a1"], attributes["note"], attributes["total_steps"] = "now a text", "x" * 3000, np.int32(3)
        address = h5py.h5o.get_info(file["episode_1"].id).addr
    read_at = BytesFile(data_path / "main_data.hdf5").read_at
    version, _, _, size = HEADER.unpack(read_at(address, HEADER.size))
    assert version == 1
    assert CONTINUATION in kinds_of_messages(read_at(address + HEADER.size, size))
    expected = {"a1": "now a text", "a3": np.arange(3), "a59": np.arange(59), "note": "x" * 3000}
    assert_read(data_path, TRUTHS[:3], {0: {"seed": 7}, 1: expected, 2: {"seed": 7}})
    MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[3], seed=8)])
    assert_read(data_path, TRUTHS[:4], {1: expected, 3: {"seed": 8}})
    MinariStorage.read(data_path).update_episode_metadata([{"a1": 5, "mine": {"x": 1}}], [1])
    assert_read(data_path, TRUTHS[:4], {1: {**expected, "a1": 5, "mine": {"x": 1}}})
    (found,) = MinariStorage.read(data_path).get_episode_metadata([1])
    assert not {"a0", "a58", "seed"} & found.keys()


@pytest.mark.parametrize("options", [{}, {"libver": "earliest"}, {"libver": "latest"}], ids=str)
def test_members_that_h5py_adds(tmp_path: Path, options: dict[str, Any]) -> None:
    """More than a header holds, so that HDF5 moves all links elsewhere; and takes some away again."""
    data_path = stored(tmp_path).data_path
    with h5py.File(data_path / "main_data.hdf5", "r+", **options) as file:
        for number in range(12):
            file[f"episode_0/infos/i{number}"] = np.full(4, number)
            file["episode_1"].create_dataset(f"infos/deep/er/i{number}", data=[f"{number}"] * 4)
        for number in range(12):
            file[f"episode_2/infos/i{number}"] = np.full(4, number)
        for number in range(10):
            del file[f"episode_2/infos/i{number}"]
    truths = [
        {**TRUTHS[0], "infos": {f"i{number}": np.full(4, number) for number in range(12)}},
        {**TRUTHS[1], "infos": {"deep": {"er": {f"i{n}": object_column([f"{n}"] * 4) for n in range(12)}}}},
        {**TRUTHS[2], "infos": {f"i{number}": np.full(4, number) for number in (10, 11)}},
    ]
    assert_read(data_path, truths, {})
    MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[3])])
    assert_read(data_path, [*truths, TRUTHS[3]], {0: {"seed": 7}, 2: {"seed": 7}})


@pytest.mark.parametrize("options", [{}, {"libver": "earliest"}, {"libver": "latest"}], ids=str)
def test_episode_recreated_by_h5py(tmp_path: Path, options: dict[str, Any]) -> None:
    """Deleted and written in its own manner, where the old one was; ours go on after it."""
    data_path = stored(tmp_path).data_path
    truth = TRUTHS[4]
    with h5py.File(data_path / "main_data.hdf5", "r+", **options) as file:
        del file["episode_1"]
        group = file.create_group("episode_1")
        group.attrs["id"], group.attrs["total_steps"], group.attrs["by"] = 1, 3, "another program"
        for name in SPACE:
            group[f"observations/{name}"] = np.stack([value[name] for value in truth["observations"]])
        group["actions"] = np.stack(truth["actions"])
        for name in ("rewards", "terminations", "truncations"):
            group.create_dataset(name, data=truth[name], chunks=True, compression="gzip")
        group.create_group("infos")
    truths = [TRUTHS[0], truth, TRUTHS[2]]
    assert_read(data_path, truths, {1: {"by": "another program"}})
    for more in TRUTHS[3:]:
        MinariStorage.read(data_path).update_episodes([as_buffer(more, seed=9)])
        truths.append(more)
        assert_read(data_path, truths, {1: {"by": "another program"}, len(truths) - 1: {"seed": 9}})
    with h5py.File(data_path / "main_data.hdf5") as file:
        assert sorted(file) == [f"episode_{index}" for index in range(6)]
        assert all(h5py.h5o.get_info(file[name].id).rc == 1 for name in file)


def test_attributes_of_the_file(tmp_path: Path) -> None:
    """As releases before 0.5 have them: the header of the root group has continuations then."""
    data_path = stored(tmp_path).data_path
    with h5py.File(data_path / "main_data.hdf5", "r+") as file:
        for number in range(20):
            file.attrs[f"a{number}"] = "x" * number
    with (data_path / "main_data.hdf5").open("rb") as opened:
        superblock = read_superblock(opened.read(SUPERBLOCK_SIZE))
    assert find_table(BytesFile(data_path / "main_data.hdf5"), superblock.root) is not None
    MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[3], seed=8)])
    assert_read(data_path, TRUTHS[:4], {3: {"seed": 8}})
    with h5py.File(data_path / "main_data.hdf5") as file:
        assert {name: len(text) for name, text in file.attrs.items()} == {f"a{number}": number for number in range(20)}


def test_an_episode_at_the_same_place_of_another_file(tmp_path: Path) -> None:
    """Arrays and attributes of the main file are whole and look alike there, and are not those of the episode."""
    data_path = stored(tmp_path).data_path
    shutil.copy(data_path / "main_data.hdf5", data_path / "additional_data_0.hdf5")
    with (
        h5py.File(data_path / "main_data.hdf5", "r+") as file,
        h5py.File(data_path / "additional_data_0.hdf5", "r+") as other,
    ):
        other["episode_1"].attrs.modify("seed", 8)
        other["episode_1/rewards"][...] = TRUTHS[5]["rewards"]
        places = [h5py.h5o.get_info(opened["episode_1"].id).addr for opened in (file, other)]
        assert places[0] == places[1]
        del file["episode_1"]
        file["episode_1"] = h5py.ExternalLink("additional_data_0.hdf5", "/episode_1")
    for _ in range(2):
        storage = MinariStorage.read(data_path)
        (episode,) = storage.get_episodes([1])
        assert_episode(episode, SPACE, ACTIONS, {**TRUTHS[1], "rewards": TRUTHS[5]["rewards"]})
        assert [metadata["seed"] for metadata in storage.get_episode_metadata(range(3))] == [7, 8, 7]


@pytest.mark.parametrize("padding", [0, 100_000], ids=["other places", "places that both files have"])
def test_episodes_linked_from_another_file(tmp_path: Path, padding: int) -> None:
    """As old datasets have them: what is at their places in the main file is not theirs."""
    data_path = stored(tmp_path).data_path
    with (
        h5py.File(data_path / "main_data.hdf5", "r+") as file,
        h5py.File(data_path / "additional_data_0.hdf5", "w") as other,
    ):
        other["before"] = np.zeros(500)
        for index in (1, 2):
            file.copy(f"episode_{index}", other)
            del file[f"episode_{index}"]
        file["episode_1"] = h5py.ExternalLink("additional_data_0.hdf5", "/episode_1")
        other["episode_2"].attrs["note"] = "here"
        file["episode_2"] = h5py.ExternalLink("additional_data_0.hdf5", "/episode_2")
        other["rewards"] = TRUTHS[0]["rewards"]
        del file["episode_0/rewards"]
        file["episode_0/rewards"] = h5py.ExternalLink("additional_data_0.hdf5", "/rewards")
    if padding:
        with h5py.File(data_path / "main_data.hdf5", "r+") as file:
            file["episode_0"].attrs["note"] = "x" * padding
    for _ in range(2):
        storage = MinariStorage.read(data_path)
        for episode, truth in zip(storage.get_episodes(range(3)), TRUTHS[:3], strict=True):
            assert_episode(episode, SPACE, ACTIONS, truth)
        found = list(storage.get_episode_metadata(range(3)))
        assert [metadata["seed"] for metadata in found] == [7, 7, 7]
        assert found[2]["note"] == "here"
    MinariStorage.read(data_path).update_episodes([as_buffer(TRUTHS[3])])
    for episode, truth in zip(MinariStorage.read(data_path).get_episodes(range(4)), TRUTHS[:4], strict=True):
        assert_episode(episode, SPACE, ACTIONS, truth)
