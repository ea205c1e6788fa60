"""Conformance: frames, which are stored exactly unless JPEG is selected, and stacks of them, which are stored once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from minari._model.episode_buffer import EpisodeBuffer
from minari._storages.base import MinariStorage
from minari._storages.rows import RowRequest
from minari.dataset.minari_dataset import MinariDataset
from minari.testing.comparison import assert_arrays, assert_same
from minari.testing.examples import Truth, as_buffer, as_continuation
from minari.testing.storage_suites.suite import ACTIONS, Suite


def _picture(*shape: int, low: int = 0, high: int = 255) -> spaces.Box:
    return spaces.Box(low, high, shape, np.uint8)


#: Spaces of images.
PICTURES = {"color": _picture(40, 36, 3), "gray": _picture(33, 48), "one-channel": _picture(32, 32, 1)}

#: Spaces that JPEG would damage, or cannot store.
NO_PICTURES = {
    "small": _picture(31, 64, 3),
    "stack-in-front": _picture(4, 64, 64),
    "stack-behind": _picture(64, 64, 4),
    "other-bounds": _picture(40, 40, 3, high=254),
    "video": _picture(40, 40, 40, 3),
    "wide": spaces.Box(0, 255, (40, 40, 3), np.int16),
}


class ImagesSuite(Suite):
    """Frames, exact and as JPEG."""

    cases: ClassVar[dict[str, Any]] = {"picture": PICTURES, "no_picture": NO_PICTURES, "both": PICTURES | NO_PICTURES}

    def test_frames_are_kept_exactly(self, tmp_path: Path, both: str) -> None:
        """Store noise, which no lossy encoding would preserve."""
        pair = (PICTURES | NO_PICTURES)[both], spaces.Discrete(2)
        storage = self.new(tmp_path, *pair)
        assert not storage.jpeg_encoding
        truth = _of_frames(_noise(pair[0], 4))
        storage.update_episodes([as_buffer(truth)])
        self.assert_holds(storage, [truth], *pair)

    def test_jpeg_only_for_pictures(self, tmp_path: Path, no_picture: str) -> None:
        """Values that are not images are stored exactly, even if JPEG is selected."""
        pair = NO_PICTURES[no_picture], spaces.Discrete(2)
        storage = self.new(tmp_path, *pair, jpeg_encoding=True)
        truth = _of_frames(_noise(pair[0], 4))
        storage.update_episodes([as_buffer(truth)])
        self.assert_holds(storage, [truth], *pair)

    def test_jpeg(self, tmp_path: Path, picture: str) -> None:
        """Images are restored approximately, as arrays of the space's shape."""
        space = spaces.Dict({"camera": PICTURES[picture], "n": spaces.Discrete(3)})
        storage = self.new(tmp_path, space, spaces.Discrete(2), jpeg_encoding=True)
        assert storage.jpeg_encoding
        frames = _gradients(PICTURES[picture], 4)
        storage.update_episodes([as_buffer(_of_frames(frames), observations={"camera": frames, "n": [0] * 4})])
        for opened in (storage, MinariStorage.read(storage.data_path)):
            (episode,) = opened.get_episodes([0])
            _assert_alike(episode["observations"]["camera"], frames)
            assert episode["observations"]["n"].tolist() == [0] * 4
            assert_arrays(MinariDataset(opened))

    def test_copies_do_not_degrade(self, tmp_path: Path) -> None:
        """JPEG frames are copied as stored; exact ones stay exact, or become JPEG if selected."""
        pair = PICTURES["color"], spaces.Discrete(2)
        frames = _noise(pair[0], 3)
        stored: dict[bool, MinariStorage] = {}
        for jpeg in (False, True):
            stored[jpeg] = self.new(tmp_path, *pair, jpeg_encoding=jpeg)
            stored[jpeg].update_episodes([as_buffer(_of_frames(frames))] * 2)
        lossy = next(iter(stored[True].get_episodes([0])))["observations"]
        assert not np.array_equal(lossy, frames)
        for jpeg, source, expected in (
            (True, True, lossy),
            (True, False, lossy),
            (False, True, lossy),
            (False, False, frames),
        ):
            storage = self.new(tmp_path, *pair, jpeg_encoding=jpeg)
            storage.update_from_storage(stored[source], [1])
            for _ in range(3):
                storage.update_from_storage(storage, [storage.total_episodes - 1])
            for episode in storage.get_episodes(range(4)):
                assert np.array_equal(episode["observations"], expected)

    def test_continuing_does_not_degrade(self, tmp_path: Path) -> None:
        """The JPEG frames of an episode stay unchanged when it is extended."""
        pair = PICTURES["gray"], spaces.Discrete(2)
        storage = self.new(tmp_path, *pair, jpeg_encoding=True)
        truth, more = _of_frames(_noise(pair[0], 3)), _of_frames(_gradients(pair[0], 3))
        storage.update_episodes([as_buffer(truth)])
        (before,) = storage.get_episodes([0])
        _, buffer = as_continuation(truth, more, 0, *pair)
        storage.update_episodes([buffer])
        (after,) = storage.get_episodes([0])
        assert np.array_equal(after["observations"][:3], before["observations"])
        _assert_alike(after["observations"][3:], more["observations"][1:])


def _of_frames(frames: npt.NDArray[Any]) -> Truth:
    steps = len(frames) - 1
    return {
        "observations": frames,
        "actions": np.arange(steps) % 2,
        "rewards": np.arange(steps) / 3,
        "terminations": np.arange(steps) == steps - 1,
        "truncations": np.zeros(steps, np.bool_),
        "infos": {},
    }


def _noise(space: spaces.Box, count: int) -> npt.NDArray[Any]:
    return np.random.default_rng(5).integers(0, 254, (count, *space.shape), dtype=np.int16).astype(space.dtype)


def _gradients(space: spaces.Box, count: int) -> npt.NDArray[np.uint8]:
    rows, columns = np.mgrid[: space.shape[0], : space.shape[1]]
    ramp = np.stack([rows + columns + 20 * step for step in range(count)])
    return np.broadcast_to(ramp.reshape(*ramp.shape, *(1 for _ in space.shape[2:])), (count, *space.shape)).astype(
        np.uint8
    )


def _assert_alike(frames: npt.NDArray[Any], expected: Any) -> None:
    assert frames.dtype == np.uint8
    assert frames.shape == np.shape(expected)
    error = np.abs(frames.astype(np.int16) - np.asarray(expected, np.int16)).mean()
    assert error < 4, f"the frames differ by {error:.1f} on average, too much for JPEG"


_STACK = ("observations", "stack", 0)
_STACK_SHAPE = (3, 2, 2)
_STACK_SPACE = spaces.Dict(
    {
        "stack": spaces.Tuple((spaces.Box(-np.inf, np.inf, _STACK_SHAPE, np.float32),)),
        "speed": spaces.Box(-1.0, 1.0, (2,), np.float32),
    }
)


def _stack_episode(steps: int, seed: int, *, broken: bool = False, **fields: Any) -> EpisodeBuffer:
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
        keep = self.new(directory, _STACK_SPACE, ACTIONS)
        once = self.new(directory, _STACK_SPACE, ACTIONS, frame_stack="deduplicate")
        for storage in (keep, once):
            storage.update_episodes([_stack_episode(5, 0), _stack_episode(4, 1, broken=True), _stack_episode(1, 2)])
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
                RowRequest(_STACK, _STACK_SHAPE, episodes, rows),
                RowRequest(_STACK, _STACK_SHAPE, episodes, np.zeros(4, np.int64), 2),
                RowRequest(("rewards",), (), episodes, np.zeros(4, np.int64)),
            ]
            assert_same(opened.read_rows(requests), keep.read_rows(requests))
            assert_arrays(MinariDataset(opened))

    def test_stacks_are_stored_once_and_read_exactly(self, tmp_path: Path) -> None:
        """Each frame is stored once where stacks can be rebuilt, and all values come back."""
        keep, once = self._filled(tmp_path)
        self._assert_equal(keep, once, 2)
        stored = [set(columns) for _, columns in once.stored_columns(range(3))]
        frames = ("frames", *_STACK)
        assert [(_STACK in paths, frames in paths) for paths in stored] == [(False, True), (True, False), (False, True)]

    def test_stacks_are_continued(self, tmp_path: Path) -> None:
        """Further steps extend frames or stacks, whichever an episode has."""
        keep, once = self._filled(tmp_path)
        whole = _stack_episode(9, 0)
        further: Any = whole.observations["stack"][0][6:]
        for storage in (keep, once):
            storage.update_episodes([_of_stacks(further, 4, 3, id=0)])
        self._assert_equal(keep, once, 2)
        for storage in (keep, once):
            storage.update_episodes([_of_stacks(further[::-1].copy(), 4, 4, id=0)])
        self._assert_equal(keep, once, 1)

    def test_stacks_are_copied_and_repacked(self, tmp_path: Path) -> None:
        """Copies and rewritten storages have the same values."""
        keep, once = self._filled(tmp_path)
        for source in (keep, once):
            copy = self.new(tmp_path, _STACK_SPACE, ACTIONS, frame_stack="deduplicate")
            copy.update_from_storage(source)
            self._assert_equal(keep, copy, 2)
            copy.repack()
            self._assert_equal(keep, copy, 2)
        whole = self.new(tmp_path, _STACK_SPACE, ACTIONS)
        whole.update_from_storage(once)
        assert_same(list(whole.get_episodes(range(3))), list(keep.get_episodes(range(3))))
