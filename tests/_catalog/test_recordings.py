"""Recordings: what a program leaves behind that is killed, and how it becomes a dataset."""

from __future__ import annotations

import os
import re
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import minari
from minari import DataCollector
from minari._catalog.recordings import RECORDINGS_DIRECTORY, find_recording, list_recordings, new_recording
from minari.errors import DatasetExistsError, DatasetIdError, DatasetNotFoundError, EpisodeError
from minari.storage.local import recover_recording
from support.programs import start
from support.scripted import PLANE, ScriptedEnv, buffer_of, collected, listing, recorded
from support.stored import as_nobody
from support.values import assert_identical


pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None")

ACTIONS = gym.spaces.Discrete(3)

#: Records episodes of 1, 2, 3, ... steps until it is killed, and says after each how many there are.
ENDLESS = """
    import sys, itertools
    import numpy as np
    import gymnasium as gym
    from minari import DataCollector
    from support.scripted import ScriptedEnv, play

    env = ScriptedEnv(inform=lambda time: {"time": time, "text": "x" * time})
    collector = DataCollector(env, record_infos=True, buffer_steps=int(sys.argv[1]), data_format="hdf5")
    for number in itertools.count():
        env.length = number % 7 + 1
        play(collector, seed=number, options={"number": number})
        print(number + 1, flush=True)
"""


def killed_recording(buffer_steps: int, after_episodes: int, pause: float = 0.0) -> None:
    """Let a child record, and kill it with no chance to clean up."""
    child = start(ENDLESS, str(buffer_steps))
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= after_episodes:
            break
    time.sleep(pause)
    child.kill()
    child.communicate()
    assert child.returncode != 0


def assert_as_played(dataset: minari.MinariDataset) -> None:
    """Require that every episode is what the child recorded under that number."""
    metadatas = dataset.storage.get_episode_metadata(range(len(dataset)))
    for number, (episode, metadata) in enumerate(zip(dataset, metadatas, strict=True)):
        times = np.arange(number % 7 + 2)
        assert_identical(episode.observations, np.repeat(times[:, None], 2, 1).astype(np.float32))
        assert_identical(episode.rewards, times[1:].astype(np.float64))
        assert episode.terminations.tolist() == [False] * (len(times) - 2) + [True]
        assert_identical(episode.infos["time"], times)
        assert list(episode.infos["text"]) == ["x" * time for time in times]
        assert (metadata["id"], metadata["seed"], metadata["options"]) == (number, number, {"number": number})


def test_a_killed_recording_is_recovered_up_to_the_last_episode_written(datasets_root: Path) -> None:
    killed_recording(buffer_steps=1, after_episodes=12)
    assert minari.list_local_datasets() == {}
    (recording,) = list_recordings()
    assert recording.episodes >= 12
    assert recording.steps == recording.storage.get_episode_lengths().sum()
    assert recording.path.parent.parent == datasets_root / RECORDINGS_DIRECTORY
    assert time.time() - recording.modified < 300
    assert recording.env_id is None
    episodes = recording.episodes
    dataset = recover_recording(recording.name, "test/deep/recovered-v0")
    assert list_recordings() == []
    assert not (datasets_root / RECORDINGS_DIRECTORY).exists()
    assert list(minari.list_local_datasets()) == ["test/deep/recovered-v0"]
    assert len(dataset) == episodes
    assert_as_played(minari.load_dataset("test/deep/recovered-v0"))
    spec = minari.load_dataset("test/deep/recovered-v0").spec
    assert (spec.dataset_id, spec.namespace, spec.version) == ("test/deep/recovered-v0", "test/deep", 0)
    assert minari.namespace.list_local_namespaces() == ["test", "test/deep"]


@pytest.mark.parametrize("pause", [0.0, 0.002, 0.005, 0.011])
def test_a_kill_at_any_moment_leaves_whole_episodes(pause: float) -> None:
    killed_recording(buffer_steps=5, after_episodes=30, pause=pause)
    (recording,) = list_recordings()
    dataset = recover_recording(recording.name, "test/recovered-v0")
    assert len(dataset) > 20
    assert dataset.total_steps == sum(len(episode) for episode in dataset)
    assert_as_played(dataset)
    # It is a dataset like any other.
    dataset.update_dataset_from_buffer([buffer_of(3, infos={"time": np.arange(4)})])
    assert len(minari.load_dataset("test/recovered-v0")[-1]) == 3


def test_recordings_of_several_programs_are_told_apart() -> None:
    collectors = [collected(env, 2, buffer_steps=1) for env in (gym.make("CartPole-v1"), ScriptedEnv())]
    recordings = list_recordings()
    assert len(recordings) == len(collectors)
    assert {recording.env_id for recording in recordings} == {"CartPole-v1", None}
    assert [recording.modified for recording in recordings] == sorted(recording.modified for recording in recordings)
    (cartpole,) = (recording for recording in recordings if recording.env_id)
    assert find_recording(cartpole.name).storage.data_path == cartpole.path
    dataset = recover_recording(cartpole.name, "test/cartpole-v0")
    assert dataset.recover_environment().spec.id == "CartPole-v1"
    assert len(list_recordings()) == 1
    list_recordings()[0].discard()
    assert list_recordings() == []


def test_recordings_of_another_root_are_listed_there(tmp_path: Path, datasets_root: Path) -> None:
    collector = collected(buffer_steps=1, root=tmp_path)
    assert list_recordings() == []
    (recording,) = list_recordings(tmp_path)
    recover_recording(recording.name, "recovered-v0", tmp_path)
    assert list(minari.list_local_datasets(root=tmp_path)) == ["recovered-v0"]
    assert listing(datasets_root) == {}
    assert collector.total_episodes == 1


@pytest.fixture
def collector() -> DataCollector:
    """A collector that has written two episodes of a recording."""
    made: DataCollector = collected(None, 2, buffer_steps=1)
    return made


def test_recordings_are_no_datasets(collector: DataCollector, datasets_root: Path) -> None:
    (recording,) = list_recordings()
    assert minari.list_local_datasets() == {}
    assert minari.namespace.list_local_namespaces() == []
    for function, suffix in ((minari.load_dataset, ""), (minari.delete_dataset, "-v0")):
        with pytest.raises(DatasetIdError):
            function(f"{RECORDINGS_DIRECTORY}/{recording.name}{suffix}")
    # Damaged ones are passed over.
    for name, content in (("empty", None), ("no-json", "{"), ("no-spaces", '{"total_episodes": 1}')):
        directory = datasets_root / RECORDINGS_DIRECTORY / name / "data"
        directory.mkdir(parents=True)
        if content is not None:
            (directory / "metadata.json").write_text(content)
    (datasets_root / RECORDINGS_DIRECTORY / "a-file").touch()
    assert [one.name for one in list_recordings()] == [recording.name]
    for name in ("nothing", "", "..", f"../{RECORDINGS_DIRECTORY}/{recording.name}"):
        with pytest.raises(DatasetNotFoundError, match="no recording") as caught:
            recover_recording(name, "test/x-v0")
        assert recording.name in str(caught.value)
        assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize(
    ("dataset_id", "error"),
    [("no version", DatasetIdError), ("../x-v0", DatasetIdError), ("test/taken-v0", DatasetExistsError)],
)
def test_a_recovery_that_is_refused_leaves_the_recording(
    collector: DataCollector, dataset_id: str, error: type[Exception], datasets_root: Path
) -> None:
    recorded(dataset_id="test/taken-v0")
    (recording,) = list_recordings()
    before = listing(datasets_root)
    with pytest.raises(error):
        recover_recording(recording.name, dataset_id)
    assert listing(datasets_root) == before
    assert len(recover_recording(recording.name, "test/free-v0")) == 2


def test_publishing_that_fails_half_way_leaves_the_recording(
    collector: DataCollector, datasets_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (recording,) = list_recordings()
    metadata, rename = recording.storage.metadata, Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if Path(target).name == "x-v0":
            raise OSError("the disk went away")
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        with pytest.raises(OSError, match="the disk went away"):
            recover_recording(recording.name, "test/x-v0")
    assert list_recordings()[0].storage.metadata == metadata
    assert len(recover_recording(recording.name, "other/y-v0")) == 2


def test_a_recording_without_an_episode_is_refused() -> None:
    recording = new_recording(PLANE, ACTIONS, None, "hdf5", jpeg_encoding=False)
    with pytest.raises(EpisodeError, match="nothing to recover"):
        recover_recording(recording.name, "test/empty-v0")


def test_a_recording_that_cannot_begin_leaves_nothing(datasets_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="no space left"):
        new_recording(PLANE, ACTIONS, None, "hdf5", jpeg_encoding=False)
    assert listing(datasets_root) == {}


def test_ids_of_environments_make_names_of_directories(datasets_root: Path) -> None:
    spec = gym.envs.registration.EnvSpec("space/Some.Env:x-v0", entry_point="module:Class")
    recording = new_recording(PLANE, ACTIONS, spec, "hdf5", jpeg_encoding=False)
    assert recording.name.startswith("space-Some-Env-x-v0-")
    assert recording.path == datasets_root / RECORDINGS_DIRECTORY / recording.name / "data"


# Programs that are killed while they add to a dataset


#: Adds episodes to a dataset, and is killed just before or just after.
ADDING = """
    import os, sys
    import minari
    from minari._catalog.recordings import Recording
    from support.scripted import ScriptedEnv, play

    env = ScriptedEnv(inform=lambda time: {"time": time})
    first = minari.DataCollector(env)
    play(first, 2)
    dataset = first.create_dataset("test/target-v0")
    collector = minari.DataCollector(env, record_infos=True, buffer_steps=1, data_format=sys.argv[1])
    play(collector, 3)
    collector.discard_episode(1)
    collector.discard_info("time")
    setattr(Recording, sys.argv[2], lambda *arguments: os._exit(9))
    collector.add_to_dataset(dataset)
"""


@pytest.mark.parametrize("data_format", ["hdf5", "zarr"])
@pytest.mark.parametrize("killed_at", ["append_to", "discard"])
def test_what_a_killed_program_has_added_is_not_recovered_again(data_format: str, killed_at: str) -> None:
    child = start(ADDING, data_format, killed_at)
    child.communicate()
    assert child.returncode == 9
    (recording,) = list_recordings()
    added = minari.load_dataset("test/target-v0").total_episodes - 2
    if killed_at == "append_to":
        assert (added, recording.status) == (0, "killed or crashed")
    else:
        assert (added, recording.status) == (2, "added to test/target-v0")
        with pytest.raises(DatasetExistsError, match=r"in the dataset test/target-v0 already.*--discard"):
            recover_recording(recording.name, "test/again-v0")
        with pytest.raises(DatasetExistsError, match="already"):
            DataCollector(ScriptedEnv(), resume=recording.name)
        minari.delete_dataset("test/target-v0")
    assert recover_recording(recording.name, "test/again-v0").total_episodes == 2


# Directories that several people share


@pytest.fixture
def shared_root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A root that everybody may write to."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o777)
        monkeypatch.setenv("MINARI_DATASETS_PATH", directory)
        yield Path(directory)


needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becomes another user, which needs root"
)


@needs_root
@pytest.mark.parametrize("closed", [".", "0", "0/data", "0/data/metadata.json"])
def test_recordings_that_may_not_be_read_are_left_out_with_a_warning(shared_root: Path, closed: str) -> None:
    for _ in range(2):
        (directory := new_recording(PLANE, ACTIONS, None, "hdf5", jpeg_encoding=False).path.parent).chmod(0o755)
        (directory / "data").chmod(0o755)
    directory.rename(directory.with_name("0"))
    (shared_root / RECORDINGS_DIRECTORY / closed).chmod(0)

    def look() -> str:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = len(list_recordings())
        return f"{found} {[str(warning.message) for warning in caught]}"

    expected = 0 if closed == "." else 1
    assert re.fullmatch(rf"{expected} \[.* is left out \(Permission denied\)\..*\]", as_nobody(look))


@needs_root
def test_whoever_may_write_to_the_root_may_record(shared_root: Path) -> None:
    new_recording(PLANE, ACTIONS, None, "hdf5", jpeg_encoding=False)

    def record() -> str:
        return str(recorded(None, 2, buffer_steps=1).total_episodes)

    assert as_nobody(record) == "2"
