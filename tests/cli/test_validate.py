"""``minari validate``: profiles, long reports, repairs, and datasets on remotes."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minari
from cli.conftest import MakeDataset, Minari
from support.servers.hub import HubServer


TOKEN = "hf_secret"
NEEDS_ZARR = pytest.mark.skipif(importlib.util.find_spec("zarr") is None, reason="needs zarr")


def test_profile_is_named_and_its_errors_set_the_status(run: Minari, make_dataset: MakeDataset) -> None:
    dataset = make_dataset("toy/a-v0", [3, 5])
    done = run("validate", "toy/a-v0", "--profile", "hub")
    assert (done.code, done.err) == (0, "")
    assert done.lines[0] == "toy/a-v0: fit for the hub, 2 episodes read, 3 warnings"
    assert [line.split()[0] for line in done.lines[1:]] == ["warning"] * 3
    more = dataset[0]
    rewards = np.array(more.rewards)
    rewards[1] = np.nan
    minari.create_dataset_from_buffers(
        "toy/b-v0",
        [
            minari.data_collector.EpisodeBuffer(
                observations=more.observations,
                actions=more.actions,
                rewards=rewards,
                terminations=more.terminations,
                truncations=more.truncations,
            )
        ],
        observation_space=dataset.observation_space,
        action_space=dataset.action_space,
    )
    assert run("validate", "toy/b-v0").code == 0
    done = run("validate", "toy/b-v0", "--profile", "hub")
    assert done.code == 1
    assert done.lines[0].startswith("toy/b-v0: not fit for the hub, 1 episode read, 1 error")
    assert (
        done.lines[1] == "  error   1 value of rewards is not finite in episode 0, first at step 1; the worst is nan."
    )
    (report,) = json.loads(run("validate", "toy/b-v0", "--profile", "hub", "--json").out)
    first = next(finding for finding in report["findings"] if finding["level"] == "error")
    assert (report["profile"], first["episode"], first["step"], first["worst"]) == ("hub", 0, 1, "nan")
    run("validate", "toy/a-v0", "--profile", "none").assert_refused("'hub'", code=2)


def test_long_reports_begin_with_errors_and_count_the_rest(run: Minari, make_dataset: MakeDataset) -> None:
    data = make_dataset("toy/a-v0", [1] * 30).storage.data_path
    file = data / "metadata.json"
    box = '{"type": "Box", "dtype": "float32", "shape": [2], "low": [0, 0], "high": [1, 1]}'
    file.write_text(json.dumps({**json.loads(file.read_text()), "observation_space": box}))
    for number in range(40):
        (data / f"extra-{number:02}").touch()
    done = run("validate", "toy/a-v0", "--fix")
    assert done.code == 1
    levels = [line.split()[0] for line in done.lines[1:-1]]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)
    assert sum("extra-" in line for line in done.lines) == 20
    assert "  warning … and 20 more of the kind 'foreign file'" in done.lines
    assert "cannot be fixed" in done.lines[-1]


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with HubServer() as started:
        yield started


@pytest.fixture
def hub(server: HubServer) -> HubServer:
    """A Hub with the organization ``lab``."""
    pytest.importorskip("huggingface_hub")
    server.clear()
    server.add_token(TOKEN, "ada", "lab")
    return server


@NEEDS_ZARR
def test_datasets_on_a_hub_are_read_in_place(
    run: Minari, hub: HubServer, make_dataset: Callable[..., Any], tmp_path: Path
) -> None:
    for name, data_format in (("a", "zarr"), ("b", "hdf5")):
        minari.load_dataset(make_dataset(f"toy/{name}0-v0", [3, 5]).id).convert(f"toy/{name}-v0", data_format)
        directory = minari.load_dataset(f"toy/{name}-v0").storage.data_path.parent
        files = {f"{name}-v0/{path.relative_to(directory).as_posix()}": path for path in directory.rglob("*")}
        hub.put("lab/toy", {key: path.read_bytes() for key, path in files.items() if path.is_file()})
    variables = {"HF_TOKEN": TOKEN, **hub.environment(tmp_path / "hf home")}
    run("validate", "hf://lab/toy/a-v0", **variables).assert_done("hf://lab/toy/a-v0: sound, 2 episodes read")
    run("validate", "hf://lab/toy/b-v0", **variables).assert_refused("download hf://lab/toy/b-v0")
    run("validate", "hf://lab/toy/b-v0", "--fix", **variables).assert_refused("--fix", code=2)
