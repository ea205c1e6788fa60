"""Edits of datasets: metadata, episodes and fields, in place and as new datasets."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import minari
from minari import MinariDataset
from minari._base.locks import folder_lock
from minari.data_collector import EpisodeBuffer, MultiAgentEpisodeBuffer
from minari.errors import (
    ArgumentError,
    ArgumentTypeError,
    DatasetBusyError,
    DatasetChangedError,
    DatasetExistsError,
    DatasetNotFoundError,
    EpisodeError,
    EpisodeIndexError,
    MetadataError,
)
from minari.storage.cleaning import clean, find_leftovers
from minari.testing.comparison import assert_same
from support.copies import FORMATS as ALL_FORMATS
from support.copies import in_every_format, is_installed, make_rich


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

FORMATS = [name for name in ALL_FORMATS if name != "memory" and is_installed(name)]
SPACE = spaces.Dict(
    {
        "x": spaces.Box(-1e6, 1e6, (2,), np.float64),
        "deep": spaces.Dict({"n": spaces.Discrete(100), "m": spaces.MultiBinary(2)}),
        "pair": spaces.Tuple((spaces.Discrete(100), spaces.Dict({"a": spaces.Discrete(100), "b": spaces.Discrete(9)}))),
    }
)
ACTIONS = spaces.Dict({"go": spaces.Discrete(100), "turn": spaces.Box(-1e6, 1e6, (), np.float32)})


def buffer(seed: int, **fields: Any) -> EpisodeBuffer:
    """An episode of one to three steps in which all values are its number."""
    steps = 1 + seed % 3
    rows = np.full(steps + 1, seed)
    ends = np.arange(steps) == steps - 1
    values = {
        "observations": {
            "x": np.full((steps + 1, 2), float(seed)),
            "deep": {"n": rows, "m": np.zeros((steps + 1, 2), np.int8)},
            "pair": (rows, {"a": rows, "b": rows % 9}),
        },
        "actions": {"go": rows[1:], "turn": rows[1:].astype(np.float32)},
        "rewards": np.full(steps, float(seed)),
        "terminations": ends,
        "truncations": ends & False,
        "infos": {"debug": {"id": rows, "text": [f"t{seed}"] * (steps + 1)}, "time": np.arange(steps + 1)},
    }
    return EpisodeBuffer(seed=seed, **{**values, **fields})


def make(dataset_id: str = "edit/a-v0", count: int = 6, data_format: str = "hdf5", **options: Any) -> MinariDataset:
    buffers = options.pop("buffers", None) or [buffer(seed) for seed in range(count)]
    arguments = {"observation_space": SPACE, "action_space": ACTIONS, "description": "Before.", **options}
    return minari.create_dataset_from_buffers(dataset_id, buffers, data_format=data_format, **arguments)


def seeds(dataset: MinariDataset) -> list[int]:
    return [int(episode.rewards.reshape(-1)[0]) for episode in dataset]


def contents(root: Path) -> dict[str, tuple[int, bytes]]:
    """The modification time and the content of every file and directory below a directory."""
    paths = [root, *sorted(root.rglob("*"))]
    return {str(path): (path.stat().st_mtime_ns, b"" if path.is_dir() else path.read_bytes()) for path in paths}


# Everything at once


@in_every_format
@pytest.mark.parametrize("new_id", [None, "far/away/b-v3"])
def test_combined_edit(data_format: str, new_id: str | None) -> None:
    dataset = make(
        data_format=data_format,
        compression={"observations/x": "none", "infos/debug": "none"}
        if data_format in ("hdf5", "zarr", "parquet")
        else None,
    )
    before = contents(dataset.storage.data_path)
    report = dataset.edit(
        drop_episodes=[1, 4],
        keep=lambda episode: episode.rewards[0] < 5,
        drop_fields=["observations/deep/m", "infos/debug/text", "actions/turn"],
        rename_fields={
            "observations/x": "observations/place",
            "observations/pair": "observations/two",
            "observations/deep/n": "observations/deep/number",
            "infos/debug": "infos/trace",
            "infos/time": "infos/clock",
        },
        set_metadata={"description": "After.", "gain": 0.5},
        episode_metadata={2: {"task": "pick"}},
        new_dataset_id=new_id,
    )
    assert (report.episodes_before, report.episodes_after) == (6, 3)
    assert (report.steps_before, report.steps_after) == (12, 1 + 3 + 1)
    assert report.dropped_episodes == (1, 4, 5)
    assert report.dropped_fields == ("observations/deep/m", "actions/turn", "infos/debug/text")
    assert report.renamed_fields["observations/pair/1/a"] == "observations/two/1/a"
    assert report.metadata == {"description": ("Before.", "After.", False), "gain": (None, 0.5, False)}
    assert report.episode_metadata == {2: {"task": (None, "pick", False)}}
    assert json.loads(json.dumps(report.as_dict()))["episodes_after"] == 3
    edited = minari.load_dataset(new_id or dataset.id)
    for opened in (edited, report.dataset):
        assert opened is not None
        assert opened.id == (new_id or "edit/a-v0")
        assert seeds(opened) == [0, 2, 3]
        assert (opened.total_episodes, opened.total_steps) == (3, 5)
    assert edited.observation_space == spaces.Dict(
        {
            "place": SPACE["x"],
            "deep": spaces.Dict({"number": spaces.Discrete(100)}),
            "two": SPACE["pair"],
        }
    )
    assert edited.action_space == spaces.Dict({"go": spaces.Discrete(100)})
    for episode, seed in zip(edited, [0, 2, 3], strict=True):
        expected = buffer(seed)
        observed: Any = expected.observations
        assert_same(
            episode.observations,
            {
                "place": observed["x"],
                "deep": {"number": observed["deep"]["n"]},
                "two": observed["pair"],
            },
        )
        assert_same(episode.actions, {"go": expected.actions["go"]})
        assert_same(episode.infos, {"trace": {"id": expected.infos["debug"]["id"]}, "clock": expected.infos["time"]})
    metadata = list(edited.storage.get_episode_metadata(range(3)))
    assert [item.get("task") for item in metadata] == [None, "pick", None]
    assert [item["seed"] for item in metadata] == [0, 2, 3]
    assert edited.storage.metadata["description"] == "After."
    if edited.storage.compression is not None:
        assert edited.storage.compression == {"observations/place": "none", "infos/trace": "none"}
    assert minari.validate(edited.id, checksums=True).ok
    if new_id is None:
        assert [entry.name for entry in dataset.storage.data_path.parent.iterdir()] == ["data"]
        assert find_leftovers() == []
    else:
        assert contents(dataset.storage.data_path) == before
        assert "revision" not in edited.storage.metadata
    edited.update_dataset_from_buffer([buffer_like(edited, 9)])
    assert seeds(minari.load_dataset(edited.id)) == [0, 2, 3, 9]


def buffer_like(dataset: MinariDataset, seed: int) -> EpisodeBuffer:
    """An episode of the spaces of a dataset that begins with a reward."""
    sample = [dataset.observation_space.sample() for _ in range(2)]
    return EpisodeBuffer(
        observations=sample,
        actions=[dataset.action_space.sample()],
        rewards=[float(seed)],
        terminations=[True],
        truncations=[False],
    )


@in_every_format
def test_rich_dataset_survives_round_trip_of_renames(data_format: str) -> None:
    """Renamed there and back, every leaf, info, seed, option and metadatum is as it was."""
    original = make_rich("edit/rich-v0", data_format)
    expected = list(original.storage.get_episodes(range(len(original))))
    there = {"observations/pixels": "observations/a", "infos/nested": "infos/b", "actions/bits": "actions/move2"}
    back = {"observations/a": "observations/pixels", "infos/b": "infos/nested", "actions/move2": "actions/bits"}
    before = original.storage.metadata
    original.edit(rename_fields=there)
    edited = minari.edit_dataset(original.id, rename_fields=back).dataset
    assert edited is not None
    assert_same(list(edited.storage.get_episodes(range(len(edited)))), expected)
    own = {"revision", "dataset_size", "minari_version"}
    after = edited.storage.metadata
    assert {k: v for k, v in after.items() if k not in own} == {k: v for k, v in before.items() if k not in own}


def test_swapped_names() -> None:
    dataset = make(count=2)
    swap = {"observations/x": "observations/deep", "observations/deep": "observations/x"}
    edited = dataset.edit(rename_fields={**swap, "infos/debug": "infos/time", "infos/time": "infos/debug"}).dataset
    assert edited is not None
    assert_same(edited[1].observations["deep"], buffer(1).observations["x"])
    assert_same(edited[1].observations["x"]["n"], buffer(1).observations["deep"]["n"])
    assert_same(edited[1].infos["debug"], buffer(1).infos["time"])


def test_name_of_a_dropped_field_is_free() -> None:
    edited = make().edit(drop_fields=["observations/x"], rename_fields={"observations/deep": "observations/x"}).dataset
    assert edited is not None
    assert list(edited.observation_space.spaces) == ["x", "pair"] or set(edited.observation_space.spaces) == {
        "x",
        "pair",
    }
    assert set(edited[0].observations["x"]) == {"n", "m"}


# Metadata


@in_every_format
def test_edit_of_metadata_copies_nothing(data_format: str) -> None:
    dataset = make(data_format=data_format)
    inode = dataset.storage.data_path.stat().st_ino
    report = minari.edit_dataset(
        dataset,
        set_metadata={"author": "Ada", "description": "Before."},
        remove_metadata=["author_email"],
        episode_metadata={0: {"task": {"name": "pick"}}, 3: {"level": 2}},
    )
    assert report.metadata == {"author": ([], ["Ada"], False), "author_email": ([], None, True)}
    assert dataset.storage.data_path.stat().st_ino == inode
    metadata = list(dataset.storage.get_episode_metadata([0, 3]))  # the dataset is the same one
    assert (metadata[0]["task"], metadata[1]["level"]) == ({"name": "pick"}, 2)
    assert dataset.storage.metadata["author"] == {"Ada"}
    assert "author_email" not in minari.load_dataset(dataset.id).storage.metadata
    assert seeds(dataset) == list(range(6))


@in_every_format
def test_keys_of_episodes_are_removed(data_format: str) -> None:
    dataset = make(data_format=data_format)
    dataset.storage.update_episode_metadata([{"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"d": 4}], [0, 2, 5])
    report = dataset.edit(remove_episode_metadata=["a/b", "d"], episode_metadata={1: {"d": 9}})
    assert report.sentences == [
        "Removes a/b of episodes 0, 2.",
        "Sets d of episode 1 to 9.",
        "Removes d of episode 5.",
    ]
    assert report.dataset is not None
    found = [{k: item[k] for k in "ad" if k in item} for item in report.dataset.storage.get_episode_metadata(range(6))]
    assert found == [{"a": {"c": 2}}, {"d": 9}, {}, {}, {}, {}]
    assert seeds(report.dataset) == list(range(6))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"set_metadata": {"total_steps": 3}}, MetadataError, "'total_steps' is protected"),
        ({"set_metadata": {"observation_space": "x"}}, MetadataError, "'observation_space' is protected"),
        ({"remove_metadata": ["data_format"]}, MetadataError, "'data_format' is protected"),
        ({"remove_metadata": ["dataset_size"]}, MetadataError, "'dataset_size' is protected"),
        ({"set_metadata": {"revision": "1"}}, MetadataError, "'revision' is protected"),
        ({"remove_metadata": ["descripton"]}, MetadataError, "Did you mean 'description'"),
        ({"set_metadata": {"a": object()}}, MetadataError, "JSON cannot hold"),
        ({"set_metadata": {"a": 1}, "remove_metadata": ["a"]}, ArgumentError, "to be set and to be removed"),
        ({"set_metadata": {"ref_max_score": "high"}}, MetadataError, "'high', expected a finite number"),
        ({"set_metadata": {"author": ""}}, MetadataError, "expected a name"),
        ({"set_metadata": {"code_permalink": "mine"}}, MetadataError, "expected an address"),
        ({"set_metadata": 3}, ArgumentTypeError, "expected a dict"),
        ({"remove_metadata": "description"}, ArgumentTypeError, "expected a list of names"),
        ({"episode_metadata": {0: 3}}, ArgumentTypeError, "expected a dict of keys and values"),
        ({"episode_metadata": {6: {"a": 1}}}, EpisodeIndexError, "There is no episode 6 in"),
        ({"episode_metadata": {1: {"a": 1}}, "drop_episodes": [1]}, EpisodeIndexError, "it is dropped"),
        ({"episode_metadata": {0: {"total_steps": 1}}}, MetadataError, "follows from the data"),
        ({"episode_metadata": {0: {"a": object()}}}, MetadataError, "cannot be stored"),
        ({"remove_episode_metadata": ["id"]}, MetadataError, "follows from the data"),
        ({"remove_episode_metadata": ["sed"]}, MetadataError, "Did you mean 'seed'"),
        ({"drop_episodes": [0, 6]}, EpisodeIndexError, "no episode 6 in edit/a-v0, expected a number from 0 to 5"),
        ({"drop_episodes": [-1]}, EpisodeIndexError, "no episode -1"),
        ({"drop_episodes": ["1"]}, ArgumentTypeError, "expected a whole number"),
        ({"drop_episodes": "1"}, ArgumentTypeError, "expected a list of numbers"),
        ({"drop_episodes": 1}, ArgumentTypeError, "expected a list of numbers"),
        ({"drop_episodes": range(6)}, EpisodeError, "None of the 6 episodes"),
        ({"keep": lambda episode: False}, EpisodeError, "None of the 6 episodes"),
        ({"keep": 3}, ArgumentTypeError, "not callable"),
        ({"keep": "return >"}, ArgumentError, "'return >'"),
        ({"drop_fields": "infos"}, ArgumentTypeError, "expected a list of names"),
        ({"drop_fields": ["observations"]}, ArgumentError, "observations cannot be dropped, since every episode"),
        ({"drop_fields": ["rewards"]}, ArgumentError, "rewards cannot be dropped, since every episode"),
        ({"drop_fields": ["observations/y"]}, ArgumentError, "no field 'observations/y'"),
        ({"drop_fields": ["observations/dep"]}, ArgumentError, "Did you mean 'observations/deep'"),
        ({"drop_fields": ["observations/x/0"]}, ArgumentError, "the parts of observations/x, a Box"),
        ({"drop_fields": ["observations/pair/0"]}, ArgumentError, "a part of a Tuple"),
        ({"drop_fields": ["infos/debg"]}, ArgumentError, "Did you mean 'infos/debug'"),
        ({"drop_fields": ["observations/deep/n", "observations/deep/m"]}, ArgumentError, "Nothing would be left of"),
        ({"drop_fields": ["actions/go", "actions/turn"]}, ArgumentError, "Nothing would be left of actions"),
        ({"rename_fields": {"observations/x": "y"}}, ArgumentError, "such as 'observations/new_name'"),
        ({"rename_fields": {"observations/x": "actions/y"}}, ArgumentError, "such as 'observations/new_name'"),
        ({"rename_fields": {"observations/x": "observations/y/z"}}, ArgumentError, "such as 'observations/new_name'"),
        ({"rename_fields": {"observations/x": "observations/"}}, ArgumentError, "such as 'observations/new_name'"),
        ({"rename_fields": {"observations/x": "observations/x"}}, ArgumentError, "the one that it has"),
        ({"rename_fields": {"observations/x": "observations/deep"}}, ArgumentError, "there is a field of that name"),
        ({"rename_fields": {"observations": "seen"}}, ArgumentError, "observations cannot be renamed"),
        ({"rename_fields": {"observations/pair/1": "observations/pair/2"}}, ArgumentError, "a part of a Tuple"),
        ({"rename_fields": {"infos/time": "infos/debug"}}, ArgumentError, "There is an info 'debug' already"),
        ({"rename_fields": {"infos/debug": "infos/time"}}, ArgumentError, "There is an info 'time' already"),
        (
            {"rename_fields": {"observations/x": "observations/y"}, "drop_fields": ["observations/x"]},
            ArgumentError,
            "to be dropped and to be renamed",
        ),
        ({"new_dataset_id": "edit/a-v0"}, DatasetExistsError, "already exists"),
        ({}, ArgumentError, "No change is wanted"),
    ],
)
def test_refused_edit_changes_nothing(arguments: dict[str, Any], error: type, message: str) -> None:
    dataset = make(count=6)
    before = {name: content for name, (_, content) in contents(dataset.storage.data_path.parent).items()}
    for dry_run in (True, False):
        with pytest.raises(error) as caught:
            minari.edit_dataset(dataset.id, dry_run=dry_run, **arguments)
        assert message in str(caught.value)
        assert str(caught.value).count(". ") <= 1  # one sentence, and a question
    after = {name: content for name, (_, content) in contents(dataset.storage.data_path.parent).items()}
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed <= {str(dataset.storage.data_path / ".lock")}


def test_unknown_dataset() -> None:
    with pytest.raises(DatasetNotFoundError):
        minari.edit_dataset("edit/none-v0", set_metadata={"a": 1})


# Dry runs, views, new datasets


@in_every_format
def test_dry_run_reports_the_same_and_writes_nothing(data_format: str, datasets_root: Path) -> None:
    dataset = make(data_format=data_format)
    wanted: dict[str, Any] = {
        "drop_episodes": [1],
        "drop_fields": ["infos/debug"],
        "rename_fields": {"observations/x": "observations/y"},
        "set_metadata": {"description": "After."},
        "episode_metadata": {0: {"a": 1}},
    }
    list(dataset)
    before = contents(datasets_root)
    reports = [dataset.edit(**wanted, dry_run=True), dataset.edit(**wanted, new_dataset_id="b-v0", dry_run=True)]
    assert contents(datasets_root) == before
    done = dataset.edit(**wanted)
    assert all(report.dry_run and report.dataset is None for report in reports)
    assert reports[0].sentences == reports[1].sentences
    assert done.sentences[: len(reports[0].sentences)] == reports[0].sentences  # without the size afterwards
    assert not done.dry_run


def test_edit_that_changes_nothing_writes_nothing() -> None:
    dataset = make()
    before = {
        name: content for name, (_, content) in contents(dataset.storage.data_path).items() if ".lock" not in name
    }
    report = dataset.edit(keep=lambda episode: True, set_metadata={"description": "Before."})
    assert report.sentences == []
    after = {name: content for name, (_, content) in contents(dataset.storage.data_path).items() if ".lock" not in name}
    assert after == before
    assert seeds(dataset) == list(range(6))


def test_view_is_edited_only_as_a_new_dataset() -> None:
    dataset = make()
    view = dataset[[4, 1, 4]]
    for part in (view, dataset[:5], dataset[::-1]):
        assert part.is_view
        with pytest.raises(ArgumentError, match="is edited in place only as a whole; give new_dataset_id"):
            part.edit(set_metadata={"a": 1})
    report = view.edit(new_dataset_id="edit/b-v0", drop_fields=["observations/x"], episode_metadata={4: {"a": 1}})
    assert report.dataset is not None
    assert seeds(report.dataset) == [4, 1, 4]
    assert [item.get("a") for item in report.dataset.storage.get_episode_metadata(range(3))] == [1, None, 1]
    assert seeds(view.edit(new_dataset_id="edit/c-v0", drop_episodes=[4]).dataset) == [1]  # type: ignore[arg-type]
    with pytest.raises(EpisodeIndexError, match="expected one of the view"):
        view.edit(new_dataset_id="edit/d-v0", drop_episodes=[0])


def test_dataset_in_any_directory(tmp_path: Path) -> None:
    dataset = make()
    shutil.copytree(dataset.storage.data_path, tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    report = minari.edit_dataset(tmp_path / "link", drop_episodes=[0])
    assert report.dataset is not None
    assert (tmp_path / "link").is_symlink()
    assert seeds(minari.open_dataset(tmp_path / "elsewhere")) == [1, 2, 3, 4, 5]
    assert seeds(dataset) == list(range(6))


def test_dataset_in_the_current_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory that the name ``.`` means is removed by the edit, and another one is in its place."""
    path = make().storage.data_path
    monkeypatch.chdir(path)
    assert minari.edit_dataset(".", drop_episodes=[0]).dataset.total_episodes == 5
    monkeypatch.chdir(path)
    assert minari.load_dataset("edit/a-v0").total_episodes == 5


@in_every_format
def test_files_of_others_stay(data_format: str) -> None:
    dataset = make(data_format=data_format)
    place = dataset.storage.data_path
    (place / "notes.txt").write_text("mine")
    (place.parent / "README.md").write_text("mine too")
    dataset.edit(drop_episodes=[0])
    assert (place / "notes.txt").read_text() == "mine"
    assert (place.parent / "README.md").read_text() == "mine too"


@in_every_format
def test_derived_data_is_computed_again(data_format: str) -> None:
    dataset = make(data_format=data_format)
    assert dataset.field_statistics(["rewards"])["rewards"].max == 5
    edited = dataset.edit(drop_episodes=[5]).dataset
    assert edited is not None
    assert edited.field_statistics(["rewards"])["rewards"].max == 4
    assert edited.storage.get_size() == edited.storage.measured_size()


def test_classes_of_spaces_follow() -> None:
    class Camera(spaces.Box):
        pass

    space = spaces.Dict({"a": Camera(0, 1, (2,)), "b": Camera(0, 1, (2,)), "c": spaces.Discrete(2)})
    zeros = np.zeros((2, 2), np.float32)
    episode = buffer(0, observations={"a": zeros, "b": zeros, "c": [0, 1]})
    dataset = make(buffers=[episode], observation_space=space)
    assert len(dataset.storage.metadata["space_classes"]) == 2
    edited = dataset.edit(rename_fields={"observations/a": "observations/z"}, drop_fields=["observations/b"]).dataset
    assert edited is not None
    assert list(edited.storage.metadata["space_classes"]) == ["observations/z"]


# Infos


def info_buffer(seed: int, infos: Any) -> EpisodeBuffer:
    return buffer(seed, infos=infos)


@in_every_format
def test_infos_of_some_episodes_and_steps(data_format: str) -> None:
    """Masks of missing steps follow their infos, and episodes without the info stay as they are."""
    from minari._model.infos import append_info

    def infos(*steps: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for number, step in enumerate(steps):
            append_info(found, step, number)
        return found

    def recorded(name: str, inner: str) -> list[EpisodeBuffer]:
        return [
            info_buffer(0, infos({name: 1.5}, {})),
            info_buffer(1, infos({}, {name: {inner: 3}}, {name: {inner: 4}, "_x": True})),
            info_buffer(3, infos({"other": "a"}, {"other": "b"})),
            info_buffer(6, infos({name: b"ab", 3: 1}, {name: None, 3: 2})),
        ]

    before = make("edit/a-v0", buffers=recorded("debug", "in"), data_format=data_format)
    expected = make("edit/b-v0", buffers=recorded("trace", "out"), data_format=data_format)
    without = make(
        "edit/c-v0",
        buffers=[
            info_buffer(s, i)
            for s, i in (
                (0, {}),
                (1, infos({}, {}, {"_x": True})),
                (3, infos({"other": "a"}, {"other": "b"})),
                (6, infos({3: 1}, {3: 2})),
            )
        ],
        data_format=data_format,
    )
    dropped = before.edit(drop_fields=["infos/debug"], new_dataset_id="edit/d-v0")
    assert dropped.dropped_fields == ("infos/debug",)
    assert dropped.dataset is not None
    inner = before.edit(drop_fields=["infos/debug/in"], new_dataset_id="edit/e-v0").dataset
    assert inner is not None
    assert_same(inner[1].infos, without[1].infos)
    renamed = before.edit(rename_fields={"infos/debug": "infos/trace", "infos/debug/in": "infos/debug/out"}).dataset
    assert renamed is not None
    for number in range(4):
        assert_same(dropped.dataset[number].infos, without[number].infos)
        assert_same(renamed[number].infos, expected[number].infos)
    assert minari.load_dataset("edit/d-v0").edit(drop_fields=["infos"]).dataset[3].infos == {}  # type: ignore[index]


def test_infos_with_special_keys() -> None:
    rows = np.arange(2)
    dataset = make(buffers=[info_buffer(0, {3: rows, "a/b": rows, "_key": rows, "plain": rows})])
    renamed = {"infos/3": "infos/three", "infos/a/b": "infos/a/c", "infos/plain": "infos/_json"}
    edited = dataset.edit(rename_fields=renamed).dataset
    assert edited is not None
    assert_same(edited[0].infos, {"three": rows, "a": {"c": rows}, "_key": rows, "_json": rows})


# Frames


@in_every_format
@pytest.mark.parametrize("jpeg_encoding", [False, True])
@pytest.mark.parametrize("frame_stack", ["keep", "deduplicate"])
def test_frames(data_format: str, jpeg_encoding: bool, frame_stack: Any) -> None:
    """Frames are never encoded again, and those of stacks that are stored once follow their leaf."""
    space = spaces.Dict({"cam": spaces.Box(0, 255, (3, 40, 36), np.uint8), "goal": spaces.Discrete(9)})
    buffers = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        frames = np.cumsum(rng.integers(0, 3, (6, 40, 36)), axis=1).astype(np.uint8)
        camera = np.stack([frames[t : t + 3] for t in range(4)])
        camera[3, 0] ^= np.uint8(seed == 1)  # of which one is no stack
        buffers.append(
            EpisodeBuffer(
                observations={"cam": camera, "goal": np.full(4, seed)},
                actions={"go": np.zeros(3, int), "turn": np.zeros(3, np.float32)},
                rewards=np.full(3, float(seed)),
                terminations=np.zeros(3, bool),
                truncations=np.arange(3) == 2,
            )
        )
    dataset = make(
        buffers=buffers,
        observation_space=space,
        data_format=data_format,
        jpeg_encoding=jpeg_encoding,
        frame_stack=frame_stack,
    )
    stored = [columns for _, columns in dataset.storage.stored_columns(range(3))]
    values = [episode.observations["cam"] for episode in dataset]
    edited = dataset.edit(rename_fields={"observations/cam": "observations/camera"}, drop_episodes=[0]).dataset
    assert edited is not None
    for number, (_, columns) in enumerate(edited.storage.stored_columns(range(2)), 1):
        named = {tuple("camera" if part == "cam" else part for part in path): c for path, c in stored[number].items()}
        assert columns.keys() == named.keys()
        for path, column in columns.items():
            assert_same(column, named[path], str(path))
    assert_same([episode.observations["camera"] for episode in edited], values[1:])
    if frame_stack == "deduplicate":
        assert edited.storage.metadata["deduplicated_stacks"] == {"observations/camera": 1}
    without = edited.edit(drop_fields=["observations/camera"]).dataset
    assert without is not None
    assert {
        path for _, columns in without.storage.stored_columns([0, 1]) for path in columns if "camera" in path
    } == set()
    assert not without.storage.metadata.get("deduplicated_stacks")
    assert minari.validate(without.id, checksums=True).ok


@in_every_format
def test_vector_rewards(data_format: str) -> None:
    buffers = [buffer(seed, rewards=np.full((1 + seed % 3, 4), float(seed))) for seed in range(4)]
    dataset = make(buffers=buffers, data_format=data_format)
    edited = dataset.edit(drop_fields=["observations/x"], keep=lambda episode: episode.rewards[0, 0] > 1).dataset
    assert edited is not None
    assert edited.storage.reward_shape == (4,)
    assert_same([episode.rewards for episode in edited], [buffers[2].rewards, buffers[3].rewards])


# Many agents


def agents_dataset(data_format: str) -> MinariDataset:
    own = spaces.Dict({"x": spaces.Discrete(100), "y": spaces.Discrete(100)})
    agents: dict[Any, gym.Space[Any]] = {"a": own, 7: own, "c": spaces.Discrete(100)}
    buffers = []
    for seed in range(4):
        rows, ends = np.full(3, seed), np.array([False, True])
        trajectories = {}
        for agent in ("a", 7, "c") if seed else ("a", "c"):
            observations: Any = rows if agent == "c" else {"x": rows, "y": rows + 1}
            trajectories[agent] = EpisodeBuffer(
                observations=observations,
                actions={"go": rows[1:], "turn": rows[1:]},
                rewards=np.full(2, float(seed)),
                terminations=ends,
                truncations=ends & False,
                infos={"debug": rows, "time": rows},
            )
        buffers.append(MultiAgentEpisodeBuffer(trajectories, seed=seed, state={"board": rows, "round": rows + 2}))
    actions = spaces.Dict({"go": spaces.Discrete(100), "turn": spaces.Discrete(100)})
    return minari.create_dataset_from_buffers(
        "edit/agents-v0",
        buffers,
        observation_space=agents,
        action_space=dict.fromkeys(agents, actions),
        data_format=data_format,
        compression={"agents/a/observations/x": "none", "observations/y": "none"}
        if data_format in ("hdf5", "zarr", "parquet")
        else None,
    )


@in_every_format
def test_many_agents(data_format: str) -> None:
    dataset = agents_dataset(data_format)
    report = dataset.edit(
        drop_episodes=[1],
        keep=lambda episode: "a" in episode.agents,  # type: ignore[attr-defined]
        drop_fields=["a/observations/x", "actions/turn", "infos/debug", "state/round"],
        rename_fields={
            "observations/y": "observations/z",
            "_key:7/infos/time": "_key:7/infos/clock",
            "c/actions/go": "c/actions/move",
            "state/board": "state/map",
        },
        episode_metadata={2: {"agents": {"a": {"task": "pick"}}}},
    )
    assert report.dropped_fields == (
        "a/observations/x",
        "a/actions/turn",
        "a/infos/debug",
        "_key:7/actions/turn",
        "_key:7/infos/debug",
        "c/actions/turn",
        "c/infos/debug",
        "state/round",
    )
    edited: Any = report.dataset
    assert seeds_of_agents(edited) == [0, 2, 3]
    episode = edited[1]
    assert_same(episode["a"].observations, {"z": np.full(3, 3)})
    assert_same(episode[7].observations, {"x": np.full(3, 2), "z": np.full(3, 3)})
    assert_same(episode["c"].actions, {"move": np.full(2, 2)})
    assert list(episode[7].infos) == ["clock"]
    assert list(episode["a"].infos) == ["time"]
    assert_same(episode.state, {"map": np.full(3, 2)})
    assert next(edited.storage.get_episode_metadata([1]))["agents"]["a"]["task"] == "pick"
    assert edited.storage.is_multi_agent
    if edited.storage.compression is not None:
        assert edited.storage.compression == {"observations/z": "none"}
    assert minari.validate(edited.id, checksums=True).ok
    of_agent = edited.for_agent(7)
    with pytest.raises(ArgumentError, match="are a view of"):
        of_agent.edit(set_metadata={"a": 1})
    assert len(of_agent.edit(new_dataset_id="edit/seven-v0", drop_fields=["observations/x"]).dataset) == 2


def seeds_of_agents(dataset: Any) -> list[int]:
    return [int(episode["a"].rewards[0]) for episode in dataset]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("a", "is an agent, and not a field"),
        ("a/observations", "since every episode has it"),
        ("c/observations/x", "the parts of c/observations, a Discrete"),
        ("observations/w", "no field 'observations/w'"),
        ("state/bord", "Did you mean 'state/board'"),
        ("timesteps", "since every episode has it"),
        ("a/timesteps", "since every episode has it"),
        ("a/infos/debag", "Did you mean 'a/infos/debug'"),
    ],
)
def test_fields_of_agents_that_cannot_be_dropped(field: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        agents_dataset("hdf5").edit(drop_fields=[field])


# Readers and writers beside an edit


@in_every_format
def test_dataset_that_is_open_notices(data_format: str) -> None:
    dataset = make(data_format=data_format)
    views = list(dataset.iterate_episodes(copy=False))
    reading = iter(dataset)
    first = next(reading)
    transitions, pickled = dataset.transitions(fields=["rewards"]), pickle.dumps(dataset)
    assert transitions[:]["rewards"].tolist() == [0.0, 1, 1, 2, 2, 2, 3, 4, 4, 5, 5, 5]
    other = minari.load_dataset(dataset.id)
    edited = dataset.edit(drop_episodes=[0]).dataset
    assert edited is not None
    gone: list[Any] = [
        lambda: next(reading),
        lambda: dataset[0],
        lambda: list(other),
        lambda: transitions[0],
        lambda: pickle.loads(pickled),
        lambda: next(other.storage.get_episode_metadata([0])),
        lambda: other.storage.get_episode_lengths(),
        lambda: other.storage.get_window(0, 0, 1),
        lambda: other.filter_episodes(lambda episode: True),
        lambda: other.statistics(),
        lambda: other.update_dataset_from_buffer([buffer(9)]),
        lambda: other.edit(set_metadata={"a": 1}),
        lambda: other.edit(drop_episodes=[0]),
        lambda: other.storage.update_metadata({"a": 1}),
    ]
    for read in gone:
        with pytest.raises(DatasetChangedError, match="was edited after it was opened here"):
            read()
    for seed, episode in enumerate(views):
        assert_same(episode.observations, buffer(seed).observations)
        assert_same(episode.rewards, buffer(seed).rewards)
    assert first.rewards.tolist() == [0.0]
    assert repr(other) == "MinariDataset(id='edit/a-v0', total_episodes=6)"
    assert seeds(edited) == seeds(minari.load_dataset(dataset.id)) == [1, 2, 3, 4, 5]
    assert pickle.loads(pickle.dumps(edited))[0].rewards[0] == 1


def _read_all_the_time(root: str, stop: Any, results: Any) -> None:
    """Open and read the dataset; an episode has its number everywhere, also in the metadata."""
    read, wrong, noticed = 0, [], 0
    while not stop.is_set():
        try:
            dataset = minari.load_dataset("edit/a-v0", root=root)
            total = dataset.total_episodes
            numbers = []
            for episode in dataset.iterate_episodes(copy=bool(read % 2)):
                x = next(value for name, value in episode.observations.items() if name.startswith("x"))
                values = {int(episode.rewards[0]), *x.ravel().tolist(), *episode.infos["debug"]["id"].tolist()}
                numbers.append(values.pop())
                if values - {numbers[-1]}:
                    wrong.append(f"mixed {values}")
                read += 1
            seeds = [item["seed"] for item in dataset.storage.get_episode_metadata(range(total))]
            if len(numbers) != total or seeds != numbers:
                wrong.append(f"{numbers} {seeds}")
        except DatasetChangedError:
            noticed += 1
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error}")
    results.put((read, noticed, wrong[:3]))


@in_every_format
def test_readers_in_other_processes_see_the_old_or_the_new_dataset(data_format: str, datasets_root: Path) -> None:
    make(count=12, data_format=data_format)
    context = multiprocessing.get_context("fork")
    stop, results = context.Event(), context.Queue()
    readers = [context.Process(target=_read_all_the_time, args=(str(datasets_root), stop, results)) for _ in range(2)]
    for reader in readers:
        reader.start()
    deadline, number = time.monotonic() + 1.5, 0
    try:
        while time.monotonic() < deadline or number < 6:
            dataset = minari.load_dataset("edit/a-v0")
            if number % 3 == 2:
                dataset.update_dataset_from_buffer([buffer_of_names(dataset, 20 + number)])
            elif number % 3:
                dataset.edit(drop_episodes=[0])
            else:
                old, new = sorted(dataset.observation_space.spaces)[-1], f"x{number}"
                dataset.edit(rename_fields={f"observations/{old}": f"observations/{new}"})
            number += 1
    finally:
        stop.set()
        found = [results.get(timeout=30) for _ in readers]
        for reader in readers:
            reader.join()
    assert [wrong for _, _, wrong in found] == [[], []]
    assert all(read > 0 for read, _, _ in found)


def buffer_of_names(dataset: MinariDataset, seed: int) -> EpisodeBuffer:
    plain: Any = buffer(seed).observations
    name = sorted(dataset.observation_space.spaces)[-1]
    return buffer(seed, observations={name if key == "x" else key: value for key, value in plain.items()})


@pytest.fixture
def locked() -> Iterator[MinariDataset]:
    dataset = make()
    with folder_lock(dataset.storage.data_path):
        yield dataset


@pytest.mark.parametrize("wanted", [{"drop_episodes": [0]}, {"set_metadata": {"a": 1}}], ids=["data", "metadata"])
def test_writers_are_waited_for(locked: MinariDataset, wanted: dict[str, Any]) -> None:
    with pytest.raises(DatasetBusyError):
        locked.edit(**wanted, lock_timeout=0)
    assert seeds(locked) == list(range(6))


@in_every_format
def test_episodes_appended_by_others_are_not_lost(data_format: str) -> None:
    dataset = make(data_format=data_format)
    other = minari.load_dataset(dataset.id)
    other.update_dataset_from_buffer([buffer(6)])
    appended: list[Any] = []

    def append() -> None:
        try:
            minari.load_dataset(dataset.id).update_dataset_from_buffer([buffer(7)])
        except Exception as error:
            appended.append(error)

    writer = threading.Thread(target=append)

    def keep(episode: minari.EpisodeData) -> bool:
        if not writer.ident:
            writer.start()
            time.sleep(0.2)
        return True

    dataset.edit(keep=keep, drop_episodes=[0])
    writer.join()
    assert seeds(minari.load_dataset(dataset.id)) == [1, 2, 3, 4, 5, 6, *([] if appended else [7])]
    assert all(isinstance(error, DatasetChangedError) for error in appended)


def test_what_a_killed_edit_leaves_is_removed() -> None:
    dataset = make()
    left = dataset.storage.data_path.with_name(".data.0123456789ab.partial")
    shutil.copytree(dataset.storage.data_path, left)
    os.utime(left, (1, 1))
    (leftover,) = find_leftovers([dataset.id])
    assert "an interrupted edit left" in leftover.what
    assert [found.path for found in find_leftovers()] == [left]
    clean()
    assert not left.exists()
    shutil.copytree(dataset.storage.data_path, left)
    os.utime(left, (1, 1))
    assert seeds(dataset.edit(drop_episodes=[0]).dataset) == [1, 2, 3, 4, 5]  # type: ignore[arg-type]
    assert not left.exists()


def test_interrupted_exchange_is_undone_where_there_is_no_atomic_one() -> None:
    dataset = make()
    dataset.storage.data_path.rename(dataset.storage.data_path.with_name(".data.replaced"))
    assert seeds(minari.load_dataset(dataset.id)) == list(range(6))


def test_edit_without_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minari._catalog.layout.exchange", lambda first, second: False)
    dataset = make()
    assert seeds(dataset.edit(drop_episodes=[0]).dataset) == [1, 2, 3, 4, 5]  # type: ignore[arg-type]
    assert [entry.name for entry in dataset.storage.data_path.parent.iterdir()] == ["data"]


@in_every_format
def test_damaged_values_get_no_new_checksums(data_format: str) -> None:
    """A damaged episode that is written again stops the edit; one that is copied is still found damaged."""
    dataset = make(
        data_format=data_format,
        buffers=[buffer(seed, rewards=np.full(1 + seed % 3, 1e300 + seed)) for seed in range(3)],
    )
    for path in sorted(dataset.storage.data_path.rglob("*")):  # that of the first episode
        content = path.read_bytes() if path.is_file() and not path.name.startswith(".") else b""
        place = content.find(np.float64(1e300).tobytes()) if "json" not in path.name else -1
        if place >= 0:
            path.write_bytes(content[:place] + b"\x01" + content[place + 1 :])
            break
    else:
        pytest.skip("the format does not store numbers as they are")
    before = contents(dataset.storage.data_path.parent)
    with pytest.raises(minari.errors.DatasetCorruptError):
        minari.edit_dataset(dataset.id, rename_fields={"observations/x": "observations/y"})
    after = contents(dataset.storage.data_path.parent)
    assert {name: content for name, (_, content) in after.items() if "/." not in name} == {
        name: content for name, (_, content) in before.items() if "/." not in name
    }
    try:
        minari.edit_dataset(dataset.id, drop_episodes=[2])
    except minari.errors.DatasetCorruptError:
        return
    assert not minari.validate(dataset.id, checksums=True).ok


def test_failure_while_writing_leaves_the_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make()

    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("minari._catalog.layout.replace_directory", fail)
    with pytest.raises(minari.errors.StorageError, match="cannot be edited"):
        dataset.edit(drop_episodes=[0])
    assert [entry.name for entry in dataset.storage.data_path.parent.iterdir()] == ["data"]
    assert seeds(dataset) == list(range(6))
