"""Metadata of datasets and episodes, read by the other side."""

from __future__ import annotations

import json
import os
import subprocess
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from support.cases import spaces_of
from support.checks import assert_holds, assert_metadata
from support.toys import ToyEnv, Witness, draw
from support.values import assert_identical, leaves, stack_steps


OPTIONS: dict[str, Any] = {
    "array": np.arange(6, dtype=np.float32).reshape(2, 3),
    "integers": np.array([2**63 - 1, -(2**63)]),
    "text": "größe 🎲",
    "real": 1.5,
    "whole": -3,
    "yes": True,
    "list": [1, 2, 3],
    "state": {"deep": {"qpos": np.zeros(3), "mode": "easy"}, "level": np.int8(3)},
}


@pytest.mark.parametrize("seed", [0, 2**32 + 1, 2**63 + 5, 2**64 - 3])
@pytest.mark.parametrize("how", ["collector", "buffers"])
def test_seeds_and_options(how: str, seed: int, reference: Any) -> None:
    from support import operations

    ours = operations.record("ours-v0", "discrete", how=how, seed=seed, options=OPTIONS)
    theirs = reference.record("theirs-v0", "discrete", how=how, seed=seed, options=OPTIONS)
    assert [episode["seed"] for episode in ours] == [seed, seed + 1]
    assert_holds(reference.dump("ours-v0"), ours)
    assert_holds(operations.dump("ours-v0"), ours)
    assert_holds(operations.dump("theirs-v0"), theirs)
    operations.combine(["theirs-v0", "ours-v0"], "both-v0")
    assert_holds(reference.dump("both-v0"), theirs + ours)


def test_episodes_without_a_seed(reference: Any) -> None:
    from support import operations

    unseeded = {"minari_autoseed": False}
    ours = operations.record("ours-v0", "discrete", seed=None, options=unseeded)
    assert [episode["seed"] for episode in ours] == [None, None]
    for dump in (operations.dump("ours-v0"), reference.dump("ours-v0")):
        assert all("seed" not in metadata for metadata in dump["episode_metadata"])
        for metadata, episode in zip(dump["episode_metadata"], ours, strict=True):
            metadata.pop("options", None)
            assert_metadata(metadata, episode)


def test_seeds_that_were_made_up_are_kept_and_were_used(reference: Any) -> None:
    from support import operations

    ours = operations.record("ours-v0", "discrete", seed=None)
    assert all(0 <= episode["seed"] < 2**32 for episode in ours)
    assert_holds(reference.dump("ours-v0"), ours)
    theirs = reference.record("theirs-v0", "discrete", seed=None)
    assert all(episode["seed"] is not None for episode in theirs)
    assert_holds(operations.dump("theirs-v0"), theirs)


def test_everything_a_dataset_says_about_itself(reference: Any, datasets_root: Path) -> None:
    from support import operations

    for side, name in ((operations, "ours"), (reference, "theirs")):
        side.record_environment(f"{name}/data-v3", "Pendulum-v1", max_episode_steps=5)
    for name in ("ours/data-v3", "theirs/data-v3"):
        dump = operations.dump(name)
        assert dump["metadata"] == reference.dump(name)["metadata"]
        assert dump["id"] == name
        for key, value in operations.METADATA.items():
            assert dump["metadata"][key] == value, (name, key)
        assert dump["metadata"]["data_format"] == "hdf5"
        assert dump["metadata"]["dataset_size"] >= 0
    ours, theirs = (
        json.loads((datasets_root / name / "data-v3" / "data" / "metadata.json").read_text(encoding="utf-8"))
        for name in ("ours", "theirs")
    )
    assert set(theirs) <= set(ours)
    for key in set(theirs) - {"dataset_id", "dataset_size"}:
        expected, actual = theirs[key], ours[key]
        if key in ("author", "author_email"):
            expected, actual = sorted(expected), sorted(actual)
        if key.endswith(("_space", "_spec")):
            expected, actual = json.loads(expected), json.loads(actual)
        assert type(actual) is type(expected), key
        assert actual == expected, key


def test_keys_that_a_user_adds(reference: Any) -> None:
    from support import operations

    operations.record("ours-v0", "discrete", seed=4)
    added = {"robot": "arm", "rate": 2.5, "parts": ["a", "b"], "nested": {"k": [1, {"z": None}]}}
    episodes = [{"success": True, "label": "first"}, {"success": False, "label": "zweite"}]
    operations.update_metadata("ours-v0", added, episodes)
    reference.update_metadata("ours-v0", {"checked": 1}, [{"score": 0.5}, {"score": -2.0}])
    for dump in (operations.dump("ours-v0"), reference.dump("ours-v0")):
        assert {key: dump["metadata"][key] for key in added} == added
        assert dump["metadata"]["checked"] == 1
        read = [{key: one[key] for key in ("success", "label", "score", "seed")} for one in dump["episode_metadata"]]
        assert read == [
            {"success": True, "label": "first", "score": 0.5, "seed": 4},
            {"success": False, "label": "zweite", "score": -2.0, "seed": 5},
        ]


def test_namespaces(reference: Any) -> None:
    from support import operations

    operations.create_namespace("lab/arm", "Arme")
    reference.create_namespace("field/rover", "rovers")
    expected = {
        "field": {},
        "field/rover": {"description": "rovers", "display_name": "Field/Rover"},
        "lab": {},
        "lab/arm": {"description": "Arme", "display_name": "Lab/Arm"},
    }
    assert operations.namespaces() == expected
    assert reference.namespaces() == expected
    operations.record("lab/arm/push-v0", "discrete")
    reference.record("lab/arm/push-v1", "discrete")
    operations.record("house/robot/clean-v2", "discrete")
    assert set(reference.namespaces()) == set(operations.namespaces()) == {*expected, "house", "house/robot"}


def test_both_list_the_same_in_the_same_order(reference: Any) -> None:
    from support import operations

    for number, name in enumerate(["bb/xx-v10", "bb/xx-v2", "aa-v0", "bb-v0", "aa/zz/yy-v0", "BB/xx-v0"]):
        side = reference if number % 2 else operations
        side.record(name, "discrete", episodes=1 + number)
    ours, theirs = operations.listing(), reference.listing()
    assert list(ours) == list(theirs)
    assert ours == theirs
    assert {one["total_episodes"] for one in ours.values()} == {1, 2, 3, 4, 5, 6}
    reference.delete("bb/xx-v10")
    operations.delete("bb-v0")
    left = [name for name in theirs if name not in ("bb/xx-v10", "bb-v0")]
    assert list(operations.listing()) == list(reference.listing()) == left


def test_the_released_command_line_shows_our_datasets(reference_python: Path, datasets_root: Path) -> None:
    from support import operations

    operations.record("lab/first-v0", "dict")
    operations.record("second-v3", "text-unicode")
    script = reference_python.with_name("minari.exe" if os.name == "nt" else "minari")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment |= {"MINARI_DATASETS_PATH": str(datasets_root), "COLUMNS": "200"}
    for command in (["list", "local"], ["show", "lab/first-v0"]):
        run = subprocess.run(
            [script, *command], env=environment, capture_output=True, text=True, encoding="utf-8", check=False
        )
        assert run.returncode == 0, run.stderr
        assert "Ann Author" in run.stdout
        assert "lab/first-v0" in run.stdout
        if command[0] == "list":
            assert "second-v3" in run.stdout
            assert "Misconfigured" not in run.stdout + run.stderr


def test_environments(reference: Any) -> None:
    from support import operations

    ours = operations.record_environment("ours-v0", "CartPole-v1", seed=7, max_episode_steps=50)
    theirs = reference.record_environment("theirs-v0", "CartPole-v1", seed=8, max_episode_steps=90)
    assert_holds(reference.dump("ours-v0"), ours)
    assert_holds(operations.dump("theirs-v0"), theirs)
    operations.combine(["ours-v0", "theirs-v0"], "ours-combined-v0")
    reference.combine(["ours-v0", "theirs-v0"], "theirs-combined-v0")
    limits = {"ours-v0": 50, "theirs-v0": 90, "ours-combined-v0": 90, "theirs-combined-v0": 90}
    for name, limit in limits.items():
        for side in (operations, reference):
            spec = side.dump(name)["env_spec"]
            assert spec["id"] == "CartPole-v1"
            assert spec["max_episode_steps"] == limit
            assert spec["entry_point"] == gym.spec("CartPole-v1").entry_point
            recovered = side.recover(name)
            assert recovered["max_episode_steps"] == limit
            if name in ("ours-v0", "ours-combined-v0"):
                assert_identical(recovered["observation"], ours[0]["observations"][0])


def test_infos_whose_keys_come_and_go(reference: Any) -> None:
    """0.5.4 could not record these; what we make of them is an ordinary dataset to it."""
    import minari
    from support import operations

    class Capricious(ToyEnv):
        def _info(self) -> dict[str, Any]:
            always = {"time": np.int64(self._time)}
            return always | ({"bonus": np.float64(self._time / 2)} if self._time % 2 else {})

    collector = minari.DataCollector(
        Capricious(gym.spaces.Discrete(3), gym.spaces.Discrete(2)), record_infos=True, jpeg_encoding=False
    )
    collector.reset(seed=1)
    for _ in range(4):
        collector.step(np.int64(0))
    collector.create_dataset("capricious-v0", **operations.METADATA)
    ours, theirs = operations.dump("capricious-v0"), reference.dump("capricious-v0")
    for read in (ours, theirs):
        infos = read["episodes"][0]["infos"]
        assert infos["time"].tolist() == [0, 1, 2, 3, 4]
        assert infos["_bonus"].tolist() == [False, True, False, True, False]
        assert infos["bonus"][infos["_bonus"]].tolist() == [0.5, 1.5]
        assert len(infos["bonus"]) == 5
    assert_identical(ours["episodes"][0]["infos"], theirs["episodes"][0]["infos"])


def test_infos_of_every_kind_leave_the_dataset_readable(reference: Any) -> None:
    """However we keep odd infos: the release reads all the rest of the dataset, and may add to it."""
    import minari
    from support import operations

    odd = {
        "text": "größe",
        "nothing": None,
        "list": [1, "two", None],
        "empty": {},
        "big": 2**70,
        "wide": np.arange(4, dtype=np.uint64),
    }

    class Odd(ToyEnv):
        def _info(self) -> dict[str, Any]:
            chosen = list(odd)[: self._time * 3]
            ragged = np.arange(self._time, dtype=np.float32)
            return {"tick": np.int64(self._time), "ragged": ragged, "odd": {key: odd[key] for key in chosen}}

    witness = Witness(Odd(*spaces_of("dict"), truncate=True))
    collector = minari.DataCollector(witness, record_infos=True, jpeg_encoding=False)
    collector.reset(seed=1)
    for _ in range(4):
        collector.step(draw(collector.action_space, np.random.default_rng(0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        collector.create_dataset("odd-v0", **operations.METADATA)
    fields = ("observations", "actions", "rewards", "terminations", "truncations")
    recorded = {name: stack_steps(witness.episodes[0][name]) for name in fields}
    reference.append("odd-v0", "dict", how="buffers", seed=9)
    for dump in (operations.dump("odd-v0", "dict"), reference.dump("odd-v0", "dict")):
        assert dump["same_spaces"]
        assert dump["total_episodes"] == 3
        episode = dump["episodes"][0]
        assert_identical({name: episode[name] for name in fields}, recorded)
        assert episode["infos"]["tick"].tolist() == [0, 1, 2, 3, 4]


def test_what_a_step_data_callback_adds(reference: Any) -> None:
    import minari
    from support import operations

    class Height(minari.StepDataCallback):
        def __call__(self, env: Any, **values: Any) -> Any:
            step = super().__call__(env, **values)
            step["physics"] = {
                "height": np.float32(len(step["info"]) + 0.5),
                "parts": (np.int8(1), np.int8(2)),
            }
            return step

    collector = minari.DataCollector(
        ToyEnv(gym.spaces.Discrete(3), gym.spaces.Discrete(2)), step_data_callback=Height, jpeg_encoding=False
    )
    collector.reset(seed=1)
    for _ in range(4):
        collector.step(np.int64(0))
    collector.create_dataset("height-v0", **operations.METADATA)
    for dump in (operations.dump("height-v0"), reference.dump("height-v0")):
        infos = leaves(dump["episodes"][0]["infos"])
        assert_identical(infos["physics", "height"], np.full(5, 0.5, np.float32))
