"""Episodes that cannot be stored: named when they end, apart from the others, dropped or mended."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minari
from minari import DataCollector
from minari._catalog.recordings import list_recordings
from minari.errors import EpisodeError, EpisodeIndexError
from minari.storage.local import recover_recording
from support.scripted import ScriptedEnv, collected, place, play, recorded, seeds


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

early_and_late = pytest.mark.parametrize("buffer_steps", [1, 10_000])


def numbered(odd: tuple[int, ...], episodes: int = 8, **options: Any) -> tuple[DataCollector, list[str]]:
    """A collector with episodes of 2 steps whose seeds are their numbers, and what it warned of."""
    env = ScriptedEnv(length=2)
    collector = DataCollector(env, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for seed in range(episodes):
            env.observe = place if seed not in odd else lambda time: np.zeros(2 + time % 2, np.float32)
            play(collector, seed=seed)
            notes = [str(warning.message) for warning in caught if "cannot be stored" in str(warning.message)]
            assert len(notes) == sum(number <= seed for number in odd)  # at once
    env.observe = place
    return collector, notes


def by_seed(odd: dict[int, Any], usual: Any) -> Any:
    """An environment with episodes of 2 steps whose infos, or rewards, depend on the seed."""
    env = ScriptedEnv(length=2)

    def value(time: int) -> Any:
        return odd.get(env.resets[-1]["seed"], usual)

    if isinstance(usual, dict):
        env.inform = value
    else:
        env.reward = value
    return env


@pytest.mark.parametrize("buffer_steps", [1, 5, 10_000])
def test_the_others_are_written_and_the_odd_one_is_named(buffer_steps: int) -> None:
    collector, (note,) = numbered((3,), buffer_steps=buffer_steps)
    assert (collector.total_episodes, collector.total_steps) == (8, 16)
    for word in ("Episode 3", "observations at step 1", "(3,)", "discard_episode(3)"):
        assert word in note
    if buffer_steps < 10:
        assert list_recordings()[0].episodes >= 5
    with pytest.raises(EpisodeError, match=r"Episode 3 cannot be stored.*discard_episode"):
        collector.create_dataset("test/odd-v0")
    collector.discard_episode(3)
    assert seeds(collector.create_dataset("test/odd-v0")) == [0, 1, 2, 4, 5, 6, 7]


@early_and_late
@pytest.mark.parametrize("added", [False, True])
def test_odd_ones_are_all_named_or_left_out(buffer_steps: int, added: bool) -> None:
    collector, _ = numbered((0, 5), buffer_steps=buffer_steps)
    dataset = recorded(ScriptedEnv(length=2), reset={"seed": 9}) if added else None

    def save(**options: Any) -> Any:
        if dataset is None:
            return collector.create_dataset("test/odd-v0", **options)
        collector.add_to_dataset(dataset, **options)
        return dataset

    with pytest.raises(ValueError, match=r"'ignore'.*'raise' or 'skip'"):
        save(on_error="ignore")
    with pytest.raises(EpisodeError, match=r"Episode 0 cannot be stored.*Episode 5 cannot be stored"):
        save(on_error="raise")
    assert collector.total_episodes == 8
    with pytest.warns(UserWarning, match=r"2 episodes 0, 5 cannot be stored"):
        saved = save(on_error="skip")
    assert seeds(saved) == [9] * added + [1, 2, 3, 4, 6, 7]
    assert collector.total_episodes == 0
    assert list_recordings() == []


# discard_episode


@pytest.mark.parametrize("buffer_steps", [1, 5, 10_000])
def test_any_episode_can_be_dropped_wherever_it_is(buffer_steps: int) -> None:
    collector, _ = numbered((2, 6), 10, buffer_steps=buffer_steps)
    left = list(range(10))
    for index in (4, -1, 0, 5, 1):
        collector.discard_episode(index)
        del left[index]
        assert (collector.total_episodes, collector.total_steps) == (len(left), 2 * len(left))
    assert left == [1, 3, 5, 6, 8]
    play(collector, seed=10)
    with pytest.raises(EpisodeError, match="Episode 3 cannot be stored"):
        collector.create_dataset("test/left-v0")
    collector.discard_episode(3)
    dataset = collector.create_dataset("test/left-v0")
    assert seeds(dataset) == [1, 3, 5, 8, 10]
    assert [episode.observations[:, 0].tolist() for episode in dataset] == [[0, 1, 2]] * 5
    assert "recording_discards" not in dataset.storage.metadata
    assert minari.load_dataset("test/left-v0").total_steps == 10


@pytest.mark.parametrize(
    ("index", "error", "text"),
    [
        (-4, EpisodeIndexError, "no recorded episode -4"),
        (3, EpisodeIndexError, "no recorded episode 3"),
        ("0", TypeError, "index is '0', expected a whole number"),
        (None, TypeError, "index is None, expected a whole number"),
        (0.5, TypeError, "index is 0.5, expected a whole number"),
    ],
)
def test_an_episode_that_is_not_there_cannot_be_dropped(index: Any, error: type[Exception], text: str) -> None:
    collector, _ = numbered((), 3)
    with pytest.raises(error, match=text):
        collector.discard_episode(index)
    assert collector.total_episodes == 3
    with pytest.raises(IndexError, match="nothing is recorded"):
        DataCollector(ScriptedEnv()).discard_episode(0)


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "zarr"])
def test_what_was_dropped_stays_away_when_it_is_recovered(data_format: str, datasets_root: Path) -> None:
    collector, _ = numbered((), 4, buffer_steps=1, data_format=data_format)
    collector.discard_episode(1)
    collector.discard_episode(2)
    with pytest.warns(UserWarning, match="2 recorded episodes were not saved"):
        collector.close()
    (recording,) = list_recordings()
    assert (recording.episodes, recording.steps) == (2, 4)
    assert seeds(recover_recording(recording.name, "test/recovered-v0")) == [0, 2]
    assert [path.name for path in (datasets_root / "test" / "recovered-v0").iterdir()] == ["data"]


# discard_info


@early_and_late
def test_an_info_is_dropped_from_what_is_written_and_not_from_what_follows(buffer_steps: int) -> None:
    env = ScriptedEnv(inform=lambda time: {"time": time, "state": {"odd": time}}, length=2)
    collector = collected(env, 2, record_infos=True, buffer_steps=buffer_steps)
    collector.discard_info("state/odd")
    collector.discard_info("missing")
    play(collector)
    dataset = collector.create_dataset("test/dropped-v0")
    assert [sorted(episode.infos) for episode in dataset] == [["time"], ["time"], ["state", "time"]]
    assert dataset[0].infos["time"].tolist() == [0, 1, 2]


@early_and_late
@pytest.mark.parametrize(("name", "key"), [("7", 7), ("..", ".."), ("x", "x"), ("n/2", "n")])
def test_an_info_of_any_name_is_dropped(buffer_steps: int, name: str, key: Any) -> None:
    env = ScriptedEnv(
        inform=lambda time: {7: time, "x": time + 1, "_x": time > 0, "..": time, "n": {2: time}}, length=2
    )
    collector = collected(env, record_infos=True, buffer_steps=buffer_steps)
    collector.discard_info(name)
    (episode,) = collector.create_dataset("test/dropped-v0")
    assert set(episode.infos) == {7, "x", "_x", "..", "n"} - {key}
    assert key == "n" or list(episode.infos["n"]) == [2]


def test_an_info_is_dropped_with_its_mask() -> None:
    infos: list[dict[str, Any]] = [{}, {"x": 3, "_x": 1, "text": "a"}, {"_x": 1, "pair": {"a": 1}}]
    collector = collected(ScriptedEnv(inform=infos.__getitem__, length=2), record_infos=True)
    for name in ("x", "text", "pair"):
        collector.discard_info(name)
    (episode,) = collector.create_dataset("test/dropped-v0")
    assert list(episode.infos) == ["_x", "__x"]
    assert episode.infos["_x"].tolist() == [0, 1, 1]


@pytest.mark.parametrize(("key", "name"), [(7, "7"), (None, "None"), ("..", r"\.\.")])
def test_the_advice_names_an_info_as_it_is_dropped(key: Any, name: str) -> None:
    env = ScriptedEnv(inform=lambda time: {key: object()}, length=2)
    with pytest.warns(UserWarning, match=rf"discard_info\('{name}'\)"):
        collector = collected(env, record_infos=True)
    collector.discard_info(key)  # as it is, or as it prints
    collector.discard_info(str(key))
    assert collector.create_dataset("test/advised-v0").total_episodes == 1


def test_an_episode_that_is_mended_is_saved_with_the_others() -> None:
    collector = DataCollector(by_seed({1: {"odd": object()}}, {}), record_infos=True, buffer_steps=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for seed in range(4):
            play(collector, seed=seed)
    (note,) = (str(warning.message) for warning in caught)
    assert "Episode 1 cannot" in note
    assert "discard_info('odd')" in note
    collector.discard_info("odd")
    assert collector.total_episodes == 4
    assert sorted(seeds(collector.create_dataset("test/mended-v0"))) == [0, 1, 2, 3]


def test_the_next_reason_is_named_when_the_first_is_dropped() -> None:
    env = ScriptedEnv(inform=lambda time: {"a": object(), "b's": object(), "c": time}, length=2)
    with pytest.warns(UserWarning, match=r"discard_info\('a'\)"):
        collector = collected(env, 2, record_infos=True, buffer_steps=1)
    assert list_recordings() == []
    with pytest.warns(UserWarning, match=r'discard_info\("b\'s"\)') as caught:
        collector.discard_info("a")
    assert len(caught) == 2  # one an episode
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collector.discard_info("b's")
    assert [list(episode.infos) for episode in collector.create_dataset("test/both-v0")] == [["c"], ["c"]]


# What the other episodes, or the format, do not go together with


@early_and_late
def test_an_episode_with_rewards_of_another_shape_is_named_when_it_ends(buffer_steps: int) -> None:
    collector = DataCollector(by_seed(dict.fromkeys((2, 4), np.ones(2)), 1.0), buffer_steps=buffer_steps)
    for seed in range(6):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            play(collector, seed=seed)
        notes = [str(warning.message) for warning in caught]
        assert [f"Episode {seed} cannot be stored" in note for note in notes] == [True] * (seed in (2, 4))
    with pytest.raises(EpisodeError, match=r"Episode 2 .*shape \(2,\).*Episode 4 "):
        collector.create_dataset("test/shapes-v0")
    collector.discard_episode(2)
    with pytest.warns(UserWarning, match="Episode 3 cannot be stored and is left out"):
        dataset = collector.create_dataset("test/shapes-v0", on_error="skip")
    assert seeds(dataset) == [0, 1, 3, 5]


@early_and_late
def test_once_the_first_is_dropped_the_others_decide_the_shape_of_rewards(buffer_steps: int) -> None:
    collector = collected(by_seed({0: np.ones(2)}, 1.0), buffer_steps=buffer_steps, reset={"seed": 0})
    for seed in (1, 2):
        with pytest.warns(UserWarning, match=f"Episode {seed} cannot be stored"):
            play(collector, seed=seed)
    collector.discard_episode(0)
    dataset = collector.create_dataset("test/shapes-v0")
    assert seeds(dataset) == [1, 2]
    assert dataset[0].rewards.shape == (2,)
    assert list_recordings() == []


@early_and_late
def test_rewards_that_no_dataset_takes_stay_recorded(buffer_steps: int) -> None:
    dataset = recorded(ScriptedEnv(reward=lambda time: np.ones(2), length=2))
    collector = collected(ScriptedEnv(length=2), 2, buffer_steps=buffer_steps)
    with pytest.raises(ValueError, match=r"rewards .*\(2,\)"):
        collector.add_to_dataset(dataset, on_error="skip")
    assert (collector.total_episodes, len(dataset)) == (2, 1)


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="there are no long doubles here")
@early_and_late
@pytest.mark.parametrize(("data_format", "added"), [("hdf5", True), ("zarr", True), ("zarr", False)])
def test_what_only_the_format_refuses_is_left_out(data_format: str, buffer_steps: int, added: bool) -> None:
    """Zarr has no long doubles."""
    env = by_seed({2: {"x": np.longdouble(1)}}, {"x": 1.0})
    options: dict[str, Any] = {"record_infos": True, "buffer_steps": buffer_steps}
    dataset = recorded(env, data_format="zarr", reset={"seed": 0}, **options) if added else None
    collector = DataCollector(env, data_format=data_format, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which depends on when the other format refuses it
        for seed in (1, 2, 3):
            play(collector, seed=seed)

    def save(**more: Any) -> Any:
        return collector.add_to_dataset(dataset, **more) if added else collector.create_dataset("test/x-v0", **more)

    with pytest.raises(EpisodeError, match="float128" if added else r"Episode 1 cannot be stored.*float128"):
        save()
    assert collector.total_episodes == 3
    assert minari.list_local_datasets().keys() == ({"test/recorded-v0"} if added else set())
    with pytest.warns(UserWarning, match=r"cannot be stored.*left out: 'infos/x' has float128"):
        save(on_error="skip")
    assert seeds(minari.load_dataset("test/recorded-v0" if added else "test/x-v0")) == [0] * added + [1, 3]
    assert (collector.total_episodes, list_recordings()) == (0, [])
