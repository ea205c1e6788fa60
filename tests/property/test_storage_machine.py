"""Any sequence of changes to a storage leaves what the same changes leave in memory."""

from __future__ import annotations

import contextlib
import pickle
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from minari.dataset.episode_buffer import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import EpisodeError, MetadataError
from minari.testing import register_memory_storage, strategies
from minari.testing.comparison import assert_metadata, assert_same
from minari.testing.examples import Truth, as_buffer, as_continuation, draw_truth
from support.copies import in_every_format
from support.stored import edit_metadata


register_memory_storage()

OBSERVATIONS = spaces.Dict({"x": spaces.Box(-1.0, 1.0, (2,), np.float32), "t": spaces.Text(3)})
PLAIN = spaces.Dict({"x": spaces.Box(-1.0, 1.0, (2,), np.float32)})  # whose episodes are read without HDF5
ACTIONS = spaces.Discrete(5)

episode_seeds = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 999)), min_size=1, max_size=3)
fractions = st.lists(st.floats(0, 0.999), max_size=4)


class StorageMachine(RuleBasedStateMachine):
    """Does everything twice: to a storage of the format, and to one in memory."""

    data_format: str
    sources = Bundle("sources")

    @initialize(is_plain=st.booleans())
    def start(self, is_plain: bool) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.space = PLAIN if is_plain else OBSERVATIONS
        self.storage, self.model = self.new_pair("first")
        self.iterators: list[tuple[Iterator[dict[str, Any]], list[tuple[int, Any]]]] = []
        self.continued: set[int] = set()
        self.made = 0

    def teardown(self) -> None:
        shutil.rmtree(self.directory)

    def new_pair(self, name: str) -> tuple[MinariStorage, MinariStorage]:
        storage, model = (
            MinariStorage.new(self.directory / name / data_format, self.space, ACTIONS, data_format=data_format)
            for data_format in (self.data_format, "memory")
        )
        return storage, model

    def draw(self, steps: int, seed: int) -> Truth:
        infos = {"n": np.arange(steps + 1.0)} if seed % 3 else {}
        return draw_truth(self.space, ACTIONS, steps, seed, infos)

    def chosen(self, places: list[float], total: int | None = None) -> list[int]:
        total = self.model.total_episodes if total is None else total
        return [int(place * total) for place in places] if total else []

    # Changes

    @rule(drawn=episode_seeds, seed=st.none() | st.integers(0, 2**70), options=strategies.metadata())
    def append(self, drawn: list[tuple[int, int]], seed: int | None, options: dict[str, Any]) -> None:
        for storage in (self.storage, self.model):
            storage.update_episodes(as_buffer(self.draw(*of), seed=seed, options=options) for of in drawn)

    @rule(drawn=episode_seeds)
    def append_a_bad_one(self, drawn: list[tuple[int, int]]) -> None:
        bad = as_buffer(self.draw(*drawn[0]), rewards=[])
        buffers = [as_buffer(self.draw(*of)) for of in drawn]
        for storage in (self.storage, self.model):
            with pytest.raises(EpisodeError):
                storage.update_episodes([*buffers, bad, *buffers])

    @precondition(lambda self: self.model.total_episodes)
    @rule(places=fractions, drawn=st.tuples(st.integers(1, 40), st.integers(0, 999)), other=episode_seeds)
    def continue_some(self, places: list[float], drawn: tuple[int, int], other: list[tuple[int, int]]) -> None:
        """Episodes are continued between others that are appended, some of them twice."""
        more = self.draw(*drawn)
        buffers: list[EpisodeBuffer] = [as_buffer(self.draw(*of)) for of in other]
        for index in self.chosen(places):
            _, buffer = as_continuation({**more, "infos": more["infos"]}, more, index, self.space, ACTIONS)
            buffers.append(buffer)
            self.continued.add(index)
        for storage in (self.storage, self.model):
            storage.update_episodes(buffers)

    @rule(places=fractions)
    def copy_from_itself(self, places: list[float]) -> None:
        for storage in (self.storage, self.model):
            storage.update_from_storage(storage, self.chosen(places))

    @rule(target=sources, drawn=episode_seeds, note=strategies.metadata())
    def make_another(self, drawn: list[tuple[int, int]], note: dict[str, Any]) -> tuple[MinariStorage, MinariStorage]:
        self.made += 1
        pair = self.new_pair(f"source-{self.made}")
        for storage in pair:
            storage.update_episodes([as_buffer(self.draw(*of)) for of in drawn], describe=lambda _: note)
        return pair

    @rule(source=sources, places=fractions, crosswise=st.booleans())
    def copy_from_another(
        self, source: tuple[MinariStorage, MinariStorage], places: list[float], crosswise: bool
    ) -> None:
        """From one of the same format, or of the other."""
        indices = self.chosen(places, source[0].total_episodes)
        origins = reversed(source) if crosswise else source
        for storage, origin in zip((self.storage, self.model), origins, strict=True):
            storage.update_from_storage(origin, indices)

    @rule(compressed=st.booleans())
    def repack(self, compressed: bool) -> None:
        codec = next(iter(type(self.storage).CODECS))
        self.storage.repack(compression=codec if compressed else "none")
        self.model.repack()

    @rule(places=fractions, note=strategies.metadata())
    def update_episode_metadata(self, places: list[float], note: dict[str, Any]) -> None:
        indices = self.chosen(places)
        for storage in (self.storage, self.model):
            storage.update_episode_metadata([{**note, "turn": i} for i in range(len(indices))], indices)

    @rule(note=st.dictionaries(strategies.names, st.integers() | st.text(max_size=4), max_size=2))
    def update_metadata(self, note: dict[str, Any]) -> None:
        for storage in (self.storage, self.model):
            storage.update_metadata(note)
            with pytest.raises(MetadataError):
                storage.update_metadata({**note, "new": 1, "total_steps": 9})

    # Other programs, and other moments

    @rule(how=st.sampled_from(["read", "pickle", "second"]))
    def reopen(self, how: str) -> None:
        if how == "pickle":
            self.storage = pickle.loads(pickle.dumps(self.storage))
        else:
            self.storage = MinariStorage.read(self.storage.data_path)

    @rule(places=fractions)
    def begin_to_read(self, places: list[float]) -> None:
        indices = self.chosen(places)
        expected = list(zip(indices, self.model.get_episodes(indices), strict=True))
        self.iterators.append((self.storage.get_episodes(indices), expected))

    @precondition(lambda self: self.iterators)
    @rule()
    def read_on(self) -> None:
        """An iterator sees what was there when it began, whatever has happened since."""
        iterator, expected = self.iterators[0]
        if not expected:
            assert list(iterator) == []
            del self.iterators[0]
            return
        (index, truth), episode = expected.pop(0), next(iterator)
        assert episode["id"] == index
        if index not in self.continued:
            assert_same(episode, truth, f"episode {index}")

    # What holds at any time

    @invariant()
    def same_totals(self) -> None:
        for name in ("total_episodes", "total_steps"):
            assert getattr(self.storage, name) == getattr(self.model, name)
        lengths = [len(episode["rewards"]) for episode in self.model.get_episodes(range(self.model.total_episodes))]
        assert self.storage.get_episode_lengths().tolist() == lengths

    @rule(backwards=st.booleans())
    def compare(self, backwards: bool) -> None:
        everything = range(self.model.total_episodes)[:: -1 if backwards else 1]
        with contextlib.closing(self.storage.get_episodes(everything)) as episodes:
            for episode, truth in zip(episodes, self.model.get_episodes(everything), strict=True):
                assert_same(episode, truth, f"episode {truth['id']}")
        metadatas = self.storage.get_episode_metadata(everything)
        for metadata, truth in zip(metadatas, self.model.get_episode_metadata(everything), strict=True):
            assert metadata.keys() == truth.keys()
            assert_metadata(metadata, truth)
        own = ("dataset_size", "data_format", "compression")
        assert without(self.storage.metadata, own) == without(self.model.metadata, own)


def without(metadata: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in keys}


class HDF5Machine(StorageMachine):
    """HDF5, where other programs come as well, and the index goes."""

    @rule()
    def lose_the_index(self) -> None:
        for file in self.storage.data_path.glob(".index*"):
            file.unlink()

    @rule(drawn=st.tuples(st.integers(1, 6), st.integers(0, 999)), compressed=st.booleans())
    def another_program_appends(self, drawn: tuple[int, int], compressed: bool) -> None:
        truth = {**self.draw(*drawn), "infos": {}}
        self.model.update_episodes([as_buffer(truth)])
        options: dict[str, Any] = {"compression": "gzip"} if compressed else {}
        columns = {
            f"observations/{name}": np.stack([value[name] for value in truth["observations"]])
            for name in self.space.spaces
            if name != "t"
        }
        columns |= {name: np.stack(truth[name]) for name in ("actions", "rewards", "terminations", "truncations")}
        with h5py.File(self.storage.data_path / "main_data.hdf5", "a") as file:
            group = file.create_group(f"episode_{len(file)}")
            group.attrs["id"], group.attrs["total_steps"] = len(file) - 1, drawn[0]
            for name, values in columns.items():
                group.create_dataset(name, data=values, **options)
            if "t" in self.space.spaces:
                texts = [value["t"] for value in truth["observations"]]
                group.create_dataset("observations/t", data=texts, dtype=h5py.string_dtype())
            group.create_group("infos")
        raw = MinariStorage.read_raw_metadata(self.storage.data_path)
        totals = {"total_episodes": raw["total_episodes"] + 1, "total_steps": raw["total_steps"] + drawn[0]}
        edit_metadata(self.storage.data_path, **totals)


MACHINES = {"hdf5": HDF5Machine, **dict.fromkeys(("arrow", "parquet", "zarr"), StorageMachine)}


@in_every_format
def test_changes_are_those_made_in_memory(data_format: str) -> None:
    machine = type("Machine", (MACHINES[data_format],), {"data_format": data_format})
    run_state_machine_as_test(machine, settings=settings(stateful_step_count=25 if data_format == "hdf5" else 15))
