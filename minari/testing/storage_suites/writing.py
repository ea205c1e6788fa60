"""Conformance: appending, copying and extending episodes atomically."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from minari._model.episode_buffer import EpisodeBuffer
from minari._storages.base import MinariStorage
from minari.errors import CombineError, DatasetBusyError, DatasetExistsError, EpisodeError
from minari.testing.comparison import assert_episode, assert_metadata
from minari.testing.examples import SPACES, as_buffer, as_continuation, draw_truth
from minari.testing.memory_storage import register_memory_storage
from minari.testing.storage_suites.suite import ACTIONS, OBSERVATIONS, Suite, refused


class WritingSuite(Suite):
    """Changes to the episodes of a storage."""

    cases: ClassVar[dict[str, Any]] = {
        "continued": ("box-float32", "dict-nested", "tuple", "sequence", "graph", "one-of", "text-unicode")
    }

    def test_append_in_several_calls(self, tmp_path: Path) -> None:
        """Each call continues after the previous one, also with a storage opened again."""
        storage, truths = self.filled(tmp_path, [2, 1])
        for call in range(3):
            more = [self.draw(call + 1, 10 * call + i, n=np.arange(call + 2)) for i in range(call)]
            storage.update_episodes(as_buffer(truth) for truth in more)
            truths += more
            self.assert_holds(storage, truths)
            storage = MinariStorage.read(storage.data_path)

    def test_numbers_of_episodes(self, tmp_path: Path) -> None:
        """A buffer may have its future number as an id, and no other."""
        storage, truths = self.filled(tmp_path, [2])
        more = [self.draw(1, 5), self.draw(1, 6)]
        storage.update_episodes([as_buffer(more[0], id=1), as_buffer(more[1], id=2)])
        for wrong in (4, -1):
            with refused(EpisodeError, f"id {wrong}", "expected None or 3"):
                storage.update_episodes([as_buffer(more[0], id=wrong)])
        self.assert_holds(storage, truths + more)

    def test_dict_as_buffer(self, tmp_path: Path) -> None:
        """A plain dict with the fields of a buffer is accepted."""
        storage, truth = self.new(tmp_path), self.draw(2, 0)
        storage.update_episodes([dict(truth)])  # type: ignore[list-item]
        self.assert_holds(storage, [truth])

    def test_all_or_nothing(self, tmp_path: Path) -> None:
        """An invalid episode, or an error in between, leaves everything unchanged."""
        storage, truths = self.filled(tmp_path, [2, 3])
        before = storage.metadata
        good, bad = as_buffer(self.draw(2, 7)), as_buffer(self.draw(2, 8), rewards=[1.0])
        more, continues = as_continuation(truths[0], self.draw(2, 9), 0, OBSERVATIONS, ACTIONS)

        def interrupted() -> Iterator[EpisodeBuffer]:
            yield good
            raise KeyboardInterrupt

        with refused(EpisodeError, "Episode 3"):
            storage.update_episodes([good, bad, good])
        with refused(EpisodeError, "rewards"):
            storage.update_episodes([continues, bad])
        with contextlib.suppress(KeyboardInterrupt):
            storage.update_episodes(interrupted())
        self.assert_holds(storage, truths)
        assert storage.metadata == before
        storage.update_episodes([good, continues])
        self.assert_holds(storage, [more, truths[1], self.draw(2, 7)])

    def test_continue(self, tmp_path: Path, continued: str) -> None:
        """Append steps to stored episodes, between new ones; seed, options and the rest stay."""
        pair = SPACES[continued], spaces.Discrete(3)
        infos = [{"n": np.arange(4.0) + i, "t": np.array(list("abcd"), object)} for i in range(3)]
        truths = [draw_truth(*pair, 3, seed, infos[seed]) for seed in range(3)]
        storage = self.new(tmp_path, *pair)
        storage.update_episodes([as_buffer(truth, seed=5, options={"o": 1}) for truth in truths])
        storage.update_episode_metadata([{"mine": i} for i in range(3)])
        truths[1], first = as_continuation(truths[1], draw_truth(*pair, 3, 11, infos[0]), 1, *pair)
        new = draw_truth(*pair, 3, 12, infos[1])
        truths[0], second = as_continuation(truths[0], draw_truth(*pair, 3, 13, infos[2]), 0, *pair)
        storage.update_episodes([first, as_buffer(new), second])
        self.assert_holds(storage, [*truths, new], *pair)
        for index, metadata in enumerate(storage.get_episode_metadata([0, 1, 2])):
            kept = {"seed": 5, "options": {"o": 1}, "mine": index, "total_steps": (6, 6, 3)[index]}
            assert_metadata(metadata, kept)

    def test_continue_again_and_again(self, tmp_path: Path) -> None:
        """Extend one episode twice in a call, and again in the next call."""
        storage, truths = self.filled(tmp_path, [2, 3])
        whole = truths[0]
        for seeds in ((4, 5), (6,)):
            buffers = []
            for seed in seeds:
                whole, buffer = as_continuation(whole, self.draw(seed, seed), 0, OBSERVATIONS, ACTIONS)
                buffers.append(buffer)
            storage.update_episodes(buffers)
            self.assert_holds(storage, [whole, truths[1]])

    def test_continue_with_other_infos(self, tmp_path: Path) -> None:
        """Infos may appear, disappear or change their type in the additional steps."""
        storage = self.new(tmp_path)
        first = self.draw(1, 0, gone=np.array([1, 2]), kind=np.array([1, 2]))
        storage.update_episodes([as_buffer(first)])
        whole, buffer = as_continuation(first, self.draw(1, 1, **first["infos"]), 0, OBSERVATIONS, ACTIONS)
        storage.update_episodes([EpisodeBuffer(**{**vars(buffer), "infos": {"new": [0.5], "kind": ["a"]}})])
        expected = {
            "gone": np.array([1, 2, 0]),
            "_gone": np.array([True, True, False]),
            "kind": np.array([1, 2, "a"], object),
            "new": np.array([0, 0, 0.5]),
            "_new": np.array([False, False, True]),
        }
        self.assert_holds(storage, [{**whole, "infos": expected}])
        whole, buffer = as_continuation(whole, self.draw(1, 2, **first["infos"]), 0, OBSERVATIONS, ACTIONS)
        storage.update_episodes([EpisodeBuffer(**{**vars(buffer), "infos": {"new": [1.5], "gone": [3]}})])
        (episode,) = storage.get_episodes([0])
        assert episode["infos"]["gone"].tolist() == [1, 2, 0, 3]
        assert episode["infos"]["_gone"].tolist() == [True, True, False, True]
        assert episode["infos"]["kind"].tolist() == [1, 2, "a", None]
        assert episode["infos"]["_kind"].tolist() == [True, True, True, False]
        assert episode["infos"]["_new"].tolist() == [False, False, True, True]

    def test_copy_from_another_storage(self, tmp_path: Path) -> None:
        """Copy all episodes, or some in any order, with all their metadata, from any format or itself."""
        register_memory_storage()
        for data_format in (self.data_format, "memory"):
            source = self.new(tmp_path, data_format=data_format)
            truths = [self.draw(i + 1, i, n=np.arange(i + 2.0)) for i in range(5)]
            buffers = [as_buffer(truth, seed=i or None, options={"o": {"i": i}}) for i, truth in enumerate(truths)]
            source.update_episodes(buffers)
            source.update_episode_metadata([{"note": f"n{i}"} for i in range(5)])
            storage, own = self.filled(tmp_path, [2])
            storage.update_from_storage(source)
            storage.update_from_storage(source, (index for index in (4, 0, 4)))
            storage.update_from_storage(storage, [1])
            origins = [0, 1, 2, 3, 4, 4, 0, 4, 0]
            self.assert_holds(storage, own + [truths[i] for i in origins])
            metadatas = storage.get_episode_metadata(range(1, len(origins) + 1))
            for (number, metadata), i in zip(enumerate(metadatas, 1), origins, strict=True):
                assert metadata.get("seed") == (i or None)
                expected = {"id": number, "total_steps": i + 1, "note": f"n{i}", "options": {"o": {"i": i}}}
                assert_metadata(metadata, expected)

    def test_copy_of_what_does_not_fit(self, tmp_path: Path) -> None:
        """Other spaces are rejected; other bounds are not."""
        storage, truths = self.filled(tmp_path, [2])
        source = self.new(tmp_path, spaces.Box(-1.0, 1.0, (2,), np.float32))
        with refused(CombineError, "observations"):
            storage.update_from_storage(source)
        wider = spaces.Dict({"t": spaces.Text(9), "x": spaces.Box(-9.0, 9.0, (2,), np.float32)})
        source = self.new(tmp_path, wider)
        source.update_episodes([as_buffer(truths[0])])
        storage.update_from_storage(source)
        self.assert_holds(storage, truths * 2)

    def test_reading_while_writing(self, tmp_path: Path) -> None:
        """An active iterator, and arrays that were read, show the state when they began."""
        storage, truths = self.filled(tmp_path, [2] * 40)
        iterator = storage.get_episodes(range(40))
        read = [next(iterator) for _ in range(5)]
        more = [self.draw(3, 99 + i) for i in range(3)]
        whole, buffer = as_continuation(truths[2], self.draw(50, 3), 2, OBSERVATIONS, ACTIONS)
        storage.update_episodes([buffer, as_buffer(more[0])])
        read += [next(iterator) for _ in range(5)]
        other = MinariStorage.read(storage.data_path)
        other.update_episodes([as_buffer(truth) for truth in more[1:]])
        list(storage.get_episodes([42]))
        read += list(iterator)
        for episode, truth in zip(read, truths, strict=True):
            assert_episode(episode, OBSERVATIONS, ACTIONS, truth)
        self.assert_holds(storage, [*truths[:2], whole, *truths[3:], *more])

    def test_episodes_made_from_those_that_are_read(self, tmp_path: Path) -> None:
        """Append buffers that are read from the same storage."""
        storage, truths = self.filled(tmp_path, [2] * 20)
        fields = ("observations", "actions", "rewards", "terminations", "truncations")
        storage.update_episodes(
            EpisodeBuffer(**{name: episode[name] for name in fields}) for episode in storage.get_episodes(range(20))
        )
        self.assert_holds(storage, truths * 2)

    def test_reused_arrays(self, tmp_path: Path) -> None:
        """A program may reuse the same arrays for every episode that it yields."""
        storage = self.new(tmp_path, spaces.Box(-1.0, 1.0, (2,), np.float64))
        truth = self.draw(3, 0)
        observations, rewards = np.empty((4, 2)), np.empty(3)

        def episodes() -> Iterator[EpisodeBuffer]:
            for number in range(5):
                observations[...] = rewards[...] = number
                yield as_buffer(truth, observations=observations, rewards=rewards, infos={"n": observations[:, 0]})

        storage.update_episodes(episodes())
        for number, episode in enumerate(storage.get_episodes(range(5))):
            for values in (episode["observations"], episode["rewards"], episode["infos"]["n"]):
                assert (values == number).all()

    def test_one_writer_at_a_time(self, tmp_path: Path) -> None:
        """A second writer gets an error, and the first one continues."""
        for lengths in ([], [2]):
            storage, truths = self.filled(tmp_path, lengths)
            other = MinariStorage.read(storage.data_path)
            truth = self.draw(2, 9)

            def while_another_writes(other: MinariStorage = other, truth: Any = truth) -> Iterator[EpisodeBuffer]:
                yield as_buffer(truth)
                with refused(DatasetBusyError):
                    other.update_episodes([as_buffer(truth)])
                with refused(DatasetBusyError):
                    other.update_metadata({"author": "A"})

            storage.update_episodes(while_another_writes())
            self.assert_holds(other, [*truths, truth])

    def test_new_never_overwrites(self, tmp_path: Path) -> None:
        """A directory that contains a dataset is left unchanged."""
        storage, truths = self.filled(tmp_path, [2])
        with refused(DatasetExistsError, str(storage.data_path)):
            MinariStorage.new(storage.data_path, OBSERVATIONS, ACTIONS, data_format=self.data_format)
        self.assert_holds(storage, truths)
