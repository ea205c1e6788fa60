"""Datasets of stacked frames, from recording to batches: stored once and as they are, everything is equal."""

from __future__ import annotations

import pickle
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation

import minari
from minari import MinariDataset
from minari._storages.zarr.storage import ZarrStorage
from minari.data_collector import EpisodeBuffer
from minari.errors import ArgumentError, CombineError, DatasetVersionError
from minari.testing.comparison import assert_same
from support.copies import in_every_format


pytestmark = pytest.mark.filterwarnings("ignore::minari.errors.MissingMetadataWarning")

CHOICES: tuple[Any, ...] = ("keep", "deduplicate")
IMAGES = spaces.Dict({"camera": spaces.Box(0, 255, (3, 40, 36), np.uint8), "goal": spaces.Box(-1.0, 1.0, (2,))})


def record(data_format: str, padding: Any = "reset", episodes: int = 3) -> list[MinariDataset]:
    """Record the same episodes of an environment in both ways."""
    datasets = []
    for choice in CHOICES:
        env = FrameStackObservation(gym.make("Pendulum-v1", max_episode_steps=20), 4, padding_type=padding)
        collector = minari.DataCollector(env, data_format=data_format, frame_stack=choice)
        play(collector, range(episodes))
        datasets.append(collector.create_dataset(f"pendulum/{choice}-{data_format}-v0"))
    return datasets


def play(collector: Any, seeds: Any) -> None:
    for seed in seeds:
        collector.action_space.seed(seed)
        collector.reset(seed=seed)
        truncated = False
        while not truncated:
            *_, truncated, _ = collector.step(collector.action_space.sample())


def image_episode(steps: int, seed: int, *, broken: bool = False) -> EpisodeBuffer:
    rng = np.random.default_rng(seed)
    frames = np.cumsum(rng.integers(0, 3, (3 + steps, 40, 36)), axis=1).astype(np.uint8)
    camera = np.stack([frames[t : t + 3] for t in range(steps + 1)])
    camera[steps, 0] ^= np.uint8(broken)
    return EpisodeBuffer(
        observations={"camera": camera, "goal": rng.random((steps + 1, 2), np.float32)},
        actions=rng.integers(4, size=steps),
        rewards=rng.random(steps),
        terminations=np.zeros(steps, bool),
        truncations=np.arange(steps) == steps - 1,
    )


def make_images(data_format: str, broken: tuple[int, ...] = (), **options: Any) -> list[MinariDataset]:
    episodes = [image_episode(steps, seed, broken=seed in broken) for seed, steps in enumerate((7, 1, 30, 4))]
    return [
        minari.create_dataset_from_buffers(
            f"images/{choice}-{data_format}-v0", episodes, observation_space=IMAGES, action_space=spaces.Discrete(4),
            data_format=data_format, frame_stack=choice, **options,
        )
        for choice in CHOICES
    ]  # fmt: skip


@in_every_format
@pytest.mark.parametrize("padding", ["reset", "zero"])
def test_recorded_stacks_are_equal(data_format: str, padding: str) -> None:
    keep, once = record(data_format, padding)
    assert once.storage.current_metadata.deduplicated == {"observations": 3}
    assert once.minari_version == "0.6"
    assert keep.minari_version == "0.5.4"
    assert list(once) == list(keep)
    assert list(once.iterate_episodes(copy=False)) == list(keep)
    for sampled in (keep, once):
        assert sampled.storage.total_steps == 60
    assert_same(dict(once.transitions()[:]), dict(keep.transitions()[:]))
    assert_same(dict(once.transitions(n_step=3)[[5, 50]]), dict(keep.transitions(n_step=3)[[5, 50]]))
    assert not minari.validate(once.id).findings


def test_vector_environments_are_deduplicated() -> None:
    datasets = []
    for choice in CHOICES:
        envs = gym.vector.SyncVectorEnv(
            [lambda: FrameStackObservation(gym.make("CartPole-v1", max_episode_steps=9), 3)] * 3
        )
        collector = minari.VectorDataCollector(envs, frame_stack=choice)
        collector.reset(seed=0)
        collector.action_space.seed(0)
        while collector.total_episodes < 10:
            collector.step(collector.action_space.sample())
        datasets.append(collector.create_dataset(f"cart/{choice}-v0"))
        collector.close()
    keep, once = datasets
    assert once.storage.current_metadata.deduplicated == {"observations": once.total_episodes}
    assert list(once) == list(keep)


def test_recording_is_resumed_and_added(datasets_root: Path) -> None:
    keep, once = record("hdf5")
    env = FrameStackObservation(gym.make("Pendulum-v1", max_episode_steps=20), 4)
    collector = minari.DataCollector(env, frame_stack="deduplicate")
    play(collector, [7])
    with pytest.warns(UserWarning, match="recover"):
        collector.close()
    (recording,) = minari.storage.recordings.list_recordings()
    resumed = minari.DataCollector(env, resume=recording.name)
    play(resumed, [8])
    resumed.add_to_dataset(keep)
    assert keep.total_episodes == 5
    other = minari.DataCollector(env)  # whose recording has whole stacks
    play(other, [7, 8])
    other.add_to_dataset(once)
    assert once.storage.current_metadata.deduplicated == {"observations": 5}
    assert [episode.observations.tobytes() for episode in once] == [episode.observations.tobytes() for episode in keep]
    assert "deduplicated_stacks" not in keep.storage.current_metadata.raw
    whole = minari.DataCollector(env)
    play(whole, [9])
    with pytest.warns(UserWarning, match="recover"):
        whole.close()
    (recording,) = minari.storage.recordings.list_recordings()
    with pytest.raises(CombineError, match="frame_stack is 'deduplicate', expected 'keep'"):
        minari.DataCollector(env, resume=recording.name, frame_stack="deduplicate")


@in_every_format
@pytest.mark.parametrize("broken", [(), (0, 2)], ids=["all", "some"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_batches_of_images_are_equal(
    data_format: str, broken: tuple[int, ...], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("MINARI_CACHE_PATH", str(tmp_path / "cache"))
    keep, once = make_images(data_format, broken)
    assert once.storage.current_metadata.deduplicated == {"observations/camera": 4 - len(broken)}
    views = [once, pickle.loads(pickle.dumps(once)), once[[3, 0, 2]]]
    models = [keep, keep, keep[[3, 0, 2]]]
    for view, model in zip(views, models, strict=True):
        expected = model.transitions()[:], model.windows(3, pad="left")[:], model.windows(4, pad="right")[:5]
        for cache in (None, "memory", "disk"):
            for _ in range(2):
                assert_same(plain(view.transitions(cache=cache)[:]), plain(expected[0]))
                assert_same(plain(view.windows(3, pad="left", cache=cache)[:]), plain(expected[1]))
            assert_same(plain(view.windows(4, pad="right", cache=cache)[:5]), plain(expected[2]))
    ours, theirs = once.field_statistics(), keep.field_statistics()
    assert ours.keys() == theirs.keys()
    for name, one in ours.items():
        np.testing.assert_array_equal(one.mean, theirs[name].mean)
    batches = [dataset.transitions().batches(8, shuffle=True, seed=3) for dataset in (once, keep)]
    for one, other in islice(zip(*batches, strict=True), 6):
        assert_same(plain(one), plain(other))


def plain(batch: Any) -> dict[str, Any]:
    return {name: dict(values) if isinstance(values, dict) else values for name, values in dict(batch).items()}


def test_whole_episodes_are_reported_once() -> None:
    with pytest.warns(UserWarning, match="single frames") as caught:
        _, once = make_images("hdf5", (0, 2))
    (sentence,) = [str(warning.message) for warning in caught if "single frames" in str(warning.message)]
    assert "2 of 4 episodes have observations/camera" in sentence
    with pytest.warns(UserWarning, match="3 of 5 episodes"):
        once.update_dataset_from_buffer([image_episode(3, 9, broken=True)])
    with pytest.warns(UserWarning, match="none are stacks"):
        minari.create_dataset_from_arrays(
            "no/stacks-v0", observations=np.random.default_rng(0).random((3, 2)), actions=np.zeros(2),
            rewards=np.ones(2), terminations=np.array([False, True]), frame_stack="deduplicate",
        )  # fmt: skip


@in_every_format
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_copies_follow_their_source(data_format: str) -> None:
    keep, once = make_images(data_format, (2,))
    same = once.convert("copy/same-v0")
    assert same.storage.current_metadata.deduplicated == {"observations/camera": 3}
    assert_stored_alike(same, once, [0, 1, 2, 3])
    part = once[[2, 3]].convert("copy/part-v0")
    assert part.storage.current_metadata.deduplicated == {"observations/camera": 1}
    whole = once.convert("copy/whole-v0", frame_stack="keep")
    assert "frame_stack" not in whole.storage.current_metadata.raw
    assert whole.minari_version == ("0.6" if data_format == "parquet" else "0.5.4")
    again = keep.convert("copy/again-v0", "hdf5", frame_stack="deduplicate", compression="none")
    both = minari.combine_datasets([once, same], "copy/both-v0")
    assert both.storage.current_metadata.deduplicated == {"observations/camera": 6}
    assert_stored_alike(both[:4], once, [0, 1, 2, 3])
    mixed = minari.combine_datasets([once, keep], "copy/mixed-v0")
    assert mixed.storage.frame_stack == "keep"
    for copy in (same, whole, again, both[:4], both[4:], mixed[:4], mixed[4:]):
        assert [episode.observations for episode in copy] == Same([episode.observations for episode in keep])
    for copy in (same, both, again):
        assert not [found for found in minari.validate(copy.id).findings if found.level == "error"]
        copy.storage.repack()
        assert copy[0] == keep[0]


class Same:
    """Equal to nested values that are the same bit for bit."""

    def __init__(self, expected: Any) -> None:
        self.expected = expected

    def __eq__(self, other: object) -> bool:
        assert_same(other, self.expected)
        return True

    __hash__ = None  # type: ignore[assignment]


def assert_stored_alike(copy: MinariDataset, original: MinariDataset, indices: list[int]) -> None:
    ours = copy.storage.stored_columns(copy.episode_indices.tolist())
    theirs = original.storage.stored_columns(indices)
    for (_, columns), (_, expected) in zip(ours, theirs, strict=True):
        assert_same(dict(columns), dict(expected))


def test_older_releases_get_whole_stacks() -> None:
    _, once = record("hdf5")
    older = once.convert("older/a-v0", compatible_with="0.5")
    assert older.storage.frame_stack == "keep"
    assert older.minari_version == "0.5.4"
    with pytest.raises(DatasetVersionError, match="frame_stack"):
        once.convert("older/b-v0", compatible_with="0.5", frame_stack="deduplicate")


@pytest.mark.parametrize(
    "make",
    [
        lambda choice: minari.DataCollector(gym.make("CartPole-v1"), frame_stack=choice),
        lambda choice: minari.create_dataset_from_buffers("a/a-v0", [], env="CartPole-v1", frame_stack=choice),
        lambda choice: record("hdf5")[0].convert("a/b-v0", frame_stack=choice),
    ],
    ids=["collector", "buffers", "convert"],
)
def test_unknown_choice_is_refused(make: Any) -> None:
    with pytest.raises(ArgumentError, match="frame_stack is 'once', expected 'keep' or 'deduplicate'"):
        make("once")
    assert not [name for name in minari.list_local_datasets() if name.startswith("a/")]


def test_parts_that_processes_write_are_counted() -> None:
    keep, once = make_images("zarr")
    episodes = [image_episode(5, 11), image_episode(6, 12)]
    storage = once.storage
    assert isinstance(storage, ZarrStorage)
    with storage.write_in_parts([5, 6], episodes[:1], 2) as parts:
        for part in parts.parts:
            part.write([episodes[number] for number in part.episodes])
        parts.commit()
    keep.storage.update_episodes(episodes)
    assert storage.current_metadata.deduplicated == {"observations/camera": 6}
    assert_same(list(storage.get_episodes(range(6))), list(keep.storage.get_episodes(range(6))))


@pytest.mark.parametrize("data_format", ["hdf5", "zarr"])
def test_each_frame_is_cached_once(data_format: str) -> None:
    """A limit that the frames of all episodes need, and stacks would exceed, keeps them all."""
    _, once = make_images(data_format)
    frame = 40 * 36
    transitions = once.transitions(cache="memory", cache_bytes=(42 + 4 * 3) * frame + 42 * 200)
    expected = plain(once.transitions()[:])
    assert_same(plain(transitions[:]), expected)
    read = []
    original = type(once.storage).read_rows
    once.storage.read_rows = lambda requests: read.extend(requests) or original(once.storage, requests)  # type: ignore[method-assign]
    assert_same(plain(transitions[:]), expected)
    assert not [request for request in read if "camera" in request.path]
