"""TorchRL: every sample with its truth, buffers that the library writes, and directories that are damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize("name", ["cartpole_memmap", "pendulum_ring_wrapped", "cartpole_two_envs"])
def test_samples_are_read_exactly(name: str) -> None:
    found = sample("torchrl-dumps", name)
    dataset = import_dataset(found.path, "torchrl/sample-v0")
    assert isinstance(dataset, minari.MinariDataset)
    assert (dataset.total_episodes, dataset.total_steps) == (
        found.truth["total_episodes"],
        found.truth["total_steps"],
    )
    for number, episode in enumerate(dataset):
        assert_like_truth(episode, found, number)
    if name != "cartpole_two_envs":
        ids = {int(value) for episode in dataset for value in episode.infos["collector"]["traj_ids"][:-1]}
        assert len(ids) == len(dataset)
    assert minari.validate(dataset.id).ok


def copied(name: str, destination: Path) -> Path:
    shutil.copytree(sample("torchrl-dumps", name).path, destination)
    for path in [destination, *destination.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return destination


def changed(path: Path, file: str, **values: Any) -> None:
    description = json.loads((path / file).read_text())
    for key, value in values.items():
        if value is None:
            del description[key]
        else:
            description[key] = value
    (path / file).write_text(json.dumps(description))


TENSOR = {"device": "cpu", "shape": [40], "dtype": "torch.int64", "is_nested": False}


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("storage/storage_metadata.json", {"len": 10**12}, "has the length 1000000000000"),
        ("storage/storage_metadata.json", {"len": "all"}, "has the length 'all'"),
        ("storage/storage_metadata.json", {"len": 0}, "has the length 0|has no step"),
        ("storage/storage_metadata.json", {"is_pytree": True}, "expected numbers of steps"),
        ("writer/metadata.json", {"cursor": 41}, "the cursor 41"),
        ("writer/metadata.json", {"cursor": -1}, "the cursor -1"),
        ("storage/meta.json", {"shape": [40, 2]}, "expected one of steps and environments|expected numbers"),
        ("storage/meta.json", {"shape": [10**9]}, "expected one of steps|bytes, expected|expected numbers"),
        ("storage/meta.json", {"shape": []}, "expected steps, or steps and environments"),
        ("storage/meta.json", {"action": None}, "expected action, next/reward and observations"),
        ("storage/meta.json", {"../evil": TENSOR}, "expected a name"),
        ("storage/meta.json", {"a/b": TENSOR}, "expected a name"),
        ("storage/meta.json", {"absent": TENSOR}, "cannot be read"),
        ("storage/meta.json", {"action": {**TENSOR, "dtype": "torch.complex64"}}, "torch.complex64"),
        ("storage/meta.json", {"action": {**TENSOR, "is_nested": True}}, "expected numbers for each step"),
        ("storage/meta.json", {"action": {**TENSOR, "shape": [40, 1000]}}, "has 160 bytes, expected 320000"),
        ("storage/next/meta.json", {"terminated": None, "truncated": None}, "choose done='terminated'"),
        ("storage/next/meta.json", {"observation": None}, "no observation after the last step"),
        ("storage/next/meta.json", {"reward": None}, "expected action, next/reward"),
    ],
)
def test_other_contents_are_refused(file: str, values: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = copied("pendulum_ring_wrapped", tmp_path / "dump")
    changed(path, file, **values)
    with pytest.raises(InterchangeError, match=message):
        list(read(path, "torchrl").episodes)


def test_options_for_what_is_missing(tmp_path: Path) -> None:
    path = copied("pendulum_ring_wrapped", tmp_path / "dump")
    changed(path, "storage/next/meta.json", terminated=None, truncated=None)
    episodes = list(read(path, done="truncated").episodes)
    assert [bool(one.truncations[-1]) for one in episodes] == [True, True, True, False]
    changed(path, "storage/next/meta.json", observation=None)
    episodes = list(read(path, done="terminated", final_observation="repeat").episodes)
    assert [bool(one.terminations[-1]) for one in episodes] == [True, True, True, False]
    assert all(np.array_equal(*one.observations["observation"][-2:]) for one in episodes)


@pytest.mark.parametrize("place", ["storage/action.memmap", "storage/next", "writer"])
def test_links_out_of_the_directory_are_not_followed(place: str, tmp_path: Path) -> None:
    path = copied("pendulum_ring_wrapped", tmp_path / "dump")
    shutil.move(path / place, tmp_path / "elsewhere")
    (path / place).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InterchangeError, match="cannot be read"):
        read(path, "torchrl")


def test_damaged_files_give_one_clear_error(tmp_path: Path) -> None:
    path = copied("cartpole_memmap", tmp_path / "dump")
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    for number, file in enumerate(files):
        data = file.read_bytes()
        for damaged in damaged_copies(data, 6, number):
            file.write_bytes(damaged)
            assert_read_or_refused(path, "torchrl")
        file.write_bytes(data)


WRITE = """
import sys, json, torch
from tensordict import TensorDict
from torchrl.data import LazyMemmapStorage, LazyTensorStorage, ReplayBuffer
directory, report = sys.argv[1], []
for case, (size, steps, envs) in enumerate([(20, 13, 1), (20, 20, 1), (20, 47, 1), (12, 7, 3), (12, 30, 3)]):
    kind = LazyMemmapStorage if case % 2 else LazyTensorStorage
    buffer = ReplayBuffer(storage=kind(size * envs, ndim=2 if envs > 1 else 1), batch_size=2)
    lived = [[] for _ in range(envs)]
    for step in range(steps):
        rows = []
        for env in range(envs):
            episode, t = divmod(step, 5 + env)
            last = t == 4 + env
            ends = last and episode % 2 == 0
            cut = last and not ends
            lived[env].append([env, episode, t, int(ends), int(cut)])
            flags = {key: torch.tensor([on]) for key, on in dict(terminated=ends, truncated=cut, done=last).items()}
            off = {key: torch.zeros(1, dtype=torch.bool) for key in flags}
            before = torch.tensor([env, episode, t], dtype=torch.float32)
            after = torch.tensor([env, episode, t + 1], dtype=torch.float32)
            following = {"observation": after, "reward": torch.tensor([float(t)]), **flags}
            now = {"observation": before, "action": torch.tensor(t % 3), **off, "next": following}
            rows.append(TensorDict(now, []))
        stacked = torch.stack(rows)
        buffer.extend(stacked[:, None] if envs > 1 else stacked)
    buffer.dumps(f"{directory}/{case}")
    report.append([rows[-size:] for rows in lived])
print(json.dumps(report))
"""


def test_buffers_of_torchrl_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    report = json.loads(run_library("MINARI_TORCHRL_PYTHON", WRITE, tmp_path).strip().splitlines()[-1])
    for case, lived in enumerate(report):
        rows = [
            (*observation.astype(int).tolist(), int(ends), int(cut))
            for episode in read(tmp_path / str(case)).episodes
            for observation, ends, cut in zip(
                episode.observations["observation"], episode.terminations, episode.truncations, strict=False
            )
        ]
        assert rows == [tuple(row) for env in lived for row in env], case
