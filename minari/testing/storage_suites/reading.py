"""Conformance: any selection of episodes, in any order, of any length."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from minari._model.episode_codec import window_of
from minari._storages.base import MinariStorage
from minari.dataset.minari_dataset import MinariDataset
from minari.errors import EpisodeIndexError
from minari.testing.comparison import assert_arrays, assert_episode, assert_same
from minari.testing.examples import SPACES, as_buffer, draw_truth
from minari.testing.storage_suites.suite import ACTIONS, OBSERVATIONS, Suite, refused


class ReadingSuite(Suite):
    """Selections of episodes."""

    cases: ClassVar[dict[str, Any]] = {
        "steps": (1, 32_767, 32_768, 200_000),
        "nested": ("box-float32", "dict-nested", "tuple", "text-unicode", "sequence", "graph", "one-of"),
    }

    def test_any_iterable_of_indices(self, tmp_path: Path) -> None:
        """Read lists, ranges, arrays, sets, generators and repeated indices; the order is kept."""
        storage, truths = self.filled(tmp_path, range(1, 41))
        wanted = [3, 39, 0, 3, 17, 16, 15, 3]
        selections: list[tuple[Any, list[int]]] = [
            (wanted, wanted),
            (tuple(wanted), wanted),
            (np.array(wanted), wanted),
            (np.array(wanted, np.uint8), wanted),
            ((index for index in wanted), wanted),
            (iter(wanted), wanted),
            (range(39, -1, -3), list(range(39, -1, -3))),
            ({7}, [7]),
            ({5: "a", 2: "b"}, [5, 2]),
            ([], []),
        ]
        for indices, expected in selections:
            copies = [indices] if not hasattr(indices, "__next__") else []
            episodes = list(storage.get_episodes(indices))
            assert [episode["id"] for episode in episodes] == expected
            for episode, index in zip(episodes, expected, strict=True):
                assert_episode(episode, OBSERVATIONS, ACTIONS, truths[index])
            for again in copies:
                metadatas = list(storage.get_episode_metadata(again))
                assert [metadata["id"] for metadata in metadatas] == expected
                lengths = storage.get_episode_lengths(again)
                assert lengths.tolist() == [index + 1 for index in expected]
        lengths = storage.get_episode_lengths()
        assert lengths.dtype == np.int64
        assert lengths.tolist() == list(range(1, 41))

    def test_index_describes_the_data(self, tmp_path: Path) -> None:
        """Find nothing wrong in an index that the format may keep, after every kind of change."""
        storage, _ = self.filled(tmp_path, [2, 3])
        storage.update_episodes([as_buffer(draw_truth(OBSERVATIONS, ACTIONS, 4, 9))])
        storage.update_episode_metadata([{"level": 1}], [1])
        for opened in (storage, MinariStorage.read(storage.data_path)):
            assert list(opened.index_problems()) == []
            assert opened.repair_index() == 0

    def test_no_such_episode(self, tmp_path: Path) -> None:
        """Reject numbers out of range and other values."""
        storage, _ = self.filled(tmp_path, [2, 2])
        wrong: tuple[Any, ...] = (2, -1, 10**12, 0.0, "0", None)
        for index in wrong:
            for read in (storage.get_episodes, storage.get_episode_metadata):
                with refused(EpisodeIndexError, repr(index), "from 0 to 1"):
                    list(read([0, index]))
            with refused(EpisodeIndexError, repr(index)):
                storage.get_episode_lengths([index])

    def test_empty_storage(self, tmp_path: Path) -> None:
        """A storage without episodes yields none, even when it is opened again."""
        storage = self.new(tmp_path)
        self.assert_holds(storage, [])
        assert list(storage.apply(len)) == []
        assert storage.get_episode_lengths().tolist() == []
        with refused(EpisodeIndexError, "no episode 0"):
            list(storage.get_episodes([0]))

    def test_long_episodes(self, tmp_path: Path, steps: int) -> None:
        """Read episodes around the limits of small integers, between short ones."""
        space = spaces.Box(-np.inf, np.inf, (), np.float64)
        truths = [
            {
                "observations": np.arange(count + 1.0),
                "actions": np.arange(count) % 5,
                "rewards": np.arange(count) / 7,
                "terminations": np.arange(count) == count - 1,
                "truncations": np.zeros(count, np.bool_),
                "infos": {"n": np.arange(count + 1, dtype=np.int32)},
            }
            for count in (2, steps, 3)
        ]
        storage = self.new(tmp_path, space)
        storage.update_episodes([as_buffer(truth) for truth in truths])
        assert storage.total_steps == steps + 5
        for opened in (storage, MinariStorage.read(storage.data_path)):
            for episode in opened.get_episodes([2, 1, 0, 1]):
                assert_same(episode, {**truths[episode["id"]], "id": episode["id"]}, "episode")

    def test_windows(self, tmp_path: Path, nested: str) -> None:
        """Windows equal the same steps of the whole episode, with one more observation and info."""
        pair = SPACES[nested], spaces.Box(-1.0, 1.0, (3,), np.float32)
        storage = self.new(tmp_path, *pair)
        steps = 150
        infos = {"n": np.arange(steps + 1), "deep": {"x": np.arange(2.0 * steps + 2).reshape(-1, 2)}}
        truths = [draw_truth(*pair, count, count, infos if count == steps else {}) for count in (3, steps, 2)]
        storage.update_episodes(map(as_buffer, truths))
        for index, start, stop in ((1, 0, steps), (1, 0, 1), (1, 70, 134), (1, steps - 1, steps), (0, 1, 3), (2, 0, 1)):
            (episode,) = storage.get_episodes([index])
            window = storage.get_window(index, start, stop)
            assert_same(window, window_of(episode, start, stop), "window")
            assert len(window["rewards"]) == stop - start
        for start, stop in ((0, 4), (-1, 2), (2, 2), (2, 1), (3, 3)):
            with refused(EpisodeIndexError, "Episode 0 has 3 steps", f"from {start} to {stop}"):
                storage.get_window(0, start, stop)
        with refused(EpisodeIndexError, "no episode 3"):
            storage.get_window(3, 0, 1)

    def test_transitions(self, tmp_path: Path, nested: str) -> None:
        """Transitions and windows, in any order and with repetitions, equal the steps of the episodes."""
        pair = SPACES[nested], spaces.Box(-1.0, 1.0, (3,), np.float32)
        storage = self.new(tmp_path, *pair)
        lengths = (3, 1, 40)
        storage.update_episodes(as_buffer(draw_truth(*pair, count, count, {})) for count in lengths)
        episodes = list(MinariDataset(storage))
        steps = [(episode, step) for episode in episodes for step in range(len(episode))]
        transitions, windows = MinariDataset(storage).transitions(), MinariDataset(storage).windows(3)
        assert len(transitions) == sum(lengths)
        for chosen in ([0], [43, 2, 2, 3], list(range(44))):
            batch: Any = transitions[chosen]
            for position, (episode, step) in enumerate(steps[index] for index in chosen):
                for key, values, row in (
                    ("observations", episode.observations, step),
                    ("next_observations", episode.observations, step + 1),
                    ("actions", episode.actions, step),
                    ("rewards", episode.rewards, step),
                    ("terminations", episode.terminations, step),
                ):
                    assert_same(row_of(batch[key], position), row_of(values, row), key)
        window = windows[5]
        assert_same(window["actions"], episodes[2].actions[4:7], "actions")
        assert window["timesteps"].tolist() == [4, 5, 6]

    def test_arrays(self, tmp_path: Path, nested: str) -> None:
        """The arrays of a view, with episodes in any order and repeated, have the values of its episodes."""
        pair = SPACES[nested], spaces.Box(-1.0, 1.0, (3,), np.float32)
        storage = self.new(tmp_path, *pair)
        truths = [
            draw_truth(*pair, count, count, {"n": np.arange(count + 1), "deep": {"x": np.ones((count + 1, 2))}})
            for count in (3, 1, 40)
        ]
        storage.update_episodes(map(as_buffer, truths))
        for opened in (storage, MinariStorage.read(storage.data_path, verify_checksums=True)):
            for dataset in (MinariDataset(opened), MinariDataset(opened, [2, 0, 2, 1])):
                assert_arrays(dataset, infos=("n", "deep/x"))
            assert dataset.arrays(fields=["rewards"]).keys() == {"rewards", "episode_ids", "episode_starts"}

    def test_apply(self, tmp_path: Path) -> None:
        """A function over episodes is computed on demand."""
        storage, truths = self.filled(tmp_path, [2, 3, 4])
        seen: list[int] = []

        def total(episode: dict[str, Any]) -> float:
            seen.append(episode["id"])
            return float(episode["rewards"].sum())

        results = iter(storage.apply(total, (index for index in (2, 0))))
        assert next(results) == truths[2]["rewards"].sum()
        assert seen == [2]
        assert list(results) == [truths[0]["rewards"].sum()]
        assert len(list(storage.apply(total))) == 3

    def test_what_is_read_cannot_change_what_is_stored(self, tmp_path: Path) -> None:
        """Arrays are read-only, or copies."""
        storage, truths = self.filled(tmp_path, [3])
        (episode,) = storage.get_episodes([0])
        for array in (episode["rewards"], episode["observations"]["x"]):
            if array.flags.writeable:
                array[...] = 9
        (metadata,) = storage.get_episode_metadata([0])
        metadata["id"] = 9
        self.assert_holds(storage, truths)

    def test_threads(self, tmp_path: Path) -> None:
        """Several threads read with one storage while another one appends to its directory."""
        storage, truths = self.filled(tmp_path, [3, 40, 2, 7])
        stop = threading.Event()

        def read() -> int:
            rounds = 0
            while not stop.is_set() or rounds == 0:
                for index in (1, 3, 0, 2):
                    (episode,) = storage.get_episodes([index])
                    assert_episode(episode, OBSERVATIONS, ACTIONS, truths[index])
                    (metadata,) = storage.get_episode_metadata([index])
                    assert metadata["total_steps"] == storage.get_episode_lengths([index])[0]
                rounds += 1
            return rounds

        with ThreadPoolExecutor(3) as threads:
            readers = [threads.submit(read) for _ in range(3)]
            try:
                other = MinariStorage.read(storage.data_path)
                for number in range(5):
                    other.update_episodes([as_buffer(self.draw(number + 1, number))])
            finally:
                stop.set()
            assert min(reader.result() for reader in readers) > 0
        assert storage.total_episodes == 9

    def test_pickle(self, tmp_path: Path) -> None:
        """A storage can be pickled, for example to pass it to a worker."""
        storage, truths = self.filled(tmp_path, [3, 2])
        self.assert_holds(pickle.loads(pickle.dumps(storage)), truths)
        list(storage.get_episodes([0]))
        self.assert_holds(pickle.loads(pickle.dumps(storage)), truths)


def row_of(values: Any, index: int) -> Any:
    """Return one step of values that are nested as a space is."""
    if isinstance(values, dict):
        return {key: row_of(inner, index) for key, inner in values.items()}
    if isinstance(values, tuple):
        return tuple(row_of(inner, index) for inner in values)
    return values[index]
