"""Conformance: values of every kind are restored unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from minari._model.episode_buffer import EpisodeBuffer
from minari._storages.base import MinariStorage
from minari.errors import EpisodeError, EpisodeTypeError
from minari.testing.comparison import assert_same
from minari.testing.examples import INFOS, SPACES, as_buffer, draw_truth, nested
from minari.testing.storage_suites.suite import ACTIONS, OBSERVATIONS, Suite, refused


class ValuesSuite(Suite):
    """Spaces, infos, dtypes."""

    cases: ClassVar[dict[str, Any]] = {"space": SPACES, "infos": INFOS}

    def test_space(self, tmp_path: Path, space: str) -> None:
        """Store a space of observations and of actions, step by step or column by column."""
        ours, discrete = SPACES[space], spaces.Discrete(3)
        pairs: list[tuple[Any, Any]] = [(ours, discrete), (discrete, ours)]
        for pair in pairs:
            storage = self.new(tmp_path, *pair)
            truths = [draw_truth(*pair, length, seed) for seed, length in enumerate((3, 1, 5))]
            columns = {"observations": pair[0], "actions": pair[1]}
            by_column = {name: nested(of, truths[2][name]) for name, of in columns.items()}
            storage.update_episodes([*map(as_buffer, truths[:2]), as_buffer(truths[2], **by_column)])
            self.assert_holds(storage, truths, *pair)
            assert MinariStorage.read(storage.data_path).observation_space == pair[0]
            assert MinariStorage.read(storage.data_path).action_space == pair[1]

    def test_infos(self, tmp_path: Path, infos: str) -> None:
        """Store infos step by step; other episodes of the storage have other infos, or none."""
        given, expected = INFOS[infos]
        storage = self.new(tmp_path)
        buffer = EpisodeBuffer()
        for step, info in enumerate(given):
            of_step = (np.int64(1), 0.5, False, False) if step else (None, None, None, None)
            names = ("action", "reward", "terminated", "truncated")
            observation = {"x": np.zeros(2, np.float32), "t": "a"}
            buffer = buffer.add_step_data(
                {"observation": observation, **dict(zip(names, of_step, strict=True)), "info": info}  # type: ignore[typeddict-item]
            )
        other = self.draw(2, 0, other=np.arange(3.0))
        storage.update_episodes([as_buffer(other), buffer, as_buffer(self.draw(2, 1))])
        for opened in (storage, MinariStorage.read(storage.data_path)):
            read = [episode["infos"] for episode in opened.get_episodes([1, 0, 2])]
            assert_same(read, [expected, other["infos"], {}], "infos")

    def test_infos_column_by_column(self, tmp_path: Path) -> None:
        """Store infos as arrays, nested in dicts and tuples."""
        infos = {"d": {"x": np.arange(4.0)}, "t": (np.arange(4), np.ones((4, 2), np.float32))}
        storage = self.new(tmp_path)
        storage.update_episodes([as_buffer(self.draw(3, 0), infos=infos)])
        for opened in (storage, MinariStorage.read(storage.data_path)):
            (episode,) = opened.get_episodes([0])
            assert_same(episode["infos"], infos, "infos")

    def test_array_keeps_its_dtype(self, tmp_path: Path) -> None:
        """An array whose dtype differs from its space is not rounded to it."""
        storage = self.new(tmp_path, spaces.Box(-1.0, 1.0, (2,), np.float32))
        observations = np.linspace(0, 1, 8).reshape(4, 2)
        rewards = np.arange(3, dtype=np.float32)
        storage.update_episodes([as_buffer(self.draw(3, 0), observations=observations, rewards=rewards)])
        (episode,) = storage.get_episodes([0])
        assert_same(episode["observations"], observations, "observations")
        assert_same(episode["rewards"], rewards, "rewards")

    def test_python_numbers_take_the_dtype_of_the_space(self, tmp_path: Path) -> None:
        """A list of Python numbers takes the dtype of the space; other values become floats and flags."""
        storage = self.new(tmp_path, spaces.Box(-1.0, 1.0, (2,), np.float32))
        lists: dict[str, Any] = {
            "observations": [[0, 1], [0.5, 0.25]],
            "actions": [3],
            "rewards": [0.25],
            "terminations": [1],
            "truncations": [0],
        }
        storage.update_episodes([EpisodeBuffer(**lists)])
        (episode,) = storage.get_episodes([0])
        assert_same(episode["observations"], np.array([[0, 1], [0.5, 0.25]], np.float32), "observations")
        assert_same(episode["actions"], np.array([3]), "actions")
        assert_same(episode["rewards"], np.array([0.25]), "rewards")
        assert_same(episode["terminations"], np.array([True]), "terminations")
        assert_same(episode["truncations"], np.array([False]), "truncations")

    def test_arrays_in_any_memory_order(self, tmp_path: Path) -> None:
        """Store arrays that are transposed, strided, reversed or of the other byte order."""
        frames = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
        for array in (frames.T, frames[::-1, ::2], frames.astype(">f4"), np.asfortranarray(frames)):
            storage = self.new(tmp_path, spaces.Box(-1e9, 1e9, array.shape[1:], np.float32))
            truth = self.draw(len(array) - 1, 0)
            storage.update_episodes([as_buffer(truth, observations=array)])
            (episode,) = storage.get_episodes([0])
            assert np.array_equal(episode["observations"], array)

    def test_what_does_not_fit_is_refused(self, tmp_path: Path) -> None:
        """Reject wrong lengths, shapes and types, without storing anything."""
        storage = self.new(tmp_path)
        truth = self.draw(3, 0)
        x = np.zeros((4, 2), np.float32)
        for wrong, words in {
            "observations": ({"x": x[:3], "t": ["a"] * 3}, ("3 observations", "expected 4")),
            "actions": (np.zeros(4, np.int64), ("4 actions", "expected 3")),
            "rewards": (np.zeros((3, 0)), ("rewards", "(3, 0)")),
            "terminations": ([True], ("terminations", "(1,)")),
            "truncations": ([0, 1, 2], ("truncations", "booleans")),
            "infos": ({"x": np.zeros(3)}, ("'infos/x'", "3 values", "expected 4")),
        }.items():
            with refused(EpisodeError, *words[1]):
                storage.update_episodes([as_buffer(truth, **{wrong: words[0]})])
        of_wrong_kind: list[Any] = [{"x": x, "t": [1, 2, 3, 4]}, {"x": np.full((4, 2), "a"), "t": ["a"] * 4}]
        for observations in of_wrong_kind:
            with refused(EpisodeTypeError, "observations/"):
                storage.update_episodes([as_buffer(truth, observations=observations)])
        of_wrong_form: list[Any] = [{"x": x}, [{"x": x[0]}] * 4, {"x": x[:, :1], "t": ["a"] * 4}, None]
        for observations in of_wrong_form:
            with refused(EpisodeError, "observations"):
                storage.update_episodes([as_buffer(truth, observations=observations)])
        with refused(EpisodeError, "no step"):
            storage.update_episodes([EpisodeBuffer(observations={"x": x[:1], "t": ["a"]}, actions=[])])
        self.assert_holds(storage, [], OBSERVATIONS, ACTIONS)
