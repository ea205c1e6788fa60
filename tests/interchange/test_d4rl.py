"""D4RL: every sample with its truth, round trips, and files that are damaged or lack something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minari
from interchange.conftest import Sample, sample
from minari.data_collector import EpisodeBuffer
from minari.errors import ArgumentError, InterchangeError
from minari.interchange import export_dataset, import_dataset, read


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.*assumed that"),
]

SAMPLES = {
    "hopper-v2-full": {},
    "hopper-v1-no-next": {"final_observation": "repeat"},
    "hopper-v0-no-timeouts": {"final_observation": "repeat", "max_episode_steps": 25},
    "hopper-no-timeouts-with-next": {},
    "hopper-n1-shaped": {},
    "hopper-trailing-partial": {},
    "hopper-trailing-partial-no-next": {"final_observation": "repeat"},
    "hopper-edge-cases": {},
    "maze2d-endless": {"final_observation": "repeat"},
    "door-human-real": {"final_observation": "repeat"},
}


def assert_episode(episode: Any, truth: dict[str, Any], found: Sample, number: int) -> None:
    has_final, unfinished = found.truth["final_observation_in_file"], found.truth["episodes"][number].get("unfinished")
    rows = slice(None) if has_final else slice(-1)
    pairs = {
        "observations": (episode.observations[rows], truth["observations"][rows]),
        "actions": (episode.actions, truth["actions"]),
        "rewards": (episode.rewards, truth["rewards"]),
        "terminated": (episode.terminations, truth["terminated"]),
        "truncated": (
            episode.truncations[: -1 if unfinished else None],
            truth["truncated"][: -1 if unfinished else None],
        ),
    }
    for name, values in truth.items():
        if name.startswith("infos/"):
            key = name.removeprefix("infos/")
            pairs[name] = (episode.infos[key][:-1], values)
            assert episode.infos[f"_{key}"].tolist() == [True] * len(values) + [False]
    for name, (ours, theirs) in pairs.items():
        assert ours.dtype == theirs.dtype, name
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_read_exactly(name: str) -> None:
    found = sample("d4rl-hdf5", name, ".hdf5")
    dataset = import_dataset(found.path, "d4rl/sample-v0", **SAMPLES[name])
    assert isinstance(dataset, minari.MinariDataset)
    assert dataset.total_episodes == found.truth["total_episodes"]
    for number, episode in enumerate(dataset):
        assert_episode(episode, found.episode(number), found, number)
    report = dataset.storage.metadata["conversion"]
    assert (report["format"], report["episodes"], report["steps"]) == ("d4rl", len(dataset), dataset.total_steps)
    assert minari.validate(dataset.id).ok


def test_metadata_of_the_file_is_kept() -> None:
    found = sample("d4rl-hdf5", "hopper-v2-full", ".hdf5")
    dataset = import_dataset(found.path, "d4rl/metadata-v0", "d4rl")
    kept = dataset.storage.metadata["d4rl"]
    with h5py.File(found.path) as file:
        assert kept["algorithm"] == file["metadata/algorithm"][()].decode()
        assert kept["iteration"] == file["metadata/iteration"][()]
        np.testing.assert_array_equal(kept["policy"]["fc0"]["weight"], file["metadata/policy/fc0/weight"][()])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("BROKEN-lengths-differ", "have 65 observations, 63 actions"),
        ("BROKEN-no-actions", "has no actions"),
        ("BROKEN-truncated-file", "cannot be read as HDF5"),
    ],
)
def test_broken_samples_are_one_clear_error(name: str, message: str) -> None:
    path = sample("d4rl-hdf5", "hopper-v2-full", ".hdf5").path.with_name(f"{name}.hdf5")
    with pytest.raises(InterchangeError, match=message) as raised:
        import_dataset(path, "d4rl/broken-v0", "d4rl", final_observation="repeat")
    assert "\n" not in str(raised.value)
    assert minari.list_local_datasets() == {}


ROWS = 12


def write_flat(path: Path, **changes: Any) -> Path:
    columns: dict[str, Any] = {
        "observations": np.arange(ROWS * 2.0).reshape(ROWS, 2),
        "actions": np.arange(ROWS, dtype=np.float32)[:, None],
        "rewards": np.arange(ROWS, dtype=np.float32),
        "terminals": np.isin(np.arange(ROWS), [3, 7]),
        "timeouts": np.isin(np.arange(ROWS), [8, 11]),
        **changes,
    }
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            if values is not None:
                file[name] = values
    return path


@pytest.mark.parametrize(
    ("choice", "lengths", "last"),
    [
        ("repeat", [4, 4, 1, 3], [6.0, 14.0, 16.0, 22.0]),
        ("drop_last_step", [3, 3, 2], [6.0, 14.0, 22.0]),
        ("next_row", [4, 4, 1, 2], [8.0, 16.0, 18.0, 22.0]),
    ],
)
def test_final_observations(tmp_path: Path, choice: str, lengths: list[int], last: list[float]) -> None:
    path = write_flat(tmp_path / "a.hdf5")
    with pytest.raises(InterchangeError, match="no observation after the last step of its 4 episodes"):
        read(path)
    source = read(path, final_observation=choice)
    episodes = list(source.episodes)
    assert [len(episode.rewards) for episode in episodes] == lengths
    assert [episode.observations[-1, 0] for episode in episodes] == last
    assert all(episode.terminations[-1] or episode.truncations[-1] for episode in episodes)
    assert any(choice in sentence for sentence in source.report.assumed)
    if choice == "drop_last_step":
        assert "1 episodes of a single step, which is the last one" in source.report.missing
    assert ("the terminations of last steps that are left out" in source.report.missing) == (choice == "drop_last_step")
    with pytest.raises(ArgumentError, match="final_observation is 'invent', expected one of"):
        read(path, final_observation="invent")


def test_groups_of_other_names_are_named_as_missing(tmp_path: Path) -> None:
    path = write_flat(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        file["more/values"] = np.zeros(ROWS)
    missing = read(path, final_observation="repeat").report.missing
    assert any(sentence.startswith("more, which is not an array") for sentence in missing)


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    report = import_dataset(write_flat(tmp_path / "a.hdf5"), "d4rl/dry-v0", dry_run=True, final_observation="repeat")
    assert isinstance(report, minari.interchange.Report)
    assert (report.episodes, report.steps) == (4, ROWS)
    assert minari.list_local_datasets() == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"terminals": np.full(ROWS, 2)}, "expected a flag a step, 0 or 1"),
        ({"terminals": np.zeros((ROWS, 2))}, "expected a flag a step, 0 or 1"),
        ({"rewards": None}, "has no rewards"),
        ({"observations": np.zeros((0, 2))}, "have 0 observations"),
        ({"timeouts": h5py.SoftLink("/terminals")}, "is a link that leads elsewhere"),
        ({"actions": h5py.ExternalLink("other.hdf5", "/actions")}, "is a link that leads elsewhere"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InterchangeError, match=message):
        list(read(write_flat(tmp_path / "a.hdf5", **changes), "d4rl", final_observation="repeat").episodes)


@st.composite
def datasets(draw: st.DrawFn) -> minari.MinariDataset:
    """A dataset that D4RL can hold."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    dtype = draw(st.sampled_from([np.float32, np.float64, np.uint8]))
    discrete, infos = draw(st.booleans()), draw(st.booleans())
    episodes = []
    for _ in range(draw(st.integers(1, 4))):
        steps = draw(st.integers(1, 5))
        end = draw(st.sampled_from(["terminations", "truncations"]))
        flags = {
            name: np.arange(steps) == (steps - 1 if name == end else -1) for name in ("terminations", "truncations")
        }
        episodes.append(
            EpisodeBuffer(
                observations=(generator.random((steps + 1, *shape)) * 200).astype(dtype),
                actions=generator.integers(4, size=steps) if discrete else generator.random((steps, 2)),
                rewards=generator.random(steps),
                infos={"x": generator.random((steps + 1, 2)), "deep": {"y": np.arange(steps + 1)}} if infos else {},
                **flags,
            )
        )
    bounds = (0, 255) if dtype == np.uint8 else (-np.inf, np.inf)
    return minari.create_dataset_from_buffers(
        "d4rl/drawn-v0",
        episodes,
        observation_space=gym.spaces.Box(*bounds, shape, dtype),
        action_space=gym.spaces.Discrete(4) if discrete else gym.spaces.Box(-1, 1, (2,), np.float64),
    )


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_import_of_an_export_is_the_same(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in ("d4rl/drawn-v0", "d4rl/again-v0"):
        if name in minari.list_local_datasets():
            minari.delete_dataset(name)
    dataset = data.draw(datasets())
    path = tmp_path_factory.mktemp("out") / "a.hdf5"
    report = export_dataset(dataset, path, "d4rl")
    assert (report.episodes, report.steps) == (dataset.total_episodes, dataset.total_steps)
    again = import_dataset(path, "d4rl/again-v0")
    assert isinstance(again, minari.MinariDataset)
    assert len(again) == len(dataset)
    for ours, theirs in zip(again, dataset, strict=True):
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            a, b = getattr(ours, name), getattr(theirs, name)
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        if "x" in theirs.infos:
            np.testing.assert_array_equal(ours.infos["x"][:-1], theirs.infos["x"][:-1])
            np.testing.assert_array_equal(ours.infos["deep"]["y"][:-1], theirs.infos["deep"]["y"][:-1])


def test_export_says_what_it_cannot_hold(tmp_path: Path) -> None:
    dataset = minari.create_dataset_from_arrays(
        "d4rl/lossy-v0",
        observations=np.zeros(5),
        actions=np.zeros(3),
        rewards=np.zeros(3),
        terminations=np.array([0, 1, 1]),
        infos={"text": np.array(["a", "b", "c"])},
    )
    report = export_dataset(dataset, tmp_path / "a.hdf5", "d4rl")
    assert any("infos/text" in sentence for sentence in report.missing)
    assert any("seeds" in sentence for sentence in report.missing)
    assert json.loads(json.dumps(report.as_dict()))["direction"] == "export"
    with pytest.raises(minari.errors.DataPathError, match="already exists"):
        export_dataset(dataset, tmp_path / "a.hdf5", "d4rl")
    dry = export_dataset(dataset, tmp_path / "b.hdf5", "d4rl", dry_run=True)
    assert dry.missing == report.missing
    assert [path.name for path in tmp_path.iterdir()] == ["a.hdf5"]
