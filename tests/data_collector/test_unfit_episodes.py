"""Episodes that cannot be stored: named when they end, apart from the others, dropped or mended."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minari
from minari import DataCollector, EpisodeMetadataCallback
from minari._catalog.recordings import list_recordings
from minari.errors import EpisodeError, EpisodeIndexError, MetadataError
from minari.storage.local import recover_recording
from support.scripted import ScriptedEnv, play


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")


def recorded(odd: tuple[int, ...], episodes: int = 8, **options: Any) -> tuple[DataCollector, list[str]]:
    """A collector with episodes of 2 steps whose seeds are their numbers, and what it warned of."""
    observe = ScriptedEnv().observe
    env = ScriptedEnv(length=2)
    collector = DataCollector(env, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for seed in range(episodes):
            env.observe = observe if seed not in odd else lambda time: np.zeros(2 + time % 2, np.float32)
            play(collector, seed=seed)
            notes = [str(warning.message) for warning in caught if "cannot be stored" in str(warning.message)]
            assert len(notes) == sum(number <= seed for number in odd)  # at once
    env.observe = observe
    return collector, notes


def seeds(dataset: minari.MinariDataset) -> list[int]:
    return [metadata["seed"] for metadata in dataset.storage.get_episode_metadata(range(len(dataset)))]


@pytest.mark.parametrize("buffer_steps", [1, 5, 10_000])
def test_the_others_are_written_and_the_odd_one_is_named(buffer_steps: int) -> None:
    collector, notes = recorded((3,), buffer_steps=buffer_steps)
    assert collector.total_episodes == 8
    assert collector.total_steps == 16
    (note,) = notes
    for word in ("Episode 3", "observations at step 1", "(3,)", "discard_episode(3)"):
        assert word in note
    if buffer_steps < 10:
        assert list_recordings()[0].episodes >= 5
    with pytest.raises(EpisodeError, match=r"Episode 3 cannot be stored.*discard_episode"):
        collector.create_dataset("test/odd-v0")
    collector.discard_episode(3)
    assert seeds(collector.create_dataset("test/odd-v0")) == [0, 1, 2, 4, 5, 6, 7]


@pytest.mark.parametrize("buffer_steps", [1, 10_000])
@pytest.mark.parametrize("added", [False, True])
def test_odd_ones_are_all_named_or_left_out(buffer_steps: int, added: bool) -> None:
    collector, _ = recorded((0, 5), buffer_steps=buffer_steps)
    if added:
        target, _ = recorded((), 1)
        dataset = target.create_dataset("test/target-v0")

    def save(**options: Any) -> Any:
        if not added:
            return collector.create_dataset("test/odd-v0", **options)
        collector.add_to_dataset(dataset, **options)
        return dataset

    with pytest.raises(EpisodeError, match=r"Episode 0 cannot be stored.*Episode 5 cannot be stored"):
        save(on_error="raise")
    assert collector.total_episodes == 8
    with pytest.warns(UserWarning, match=r"2 episodes 0, 5 cannot be stored"):
        saved = save(on_error="skip")
    assert seeds(saved) == [0] * added + [1, 2, 3, 4, 6, 7]
    assert collector.total_episodes == 0
    assert list_recordings() == []


def test_another_way_of_handling_errors_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'ignore'.*'raise' or 'skip'"):
        recorded(())[0].create_dataset("test/x-v0", on_error="ignore")  # type: ignore[arg-type]


def test_metadata_of_a_callback_that_cannot_be_stored_name_the_episode() -> None:
    class Odd(EpisodeMetadataCallback):
        def __call__(self, episode: dict[str, Any]) -> dict[str, Any]:
            return {"policy": object()} if episode["id"] == 1 and len(episode["rewards"]) == 2 else {}

    collector = DataCollector(ScriptedEnv(length=2), episode_metadata_callback=Odd)
    play(collector, seed=0)
    with pytest.warns(UserWarning, match="Episode 1 cannot be stored.*'policy'") as caught:
        play(collector, seed=1)
    assert [warning.filename.endswith("scripted.py") for warning in caught] == [True]
    with pytest.raises(MetadataError, match=r"Episode 1 .*'policy'"):
        collector.create_dataset("test/odd-v0")
    collector.discard_episode(-1)
    assert seeds(collector.create_dataset("test/odd-v0")) == [0]


@pytest.mark.parametrize("buffer_steps", [1, 5, 10_000])
def test_any_episode_can_be_dropped_wherever_it_is(buffer_steps: int) -> None:
    collector, _ = recorded((2, 6), 10, buffer_steps=buffer_steps)
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


@pytest.mark.parametrize("index", [-4, 3])
def test_dropping_an_episode_that_is_not_there(index: int) -> None:
    collector, _ = recorded((), 3)
    with pytest.raises(EpisodeIndexError, match=f"no recorded episode {index}"):
        collector.discard_episode(index)
    with pytest.raises(IndexError, match="nothing is recorded"):
        DataCollector(ScriptedEnv()).discard_episode(0)


@pytest.mark.parametrize("index", ["0", None, 0.5])
def test_the_number_of_an_episode_to_drop_is_whole(index: Any) -> None:
    collector, _ = recorded((), 3)
    with pytest.raises(TypeError, match=r"index is .*, expected a whole number"):
        collector.discard_episode(index)
    assert collector.total_episodes == 3


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "zarr"])
def test_what_was_dropped_stays_away_when_it_is_recovered(data_format: str, datasets_root: Path) -> None:
    collector, _ = recorded((), 4, buffer_steps=1, data_format=data_format)
    collector.discard_episode(1)
    collector.discard_episode(2)
    with pytest.warns(UserWarning, match="2 recorded episodes were not saved"):
        collector.close()
    (recording,) = list_recordings()
    assert (recording.episodes, recording.steps) == (2, 4)
    assert seeds(recover_recording(recording.name, "test/recovered-v0")) == [0, 2]
    assert [path.name for path in (datasets_root / "test" / "recovered-v0").iterdir()] == ["data"]


@pytest.mark.parametrize("buffer_steps", [1, 10_000])
def test_an_info_is_dropped_from_what_is_written_too(buffer_steps: int) -> None:
    env = ScriptedEnv(inform=lambda time: {"time": time, "state": {"odd": time}}, length=2)
    collector = DataCollector(env, record_infos=True, buffer_steps=buffer_steps)
    play(collector, 2)
    collector.discard_info("state/odd")
    collector.discard_info("missing")
    play(collector, 1)
    dataset = collector.create_dataset("test/dropped-v0")
    assert [sorted(episode.infos) for episode in dataset] == [["time"], ["time"], ["state", "time"]]
    assert dataset[0].infos["time"].tolist() == [0, 1, 2]


def test_an_episode_that_is_mended_is_saved_with_the_others() -> None:
    odd: dict[str, Any] = {"odd": object()}
    env = ScriptedEnv(inform=lambda time: odd if env_is_odd[0] else {}, length=2)
    env_is_odd = [False]
    collector = DataCollector(env, record_infos=True, buffer_steps=1)
    for seed in range(4):
        env_is_odd[0] = seed == 1
        if seed == 1:
            with pytest.warns(UserWarning, match=r"Episode 1 .*discard_info\('odd'\)"):
                play(collector, seed=seed)
        else:
            play(collector, seed=seed)
    collector.discard_info("odd")
    assert collector.total_episodes == 4
    assert sorted(seeds(collector.create_dataset("test/mended-v0"))) == [0, 1, 2, 3]


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "zarr"])
def test_an_episode_that_only_the_format_refuses_does_not_block_the_others(
    data_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from minari.data_collector import open_recording as pending

    append = pending.append_encoded

    def refuse(storage: Any, episodes: Any) -> None:
        listed = list(episodes)
        if any(episode.metadata["seed"] == 1 for episode in listed):
            raise EpisodeError("The format has no room for that.")
        append(storage, listed)

    monkeypatch.setattr(pending, "append_encoded", refuse)
    collector, _ = recorded((), 3, data_format=data_format)
    with pytest.raises(EpisodeError, match=r"Episode 1 cannot be stored\. The format has no room"):
        collector.create_dataset("test/refused-v0")
    with pytest.warns(UserWarning, match="pisode 1 cannot be stored"):
        assert seeds(collector.create_dataset("test/refused-v0", on_error="skip")) == [0, 2]


# Rewards of another shape


@pytest.mark.parametrize("buffer_steps", [1, 10_000])
def test_an_episode_with_rewards_of_another_shape_is_named_when_it_ends(buffer_steps: int) -> None:
    env = ScriptedEnv(reward=lambda time: np.ones(2) if env.resets[-1]["seed"] in (2, 4) else 1.0, length=2)
    collector = DataCollector(env, buffer_steps=buffer_steps)
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


@pytest.mark.parametrize("buffer_steps", [1, 10_000])
def test_once_the_first_is_dropped_the_others_decide_the_shape_of_rewards(buffer_steps: int) -> None:
    env = ScriptedEnv(reward=lambda time: np.ones(2) if env.resets[-1]["seed"] == 0 else 1.0, length=2)
    collector = DataCollector(env, buffer_steps=buffer_steps)
    play(collector, seed=0)
    for seed in (1, 2):
        with pytest.warns(UserWarning, match=f"Episode {seed} cannot be stored"):
            play(collector, seed=seed)
    collector.discard_episode(0)
    dataset = collector.create_dataset("test/shapes-v0")
    assert seeds(dataset) == [1, 2]
    assert dataset[0].rewards.shape == (2,)
    assert list_recordings() == []


# Infos whose names are escaped in a file


@pytest.mark.parametrize("buffer_steps", [1, 10_000])
@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("7", {"x": None, "_x": None, "..": None, "n": {2: None}}),
        ("..", {7: None, "x": None, "_x": None, "n": {2: None}}),
        ("x", {7: None, "_x": None, "..": None, "n": {2: None}}),
        ("n/2", {7: None, "x": None, "_x": None, "..": None}),
    ],
)
def test_an_info_of_any_name_is_dropped(buffer_steps: int, name: str, left: dict[Any, Any]) -> None:
    env = ScriptedEnv(
        inform=lambda time: {7: time, "x": time + 1, "_x": time > 0, "..": time, "n": {2: time}}, length=2
    )
    collector = DataCollector(env, record_infos=True, buffer_steps=buffer_steps)
    play(collector, 1)
    collector.discard_info(name)
    (episode,) = collector.create_dataset("test/dropped-v0")

    def keys(infos: Any) -> Any:
        return {key: keys(part) for key, part in infos.items()} if isinstance(infos, dict) else None

    assert keys(episode.infos) == left


def test_an_info_is_dropped_with_its_mask() -> None:
    infos: list[dict[str, Any]] = [{}, {"x": 3, "_x": 1, "text": "a"}, {"_x": 1, "pair": {"a": 1}}]
    collector = DataCollector(ScriptedEnv(inform=infos.__getitem__, length=2), record_infos=True)
    play(collector, 1)
    for name in ("x", "text", "pair"):
        collector.discard_info(name)
    (episode,) = collector.create_dataset("test/dropped-v0")
    assert list(episode.infos) == ["_x", "__x"]
    assert episode.infos["_x"].tolist() == [0, 1, 1]


@pytest.mark.parametrize(("key", "name"), [(7, "7"), (None, "None"), ("..", "..")])
def test_the_advice_names_an_info_as_it_is_dropped(key: Any, name: str) -> None:
    collector = DataCollector(ScriptedEnv(inform=lambda time: {key: object()}, length=2), record_infos=True)
    with pytest.warns(UserWarning, match=rf"discard_info\('{name}'\)".replace("..", r"\.\.")):
        play(collector, 1)
    collector.discard_info(key)  # as it is, or as it prints
    collector.discard_info(name)
    assert collector.create_dataset("test/advised-v0").total_episodes == 1


@pytest.mark.parametrize("buffer_steps", [1, 10_000])
@pytest.mark.parametrize("data_format", ["hdf5", "zarr"])
def test_what_only_the_format_of_the_dataset_refuses_is_left_out(data_format: str, buffer_steps: int) -> None:
    """Zarr has no long doubles."""
    if np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("there are none here")
    env = ScriptedEnv(inform=lambda time: {"x": np.longdouble(1) if env.resets[-1]["seed"] == 2 else 1.0}, length=2)
    first = DataCollector(env, data_format="zarr", record_infos=True)
    play(first, seed=0)
    dataset = first.create_dataset("test/target-v0")
    collector = DataCollector(env, data_format=data_format, record_infos=True, buffer_steps=buffer_steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which depends on when the other format refuses it
        for seed in (1, 2, 3):
            play(collector, seed=seed)
    with pytest.raises(EpisodeError, match="float128"):
        collector.add_to_dataset(dataset)
    assert (collector.total_episodes, len(dataset)) == (3, 1)
    with pytest.warns(UserWarning, match="cannot be stored.*left out: 'infos/x' has float128"):
        collector.add_to_dataset(dataset, on_error="skip")
    assert seeds(minari.load_dataset("test/target-v0")) == [0, 1, 3]
    assert (collector.total_episodes, list_recordings()) == (0, [])


@pytest.mark.parametrize("buffer_steps", [1, 10_000])
def test_rewards_that_no_dataset_takes_stay_recorded(buffer_steps: int) -> None:
    env = ScriptedEnv(reward=lambda time: np.ones(2), length=2)
    first = DataCollector(env)
    play(first)
    dataset = first.create_dataset("test/target-v0")
    env.reward = float
    collector = DataCollector(env, buffer_steps=buffer_steps)
    play(collector, 2)
    with pytest.raises(ValueError, match=r"rewards .*\(2,\)"):
        collector.add_to_dataset(dataset, on_error="skip")
    assert (collector.total_episodes, len(dataset)) == (2, 1)


def test_the_next_reason_is_named_when_the_first_is_dropped() -> None:
    env = ScriptedEnv(inform=lambda time: {"a": object(), "b's": object(), "c": time}, length=2)
    collector = DataCollector(env, record_infos=True, buffer_steps=1)
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"discard_info\('a'\)"):
            play(collector)
    assert list_recordings() == []
    with pytest.warns(UserWarning, match=r'discard_info\("b\'s"\)') as caught:
        collector.discard_info("a")
    assert len(caught) == 2  # one an episode
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collector.discard_info("b's")
    assert [list(episode.infos) for episode in collector.create_dataset("test/both-v0")] == [["c"], ["c"]]
