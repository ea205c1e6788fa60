"""Conformance: stacks of frames that are stored once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from minari._model.episode_buffer import EpisodeBuffer
from minari._storages.base import MinariStorage
from minari._storages.rows import RowRequest
from minari.testing._suite import ACTIONS, Suite
from minari.testing.comparison import assert_same


_PATH = ("observations", "stack", 0)
_SHAPE = (3, 2, 2)
_SPACE = spaces.Dict(
    {
        "stack": spaces.Tuple((spaces.Box(-np.inf, np.inf, _SHAPE, np.float32),)),
        "speed": spaces.Box(-1.0, 1.0, (2,), np.float32),
    }
)


def _episode(steps: int, seed: int, *, broken: bool = False, **fields: Any) -> EpisodeBuffer:
    """Return an episode of stacks of random frames; one of them is another one in an episode that is broken."""
    frames = np.random.default_rng(seed).random((3 + steps, 2, 2), np.float32)  # a longer episode begins with them
    frames[frames < 0.1] = np.nan
    stacks = np.stack([frames[t : t + 3] for t in range(steps + 1)])
    if broken:
        stacks[steps, 0] += 1
    return _of_stacks(stacks, steps, seed, **fields)


def _of_stacks(stacks: npt.NDArray[Any], steps: int, seed: int, **fields: Any) -> EpisodeBuffer:
    rng = np.random.default_rng(seed)
    return EpisodeBuffer(
        observations={"stack": (stacks,), "speed": rng.random((len(stacks), 2), np.float32)},
        actions=rng.integers(5, size=steps),
        rewards=rng.random(steps),
        terminations=np.arange(steps) == steps - 1,
        truncations=np.zeros(steps, bool),
        infos={"n": np.arange(float(len(stacks)))},
        **fields,
    )


class FrameStackSuite(Suite):
    """Observations that are stacks of frames, stored as they are and once."""

    def _filled(self, directory: Path) -> tuple[MinariStorage, MinariStorage]:
        """Return storages of the same episodes, the second of which is broken, of both kinds."""
        keep = self.new(directory, _SPACE, ACTIONS)
        once = self.new(directory, _SPACE, ACTIONS, frame_stack="deduplicate")
        for storage in (keep, once):
            storage.update_episodes([_episode(5, 0), _episode(4, 1, broken=True), _episode(1, 2)])
        return keep, once

    def _assert_equal(self, keep: MinariStorage, once: MinariStorage, count: int) -> None:
        """Require equal episodes, windows and rows, and the number of episodes whose stacks are stored once."""
        indices = range(keep.total_episodes)
        expected = list(keep.get_episodes(indices))
        for opened in (once, MinariStorage.read(once.data_path, verify_checksums=True)):
            assert opened.current_metadata.deduplicated == {"observations/stack/0": count}
            assert opened.count_stacked_frames() == {"observations/stack/0": count}
            for copy in (True, False):
                assert_same(list(opened.get_episodes(indices, copy=copy)), expected)
            for index, length in enumerate(keep.get_episode_lengths().tolist()):
                window = index, length // 2, length
                assert_same(opened.get_window(*window), keep.get_window(*window))
            episodes = np.array([2, 0, 1, 0])
            rows = np.array([1, 5, 4, 0])
            requests = [
                RowRequest(_PATH, _SHAPE, episodes, rows),
                RowRequest(_PATH, _SHAPE, episodes, np.zeros(4, np.int64), 2),
                RowRequest(("rewards",), (), episodes, np.zeros(4, np.int64)),
            ]
            assert_same(opened.read_rows(requests), keep.read_rows(requests))

    def test_stacks_are_stored_once_and_read_exactly(self, tmp_path: Path) -> None:
        keep, once = self._filled(tmp_path)
        self._assert_equal(keep, once, 2)
        stored = [set(columns) for _, columns in once.stored_columns(range(3))]
        frames = ("frames", *_PATH)
        assert [(_PATH in paths, frames in paths) for paths in stored] == [(False, True), (True, False), (False, True)]

    def test_stacks_are_continued(self, tmp_path: Path) -> None:
        keep, once = self._filled(tmp_path)
        whole = _episode(9, 0)
        further: Any = whole.observations["stack"][0][6:]
        for storage in (keep, once):
            storage.update_episodes([_of_stacks(further, 4, 3, id=0)])
        self._assert_equal(keep, once, 2)
        for storage in (keep, once):
            storage.update_episodes([_of_stacks(further[::-1].copy(), 4, 4, id=0)])
        self._assert_equal(keep, once, 1)

    def test_stacks_are_copied_and_repacked(self, tmp_path: Path) -> None:
        keep, once = self._filled(tmp_path)
        for source in (keep, once):
            copy = self.new(tmp_path, _SPACE, ACTIONS, frame_stack="deduplicate")
            copy.update_from_storage(source)
            self._assert_equal(keep, copy, 2)
            copy.repack()
            self._assert_equal(keep, copy, 2)
        whole = self.new(tmp_path, _SPACE, ACTIONS)
        whole.update_from_storage(once)
        assert_same(list(whole.get_episodes(range(3))), list(keep.get_episodes(range(3))))
