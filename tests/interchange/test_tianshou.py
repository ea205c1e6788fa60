"""Tianshou: every sample with its truth, buffers that the library writes, and files that are damaged."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import minari
from interchange.checks import assert_like_truth, assert_read_or_refused, damaged_copies, run_library
from interchange.conftest import sample
from minari.errors import InterchangeError
from minari.interchange import import_dataset, read


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.*assumed that"),
]

SAMPLES: dict[str, dict[str, Any]] = {
    "cartpole_partfilled": {},
    "pendulum_ring_wrapped": {},
    "cartpole_no_obs_next": {"final_observation": "repeat"},
    "cartpole_vector": {},
    "dict_obs": {},
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_read_exactly(name: str) -> None:
    found = sample("tianshou-hdf5", name, ".hdf5")
    dataset = import_dataset(found.path, "tianshou/sample-v0", **SAMPLES[name])
    assert isinstance(dataset, minari.MinariDataset)
    assert (dataset.total_episodes, dataset.total_steps) == (
        found.truth["total_episodes"],
        found.truth["total_steps"],
    )
    for number, episode in enumerate(dataset):
        assert_like_truth(episode, found, number, final=found.truth["final_observation_in_file"])
        for key in ("t", "ep"):
            np.testing.assert_array_equal(episode.infos[key][1:], found.episode(number)[f"infos/{key}"])
            assert episode.infos[f"_{key}"].tolist() == [False] + [True] * len(episode)
    report = dataset.storage.metadata["conversion"]
    assert any("overwritten" in one for one in report.get("missing", [])) == (
        name in ("pendulum_ring_wrapped", "cartpole_vector")
    )
    assert minari.validate(dataset.id).ok


def test_buffer_without_next_observations_needs_a_choice() -> None:
    path = sample("tianshou-hdf5", "cartpole_no_obs_next", ".hdf5").path
    with pytest.raises(InterchangeError, match="no observation after the last step of its 5 episodes"):
        read(path)
    source = read(path, final_observation="drop_last_step")
    assert [len(episode.rewards) for episode in source.episodes] == [29, 18, 12, 21, 29]


class Trap:
    """An object whose unpickling leaves a trace."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    marker = tmp_path / "trace"
    trap = np.frombuffer(pickle.dumps(Trap(marker)), np.byte)
    path = write_buffer(tmp_path / "a.hdf5")
    with h5py.File(path, "r+") as file:
        for name in ("_random_state", "buffers", "_meta/info/object", "_meta/policy"):
            file[name] = trap
            file[name].attrs["__data_type__"] = "pickled_ndarray"
    source = read(path)
    assert [len(episode.rewards) for episode in source.episodes] == [2, 2, 2]
    assert any("_meta/info/object, which is a pickle" in sentence for sentence in source.report.missing)
    with h5py.File(path, "r+") as file:
        del file["_meta/obs"]
        file["_meta/obs"] = trap
        file["_meta/obs"].attrs["__data_type__"] = "pickled_ndarray"
    with pytest.raises(InterchangeError, match="is a pickle, which is not read"):
        read(path)
    assert not marker.exists()


RING = ("_lengths", "_offset", "last_index")


def write_buffer(path: Path, attributes: dict[str, Any] | None = None, **changes: Any) -> Path:
    steps = np.arange(6)
    columns: dict[str, Any] = {
        "_meta/obs": steps[:, None] * 1.0,
        "_meta/obs_next": steps[:, None] + 1.0,
        "_meta/act": steps % 2,
        "_meta/rew": np.ones(6),
        "_meta/terminated": steps % 2 == 1,
        "_meta/truncated": np.zeros(6, bool),
        "_meta/done": steps % 2 == 1,
        **{name if name in RING else f"_meta/{name}": value for name, value in changes.items()},
    }
    with h5py.File(path, "w") as file:
        file.attrs.update({"maxsize": 6, "_size": 6, "_insertion_idx": 0, **(attributes or {})})
        for name, values in columns.items():
            if values is not None:
                file[name] = values
                file[name].attrs["__data_type__"] = "ndarray"
    return path


def test_episode_ends_where_the_next_observation_is_another(tmp_path: Path) -> None:
    flags = np.zeros(6, bool)
    path = write_buffer(
        tmp_path / "a.hdf5", terminated=flags, done=flags, obs=np.array([[0.0], [1], [5], [6], [7], [9]])
    )
    source = read(path)
    episodes = list(source.episodes)
    assert [len(one.rewards) for one in episodes] == [2, 1, 1, 1, 1]
    assert not any(one.terminations.any() or one.truncations.any() for one in episodes)
    assert any("without a flag" in sentence for sentence in source.report.assumed)


def test_files_with_done_alone_need_an_option(tmp_path: Path) -> None:
    path = write_buffer(tmp_path / "a.hdf5", terminated=None, truncated=None)
    with pytest.raises(InterchangeError, match="choose done='terminated' or done='truncated'"):
        read(path)
    for name in ("terminated", "truncated"):
        episodes = list(read(path, done=name).episodes)
        assert [bool(one.terminations[-1]) for one in episodes] == [name == "terminated"] * 3
        assert [bool(one.truncations[-1]) for one in episodes] == [name == "truncated"] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rew": None}, "has no _meta/rew"),
        ({"attributes": {"maxsize": "many"}}, "maxsize of .* is 'many'"),
        ({"attributes": {"maxsize": 10**12}}, "rows and the buffer has 1000000000000"),
        ({"attributes": {"_size": 7}}, "has 7 steps"),
        ({"attributes": {"_size": -1}}, "has -1 steps"),
        ({"attributes": {"_size": 0}}, "has no step"),
        ({"attributes": {"_insertion_idx": 9}}, "to be written at row 9"),
        ({"obs_next": np.zeros((6, 3))}, "obs and obs_next differ"),
        ({"terminated": np.full(6, 5)}, "expected a flag a step"),
        ({"act": np.zeros(5)}, "5 rows and the buffer has 6"),
        ({"_lengths": np.array([6])}, "has no array '_offset'"),
        (
            {"_lengths": np.array([9]), "_offset": np.array([0]), "last_index": np.array([5])},
            "has 9 steps",
        ),
        (
            {"_lengths": np.array([6]), "_offset": np.array([-3]), "last_index": np.array([5])},
            "at row -3",
        ),
        (
            {"_lengths": np.array([6]), "_offset": np.array([0]), "last_index": np.array([77])},
            "to be written at row 78",
        ),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InterchangeError, match=message):
        list(read(write_buffer(tmp_path / "a.hdf5", **changes), "tianshou").episodes)


def test_damaged_files_give_one_clear_error(tmp_path: Path) -> None:
    for name in ("dict_obs", "cartpole_vector"):
        data = sample("tianshou-hdf5", name, ".hdf5").path.read_bytes()
        for changed in damaged_copies(data):
            (tmp_path / "a.hdf5").write_bytes(changed)
            assert_read_or_refused(tmp_path / "a.hdf5", "tianshou")


WRITE = """
import sys, json, numpy as np
from tianshou.data import Batch, ReplayBuffer, VectorReplayBuffer
directory, report = sys.argv[1], []
generator = np.random.default_rng(1)
for case in range(6):
    envs, size = int(generator.integers(1, 4)), int(generator.integers(5, 30))
    buffer = ReplayBuffer(size) if case == 0 else VectorReplayBuffer(size * envs, envs)
    if case == 0: envs = 1
    lived, state = [[] for _ in range(envs)], [[0, 0] for _ in range(envs)]
    for _ in range(int(generator.integers(4, 70))):
        for env in range(envs):
            if generator.random() < 0.3: continue
            episode, t = state[env]
            ends, cut = bool(generator.random() < 0.1), bool(generator.random() < 0.1)
            cut = cut and not ends
            step = Batch(obs=np.array([env, episode, t], np.float32), act=int(generator.integers(3)), rew=float(t),
                terminated=ends, truncated=cut, obs_next=np.array([env, episode, t + 1], np.float32), info={"t": t})
            if case == 0: buffer.add(step)
            else:
                many = {k: np.array([v]) for k, v in step.items() if k != "info"}
                buffer.add(Batch(**many, info=Batch(t=np.array([t]))), buffer_ids=[env])
            lived[env].append([env, episode, t, int(ends), int(cut)])
            state[env] = [episode + 1, 0] if ends or cut else [episode, t + 1]
    buffer.save_hdf5(f"{directory}/{case}.hdf5", compression="gzip" if case % 2 else None)
    report.append([rows[-size:] for rows in lived])
print(json.dumps(report))
"""


def test_buffers_of_tianshou_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    report = json.loads(run_library("MINARI_TIANSHOU_PYTHON", WRITE, tmp_path).strip().splitlines()[-1])
    for case, lived in enumerate(report):
        rows = [
            (*observation.astype(int).tolist(), int(ends), int(cut))
            for episode in read(tmp_path / f"{case}.hdf5").episodes
            for observation, ends, cut in zip(
                episode.observations, episode.terminations, episode.truncations, strict=False
            )
        ]
        assert rows == [tuple(row) for env in lived for row in env], case


def test_pickled_buffer_is_not_taken_for_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "buffer.pkl"
    path.write_bytes(pickle.dumps(io.BytesIO))
    with pytest.raises(InterchangeError):
        read(path, "tianshou")
