"""Stacks of frames that are stored once are read as if they had been stored as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from minari._storages.rows import RowRequest
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.errors import ArgumentError, DatasetCorruptError
from minari.spaces import path_name
from minari.testing.comparison import assert_same
from support.copies import in_every_format


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")

ACTIONS = spaces.Discrete(3)
DTYPES = ("f2", "f4", "f8", "i1", "i8", "u1", "u2")


def draw_values(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Return random bits: negative zeros, and NaN of any payload."""
    return rng.integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8).view(dtype)[..., 0]


def draw_stacks(steps: int, length: int, frame: tuple[int, ...], dtype: Any, rng: np.random.Generator) -> Any:
    """Return what ``FrameStackObservation`` would return: steps + 1 stacks of which every one continues the last."""
    frames = draw_values((length + steps, *frame), dtype, rng)
    return np.stack([frames[t : t + length] for t in range(steps + 1)])


def box(shape: tuple[int, ...], dtype: Any) -> spaces.Box:
    is_float = np.dtype(dtype).kind == "f"
    low, high = (-np.inf, np.inf) if is_float else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return spaces.Box(low, high, shape, dtype)


class World:
    """Random episodes with one stacked leaf, and a storage for each way to store it."""

    def __init__(self, directory: Path, data_format: str, draw: Any) -> None:
        self.draw, self.rng = draw, np.random.default_rng(draw(st.integers(0, 2**32)))
        self.length = draw(st.integers(2, 5))
        self.frame = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
        self.dtype = np.dtype(draw(st.sampled_from(DTYPES)))
        stack, vector = box((self.length, *self.frame), self.dtype), box((3,), "f4")
        self.nesting, self.space, self.path = draw(
            st.sampled_from(
                [
                    (lambda s, v: s, stack, ()),
                    (lambda s, v: {"v": v, "s": s}, spaces.Dict({"v": vector, "s": stack}), ("s",)),
                    (lambda s, v: (v, {"0": s}), spaces.Tuple((vector, spaces.Dict({"0": stack}))), (1, "0")),
                ]
            )
        )
        self.path = ("observations", *self.path)
        self.lengths = [0] * 0
        self.whole: list[bool] = []
        self.keep, self.once = (
            MinariStorage.new(directory / mode, self.space, ACTIONS, data_format=data_format, frame_stack=mode)
            for mode in ("keep", "deduplicate")
        )

    @property
    def both(self) -> tuple[MinariStorage, MinariStorage]:
        return self.keep, self.once

    def episode(self, steps: int, is_whole: bool, **fields: Any) -> EpisodeBuffer:
        """Return an episode, whose stacks are not those of frames if that is wanted."""
        stacks = draw_stacks(steps, self.length, self.frame, self.dtype, self.rng)
        if is_whole:
            bits = stacks.view(f"u{self.dtype.itemsize}")
            bits[self.rng.integers(1, steps + 1), self.rng.integers(self.length - 1)] ^= 1
        return self.buffer(stacks, steps, **fields)

    def buffer(self, stacks: Any, steps: int, **fields: Any) -> EpisodeBuffer:
        vectors = self.rng.random((len(stacks), 3), np.float32)
        return EpisodeBuffer(
            observations=self.nesting(stacks, vectors),
            actions=self.rng.integers(3, size=steps),
            rewards=self.rng.random(steps),
            terminations=[False] * steps,
            truncations=[False] * (steps - 1) + [True],
            infos={"n": np.arange(float(len(stacks)))},
            **fields,
        )

    def fill(self) -> None:
        episodes = self.draw(st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=4))
        buffers = [self.episode(steps, is_whole) for steps, is_whole in episodes]
        self.lengths, self.whole = [steps for steps, _ in episodes], [is_whole for _, is_whole in episodes]
        for storage in self.both:
            storage.update_episodes(buffers)

    def check(self) -> None:
        """Require that both storages have the same values, read in every way."""
        count = sum(not is_whole for is_whole in self.whole)
        raw = self.once.current_metadata.raw
        assert raw["frame_stack"] == "deduplicate"
        name = path_name(self.path)
        assert raw["deduplicated_stacks"].get(name, 0) == self.once.count_stacked_frames().get(name, 0) == count
        assert "frame_stack" not in self.keep.current_metadata.raw
        indices = range(len(self.lengths))
        without_index = self.once.data_path.with_name(f"{self.once.data_path.name}-copy")
        shutil.copytree(self.once.data_path, without_index, ignore=shutil.ignore_patterns(".*"))
        opened = (MinariStorage.read(without_index), MinariStorage.read(self.once.data_path, verify_checksums=True))
        for once in (self.once, *opened):
            for copy in (True, False):
                ours = list(once.get_episodes(indices, copy=copy))
                assert_same(ours, list(self.keep.get_episodes(indices)))
                self.check_ownership(ours, copy)
            self.check_windows(once)
            self.check_rows(once)
        shutil.rmtree(without_index)

    def check_ownership(self, episodes: list[dict[str, Any]], copy: bool) -> None:
        for episode, is_whole in zip(episodes, self.whole, strict=True):
            stacks = episode["observations"]
            for key in self.path[1:]:
                stacks = stacks[key]
            assert stacks.dtype == self.dtype
            if copy:
                assert stacks.flags.writeable
                assert stacks.flags.c_contiguous
            elif not is_whole:  # a view of the frames
                assert not stacks.flags.writeable
                assert len(stacks) == 1 or stacks.strides[0] == stacks.strides[1]

    def check_windows(self, once: MinariStorage) -> None:
        index = self.draw(st.integers(0, len(self.lengths) - 1))
        start = self.draw(st.integers(0, self.lengths[index] - 1))
        stop = self.draw(st.integers(start + 1, self.lengths[index]))
        assert_same(once.get_window(index, start, stop), self.keep.get_window(index, start, stop))

    def check_rows(self, once: MinariStorage) -> None:
        size = self.draw(st.integers(1, 8))
        lengths = np.asarray(self.lengths)
        episodes = self.rng.integers(len(lengths), size=size)
        shape = (self.length, *self.frame)
        one = self.rng.integers(lengths[episodes] + 1)
        length = int(lengths.min())
        first = self.rng.integers(lengths[episodes] + 2 - length)
        several = self.rng.integers(lengths[episodes][:, None] + 1, size=(size, 3))
        requests = [
            RowRequest(self.path, shape, episodes, one),
            RowRequest(("rewards",), (), episodes, np.minimum(one, lengths[episodes] - 1)),
            RowRequest(self.path, shape, episodes, first, length),
            RowRequest(self.path, shape, episodes, several),
        ]
        ours = once.read_rows(requests)
        assert_same(ours, self.keep.read_rows(requests))
        outs = [np.empty_like(rows) for rows in ours]
        given_place = [request._replace(out=out) for request, out in zip(requests, outs, strict=True)]
        assert_same(once.read_rows(given_place), ours)
        assert all(rows.flags.writeable for rows in once.read_rows(requests))
        paths = frozenset([self.path, ("rewards",)])
        parts = [dict(columns) for _, columns in once.read_parts(range(len(lengths)), paths)]
        assert_same(parts, [dict(columns) for _, columns in self.keep.read_parts(range(len(lengths)), paths)])


@in_every_format
@settings(max_examples=max(8, settings.default.max_examples // 4))
@given(data=st.data())
def test_stacks_are_read_as_they_were_written(
    data_format: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Both storages have equal values, also after further steps or copies to other storages."""
    directory = tmp_path_factory.mktemp("stacks")
    world = World(directory, data_format, data.draw)
    world.fill()
    event = data.draw(st.sampled_from(["none", "continue", "copy"]))
    if event == "continue":
        continue_episodes(world)
    elif event == "copy":
        copy_episodes(world, directory, data.draw(st.sampled_from(["hdf5", data_format])))
    world.check()


def continue_episodes(world: World) -> None:
    """Steps that continue the frames of an episode add frames; others turn it into whole stacks."""
    for _ in range(world.draw(st.integers(1, 3))):
        index = world.draw(st.integers(0, len(world.lengths) - 1))
        buffers = []
        ((_, columns),) = world.keep.read_parts([index], frozenset([world.path]))
        last = columns[world.path][-1]
        for _ in range(world.draw(st.integers(1, 2))):
            steps, is_whole = world.draw(st.integers(1, 4)), world.draw(st.booleans())
            frames = np.concatenate([last[1:], draw_values((steps, *world.frame), world.dtype, world.rng)])
            stacks = np.stack([frames[t : t + world.length] for t in range(steps)])
            if is_whole:
                stacks = draw_values(stacks.shape, world.dtype, world.rng)
                world.whole[index] = True
            last = stacks[-1]
            buffers.append(world.buffer(stacks, steps, id=index))
            world.lengths[index] += steps
        for storage in world.both:
            storage.update_episodes(buffers)


def copy_episodes(world: World, directory: Path, data_format: str) -> None:
    """Copy the episodes of both storages to storages of both kinds, one of which is then looked at."""
    expected = list(world.keep.get_episodes(range(len(world.lengths))))
    for target in ("keep", "deduplicate"):
        for number, source in enumerate(world.both):
            copy = MinariStorage.new(
                directory / f"{target}-{number}", world.space, ACTIONS, data_format=data_format, frame_stack=target
            )
            copy.update_from_storage(source)
            if world.draw(st.booleans()):
                copy.repack()
            assert_same(list(copy.get_episodes(range(len(world.lengths)))), expected)
            if target == "deduplicate":
                world.once = copy
                counts = copy.count_stacked_frames(), copy.current_metadata.deduplicated
                assert counts[0] == counts[1]


@pytest.mark.parametrize("jpeg", [False, True])
def test_images_are_compressed_by_frame(data_format: str, tmp_path: Path, jpeg: bool) -> None:
    """Stacks of gray images are compressed frame by frame, also as JPEG, whose frames are continued byte for byte."""
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.integers(0, 3, (44, 64, 64)), axis=2).astype(np.uint8)
    stacks = np.stack([smooth[t : t + 4] for t in range(41)])
    space = spaces.Box(0, 255, (4, 64, 64), np.uint8)
    new = [
        MinariStorage.new(
            tmp_path / mode, space, ACTIONS, data_format=data_format, jpeg_encoding=jpeg, frame_stack=mode
        )
        for mode in ("keep", "deduplicate")
    ]
    for storage in new:
        storage.update_episodes([_episode(stacks[:31], 30)])
        storage.update_episodes([_episode(stacks[31:], 10, id=0)])
    keep, once = new
    assert once.current_metadata.deduplicated == {"observations": 1}
    if data_format != "zarr":  # whose codec finds repeated frames itself
        assert _bytes_of(once) < _bytes_of(keep)
    ((_, columns),) = once.stored_columns([0])
    frames = columns["frames", "observations"]
    assert len(frames) == 44
    assert (frames.dtype == object or frames.ndim == 2) == jpeg
    (read,) = once.get_episodes([0])
    difference = np.abs(read["observations"].astype(int) - stacks)
    assert difference.max() == 0 if not jpeg else 0 < difference.mean() < 8
    rows = RowRequest(("observations",), (4, 64, 64), np.zeros(3, np.int64), np.array([0, 40, 7]))
    np.testing.assert_array_equal(once.read_rows([rows])[0], read["observations"][[0, 40, 7]])
    broken = stacks[:10].copy()
    broken[0, 0] ^= 255
    once.update_episodes([_episode(broken, 10, id=0)])
    assert once.current_metadata.deduplicated == {}
    (again,) = once.get_episodes([0])
    np.testing.assert_array_equal(again["observations"][:41], read["observations"])
    np.testing.assert_array_equal(again["observations"][41:], broken)
    target = MinariStorage.new(tmp_path / "whole", space, ACTIONS, data_format=data_format, jpeg_encoding=jpeg)
    target.update_from_storage(once)
    (copied,) = target.get_episodes([0])
    assert_same(copied, again)


def _episode(stacks: Any, steps: int, **fields: Any) -> EpisodeBuffer:
    flags = np.zeros(steps, bool)
    return EpisodeBuffer(
        observations=stacks,
        actions=flags.astype(int),
        rewards=np.ones(steps),
        terminations=flags,
        truncations=flags,
        **fields,
    )


def _bytes_of(storage: MinariStorage) -> int:
    return sum(file.stat().st_size for file in storage.data_path.rglob("*") if file.is_file())


def test_long_episodes_take_a_third(data_format: str, tmp_path: Path) -> None:
    stacks = draw_stacks(2000, 4, (24,), "f4", np.random.default_rng(1))
    sizes = {}
    for mode in ("keep", "deduplicate"):
        storage = MinariStorage.new(
            tmp_path / mode, box((4, 24), "f4"), ACTIONS, data_format=data_format, compression="none", frame_stack=mode
        )
        storage.update_episodes([_episode(stacks, 2000) for _ in range(3)])
        sizes[mode] = _bytes_of(storage)
    assert sizes["keep"] > 3 * sizes["deduplicate"]


def test_frame_stack_has_two_choices(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="'keep' or 'deduplicate'"):
        MinariStorage.new(tmp_path / "data", ACTIONS, ACTIONS, frame_stack="once")  # type: ignore[arg-type]
    agents = {"a": ACTIONS, "b": ACTIONS}
    with pytest.raises(ArgumentError, match="many agents"):
        MinariStorage.new(tmp_path / "data", agents, agents, frame_stack="deduplicate")
    assert not (tmp_path / "data").exists()


# Files that lie


def _hostile(tmp_path: Path, frames: Any = None, **metadata: Any) -> MinariStorage:
    """Return an HDF5 dataset of one episode of 5 steps with other frames or metadata."""
    import h5py

    storage = MinariStorage.new(tmp_path / "data", box((4, 2), "f4"), ACTIONS, frame_stack="deduplicate")
    storage.update_episodes([_episode(draw_stacks(5, 4, (2,), "f4", np.random.default_rng(0)), 5)])
    if frames is not None:
        with h5py.File(storage.data_path / "main_data.hdf5", "r+") as file:
            for name, values in frames.items():
                for old in ("frames/observations", "observations"):
                    if name.startswith(old):
                        del file[f"episode_0/{old}"]
                file[f"episode_0/{name}"] = values
    if metadata:
        path = storage.data_path / "metadata.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **metadata}))
    return MinariStorage.read(storage.data_path)


@pytest.mark.parametrize(
    "frames",
    [
        {"frames/observations": np.zeros((8, 2), "f4")},  # one too few
        {"frames/observations": np.zeros((10, 2), "f4")},
        {"frames/observations": np.zeros((2, 2), "f4")},  # not even a stack
        {"frames/observations": np.zeros((0, 2), "f4")},
        {"frames/observations": np.zeros((9, 3), "f4")},
        {"frames/observations": np.zeros(9, "f4")},
        {"frames/observations": np.zeros((), "f4")},
        {"frames/observations": np.array([b"a"] * 9)},
        {"frames/observations/0": np.zeros((9, 2), "f4")},
        {"observations": np.zeros((6, 4, 2), "f4")},  # both
    ],
    ids=["too few", "too many", "no stack", "none", "other shape", "no shape", "a number", "text", "group", "both"],
)
def test_frames_that_are_not_those_of_stacks_are_refused(tmp_path: Path, frames: Any) -> None:
    storage = _hostile(tmp_path, frames)
    with pytest.raises(DatasetCorruptError):
        list(storage.get_episodes([0]))
    with pytest.raises(DatasetCorruptError):
        storage.get_window(0, 0, 2)
    with pytest.raises(DatasetCorruptError):
        MinariStorage.new(tmp_path / "copy", box((4, 2), "f4"), ACTIONS).update_from_storage(storage)


@pytest.mark.parametrize(
    "metadata",
    [
        {"frame_stack": "once"},
        {"frame_stack": ["keep"]},
        {"frame_stack": None},
        {"deduplicated_stacks": [1]},
        {"deduplicated_stacks": {"observations": -1}},
        {"deduplicated_stacks": {"observations": 10**30}},
        {"deduplicated_stacks": {"observations": "1"}},
    ],
    ids=str,
)
def test_invalid_metadata_is_refused(tmp_path: Path, metadata: dict[str, Any]) -> None:
    with pytest.raises(DatasetCorruptError):
        _hostile(tmp_path, **metadata)


@pytest.mark.parametrize("shape", [(5, 2), (4, 3), (2**40, 2), (2, 2**40)], ids=str)
def test_lying_stack_length_is_refused_without_allocation(tmp_path: Path, shape: tuple[int, ...]) -> None:
    storage = _hostile(tmp_path)
    raw = json.loads((storage.data_path / "metadata.json").read_text())
    space = json.loads(raw["observation_space"])
    space["shape"] = list(shape)
    space["low"], space["high"] = (-1.0, 1.0)
    raw["observation_space"] = json.dumps(space)
    (storage.data_path / "metadata.json").write_text(json.dumps(raw))
    with pytest.raises(DatasetCorruptError):
        list(MinariStorage.read(storage.data_path).get_episodes([0]))


@pytest.mark.parametrize("claim", [{}, {"observations": 5}], ids=str)
def test_wrong_counts_are_found_and_corrected(tmp_path: Path, claim: dict[str, int]) -> None:
    from minari.dataset.validation import repair, validate

    storage = _hostile(tmp_path, deduplicated_stacks=claim)
    assert len(list(storage.get_episodes([0]))) == 1
    repair(storage.data_path)
    assert MinariStorage.read(storage.data_path).current_metadata.deduplicated == {"observations": 1}
    assert not [f for f in validate(storage.data_path).findings if f.level == "error"]
