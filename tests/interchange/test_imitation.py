"""imitation: every sample with its truth, round trips, its own reader, and files that are damaged or pickled."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minari
from interchange.checks import (
    assert_like_truth,
    assert_read_or_refused,
    assert_same_episodes,
    damaged_copies,
    fresh,
    run_library,
)
from interchange.conftest import sample
from minari.data_collector import EpisodeBuffer
from minari.errors import InterchangeError
from minari.interchange import export_dataset, import_dataset, read
from support.official import fixtures_directory


pytestmark = [
    pytest.mark.filterwarnings("ignore:`.*` is set to None"),
    pytest.mark.filterwarnings("ignore:.*assumed that"),
]


def real() -> Path:
    root = fixtures_directory()
    if root is None or not (root / "foreign").is_dir():
        pytest.skip("the samples of other formats are not there; MINARI_FIXTURES names their directory")
    return root / "foreign" / "imitation-npz-real" / "cartpole_0_final.npz"


@pytest.mark.parametrize(("name", "options"), [("cartpole", {}), ("pendulum_norew", {"rewards": "zeros"})])
def test_samples_are_read_exactly(name: str, options: dict[str, Any]) -> None:
    pytest.importorskip("pyarrow")
    found = sample("imitation-arrow", name)
    if options:
        with pytest.raises(InterchangeError, match="has no rewards"):
            list(read(found.path).episodes)
    dataset = import_dataset(found.path, "imitation/sample-v0", **options)
    assert isinstance(dataset, minari.MinariDataset)
    assert (dataset.total_episodes, dataset.total_steps) == (
        found.truth["total_episodes"],
        found.truth["total_steps"],
    )
    for number, episode in enumerate(dataset):
        assert_like_truth(episode, found, number)
        assert episode.infos["TimeLimit.truncated"][-1] == episode.truncations[-1]
    assert minari.validate(dataset.id).ok


def test_real_npz_is_read_exactly() -> None:
    dataset = import_dataset(real(), "imitation/real-v0")
    assert isinstance(dataset, minari.MinariDataset)
    with np.load(real(), allow_pickle=False) as file:
        columns = {name: file[name] for name in ("obs", "acts", "rews", "indices", "terminal")}
    parts = {name: np.split(columns[name], columns["indices"]) for name in ("acts", "rews")}
    parts["obs"] = np.split(columns["obs"], columns["indices"] + np.arange(56) + 1)
    assert len(dataset) == 57
    for number, episode in enumerate(dataset):
        for ours, name in (("observations", "obs"), ("actions", "acts"), ("rewards", "rews")):
            values = getattr(episode, ours)
            assert values.dtype == parts[name][number].dtype
            np.testing.assert_array_equal(values, parts[name][number])
        assert episode.terminations.tolist() == [False] * (len(episode) - 1) + [True]
    assert any("pickled" in one for one in dataset.storage.metadata["conversion"]["missing"])


def test_terminal_may_mean_a_time_limit() -> None:
    source = read(real(), terminal="truncated")
    first = next(iter(source.episodes))
    assert not first.terminations.any()
    assert first.truncations[-1]


def write_npz(path: Path, **changes: Any) -> Path:
    columns: dict[str, Any] = {
        "obs": np.arange(14.0).reshape(7, 2),
        "acts": np.arange(5),
        "rews": np.ones(5),
        "indices": np.array([3]),
        "terminal": np.array([True, False]),
        **changes,
    }
    np.savez_compressed(path, **{name: values for name, values in columns.items() if values is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"acts": None}, "has no acts"),
        ({"rews": None}, "has no rewards"),
        ({"acts": np.array([{}] * 5)}, "has objects, which are pickled and never read"),
        ({"acts": np.array(["a"] * 5)}, "expected numbers"),
        ({"obs": np.zeros((6, 2))}, "6 observations and 5 actions"),
        ({"indices": np.array([9])}, "cut into 2 trajectories"),
        ({"indices": np.array([-1])}, "cut into 2 trajectories"),
        ({"indices": np.array([], int)}, "expected one index less"),
        ({"terminal": np.array([2, 3])}, "expected a flag"),
        ({"rews": np.ones(4)}, "ends before its last row|rewards"),
    ],
)
def test_other_npz_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InterchangeError, match=message):
        list(read(write_npz(tmp_path / "a.npz", **changes), "imitation").episodes)


def test_claimed_sizes_allocate_nothing(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (7, 100000000000), }"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.npz", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "obs.npy":
                padded = header.ljust(117) + b"\n"
                data = b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + bytes(112)
            new.writestr(name, data)
    with pytest.raises(InterchangeError, match="is shorter than its shape"):
        read(tmp_path / "b.npz")


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("claimed", [2**36, 2**62])
def test_buffers_that_claim_to_expand_are_refused(tmp_path: Path, codec: str, claimed: int) -> None:
    dataset = minari.create_dataset_from_arrays(
        "imitation/large-v0",
        observations=np.zeros((3001, 5), np.float32),
        actions=np.zeros((3000, 1), np.float32),
        rewards=np.zeros(3000),
        terminations=np.arange(3000) == 2999,
    )
    path = tmp_path / "a"
    export_dataset(dataset, path, "imitation")
    data = next(path.glob("*.arrow"))
    table = pa.ipc.open_stream(data.read_bytes()).read_all()
    with pa.ipc.new_stream(data, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table)
    assert sum(len(episode.rewards) for episode in read(path).episodes) == 3000
    size = struct.pack("<q", 3001 * 5 * 4)
    assert size in data.read_bytes()
    data.write_bytes(data.read_bytes().replace(size, struct.pack("<q", claimed)))
    with pytest.raises(InterchangeError, match="of a buffer claim to expand to") as raised:
        list(read(path).episodes)
    assert "\n" not in str(raised.value)


def test_damaged_files_give_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for changed in damaged_copies(write_npz(path).read_bytes()):
        path.write_bytes(changed)
        assert_read_or_refused(path, "imitation")
    pytest.importorskip("pyarrow")
    shutil.copytree(sample("imitation-arrow", "cartpole").path, tmp_path / "copy")
    (tmp_path / "copy").chmod(0o755)
    for file in sorted((tmp_path / "copy").iterdir()):
        file.chmod(0o644)
        data = file.read_bytes()
        for changed in damaged_copies(data):
            file.write_bytes(changed)
            assert_read_or_refused(tmp_path / "copy", "imitation")
        file.write_bytes(data)


@pytest.mark.parametrize("name", ["../elsewhere.arrow", "/etc/passwd", ".."])
def test_names_that_lead_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    shutil.copytree(sample("imitation-arrow", "cartpole").path, tmp_path / "copy")
    for path in (tmp_path / "copy", tmp_path / "copy" / "state.json"):
        path.chmod(0o755)
    (tmp_path / "copy" / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(InterchangeError, match="expected names of Arrow files there"):
        read(tmp_path / "copy", "imitation")


@st.composite
def datasets(draw: st.DrawFn) -> minari.MinariDataset:
    """A dataset that imitation can hold."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape, dtype = (
        draw(st.sampled_from([(), (3,), (2, 2, 1)])),
        draw(st.sampled_from([np.float32, np.float64, np.uint8])),
    )
    space = gym.spaces.Box(0, 100, shape, dtype)
    action_space = draw(st.sampled_from([gym.spaces.Discrete(3), gym.spaces.Box(-1, 1, (2,), np.float32)]))
    space.seed(1)
    action_space.seed(1)
    episodes = []
    for _ in range(draw(st.integers(1, 5))):
        steps, terminated = draw(st.integers(1, 4)), draw(st.booleans())
        last = np.arange(steps) == steps - 1
        buffer = EpisodeBuffer(
            observations=np.stack([space.sample() for _ in range(steps + 1)]),
            actions=np.stack([action_space.sample() for _ in range(steps)]),
            rewards=generator.random(steps),
            terminations=last & terminated,
            truncations=last & (not terminated),
        )
        episodes.append(buffer)
    fresh("imitation/drawn-v0")
    return minari.create_dataset_from_buffers(
        "imitation/drawn-v0", episodes, observation_space=space, action_space=action_space
    )


@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_import_of_an_export_is_the_same(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("pyarrow")
    fresh("imitation/again-v0")
    dataset = data.draw(datasets())
    path = tmp_path_factory.mktemp("out") / "trajectories"
    export_dataset(dataset, path, "imitation")
    assert_same_episodes(import_dataset(path, "imitation/again-v0"), dataset)


LOAD = """
import sys, json, numpy as np
from imitation.data import serialize
path = sys.argv[1]
loaded = serialize.load(path)
print(json.dumps([[np.asarray(one.obs).tolist(), np.asarray(one.acts).tolist(), np.asarray(one.rews).tolist(),
    bool(one.terminal)] for one in loaded]))
serialize.save(path + "-again", loaded)
"""


def test_imitation_reads_exports_and_we_read_what_it_writes(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    if not os.environ.get("MINARI_IMITATION_PYTHON"):
        pytest.skip("the library is not there; MINARI_IMITATION_PYTHON names a Python that has it")
    dataset = import_dataset(sample("imitation-arrow", "cartpole").path, "imitation/sample-v0")
    assert isinstance(dataset, minari.MinariDataset)
    export_dataset(dataset, tmp_path / "out", "imitation")
    lines = run_library("MINARI_IMITATION_PYTHON", LOAD, tmp_path / "out").splitlines()
    found = json.loads(next(line for line in lines if line.startswith("[[")))
    for episode, (obs, acts, rews, terminal) in zip(dataset, found, strict=True):
        np.testing.assert_array_equal(episode.observations, np.array(obs, np.float32))
        assert (episode.actions.tolist(), episode.rewards.tolist()) == (acts, rews)
        assert terminal == episode.terminations[-1]
    again = read(tmp_path / "out-again")
    assert [len(one.rewards) for one in again.episodes] == [len(episode) for episode in dataset]


def test_export_refuses_other_spaces(tmp_path: Path) -> None:
    dataset = minari.create_dataset_from_buffers(
        "imitation/other-v0",
        [
            EpisodeBuffer(
                observations={"a": np.zeros((2, 1), np.float32)},
                actions=[0],
                rewards=[0.0],
                terminations=[True],
                truncations=[False],
            )
        ],
        observation_space=gym.spaces.Dict({"a": gym.spaces.Box(0, 1)}),
        action_space=gym.spaces.Discrete(2),
    )
    with pytest.raises(InterchangeError, match="expected one array a step"):
        export_dataset(dataset, tmp_path / "out", "imitation")
    assert list(tmp_path.iterdir()) == []
