"""Frames as JPEG and frames as they are, on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minari
from support import operations
from support.cases import PICTURES, spaces_of
from support.checks import assert_holds, forgotten
from support.scripted import play
from support.toys import ToyEnv, Witness


#: The mean error that JPEG makes of the toy's smooth frames, and what a second JPEG adds to it.
ONCE, TWICE = {("observations",): 4.0}, {("observations",): 8.0}
#: Two Pillow releases may decode the same bytes to values this far apart.
DECODERS = 2


def frames(dump: dict[str, Any]) -> list[np.ndarray]:
    return [episode["observations"] for episode in dump["episodes"]]


def assert_frames(actual: list[np.ndarray], expected: list[np.ndarray], tolerance: int = 0) -> None:
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == other.dtype == np.uint8
        assert np.abs(one.astype(int) - other.astype(int)).max() <= tolerance


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
@pytest.mark.parametrize("case", PICTURES)
def test_jpeg_both_ways(case: str, data_format: str, reference: Any) -> None:
    options = {"data_format": data_format, "jpeg_encoding": True, "smooth_images": True}
    truths = {
        "ours-v0": operations.record("ours-v0", case, seed=1, **options),
        "theirs-v0": reference.record("theirs-v0", case, seed=20, **options),
    }
    before = {name: operations.dump(name, case) for name in truths}
    assert before["ours-v0"]["metadata"]["jpeg_encoding"] is True
    for name, truth in truths.items():
        read = reference.dump(name, case)
        assert_holds(before[name], truth, lossy=ONCE)
        assert_holds(read, truth, lossy=ONCE)
        assert_frames(frames(read), frames(before[name]), DECODERS)

    truths["ours-v0"] += forgotten(reference.append("ours-v0", case, smooth_images=True, seed=10))
    truths["theirs-v0"] += operations.append("theirs-v0", case, smooth_images=True, seed=30)
    after = {name: operations.dump(name, case) for name in truths}
    for name, truth in truths.items():
        assert_holds(after[name], truth, lossy=ONCE)
        assert_holds(reference.dump(name, case), truth, lossy=ONCE)
        assert_frames(frames(after[name])[:2], frames(before[name]))

    both = truths["theirs-v0"] + truths["ours-v0"]
    operations.combine(["theirs-v0", "ours-v0"], "by-us-v0")
    for dump in (operations.dump, reference.dump):
        assert_holds(dump("by-us-v0", case), both, lossy=ONCE)
    combined = frames(operations.dump("by-us-v0", case))  # stored bytes are copied: nothing is encoded a second time
    assert_frames(combined, frames(after["theirs-v0"]) + frames(after["ours-v0"]))
    reference.combine(["theirs-v0", "ours-v0"], "by-them-v0")
    assert_holds(operations.dump("by-them-v0", case), forgotten(both), lossy=TWICE)


@pytest.mark.filterwarnings("ignore:.* is set to None:UserWarning")
@pytest.mark.parametrize("case", PICTURES)
def test_frames_are_kept_as_they_are_unless_jpeg_is_asked_for(case: str, reference: Any) -> None:
    witness = Witness(ToyEnv(*spaces_of(case)))
    collector = minari.DataCollector(witness)
    play(collector, seed=5)
    collector.create_dataset("plain-v0")
    assert_frames(frames(reference.dump("plain-v0", case)), [witness.columns()[0]["observations"]])


@pytest.mark.parametrize("case", ["picture-small", "picture-other-bounds"])
def test_what_is_no_frame_is_never_jpeg(case: str, reference: Any) -> None:
    ours = operations.record("ours-v0", case, jpeg_encoding=True, seed=1)
    theirs = reference.record("theirs-v0", case, jpeg_encoding=True, seed=2)
    assert_holds(reference.dump("ours-v0", case), ours)
    assert_holds(operations.dump("theirs-v0", case), theirs)
    operations.combine(["ours-v0", "theirs-v0"], "both-v0")
    assert_holds(reference.dump("both-v0", case), ours + theirs)
