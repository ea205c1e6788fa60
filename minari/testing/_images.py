"""Conformance: frames, which are stored exactly unless JPEG is selected."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from minari._storages.base import MinariStorage
from minari.testing._suite import Suite
from minari.testing.examples import Truth, as_buffer, as_continuation


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
