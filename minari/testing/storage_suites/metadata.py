"""Conformance: metadata of the dataset and of its episodes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.registration import EnvSpec

from minari._base.files import METADATA_FILE_NAME
from minari._storages.base import MinariStorage
from minari.errors import MetadataError
from minari.testing.comparison import assert_metadata
from minari.testing.examples import as_buffer
from minari.testing.storage_suites.suite import ACTIONS, OBSERVATIONS, Suite, refused


#: Metadata of an episode by what is special about it.
VALUES: dict[str, dict[str, Any]] = {
    "numbers": {"i": 3, "f": 0.5, "t": True, "negative": -(2**63), "np": np.float32(1.5), "np_flag": np.False_},
    "not-a-number": {"nan": float("nan"), "inf": float("-inf"), "np_nan": np.float64("nan"), "list": [float("nan")]},
    "big-integers": {"u": 2**63, "v": 2**64 - 1, "w": 2**64, "x": -(2**100)},
    "text": {"empty": "", "unicode": "漢🎉", "long": "x" * 100_000, "nul": "a\0b", "half": "\ud800", "json": "[1"},
    "arrays": {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "empty": np.zeros((0, 2)), "flags": np.array([True])},
    "big-arrays": {"big": np.arange(20_000.0), "matrix": np.ones((300, 300), np.float32)},
    "lists": {
        "numbers": [1, 2],
        "pair": (1.5, 2.5),
        "text": ["a", "b"],
        "mixed": [1, "a", None, {"b": []}],
        "none": [],
    },
    "nothing": {"none": None, "empty": {}},
    "nested": {"a": {"b": {"c": 1, "d": "x"}, "e": np.arange(3)}, "f": {"g": None}},
    "odd-names": {"größe 漢": 1, "a.b": 2, " ": 3, "x:json": "no json", "json": 4, "list:json": [None]},
    "many": {f"key{i}": float(i) for i in range(300)},
}


class MetadataSuite(Suite):
    """Metadata beside the data."""

    cases: ClassVar[dict[str, Any]] = {"values": VALUES, "seed": (0, 7, 2**31, 2**63, 2**64 - 1, 2**64, 2**200)}

    def test_new_storage(self, tmp_path: Path) -> None:
        """Properties of a storage without episodes."""
        storage = self.new(tmp_path)
        assert self.data_format == storage.FORMAT
        expected = {
            "total_episodes": 0,
            "total_steps": 0,
            "data_format": self.data_format,
            "jpeg_encoding": False,
            "observation_space": OBSERVATIONS,
            "action_space": ACTIONS,
        }
        assert storage.metadata == expected
        assert MinariStorage.read(storage.data_path).metadata == expected
        assert MinariStorage.read_raw_metadata(storage.data_path).keys() == expected.keys()
        spec = EnvSpec("Example-v0", entry_point="example:Env", max_episode_steps=9)
        assert json.loads(self.new(tmp_path, env_spec=spec).metadata["env_spec"])["max_episode_steps"] == 9

    def test_dataset_metadata(self, tmp_path: Path) -> None:
        """Set keys one by one; values are JSON values, names are sets."""
        storage, truths = self.filled(tmp_path, [2])
        storage.update_metadata({"author": {"B", "A"}, "note": "漢", "gain": np.float64(0.5)})
        storage.update_metadata({"note": None, "list": (1, [2]), "author_email": "a@b"})
        expected = {"author": {"A", "B"}, "note": None, "gain": 0.5, "list": [1, [2]], "author_email": {"a@b"}}
        for opened in (storage, MinariStorage.read(storage.data_path)):
            assert {key: opened.metadata[key] for key in expected} == expected
        self.assert_holds(storage, truths)

    def test_dataset_metadata_that_are_refused(self, tmp_path: Path) -> None:
        """Reject protected keys and invalid values, without applying any of the update."""
        storage, _ = self.filled(tmp_path, [2])
        storage.update_metadata({"dataset_id": "a-v0", "minari_version": "0.5.4"})
        file = storage.data_path / METADATA_FILE_NAME
        before = file.read_bytes()
        protected = ("total_episodes", "total_steps", "data_format", "jpeg_encoding", "observation_space")
        for key in (*protected, "action_space", "dataset_id", "minari_version"):
            with refused(MetadataError, f"'{key}'"):
                storage.update_metadata({"note": "a", key: storage.metadata[key]})
        for value in (object(), {1: 2}, b"bytes", {"deep": [{1, object}]}):
            with refused(MetadataError, "'odd"):
                storage.update_metadata({"note": "a", "odd": value})
        assert file.read_bytes() == before
        assert "note" not in storage.metadata

    def test_metadata_changed_elsewhere(self, tmp_path: Path) -> None:
        """Changes by another storage of the same directory are visible."""
        storage, truths = self.filled(tmp_path, [2])
        other = MinariStorage.read(storage.data_path)
        other.update_metadata({"note": "a"})
        assert storage.metadata["note"] == "a"
        storage.update_metadata({"more": "b"})
        truth = self.draw(3, 5)
        other.update_episodes([as_buffer(truth)])
        assert other.metadata["more"] == "b"
        self.assert_holds(storage, [*truths, truth])

    def test_seed(self, tmp_path: Path, seed: int) -> None:
        """Store seeds of any size; none if none was given."""
        storage = self.new(tmp_path)
        truth = self.draw(2, 0)
        storage.update_episodes([as_buffer(truth, seed=seed), as_buffer(truth), as_buffer(truth, seed=np.uint32(5))])
        for opened in (storage, MinariStorage.read(storage.data_path)):
            first, second, third = opened.get_episode_metadata([0, 1, 2])
            assert first["seed"] == seed
            assert isinstance(first["seed"], int)
            assert second.get("seed") is None
            assert third["seed"] == 5

    def test_options(self, tmp_path: Path) -> None:
        """Store options of a reset with arrays and nested dicts, however deep."""
        options = {"state": {"qpos": np.arange(3.0), "deep": {"flag": True, "name": "a"}}, "level": 3, "none": None}
        storage = self.new(tmp_path)
        truth = self.draw(2, 0)
        storage.update_episodes([as_buffer(truth, options=options), as_buffer(truth, options={})])
        for opened in (storage, MinariStorage.read(storage.data_path)):
            first, second = opened.get_episode_metadata([0, 1])
            assert_metadata(first, {"options": options})
            assert not second.get("options")

    def test_episode_metadata(self, tmp_path: Path, values: str) -> None:
        """Store values of every kind, given with the episode and set later."""
        given = VALUES[values]
        storage = self.new(tmp_path)
        truth = self.draw(2, 0)
        storage.update_episodes([as_buffer(truth, seed=4)] * 2, describe=lambda episode: {"before": episode["id"]})
        storage.update_episodes([as_buffer(truth)], describe=lambda _: given)
        storage.update_episode_metadata([given], [1])
        for opened in (storage, MinariStorage.read(storage.data_path)):
            first, second, third = opened.get_episode_metadata(range(3))
            assert first.keys() == {"id", "total_steps", "seed", "before"}
            assert second.keys() == first.keys() | given.keys()
            assert third.keys() == {"id", "total_steps"} | given.keys()
            assert_metadata(second, {"id": 1, "total_steps": 2, "seed": 4, "before": 1, **given})
            assert_metadata(third, {"id": 2, "total_steps": 2, **given})
        self.assert_holds(storage, [truth] * 3)

    def test_episode_metadata_is_replaced(self, tmp_path: Path) -> None:
        """A key that is set again has the new value only, whatever the types."""
        kinds = [1, "a", None, {"b": 1, "c": {"d": 2}}, [1.5], {"c": 5}, {"c": {"e": None}}, np.arange(3), {}]
        pairs: list[tuple[Any, Any]] = list(itertools.product(kinds, kinds))
        storage, _ = self.filled(tmp_path, [1] * len(pairs))
        storage.update_episode_metadata({"k": first, "stays": 1} for first, _ in pairs)
        storage.update_episode_metadata({"k": second} for _, second in pairs)
        metadatas = MinariStorage.read(storage.data_path).get_episode_metadata(range(len(pairs)))
        for metadata, (_, second) in zip(metadatas, pairs, strict=True):
            assert metadata.keys() == {"id", "total_steps", "k", "stays"}
            assert_metadata(metadata, {"k": second, "stays": 1})

    def test_episode_metadata_of_some(self, tmp_path: Path) -> None:
        """Set metadata for any indices, in any order; by default for all episodes."""
        storage, truths = self.filled(tmp_path, [1, 2, 3])
        storage.update_episode_metadata(({"k": i} for i in (20, 0)), (index for index in (2, 0)))
        assert [metadata.get("k") for metadata in storage.get_episode_metadata(range(3))] == [0, None, 20]
        storage.update_episode_metadata([{"k": 7}] * 3)
        assert [metadata["k"] for metadata in storage.get_episode_metadata(range(3))] == [7, 7, 7]
        self.assert_holds(storage, truths)

    def test_episode_metadata_that_are_refused(self, tmp_path: Path) -> None:
        """Reject wrong numbers of metadata, reserved keys and invalid values, without changing anything."""
        storage, truths = self.filled(tmp_path, [1, 2])
        for metadatas in ([{"k": 1}], [{"k": 1}] * 3):
            with refused(MetadataError, f"{len(metadatas)} metadata", "2 episodes"):
                storage.update_episode_metadata(metadatas)
        of_ours: list[Any] = [{"id": 3}, {"total_steps": 3}]
        for wrong in [*of_ours, {3: 1}, {"": 1}, {"a": object()}, {"a": {"b": object()}}, {"a\0": 1}]:
            with refused(MetadataError):
                storage.update_episode_metadata([{"k": 1}, wrong])
            with refused(MetadataError):
                storage.update_episodes([as_buffer(truths[0])], describe=lambda *_, wrong=wrong: wrong)
        for metadata in storage.get_episode_metadata([0, 1]):
            assert metadata.keys() == {"id", "total_steps"}
        self.assert_holds(storage, truths)

    def test_size(self, tmp_path: Path) -> None:
        """The size is never negative, and stored with one decimal."""
        storage = self.new(tmp_path)
        assert storage.get_size() == 0.0
        truth = self.draw(9, 0, big=np.random.default_rng(0).random((10, 30_000)))
        storage.update_episodes([as_buffer(truth)])
        stored = storage.metadata["dataset_size"]
        assert 2.4 <= stored == round(stored, 1)
        assert storage.get_size() == round(storage.get_size(), 1) >= 0
