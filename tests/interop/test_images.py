"""Frames as JPEG and frames as they are, on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.cases import PICTURES, SPACES
from support.checks import assert_holds, forgotten


#: The mean error that JPEG makes of the toy's smooth frames, and what a second JPEG adds to it.
ONCE, TWICE = {("observations",): 4.0}, {("observations",): 8.0}
#: Two Pillow releases may decode the same bytes to values this far apart.
DECODERS = 2

every_picture = pytest.mark.parametrize("case", PICTURES)


def frames(dump: dict[str, Any]) -> list[np.ndarray]:
    return [episode["observations"] for episode in dump["episodes"]]


def assert_decoded_alike(first: dict[str, Any], second: dict[str, Any]) -> None:
    for one, other in zip(frames(first), frames(second), strict=True):
        assert np.abs(one.astype(int) - other.astype(int)).max() <= DECODERS


def assert_exactly(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == other.dtype == np.uint8
        assert np.array_equal(one, other)


@every_picture
def test_the_release_reads_and_extends_our_jpeg(case: str, reference: Any) -> None:
    from support import operations

    truth = operations.record("ours-v0", case, jpeg_encoding=True, smooth_images=True, seed=1)
    before = operations.dump("ours-v0", case)
    assert before["metadata"]["jpeg_encoding"] is True
    assert_holds(before, truth, lossy=ONCE)
    read = reference.dump("ours-v0", case)
    assert_holds(read, truth, lossy=ONCE)
    assert_decoded_alike(before, read)

    truth += forgotten(reference.append("ours-v0", case, smooth_images=True, seed=10))
    after = operations.dump("ours-v0", case)
    assert_holds(after, truth, lossy=ONCE)
    assert_exactly(frames(after)[:2], frames(before))

    theirs = reference.record("theirs-v0", case, jpeg_encoding=True, smooth_images=True, seed=20)
    reference.combine(["ours-v0", "theirs-v0"], "both-v0")
    assert_holds(operations.dump("both-v0", case), forgotten(truth + theirs), lossy=TWICE)


@every_picture
def test_we_read_extend_and_combine_their_jpeg(case: str, reference: Any) -> None:
    from support import operations

    truth = reference.record("theirs-v0", case, jpeg_encoding=True, smooth_images=True, seed=1)
    before = operations.dump("theirs-v0", case)
    assert_holds(before, truth, lossy=ONCE)
    assert_decoded_alike(before, reference.dump("theirs-v0", case))

    truth += operations.append("theirs-v0", case, smooth_images=True, seed=10)
    after = operations.dump("theirs-v0", case)
    assert_holds(after, truth, lossy=ONCE)
    assert_holds(reference.dump("theirs-v0", case), truth, lossy=ONCE)

    ours = operations.record("ours-v0", case, jpeg_encoding=True, smooth_images=True, seed=20)
    operations.combine(["theirs-v0", "ours-v0"], "both-v0")
    combined = operations.dump("both-v0", case)
    # Stored bytes are copied: nothing is encoded a second time.
    assert_exactly(frames(combined), frames(after) + frames(operations.dump("ours-v0", case)))
    assert_holds(reference.dump("both-v0", case), truth + ours, lossy=ONCE)


@every_picture
def test_frames_are_kept_as_they_are_unless_jpeg_is_asked_for(case: str, reference: Any) -> None:
    import minari
    from support.cases import spaces_of
    from support.toys import ToyEnv

    collector = minari.DataCollector(ToyEnv(*spaces_of(case)))
    seen = [collector.reset(seed=5)[0]]
    done = False
    while not done:
        observation, _, terminated, truncated, _ = collector.step(collector.action_space.sample())
        seen.append(observation)
        done = terminated or truncated
    with pytest.warns(UserWarning, match="algorithm_name"):
        collector.create_dataset("plain-v0")
    assert_exactly(frames(reference.dump("plain-v0", case)), [np.stack(seen)])


@pytest.mark.parametrize("case", ["picture-small", "picture-other-bounds"])
def test_what_is_no_frame_is_never_jpeg(case: str, reference: Any) -> None:
    from support import operations

    assert case in SPACES
    ours = operations.record("ours-v0", case, jpeg_encoding=True, seed=1)
    theirs = reference.record("theirs-v0", case, jpeg_encoding=True, seed=2)
    assert_holds(reference.dump("ours-v0", case), ours)
    assert_holds(operations.dump("theirs-v0", case), theirs)
    operations.combine(["ours-v0", "theirs-v0"], "both-v0")
    assert_holds(reference.dump("both-v0", case), ours + theirs)
