"""Metadata of datasets and episodes, read by the other side."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from support import operations
from support.checks import assert_holds, assert_metadata
from support.values import assert_identical


BOTH = ("ours-v0", "theirs-v0")
OPTIONS: dict[str, Any] = {"text": "größe 🎲", "real": 1.5, "whole": -3, "yes": True, "list": [1, 2, 3]}
IN_HDF5: dict[str, Any] = {
    **OPTIONS,
    "array": np.arange(6, dtype=np.float32).reshape(2, 3),
    "integers": np.array([2**63 - 1, -(2**63)]),
    "state": {"deep": {"qpos": np.zeros(3), "mode": "easy"}, "level": np.int8(3)},
}
#: What the release can store in columnar formats; it reads arrays as lists, and stores them so itself.
IN_COLUMNS = {**OPTIONS, "nothing": None, "state": {"deep": {"qpos": np.float32([[0.1, 0.2]]), "mode": "easy"}}}
AS_LISTS = {**IN_COLUMNS, "state": {"deep": {"qpos": np.float32([[0.1, 0.2]]).tolist(), "mode": "easy"}}}


@pytest.mark.parametrize("seed", [0, 2**32 + 1, 2**63 + 5, 2**64 - 3])
@pytest.mark.parametrize("how", ["collector", "buffers"])
def test_seeds_and_options(how: str, seed: int, reference: Any) -> None:
    ours = operations.record("ours-v0", "discrete", how=how, seed=seed, options=IN_HDF5)
    theirs = reference.record("theirs-v0", "discrete", how=how, seed=seed, options=IN_HDF5)
    assert [episode["seed"] for episode in ours] == [seed, seed + 1]
    assert_holds(reference.dump("ours-v0"), ours)
    assert_holds(operations.dump("ours-v0"), ours)
    assert_holds(operations.dump("theirs-v0"), theirs)
    operations.combine(["theirs-v0", "ours-v0"], "both-v0")
    assert_holds(reference.dump("both-v0"), theirs + ours)


@pytest.mark.parametrize("data_format", ["arrow", "parquet"])
def test_seeds_and_options_in_columns(data_format: str, reference: Any) -> None:
    play = {"data_format": data_format, "seed": 2**64 - 3, "options": IN_COLUMNS}
    ours = operations.record("ours-v0", "discrete", **play)
    theirs = reference.record("theirs-v0", "discrete", **play)
    assert_holds(operations.dump("ours-v0"), ours)
    assert_holds(reference.dump("ours-v0"), [{**episode, "options": AS_LISTS} for episode in ours])
    assert_holds(operations.dump("theirs-v0"), [{**episode, "options": AS_LISTS} for episode in theirs])
    reference.update_metadata("ours-v0", {"checked": 1}, [{"score": 0.5}, {"score": -2.0}])
    assert_holds(operations.dump("ours-v0"), ours)


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
def test_keys_that_a_user_adds(data_format: str, reference: Any) -> None:
    operations.record("ours-v0", "discrete", data_format=data_format, seed=4)
    added = {"robot": "arm", "rate": 2.5, "parts": ["a", "b"], "nested": {"k": [1, {"z": None}]}}
    episodes = [{"success": True, "label": "first"}, {"success": False, "label": "zweite"}]
    operations.update_metadata("ours-v0", added, episodes)
    reference.update_metadata("ours-v0", {"checked": 1}, [{"score": 0.5}, {"score": -2.0}])
    for dump in (operations.dump("ours-v0"), reference.dump("ours-v0")):
        assert {key: dump["metadata"][key] for key in added} == added
        assert dump["metadata"]["checked"] == 1
        assert [
            {key: one[key] for key in ("success", "label", "score", "seed")} for one in dump["episode_metadata"]
        ] == [
            {"success": True, "label": "first", "score": 0.5, "seed": 4},
            {"success": False, "label": "zweite", "score": -2.0, "seed": 5},
        ]


def test_episodes_without_a_seed(reference: Any) -> None:
    ours = operations.record("ours-v0", "discrete", seed=None, options={"minari_autoseed": False})
    assert [episode["seed"] for episode in ours] == [None, None]
    for dump in (operations.dump("ours-v0"), reference.dump("ours-v0")):
        for metadata, episode in zip(dump["episode_metadata"], ours, strict=True):
            assert "seed" not in metadata
            assert_metadata({**metadata, "options": {}}, episode)


def test_seeds_that_were_made_up_are_kept_and_were_used(reference: Any) -> None:
    ours = operations.record("ours-v0", "discrete", seed=None)
    theirs = reference.record("theirs-v0", "discrete", seed=None)
    assert all(0 <= episode["seed"] < 2**32 for episode in ours)
    assert all(episode["seed"] is not None for episode in theirs)
    assert_holds(reference.dump("ours-v0"), ours)
    assert_holds(operations.dump("theirs-v0"), theirs)


def test_everything_a_dataset_says_about_itself(reference: Any, datasets_root: Path) -> None:
    for side, name in zip((operations, reference), BOTH, strict=True):
        side.record_environment(name, "Pendulum-v1", max_episode_steps=5)
    for name in BOTH:
        dump = operations.dump(name)
        assert dump["metadata"] == reference.dump(name)["metadata"]
        assert dump["id"] == name
        assert dump["metadata"].items() >= {**operations.METADATA, "data_format": "hdf5"}.items()
        assert dump["metadata"]["dataset_size"] >= 0
    ours, theirs = (json.loads((datasets_root / name / "data/metadata.json").read_text("utf-8")) for name in BOTH)
    assert set(theirs) <= set(ours)
    for key in set(theirs) - {"dataset_id", "dataset_size"}:
        expected, actual = theirs[key], ours[key]
        if key in ("author", "author_email"):
            expected, actual = sorted(expected), sorted(actual)
        if key.endswith(("_space", "_spec")):
            expected, actual = json.loads(expected), json.loads(actual)
        assert type(actual) is type(expected), key
        assert actual == expected, key


def test_namespaces(reference: Any) -> None:
    operations.create_namespace("lab/arm", "Arme")
    reference.create_namespace("field/rover", "rovers")
    expected = {
        "field": {},
        "field/rover": {"description": "rovers", "display_name": "Field/Rover"},
        "lab": {},
        "lab/arm": {"description": "Arme", "display_name": "Lab/Arm"},
    }
    assert operations.namespaces() == reference.namespaces() == expected
    operations.record("lab/arm/push-v0", "discrete")
    reference.record("lab/arm/push-v1", "discrete")
    operations.record("house/robot/clean-v2", "discrete")
    assert set(reference.namespaces()) == set(operations.namespaces()) == {*expected, "house", "house/robot"}


def test_both_list_the_same_in_the_same_order(reference: Any) -> None:
    for number, name in enumerate(["bb/xx-v10", "bb/xx-v2", "aa-v0", "bb-v0", "aa/zz/yy-v0", "BB/xx-v0"]):
        side = reference if number % 2 else operations
        side.record(name, "discrete", episodes=1 + number)
    ours, theirs = operations.listing(), reference.listing()
    assert list(ours.items()) == list(theirs.items())
    assert {one["total_episodes"] for one in ours.values()} == {1, 2, 3, 4, 5, 6}
    reference.delete("bb/xx-v10")
    operations.delete("bb-v0")
    left = [name for name in theirs if name not in ("bb/xx-v10", "bb-v0")]
    assert list(operations.listing()) == list(reference.listing()) == left


def test_released_command_line_shows_our_datasets(reference_python: Path, datasets_root: Path) -> None:
    operations.record("lab/first-v0", "dict")
    operations.record("second-v3", "text-unicode")
    script = reference_python.with_name("minari.exe" if os.name == "nt" else "minari")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment |= {"MINARI_DATASETS_PATH": str(datasets_root), "COLUMNS": "200"}
    for command, words in ((["list", "local"], ["lab/first-v0", "second-v3"]), (["show", "lab/first-v0"], [])):
        run = subprocess.run([script, *command], env=environment, capture_output=True, encoding="utf-8", check=False)
        assert run.returncode == 0, run.stderr
        assert all(word in run.stdout for word in ["Ann Author", "lab/first-v0", *words])
        assert "Misconfigured" not in run.stdout + run.stderr


def test_environments(reference: Any) -> None:
    ours = operations.record_environment("ours-v0", "CartPole-v1", seed=7, max_episode_steps=50)
    theirs = reference.record_environment("theirs-v0", "CartPole-v1", seed=8, max_episode_steps=90)
    assert_holds(reference.dump("ours-v0"), ours)
    assert_holds(operations.dump("theirs-v0"), theirs)
    operations.combine([*BOTH], "ours-combined-v0")
    reference.combine([*BOTH], "theirs-combined-v0")
    limits = {"ours-v0": 50, "theirs-v0": 90, "ours-combined-v0": 90, "theirs-combined-v0": 90}
    for name, limit in limits.items():
        for side in (operations, reference):
            spec, recovered = side.dump(name)["env_spec"], side.recover(name)
            assert spec["id"] == "CartPole-v1"
            assert spec["max_episode_steps"] == recovered["max_episode_steps"] == limit
            assert spec["entry_point"] == gym.spec("CartPole-v1").entry_point
            if name in ("ours-v0", "ours-combined-v0"):
                assert_identical(recovered["observation"], ours[0]["observations"][0])
